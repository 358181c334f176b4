//! The errors and hints of the built echo-client.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use echo_server::{Config, Server};
use echo_test_support::peers::{serve_one, wait_for_its_end};
#[cfg(target_os = "linux")]
use echo_test_support::skipped;
use echo_test_support::{DEADLINE, Process, command, connect, exchange};
use predicates::str::{contains, is_empty};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-client");

fn client(port: u16) -> Command {
    let mut client = Command::from_std(command(PROGRAM));
    client.args(["--port", &port.to_string()]).timeout(DEADLINE);
    client
}

fn read(mut stream: &TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// The client failed and reported it on stderr only.
fn fails(assert: Assert, message: &str, hint: &str) {
    assert
        .code(1)
        .stdout(is_empty())
        .stderr(contains(format!("echo-client: {message}")))
        .stderr(contains("\nhint: "))
        .stderr(contains(hint));
}

#[test]
fn a_refused_connection_says_what_to_check() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fails(
        client(port).assert(),
        &format!("cannot connect to 127.0.0.1:{port}: connection refused\n"),
        "is echo-server running there? check the port; a firewall may also refuse connections\n",
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_connect_without_an_answer_times_out() {
    // A full accept queue: Linux drops further SYNs, as a firewall would.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        waiting.push(stream);
    }
    fails(
        client(address.port()).args(["--connect-timeout", "0.1"]).assert(),
        &format!("cannot connect to {address}: timed out\n"),
        "firewall",
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_missing_network_is_reported_as_unreachable() {
    // In a new network namespace not even the loopback interface is up.
    let mut unshared = Command::from_std(command("unshare"));
    unshared.args(["--user", "--net", PROGRAM]).timeout(DEADLINE);
    match unshared.output() {
        Ok(output) if !output.stderr.starts_with(b"unshare") => fails(
            Assert::new(output),
            "cannot connect to 127.0.0.1:65432: network unreachable\n",
            "no route: check the address and the network; a firewall, here or on the path, may also answer this\n",
        ),
        _ => skipped("a_missing_network_is_reported_as_unreachable", "no user namespace"),
    }
}

#[test]
fn a_name_that_does_not_resolve_is_quoted() {
    let host = "x".repeat(64);
    fails(
        client(7).args(["--host", &host]).assert(),
        "cannot find the address of \"xxx",
        "check the spelling",
    );
}

#[test]
fn a_server_that_accepts_and_never_answers_times_out() {
    let port = serve_one(wait_for_its_end);
    let started = Instant::now();
    fails(
        client(port).args(["--timeout", "200ms"]).assert(),
        "timed out: no byte for 200 ms; 0 of 12 bytes came back\n",
        "is this an echo server, and with the same --framing?",
    );
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[test]
fn options_can_come_from_the_environment_and_a_bare_number_is_seconds() {
    let port = serve_one(wait_for_its_end);
    fails(
        client(port).env("ECHO_TIMEOUT", "0.2").assert(),
        "timed out: no byte for 200 ms; 0 of 12 bytes came back\n",
        "is this an echo server, and with the same --framing?",
    );
}

#[test]
fn an_echo_that_stops_halfway_is_reported_with_its_length() {
    let port = serve_one(|stream| {
        (&stream).write_all(&read(&stream, 5)).unwrap();
        wait_for_its_end(stream);
    });
    fails(
        client(port).args(["--timeout", "200ms"]).assert(),
        "timed out: no byte for 200 ms; 5 of 12 bytes came back\n",
        "--timeout waits longer",
    );
}

#[test]
fn a_short_reply_is_reported_with_its_length() {
    let port = serve_one(|stream| {
        (&stream).write_all(&read(&stream, 12)[..5]).unwrap();
    });
    fails(
        client(port).assert(),
        "the reply was cut short: 5 of 12 bytes came back\n",
        "the server may have been stopped",
    );
}

#[test]
fn a_reset_is_reported_as_a_reset() {
    let port = serve_one(|stream| {
        // Closing with unread input sends RST.
        read(&stream, 1);
    });
    fails(
        client(port).assert(),
        "the connection failed: connection reset; 0 of 12 bytes came back\n",
        "the server accepted the connection and closed it",
    );
}

#[test]
fn a_server_at_its_connection_limit_is_suspected_in_the_hint() {
    let config = Config { port: 0, max_connections: Some(1), ..Config::default() };
    let server = Server::bind(config).unwrap();
    let port = server.local_addrs()[0].port();
    thread::spawn(|| server.run(|_| {}));
    let held = connect(SocketAddr::from(([127, 0, 0, 1], port)));
    exchange(&held, b"here first");
    let assert = client(port).assert();
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    // Which one appears is a race.
    let messages = [
        format!("cannot connect to 127.0.0.1:{port}: connection reset\n"),
        "the reply was cut short: 0 of 12 bytes came back\n".to_owned(),
        "the connection failed: connection reset; 0 of 12 bytes came back\n".to_owned(),
        // On a machine so busy that the client's sending thread does not run for 0.1 s.
        "the server closed the connection before anything was sent\n".to_owned(),
    ];
    let message = messages.iter().find(|message| stderr.contains(*message)).expect(&stderr);
    fails(
        assert,
        message,
        "\nhint: the server accepted the connection and closed it: it may have been stopped, have reached its connection limit, or use another --framing\n",
    );
}

#[test]
fn another_protocol_is_shown_by_the_start_of_its_answer() {
    let port = serve_one(|stream| {
        read(&stream, 12);
        (&stream).write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        wait_for_its_end(stream);
    });
    fails(
        client(port).assert(),
        "the reply differs: byte 1 is b'T', expected b'e'\n",
        r"is this an echo server? its answer began b'HTTP/1.1 400 Bad Request\r\n\r\n'",
    );
}

#[test]
fn one_flipped_bit_in_megabytes_is_found_at_its_offset() {
    const LENGTH: usize = 3_000_000;
    let port = serve_one(|stream| {
        let mut message = read(&stream, LENGTH);
        message[1_234_567] ^= 0x20;
        (&stream).write_all(&message).unwrap();
        wait_for_its_end(stream);
    });
    fails(
        client(port).arg("-").write_stdin(vec![b'a'; LENGTH]).assert(),
        "the reply differs: byte 1234567 is b'A', expected b'a'\n",
        "changes the data",
    );
}

#[test]
fn a_reply_that_repeats_is_too_long() {
    let port = serve_one(|stream| {
        let message = read(&stream, 12);
        (&stream).write_all(&[message.clone(), message].concat()).unwrap();
        wait_for_its_end(stream);
    });
    fails(
        client(port).assert(),
        "the reply is too long: b'H' after all 12 bytes had come back\n",
        "is this an echo server?",
    );
}

/// Sends `message` on stdin, keeps stdin open, and returns stderr once the client has given up.
fn stderr_with_open_stdin(port: u16, message: &[u8]) -> String {
    let (stdin, mut writer) = std::io::pipe().unwrap();
    let mut command = command(PROGRAM);
    let process = Process::spawn(command.args(["--port", &port.to_string(), "-"]).stdin(stdin));
    writer.write_all(message).unwrap();
    let finished = process.unwrap().wait().unwrap();
    assert_eq!(finished.status.code(), Some(1));
    finished.stderr
}

#[test]
fn a_server_that_closes_early_ends_an_unfinished_message() {
    let port = serve_one(|stream| {
        (&stream).write_all(&read(&stream, 5)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        wait_for_its_end(stream);
    });
    let stderr = stderr_with_open_stdin(port, b"Hello");
    assert_eq!(
        stderr,
        "echo-client: the server closed the connection after 5 bytes, all of which came back\n\
         hint: the server may have been stopped, or limit the time or the bytes of a connection\n"
    );
}

#[test]
fn a_server_that_speaks_first_is_not_an_echo_server() {
    let port = serve_one(|stream| {
        (&stream).write_all(b"220 mail.example ESMTP\r\n").unwrap();
        wait_for_its_end(stream);
    });
    let stderr = stderr_with_open_stdin(port, b"");
    assert!(stderr.contains("the other end spoke first: b'2' came before"), "{stderr}");
    assert!(stderr.contains(r"its answer began b'220 mail.example ESMTP\r\n'"), "{stderr}");
}

#[test]
fn a_slow_echo_is_not_late_while_bytes_keep_coming() {
    let port = serve_one(|stream| {
        for byte in read(&stream, 12) {
            thread::sleep(Duration::from_millis(150));
            (&stream).write_all(&[byte]).unwrap();
        }
        wait_for_its_end(stream);
    });
    client(port).args(["--timeout", "1500ms"]).assert().success();
}

#[cfg(not(target_os = "linux"))]
echo_test_support::ignored! {
    "only Linux drops SYNs while the queue is full":
        a_connect_without_an_answer_times_out;
}

#[cfg(not(target_os = "linux"))]
echo_test_support::ignored! {
    "it needs a network namespace of Linux":
        a_missing_network_is_reported_as_unreachable;
}
