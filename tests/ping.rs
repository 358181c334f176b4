//! `echo-client ping` against servers that answer, and servers that do not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

#[cfg(unix)]
use echo_test_support::Signal;
use echo_test_support::peers::{echo, serve_each, wait_for_its_end};
use echo_test_support::{Finished, Process, command, skipped_without_stop};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-client");

fn echo_server() -> u16 {
    serve_each(|_, stream| echo(stream, |_| {}))
}

/// Echoes one message and no more.
fn echo_one(stream: &mut TcpStream) {
    let mut message = [0; 64];
    stream.read_exact(&mut message).unwrap();
    stream.write_all(&message).unwrap();
}

fn ping(port: u16, arguments: &[&str]) -> Finished {
    let mut client = command(PROGRAM);
    client.args(["ping", "--port", &port.to_string()]).args(arguments);
    Process::run(&mut client, b"").unwrap()
}

#[test]
fn each_reply_has_a_line_and_the_run_a_summary() {
    let port = echo_server();
    let finished = ping(port, &["-c", "3", "-i", "0.01"]);
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
    let lines: Vec<_> = finished.stdout.lines().collect();
    assert!(lines[0].starts_with(&format!("PING 127.0.0.1:{port}: 64 bytes, connected in ")));
    let times = lines[1..].iter().zip(1..=3).map(|(line, seq)| {
        let start = format!("64 bytes from 127.0.0.1:{port}: seq={seq} time=");
        let time = line.strip_prefix(&start).and_then(|rest| rest.strip_suffix(" ms"));
        time.unwrap_or_else(|| panic!("{finished:?}"))
    });
    let (mut times, by_length) =
        (times.collect::<Vec<_>>(), |time: &&str| time.parse::<f64>().unwrap());
    times.sort_by(|one, other| by_length(one).total_cmp(&by_length(other)));
    assert_eq!(lines[4..6], ["", &format!("--- 127.0.0.1:{port} ping statistics ---")]);
    assert!(lines[6].starts_with("3 messages transmitted, 3 received, 0% loss, time "));
    let summary = lines[7].strip_prefix("rtt min/avg/max/mdev = ").expect("it ends with the times");
    let summary: Vec<_> = summary.split('/').collect();
    assert_eq!((summary[0], summary[2]), (times[0], times[2]), "{finished:?}");
    assert!(lines[8].starts_with("connect = "), "too few for percentiles: {finished:?}");
    assert_eq!(finished.stderr, "");
}

#[test]
fn quiet_prints_the_summary_with_percentiles_from_a_hundred_replies_on() {
    let finished = ping(echo_server(), &["-c", "100", "-i", "0", "-q", "-s", "1k"]);
    assert!(finished.stdout.contains("100 messages transmitted, 100 received"), "{finished:?}");
    assert!(finished.stdout.contains("\nrtt p50/p99 = "), "{finished:?}");
    assert!(!finished.stdout.contains("seq="), "{finished:?}");
}

#[test]
fn a_message_larger_than_the_socket_buffers_and_a_framed_one_come_back() {
    let port = echo_server();
    for (arguments, shown) in [
        (["-s", "20MiB"], "20971520 bytes from"),
        (["-s", "4k"], "4096 bytes from"),
        (["--framing", "line"], "64 bytes from"),
        (["--framing", "length"], "64 bytes from"),
    ] {
        let finished = ping(port, &[&["-c", "2", "-i", "0"][..], &arguments].concat());
        assert!(finished.stdout.contains("2 received, 0% loss"), "{finished:?}");
        assert_eq!(finished.stdout.matches(&format!("\n{shown}")).count(), 2, "{finished:?}");
    }
}

