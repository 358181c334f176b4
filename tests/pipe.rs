//! The built echo-client with several messages, and as a pipe.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread;

use echo_proto::{Framing, Pattern};
use echo_server::{Config, Server};
use echo_test_support::peers::serve_one;
use echo_test_support::{DEADLINE, Finished, Process, command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-client");

/// A real server in this process; it ends with the process.
fn echo_server(framing: Framing) -> u16 {
    let server = Server::bind(Config { port: 0, framing, ..Config::default() }).unwrap();
    let port = server.local_addrs()[0].port();
    thread::spawn(|| server.run(|_| {}));
    port
}

fn run(port: u16, arguments: &[&str], input: &[u8]) -> Finished {
    let mut client = command(PROGRAM);
    Process::run(client.args(["--port", &port.to_string()]).args(arguments), input).unwrap()
}

#[test]
fn each_argument_is_one_message_on_one_connection() {
    for framing in [Framing::Raw, Framing::Line, Framing::Length] {
        let port = echo_server(framing);
        let finished = run(port, &["--framing", &framing.to_string(), "one", "", "three"], b"");
        assert_eq!(finished.stdout, "Received b'one'\nReceived b''\nReceived b'three'\n");
        assert!(finished.status.success(), "{finished:?}");
    }
}

#[test]
fn a_message_named_like_a_command_is_sent_after_two_dashes() {
    let port = echo_server(Framing::Raw);
    assert_eq!(run(port, &["--", "pipe"], b"").stdout, "Received b'pipe'\n");
}

#[test]
fn a_message_that_cannot_be_framed_is_a_usage_error() {
    for (arguments, message) in [
        (&["--framing", "line", "a\nb"], "a line cannot contain a line break"),
        (&["--framing", "line", "-"], "for --framing line use pipe"),
        (&["--framing", "lines", "a"], "[possible values: raw, line, length]"),
    ] {
        let finished = run(1, arguments, b"");
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        assert!(finished.stderr.contains(message), "{finished:?}");
    }
}

#[test]
fn a_pipe_gives_back_exactly_what_went_in() {
    let port = echo_server(Framing::Raw);
    let mut child = command(PROGRAM)
        .args(["--port", &port.to_string(), "pipe"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pattern = Pattern::new(4);
    let mut message = vec![0; 10_000_001];
    pattern.fill(0, &mut message);
    let mut stdin = child.stdin.take().unwrap();
    let sending = thread::spawn(move || stdin.write_all(&message));
    let mut echo = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut echo).unwrap();
    sending.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(echo.len(), 10_000_001);
    pattern.check(0, &echo).unwrap();
}

#[test]
fn an_empty_pipe_is_not_an_error() {
    let finished = run(echo_server(Framing::Raw), &["pipe"], b"");
    assert!(finished.status.success() && finished.stdout.is_empty(), "{finished:?}");
}

#[test]
fn a_pipe_passes_each_chunk_on_at_once() {
    let port = echo_server(Framing::Raw);
    let (stdin, mut writer) = std::io::pipe().unwrap();
    let mut client = command(PROGRAM);
    client.args(["--port", &port.to_string(), "pipe"]).stdin(stdin);
    let process = Process::spawn(&mut client).unwrap();
    drop(client);
    for piece in ["no line break", ", and more"] {
        writer.write_all(piece.as_bytes()).unwrap();
        process.wait_for_stdout(piece).unwrap();
    }
    drop(writer);
    assert!(process.wait().unwrap().status.success());
}

#[test]
fn a_truncated_last_line_is_reported() {
    let message = "echo-client: the last line of the input has no line break at its end (length 1)\n\
                hint: a server with --framing line echoes whole lines only; --framing raw sends any bytes\n";
    // Whether or not the server has line framing.
    for (framing, echo) in [(Framing::Line, "a\n"), (Framing::Raw, "a\nb")] {
        let port = echo_server(framing);
        let finished = run(port, &["pipe", "--framing", "line"], b"a\nb");
        assert_eq!((finished.status.code(), finished.stdout.as_str()), (Some(1), echo));
        assert_eq!(finished.stderr, message);
        assert_eq!(run(port, &["again", "--framing", "line"], b"").status.code(), Some(0));
    }
}

#[test]
fn a_truncated_length_message_is_reported() {
    let port = echo_server(Framing::Length);
    let finished = run(port, &["pipe", "--framing", "length"], b"\0\0\0\x01a\0\0\0\x05b");
    assert_eq!((finished.status.code(), finished.stdout.as_str()), (Some(1), "\0\0\0\x01a"));
    let message = "the input ends inside a message: 5 of at least 9 bytes are there";
    assert!(finished.stderr.contains(message), "{finished:?}");
}

#[test]
fn a_changed_byte_in_a_pipe_is_found_at_its_offset() {
    let port = serve_one(|mut stream| {
        let mut message = [0; 100];
        stream.read_exact(&mut message).unwrap();
        message[42] ^= 1;
        stream.write_all(&message).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let finished = run(port, &["pipe"], &[b'a'; 100]);
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("byte 42 is b'`', expected b'a'"), "{finished:?}");
}

#[test]
fn late_surplus_after_the_echo_is_found() {
    let port = serve_one(|mut stream| {
        let mut message = Vec::new();
        stream.read_to_end(&mut message).unwrap();
        stream.write_all(&message).unwrap();
        thread::sleep(std::time::Duration::from_millis(100));
        stream.write_all(b"!").unwrap();
    });
    let finished = run(port, &["pipe"], b"Hello");
    assert_eq!((finished.status.code(), finished.stdout.as_str()), (Some(1), "Hello"));
    assert!(finished.stderr.contains("too long: b'!' after all 5 bytes"), "{finished:?}");
}

#[test]
fn a_server_that_ignores_the_half_close_is_named() {
    let port = serve_one(|mut stream| {
        let mut message = Vec::new();
        stream.read_to_end(&mut message).unwrap();
        stream.write_all(&message).unwrap();
        thread::sleep(DEADLINE);
        stream.shutdown(Shutdown::Both).unwrap();
    });
    let finished = run(port, &["pipe", "--timeout", "200ms"], b"Hello");
    assert_eq!(finished.status.code(), Some(1));
    let message = "all 5 bytes came back, but the server did not close the connection for 200 ms";
    assert!(finished.stderr.contains(message), "{finished:?}");
}

#[test]
fn a_server_that_never_echoes_receives_at_most_what_may_be_in_flight() {
    let (sender, counted) = mpsc::channel();
    let port = serve_one(move |mut stream| {
        sender.send(std::io::copy(&mut stream, &mut std::io::sink()).unwrap()).unwrap();
    });
    let finished = run(port, &["pipe", "--timeout", "1s"], &[0; 20_000_000]);
    assert!(finished.stderr.contains("timed out: no byte for 1 s; 0 of "), "{finished:?}");
    // The client keeps what was sent until its echo has been compared.
    let counted = counted.recv_timeout(DEADLINE).unwrap();
    assert!((1..=8 * 1024 * 1024).contains(&counted), "{counted}");
}

#[test]
fn a_closed_stdout_ends_a_pipe_quietly() {
    let port = echo_server(Framing::Raw);
    let mut child = command(PROGRAM)
        .args(["--port", &port.to_string(), "pipe"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    // The input never ends: only the closed output can end the pipe.
    let mut stdin = child.stdin.take().unwrap();
    while stdin.write_all(&[0; 1000]).is_ok() {}
    let finished = child.wait_with_output().unwrap();
    assert_eq!((finished.status.code(), finished.stderr), (Some(0), vec![]));
}

/// What a command shows on a pseudo-terminal with this input; `script` is part of util-linux.
#[cfg(target_os = "linux")]
fn on_a_terminal(line: &str, typed: &[u8]) -> Option<String> {
    let mut script = command("script");
    match Process::run(script.args(["--quiet", "--return", "--command", line, "/dev/null"]), typed)
    {
        Ok(finished) => Some(finished.stdout),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            echo_test_support::skipped("a pipe on a terminal", "script is not installed");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[cfg(target_os = "linux")]
#[test]
fn control_characters_are_escaped_on_a_terminal_unless_asked_for() {
    let port = echo_server(Framing::Raw);
    let client = format!(r"printf '\033[31mred\n' | {PROGRAM} --port {port} pipe");
    let Some(shown) = on_a_terminal(&client, b"") else { return };
    assert_eq!(shown, "\\x1b[31mred\r\n", "the terminal itself adds the \\r");
    let shown = on_a_terminal(&format!("{client} --raw-output"), b"").unwrap();
    assert_eq!(shown, "\x1b[31mred\r\n");
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_terminal_a_pipe_reports_its_connection_and_uses_lines() {
    let port = echo_server(Framing::Raw);
    // The first Ctrl-D ends the line, the second one the input. Only stderr is shown, beside the
    // terminal's own echo.
    let client = format!("{PROGRAM} --port {port} pipe 2>&1 >/dev/null");
    let Some(shown) = on_a_terminal(&client, b"a\nb\x04\x04") else { return };
    let connected = format!("connected to 127.0.0.1:{port}; type a line, or Ctrl-D to end\r\n");
    assert!(shown.contains(&format!("echo-client: {connected}")), "{shown}");
    assert!(
        shown.contains("the last line of the input has no line break"),
        "raw has no lines: {shown}"
    );
    let raw = on_a_terminal(&format!("{client} --framing raw"), b"a\nb\x04\x04").unwrap();
    assert!(raw.contains(&connected) && !raw.contains("no line break"), "{raw}");
}

#[cfg(not(target_os = "linux"))]
echo_test_support::ignored! {
    "it needs script(1) of util-linux":
        control_characters_are_escaped_on_a_terminal_unless_asked_for, on_a_terminal_a_pipe_reports_its_connection_and_uses_lines;
}
