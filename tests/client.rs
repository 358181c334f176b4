//! The built echo-client against servers that echo and servers that do not.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use echo_proto::Pattern;
use echo_server::{Config, Handle, Server};
use echo_test_support::peers::{serve_one, wait_for_its_end};
use echo_test_support::{
    DEADLINE, Process, command, connect, exchange, skipped, skipped_without_ipv6,
};
use predicates::str::{contains, diff, is_empty};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-client");

fn client(port: u16) -> Command {
    let mut client = Command::from_std(command(PROGRAM));
    client.args(["--port", &port.to_string()]).timeout(DEADLINE);
    client
}

/// A real server in this process. It stops with the test.
struct Echo {
    port: u16,
    handle: Handle,
}

impl Echo {
    fn start() -> Self {
        Self::on("127.0.0.1")
    }

    fn on(host: &str) -> Self {
        Self::with(Config { host: host.to_owned(), ..Config::default() })
    }

    fn with(config: Config) -> Self {
        let server = Server::bind(Config { port: 0, ..config }).unwrap();
        let echo = Self { port: server.local_addrs()[0].port(), handle: server.handle() };
        thread::spawn(|| server.run(|_| {}));
        echo
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.handle.abort();
    }
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
fn the_transcript_is_the_tutorials() {
    let echo = Echo::start();
    client(echo.port)
        .assert()
        .success()
        .stdout(diff("Received b'Hello, world'\n"))
        .stderr(is_empty());
}

#[test]
fn a_message_is_shown_in_pythons_notation() {
    let echo = Echo::start();
    for (message, shown) in [
        ("", "b''"),
        ("it's", r#"b"it's""#),
        ("Grüß Gott\n", r"b'Gr\xc3\xbc\xc3\x9f Gott\n'"),
        ("\x1b[31mred", r"b'\x1b[31mred'"),
    ] {
        client(echo.port)
            .arg(message)
            .assert()
            .success()
            .stdout(diff(format!("Received {shown}\n")));
    }
}

#[cfg(unix)]
#[test]
fn a_message_that_is_not_utf_8_is_sent_as_it_is() {
    use std::os::unix::ffi::OsStrExt;
    let echo = Echo::start();
    let message = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    client(echo.port).arg(message).assert().success().stdout(diff("Received b'\\xff\\xfe'\n"));
}

#[test]
fn two_dashes_end_the_options() {
    let echo = Echo::start();
    client(echo.port)
        .args(["--", "--help"])
        .assert()
        .success()
        .stdout(diff("Received b'--help'\n"));
}

#[test]
fn a_dash_sends_stdin_of_any_length() {
    let echo = Echo::start();
    client(echo.port).arg("-").assert().success().stdout(diff("Received b''\n"));
    let mut message = vec![0; 20_000_000];
    Pattern::new(3).fill(0, &mut message);
    client(echo.port)
        .arg("-")
        .write_stdin(message)
        .assert()
        .success()
        .stdout(contains("... (20000000 bytes)\n"));
}

#[test]
fn a_name_is_tried_at_every_address_until_one_answers() {
    // Where localhost is ::1 first, nothing listens there.
    let echo = Echo::on("127.0.0.1");
    client(echo.port).args(["--host", "localhost"]).assert().success();
    client(echo.port).args(["--host", ""]).assert().success();
}

#[test]
fn ipv6_works_like_ipv4() {
    if skipped_without_ipv6("ipv6_works_like_ipv4") {
        return;
    }
    let echo = Echo::on("::1");
    client(echo.port).args(["--host", "::1"]).assert().success();
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
            "no route: check the address and the network; a firewall, here or there, may also answer this\n",
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
    let echo = Echo::with(Config { max_connections: Some(1), ..Config::default() });
    let held = connect(SocketAddr::from(([127, 0, 0, 1], echo.port)));
    exchange(&held, b"here first");
    let assert = client(echo.port).assert();
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    // Which one appears is a race.
    let messages = [
        format!("cannot connect to 127.0.0.1:{}: connection reset\n", echo.port),
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

/// The output of a successful command.
fn told(arguments: &[&str]) -> String {
    let assert = Command::from_std(command(PROGRAM)).args(arguments).assert();
    let output = assert.success().stderr(is_empty()).get_output().stdout.clone();
    String::from_utf8(output).unwrap()
}

#[test]
fn help_shows_the_defaults_and_version_the_version() {
    assert_eq!(told(&["--version"]), concat!("echo-client ", env!("CARGO_PKG_VERSION"), "\n"));
    for (command, options) in [
        (
            &[][..],
            &[
                ("[MESSAGE]...", "Hello, world"),
                ("--host <HOST>", "127.0.0.1"),
                ("--port <PORT>", "65432"),
                ("--connect-timeout <DURATION>", "5s"),
                ("--timeout <DURATION>", "10s"),
            ][..],
        ),
        (
            &["ping"],
            &[
                ("--interval <DURATION>", "1s"),
                ("--size <SIZE>", "64"),
                ("--reconnect[=<BOOL>]", "true"),
            ],
        ),
        (
            &["bench"],
            &[
                ("--connections <N>", "1"),
                ("--size <SIZE>", "64"),
                ("--depth <N>", "1"),
                ("--engine <ENGINE>", "auto"),
                ("--threads <N>", "1"),
                ("--format <FORMAT>", "text"),
            ],
        ),
        (&["report"], &[("--format <FORMAT>", "text"), ("--unit <UNIT>", "ns")]),
    ] {
        let help = told(&[command, &["--help"]].concat());
        for (option, default) in options {
            // Not in the usage line: each option has its own line.
            let (_, described) = help.split_once(&format!("{option}\n")).expect(option);
            let (_, shown) = described.split_once("[default: ").expect(option);
            let (shown, _) = shown.split_once(']').expect(option);
            assert_eq!(shown, *default, "{command:?} {option}");
        }
    }
}

#[test]
fn usage_errors_exit_with_2_and_name_the_argument() {
    for (arguments, message) in [
        (["--port", "0"], "'0' for '--port <PORT>': expected a whole number from 1 to 65535"),
        (["--port", "65536"], "'65536' for '--port <PORT>'"),
        (["--port", "-1"], "'-1' for '--port <PORT>'"),
        (
            ["--timeout", "0s"],
            "'0s' for '--timeout <DURATION>': expected a duration of more than zero",
        ),
        (
            ["--timeout", "0"],
            "'0' for '--timeout <DURATION>': expected a duration of more than zero",
        ),
        (
            ["--timeout", "soon"],
            "'soon' for '--timeout <DURATION>': expected a duration such as 50us, 200ms or 1.5s",
        ),
        (["--nonsense", "1"], "--nonsense"),
    ] {
        let mut client = Command::from_std(command(PROGRAM));
        client.args(arguments).assert().code(2).stdout(is_empty()).stderr(contains(message));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_is_an_error_and_a_closed_one_is_not() {
    let echo = Echo::start();
    let run = |stdout: Stdio| {
        let port = echo.port.to_string();
        command(PROGRAM).args(["--port", &port]).stdout(stdout).output().unwrap()
    };
    let full = run(std::fs::File::options().write(true).open("/dev/full").unwrap().into());
    assert_eq!(full.status.code(), Some(1));
    let stderr = String::from_utf8(full.stderr).unwrap();
    assert!(stderr.starts_with("echo-client: cannot write the output: No space left"), "{stderr}");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = run(writer.into());
    assert_eq!((closed.status.code(), closed.stderr), (Some(0), vec![]));
}

/// Python is an independent implementation of sockets: our client against the tutorial's server.
#[test]
fn the_tutorials_python_server_echoes() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/python/echo_server.py");
    match echo_test_support::Server::start_with(command("python3").args([script, "0"])) {
        Ok(python) => {
            client(python.address.port())
                .assert()
                .success()
                .stdout(diff("Received b'Hello, world'\n"));
            let finished = python.process.wait().unwrap();
            assert!(finished.stdout.contains("Connected by ('127.0.0.1', "), "{finished:?}");
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            skipped("the_tutorials_python_server_echoes", "python3 is not installed");
        }
        Err(error) => panic!("{error}"),
    }
}
