//! Whether the messages of the built echo-client tell what is needed: against other services, on
//! narrow terminals, and when something is stopped.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use echo_server::{Config, Framing, Server};
#[cfg(target_os = "linux")]
use echo_test_support::peers::serve_one;
use echo_test_support::peers::{echo, serve_each, wait_for_its_end};
#[cfg(target_os = "linux")]
use echo_test_support::skipped;
use echo_test_support::{Finished, Process, command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-client");
/// `ping` and both engines of `bench`, for one message.
const MEASURING: [&[&str]; 3] = [
    &["ping", "-c", "1", "-W", "1s"],
    &["bench", "-n", "1", "--timeout", "1s", "--engine", "readiness"],
    &["bench", "-n", "1", "--timeout", "1s"],
];

fn run(port: u16, arguments: &[&str]) -> Finished {
    let mut client = command(PROGRAM);
    Process::run(client.args(["--port", &port.to_string()]).args(arguments), b"").unwrap()
}

/// The whole output without line breaks.
fn words(finished: &Finished) -> String {
    let words = finished.stdout.split_whitespace().chain(finished.stderr.split_whitespace());
    words.collect::<Vec<_>>().join(" ")
}

/// A real server in this process.
fn framed_server(framing: Framing) -> u16 {
    let server = Server::bind(Config { port: 0, framing, ..Config::default() }).unwrap();
    let port = server.local_addrs()[0].port();
    thread::spawn(|| server.run(|_| {}));
    port
}

#[test]
fn ping_and_bench_show_how_another_service_answers() {
    let greeting = b"SSH-2.0-OpenSSH_9.6\r\n";
    for arguments in MEASURING {
        let port = serve_each(|_, mut stream| {
            stream.write_all(greeting).unwrap();
            wait_for_its_end(stream);
        });
        let finished = run(port, arguments);
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        let hint = r"is this an echo server? its answer began b'SSH-2.0-OpenSSH_9.6\r\n'";
        assert!(words(&finished).contains(hint), "{finished:?}");
    }
}

/// The greeting may arrive in the same event as the end of the handshake.
#[test]
fn bench_notices_a_greeting_before_its_timeout() {
    for _ in 0..10 {
        let port = serve_each(|_, mut stream| {
            stream.write_all(b"220 ready\r\n").unwrap();
            wait_for_its_end(stream);
        });
        let started = Instant::now();
        let arguments =
            ["bench", "-c", "1", "-n", "1", "--engine", "readiness", "--timeout", "60s"];
        let finished = run(port, &arguments);
        assert!(words(&finished).contains("220 ready"), "{finished:?}");
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    }
}

#[test]
fn ping_prints_a_hint_only_until_something_has_come_back() {
    let port = serve_each(|number, stream| match number {
        1 => echo(stream, |bytes| bytes[0] ^= u8::from(bytes.len() > 64)),
        _ => drop(stream),
    });
    let finished = run(port, &["ping", "-c", "1"]);
    assert_eq!((finished.status.code(), finished.stderr.as_str()), (Some(0), ""));
    let finished = run(port, &["ping", "-c", "3", "-i", "0"]);
    assert_eq!(finished.stderr.matches("hint: ").count(), 1, "{finished:?}");
}

#[test]
fn a_raw_client_at_a_framed_server_hears_of_framing() {
    for framing in [Framing::Length, Framing::Line] {
        let port = framed_server(framing);
        let plain: &[&str] = &["Hello, world", "--timeout", "1s"];
        for arguments in MEASURING.into_iter().chain([plain]) {
            let finished = run(port, arguments);
            let words = words(&finished);
            // A pattern of bytes may look like a short message, which is echoed.
            let is_echoed = finished.status.code() == Some(0);
            assert!(
                is_echoed
                    || words.contains("another --framing")
                    || words.contains("same --framing"),
                "{finished:?}"
            );
            assert!(arguments != plain || !is_echoed, "{finished:?}");
        }
    }
}

#[test]
fn a_server_that_is_stopped_during_a_pipe_is_named() {
    let server = Server::bind(Config { port: 0, ..Config::default() }).unwrap();
    let (port, handle) = (server.local_addrs()[0].port(), server.handle());
    thread::spawn(|| server.run(|_| {}));
    let (stdin, mut writer) = io::pipe().unwrap();
    let mut client = command(PROGRAM);
    client.args(["--port", &port.to_string(), "pipe"]).stdin(stdin);
    let process = Process::spawn(&mut client).unwrap();
    drop(client);
    writer.write_all(b"Hello").unwrap();
    process.wait_for_stdout("Hello").unwrap();
    handle.stop();
    let finished = process.wait().unwrap();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let expected = "the server closed the connection after 5 bytes, all of which came back\n\
                    hint: the server may have been stopped, ";
    assert!(finished.stderr.contains(expected), "{finished:?}");
}

#[test]
fn report_shows_no_options_of_a_connection_but_accepts_them() {
    let help = Process::run(command(PROGRAM).args(["report", "--help"]), b"").unwrap().stdout;
    for option in ["--host", "--port", "--timeout", "--framing", "Connection:"] {
        assert!(!help.contains(option), "{option}: {help}");
    }
    for arguments in [["report", "--port=7", "/nowhere"], ["--port=7", "report", "/nowhere"]] {
        let finished = Process::run(command(PROGRAM).args(arguments), b"").unwrap();
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    }
    let help = Process::run(command(PROGRAM).args(["ping", "--help"]), b"").unwrap().stdout;
    assert!(help.contains("--port <PORT>"), "{help}");
}

#[cfg(unix)]
#[test]
fn sigquit_prints_interim_metrics_of_bench_and_never_ends_it() {
    use echo_test_support::Signal;
    let port = serve_each(|_, stream| echo(stream, |_| {})).to_string();
    let mut client = command(PROGRAM);
    let arguments = ["bench", "--port", &port, "-i", "50ms", "--warmup", "300ms"];
    let process = Process::spawn(client.args(arguments)).unwrap();
    thread::sleep(std::time::Duration::from_millis(100));
    process.signal(Signal::QUIT);
    process.wait_for_stderr("nothing has been measured yet\n").unwrap();
    process.wait_for_stdout("echoes/s").unwrap();
    process.signal(Signal::QUIT);
    process.wait_for_stderr(" echoes/s, p50 ").unwrap();
    let lines = process.output().0.lines().count();
    process.wait_for_stdout_times("echoes/s", lines + 2).unwrap();
    process.interrupt();
    let finished = process.wait().unwrap();
    assert!(finished.status.success(), "{finished:?}");
}

/// What a shell command shows on a pseudo-terminal of this width; `script` is part of util-linux.
#[cfg(target_os = "linux")]
fn on_a_terminal(width: usize, line: &str) -> Option<String> {
    let line = format!("export NO_COLOR=1; stty rows 40 cols {width}; {line}");
    let mut script = command("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    match Process::run(&mut script, b"") {
        Ok(finished) => Some(finished.stdout),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            skipped("messages on a terminal", "script is not installed");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[cfg(target_os = "linux")]
#[test]
fn reports_help_and_errors_fit_the_terminal() {
    let port = serve_each(|_, stream| echo(stream, |_| {}));
    let file = std::env::temp_dir().join(format!("echo-messages-{}.json", std::process::id()));
    let file = file.display();
    let saved = run(port, &["bench", "-n", "100", "--format", "json", "-o", &file.to_string()]);
    assert!(saved.status.success(), "{saved:?}");
    for width in [60, 80] {
        for arguments in [
            &format!("bench --port {port} -n 100 --label a-label 2>/dev/null"),
            &format!("report {file} {file} {file}"),
            "--help",
            "bench --help",
            "ping --help",
            "report --help",
            "--port 1",
        ] {
            let Some(shown) = on_a_terminal(width, &format!("{PROGRAM} {arguments}")) else {
                return;
            };
            // Examples in the help are commands to copy, and stay whole.
            let shown = shown.split("Examples:").next().unwrap();
            let widest = shown.lines().map(|line| line.chars().count()).max();
            assert!(widest.is_some_and(|widest| widest <= width), "{width}: {arguments}: {shown}");
        }
    }
    std::fs::remove_file(file.to_string()).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn an_error_behind_an_unfinished_line_starts_on_a_new_one() {
    let port = serve_one(|mut stream| {
        let mut message = Vec::new();
        io::Read::read_to_end(&mut stream, &mut message).unwrap();
        stream.write_all(&message[..3]).unwrap();
    });
    let line = format!("printf abcdef | {PROGRAM} --port {port} pipe");
    let Some(shown) = on_a_terminal(80, &line) else { return };
    assert!(shown.contains("abc\r\necho-client: the reply was cut short"), "{shown}");
}

#[cfg(windows)]
echo_test_support::ignored! {
    "there is no SIGQUIT":
        sigquit_prints_interim_metrics_of_bench_and_never_ends_it;
}

#[cfg(not(target_os = "linux"))]
echo_test_support::ignored! {
    "it needs script(1) of util-linux":
        reports_help_and_errors_fit_the_terminal, an_error_behind_an_unfinished_line_starts_on_a_new_one;
}
