//! The built echo-client against servers that echo and servers that do not.

use std::io::ErrorKind;
#[cfg(target_os = "linux")]
use std::process::Stdio;
use std::thread;

use assert_cmd::Command;
use echo_proto::Pattern;
use echo_server::{Config, Handle, Server};
use echo_test_support::{
    DEADLINE, command, skipped, skipped_without_ipv6, skipped_without_localhost,
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
    if skipped_without_localhost("a_name_is_tried_at_every_address_until_one_answers") {
        return;
    }
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

/// The output of a successful command.
fn stdout_of(arguments: &[&str]) -> String {
    let assert = Command::from_std(command(PROGRAM)).args(arguments).assert();
    let output = assert.success().stderr(is_empty()).get_output().stdout.clone();
    String::from_utf8(output).unwrap()
}

#[test]
fn help_shows_the_defaults_and_version_the_version() {
    assert_eq!(stdout_of(&["--version"]), concat!("echo-client ", env!("CARGO_PKG_VERSION"), "\n"));
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
        let help = stdout_of(&[command, &["--help"]].concat());
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

#[cfg(windows)]
echo_test_support::ignored! {
    "arguments are Unicode here":
        a_message_that_is_not_utf_8_is_sent_as_it_is;
}

#[cfg(not(target_os = "linux"))]
echo_test_support::ignored! {
    "it needs /dev/full of Linux":
        a_full_stdout_is_an_error_and_a_closed_one_is_not;
}