#[test]
fn each_line_can_have_a_timestamp() {
    let finished = ping(echo_server(), &["-c", "1", "-D"]);
    for line in finished.stdout.lines().take(2) {
        let (seconds, rest) = line.strip_prefix('[').unwrap().split_once('.').unwrap();
        assert!(seconds.parse::<u64>().unwrap() > 1_700_000_000, "{line}");
        assert_eq!(rest.find("] "), Some(6), "{line}");
    }
}

#[test]
fn a_deadline_ends_the_run() {
    let finished = ping(echo_server(), &["-w", "300ms", "-i", "50ms"]);
    // A message in flight at the deadline is lost, and on a busy machine one may be.
    assert!(matches!(finished.status.code(), Some(0 | 1)), "{finished:?}");
    let (_, time) = finished.stdout.split_once("% loss, time ").expect(&finished.stdout);
    let (ms, _) = time.split_once(" ms\n").expect(time);
    assert!((300..5_000).contains(&ms.parse().unwrap()), "{finished:?}");
}

/// What a server does to the second message on its first connection, and how that is reported.
type Fault = (fn(&mut TcpStream, &[u8]), &'static str);

#[test]
fn each_fault_is_named_and_the_connection_reopened() {
    let faults: [Fault; 5] = [
        (
            |stream, bytes| drop(stream.write_all(&bytes[..10])),
            "seq=2 lost: the reply was cut short",
        ),
        (
            |stream, bytes| {
                let mut bytes = bytes.to_vec();
                bytes[5] ^= 1;
                stream.write_all(&bytes).unwrap();
                wait_for_its_end(stream.try_clone().unwrap());
            },
            "seq=2 lost: the reply differs",
        ),
        (
            |stream, bytes| {
                stream.write_all(&[bytes, bytes].concat()).unwrap();
                wait_for_its_end(stream.try_clone().unwrap());
            },
            "lost: the reply is too long",
        ),
        (|stream, _| wait_for_its_end(stream.try_clone().unwrap()), "seq=2 lost: timed out"),
        (
            |stream, bytes| {
                thread::sleep(Duration::from_millis(600));
                let _ = stream.write_all(bytes);
            },
            "seq=2 lost: timed out",
        ),
    ];
    for (misbehave, text) in faults {
        let port = serve_each(move |number, mut stream| {
            if number > 1 {
                return echo(stream, |_| {});
            }
            echo_one(&mut stream);
            let mut message = [0; 64];
            stream.read_exact(&mut message).unwrap();
            misbehave(&mut stream, &message);
        });
        // Opening a connection again takes longer under Wine.
        let interval = if cfg!(windows) { "1s" } else { "350ms" };
        let finished = ping(port, &["-c", "4", "-i", interval, "-W", "300ms"]);
        assert_eq!(finished.status.code(), Some(1), "{text}: {finished:?}");
        assert!(finished.stdout.contains(text), "{text}: {finished:?}");
        assert!(
            finished.stdout.contains("4 messages transmitted, 3 received, 25% loss"),
            "{text}: {finished:?}"
        );
        assert!(finished.stdout.contains(" echoes again after 0."), "{text}: {finished:?}");
        assert!(finished.stdout.contains(" s, 1 lost\n"), "{text}: {finished:?}");
        let connects = finished.stdout.lines().find(|line| line.starts_with("connect "));
        let connects = connects.and_then(|line| line.strip_prefix("connect min/avg/max = "));
        let times = connects.and_then(|line| line.strip_suffix(" ms, 2 connections"));
        assert_eq!(times.unwrap_or_default().split('/').count(), 3, "{text}: {finished:?}");
        assert!(finished.stdout.contains("\noutage 0."), "{text}: {finished:?}");
    }
}

#[test]
fn an_outage_is_reported_with_its_duration_and_losses() {
    // The server's port is closed for a while.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        echo_one(&mut stream);
        // The client closes first and gets TIME_WAIT, so that the port can be bound again.
        drop(listener);
        wait_for_its_end(stream.try_clone().unwrap());
    });
    let mut client = command(PROGRAM);
    let port = address.port().to_string();
    let arguments = ["ping", "--port", &port, "-i", "100ms", "-W", "200ms"];
    let process = Process::spawn(client.args(arguments)).unwrap();
    process.wait_for_stdout("seq=2 lost: timed out").unwrap();
    serving.join().unwrap();
    // Messages that were due while the timeout ran are lost as well.
    process.wait_for_stdout("seq=3 lost: not sent, there was no echo").unwrap();
    process.wait_for_stdout("seq=5 lost: cannot connect").unwrap();
    let listener = std::net::TcpListener::bind(address).unwrap();
    thread::spawn(move || echo(listener.accept().unwrap().0, |_| {}));
    process.wait_for_stdout(" echoes again after ").unwrap();
    let output = process.wait_for_stdout_times("bytes from", 2).unwrap();
    if skipped_without_stop("the summary of a run with an outage") {
        return;
    }
    process.interrupt();
    let finished = process.wait().unwrap();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let away = output.split(" again after ").nth(1).unwrap().split(" s, ").next().unwrap();
    let away: f64 = away.parse().unwrap();
    assert!(away > 0.2, "at the least the time until it was noticed: {output}");
    let outage = finished.stdout.lines().find(|line| line.starts_with("outage ")).unwrap();
    assert!(outage.contains("Z, seq 2 to "), "{outage}");
}

