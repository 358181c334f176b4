//! The built echo-client and its standard streams.

use echo_test_support::peers::{echo, serve_each};
use echo_test_support::{Finished, Process, command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-client");

/// Each mode, and how many bytes it sends with an empty stdin.
const MODES: [(&[&str], usize); 5] = [
    (&["Hello, world"], 12),
    (&["-"], 0),
    (&["pipe"], 0),
    (&["ping", "-c", "2", "-i", "0", "-s", "64"], 128),
    (&["bench", "-n", "10", "-s", "64"], 640),
];

#[cfg(unix)]
fn run(port: u16, arguments: &[&str], redirection: &str) -> Finished {
    let mut shell = command("sh");
    shell.args(["-c", &format!("exec \"$0\" \"$@\" {redirection}"), PROGRAM]);
    shell.args(arguments).args(["--port", &port.to_string()]);
    Process::run(&mut shell, b"").unwrap()
}

#[cfg(unix)]
#[test]
fn closed_standard_streams_are_not_an_error_and_nothing_leaks_to_the_server() {
    let (sender, received) = std::sync::mpsc::channel();
    let port = serve_each(move |_, stream| {
        let mut count = 0;
        echo(stream, |bytes| count += bytes.len());
        sender.send(count).unwrap();
    });
    for (mode, sent) in MODES {
        for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
            let finished = run(port, mode, closed);
            assert_eq!(finished.status.code(), Some(0), "{mode:?} {closed}: {finished:?}");
            assert_eq!(finished.stderr, "", "{mode:?} {closed}");
            let received = received.recv_timeout(echo_test_support::DEADLINE).unwrap();
            assert_eq!(received, sent, "{mode:?} {closed}");
        }
    }
}

#[cfg(unix)]
#[test]
fn with_stderr_closed_an_error_still_sets_the_exit_code() {
    let report: (&[&str], usize) = (&["report", "/nowhere"], 0);
    for (mode, _) in MODES.into_iter().chain([report]) {
        let finished = run(1, mode, "2>&-");
        assert_eq!(finished.status.code(), Some(1), "{mode:?}: {finished:?}");
        assert_eq!((finished.stdout, finished.stderr), (String::new(), String::new()), "{mode:?}");
        let finished = run(1, mode, "--nonsense 2>&-");
        assert_eq!(finished.status.code(), Some(2), "{mode:?}: {finished:?}");
    }
}

/// The output contains no control characters but its own line breaks.
fn is_plain(finished: &Finished) {
    let text = [&*finished.stdout, &*finished.stderr].concat();
    let control = |letter: char| letter.is_control() && letter != '\n';
    assert!(!text.contains(control), "{finished:?}");
    assert!(!text.contains("\nforged"), "{finished:?}");
}

#[test]
fn names_and_messages_reach_the_terminal_escaped() {
    let port = serve_each(|_, stream| echo(stream, |_| {})).to_string();
    let (host, message) = ("\x1b[2J\nforged.invalid", "\x1b[2J\nforged\u{9b}2J");
    for arguments in [
        &["--port", &port, message][..],
        &["--port", &port, "--framing", "line", message],
        &["--host", host],
        &["--host", host, "pipe"],
        &["--host", host, "ping"],
        &["--host", host, "bench"],
        &["bench", "--port", &port, "-n", "1", "-o", "/nowhere/\x1b[2J\nforged"],
        &["bench", "--port", &port, "-n", "1", "--hdr-log", "/nowhere/\x1b[2J\nforged"],
        &["report", "/nowhere/\x1b[2J\nforged"],
    ] {
        is_plain(&Process::run(command(PROGRAM).args(arguments), b"").unwrap());
    }
}

#[test]
fn a_wrong_answer_reaches_the_terminal_escaped() {
    // The error quotes the wrong bytes.
    let port = serve_each(|_, stream| echo(stream, |bytes| bytes.fill(0x1b))).to_string();
    for (mode, _) in MODES.iter().filter(|(_, sent)| *sent > 0) {
        let arguments = [mode, &["--port", &port][..]].concat();
        let finished = Process::run(command(PROGRAM).args(arguments), b"").unwrap();
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        is_plain(&finished);
    }
}

#[cfg(windows)]
echo_test_support::ignored! {
    "it needs the redirections of sh":
        closed_standard_streams_are_not_an_error_and_nothing_leaks_to_the_server, with_stderr_closed_an_error_still_sets_the_exit_code;
}