#[test]
fn quiet_still_reports_the_connection() {
    let port = serve_each(|number, mut stream| match number {
        1 => echo_one(&mut stream),
        _ => echo(stream, |_| {}),
    });
    let finished = ping(port, &["-c", "3", "-i", "10ms", "-q"]);
    assert!(finished.stdout.contains("3 messages transmitted, 2 received"), "{finished:?}");
    assert!(finished.stdout.starts_with(&format!("PING 127.0.0.1:{port}: ")), "{finished:?}");
    let again = format!("\n127.0.0.1:{port} echoes again after ");
    assert!(finished.stdout.contains(&again), "{finished:?}");
    assert!(!finished.stdout.contains("seq="), "{finished:?}");
}

#[test]
fn without_reconnect_the_first_loss_ends_the_run() {
    let port = serve_each(|_, stream| drop(stream));
    let finished = ping(port, &["--reconnect=false", "-i", "0"]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(
        finished.stdout.contains("1 messages transmitted, 0 received, 100% loss"),
        "{finished:?}"
    );
}

#[test]
fn without_a_server_ping_fails() {
    let finished = ping(1, &["-c", "3"]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert_eq!(finished.stdout, "");
    assert!(finished.stderr.contains("connection refused"), "{finished:?}");
}

#[cfg(unix)]
#[test]
fn sigquit_prints_a_status_and_ctrl_c_the_summary() {
    let port = echo_server().to_string();
    let mut client = command(PROGRAM);
    let process = Process::spawn(client.args(["ping", "--port", &port, "-i", "20ms"])).unwrap();
    process.wait_for_stdout("seq=3 ").unwrap();
    process.signal(Signal::QUIT);
    process.wait_for_stderr(" messages, 0% loss, min/avg/max = ").unwrap();
    // The run continues, even during a pause.
    process.wait_for_stdout("seq=6 ").unwrap();
    process.interrupt();
    let finished = process.wait().unwrap();
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
    assert!(finished.stdout.contains(" messages transmitted, "), "{finished:?}");
}

#[test]
fn ctrl_c_does_not_wait_for_a_missing_echo() {
    if skipped_without_stop("ctrl_c_does_not_wait_for_a_missing_echo") {
        return;
    }
    let (arrived, arrival) = std::sync::mpsc::channel();
    let port = serve_each(move |_, mut stream| {
        stream.read_exact(&mut [0; 64]).unwrap();
        arrived.send(()).unwrap();
        wait_for_its_end(stream);
    });
    let mut client = command(PROGRAM);
    let process = Process::spawn(client.args(["ping", "--port", &port.to_string()])).unwrap();
    arrival.recv_timeout(echo_test_support::DEADLINE).unwrap();
    process.interrupt();
    let finished = process.wait().unwrap();
    assert_eq!(finished.status.code(), Some(1), "nothing came: {finished:?}");
    assert!(finished.stdout.contains("1 messages transmitted, 0 received, 100%"), "{finished:?}");
}

#[test]
fn a_server_that_accepts_and_closes_counts_as_one_outage() {
    // What a load balancer does while its backend is down.
    let port = serve_each(|number, mut stream| match number {
        1 => echo_one(&mut stream),
        2..=4 => {}
        _ => echo(stream, |_| {}),
    });
    let finished = ping(port, &["-c", "8", "-i", "50ms"]);
    assert_eq!(finished.stdout.matches(" echoes again after ").count(), 1, "{finished:?}");
    assert_eq!(finished.stdout.matches("\noutage ").count(), 1, "{finished:?}");
    assert!(finished.stdout.contains("Z, seq 2 to "), "{finished:?}");
}

#[test]
fn a_current_outage_is_in_the_summary() {
    let port = serve_each(|number, mut stream| {
        if number == 1 {
            echo_one(&mut stream);
        }
    });
    let finished = ping(port, &["-c", "4", "-i", "10ms"]);
    assert!(finished.stdout.contains("seq 2 to 4, not over yet"), "{finished:?}");
}

#[cfg(unix)]
#[test]
fn a_blocked_stdout_does_not_delay_ctrl_c() {
    let port = echo_server().to_string();
    let mut client = command(PROGRAM);
    let (reader, writer) = std::io::pipe().unwrap();
    client.args(["ping", "-i", "0", "--port", &port]).stdout(writer);
    let mut child = client.spawn().unwrap();
    drop(client);
    let id = rustix::process::Pid::from_child(&child);
    // Long enough to fill the pipe.
    thread::sleep(Duration::from_secs(1));
    for _ in 0..2 {
        rustix::process::kill_process(id, Signal::INT).unwrap();
        thread::sleep(Duration::from_millis(100));
    }
    let started = std::time::Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(10), "it does not end");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(reader);
}

#[test]
fn a_blocked_stdout_loses_no_result_that_had_come() {
    let (echoed, count) = std::sync::mpsc::channel();
    let port = serve_each(move |_, stream| {
        let mut messages = 0_u64;
        echo(stream, |_| messages += 1);
        echoed.send(messages).unwrap();
    });
    let mut client = command(PROGRAM);
    let (mut reader, writer) = std::io::pipe().unwrap();
    client.args(["ping", "-i", "0", "-w", "500ms", "--port", &port.to_string()]).stdout(writer);
    let mut child = client.spawn().unwrap();
    drop(client);
    // The deadline passes while the output is blocked.
    thread::sleep(Duration::from_secs(1));
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    child.wait().unwrap();
    let echoed = count.recv_timeout(echo_test_support::DEADLINE).unwrap();
    let lines = output.matches(" bytes from ").count() as u64;
    assert!(output.contains(&format!(" {lines} received")), "{lines}: {output}");
    assert!(lines + 1 >= echoed, "{echoed} came back, {lines} lines");
}

#[test]
fn durations_beyond_a_year_are_usage_errors() {
    for arguments in [["-w", "1.8e19"], ["-i", "1e19"], ["-W", "400d"]] {
        let finished = ping(1, &arguments);
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        assert!(finished.stderr.contains("at most a year"), "{finished:?}");
    }
}

#[cfg(windows)]
echo_test_support::ignored! {
    "there is no SIGQUIT":
        sigquit_prints_a_status_and_ctrl_c_the_summary;
}

#[cfg(windows)]
echo_test_support::ignored! {
    "it needs kill(2)":
        a_blocked_stdout_does_not_delay_ctrl_c;
}
