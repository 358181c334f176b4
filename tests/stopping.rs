//! How the built echo-server stops.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use echo_proto::Pattern;
use echo_test_support::{
    Process, connect, connect_and_never_read, connect_with_little_room, exchange, on_every_engine,
    read_to_end, skipped, skipped_without_stop, start, wait_until_it_refuses,
};
#[cfg(unix)]
use echo_test_support::{Server, Signal, command, stop_with_queued_connections};
use predicates::Predicate;
use predicates::str::is_match;

on_every_engine! {
    a_signal_stops_it_with_exit_code_0_and_a_summary,
    a_signal_that_nohup_ignores_does_not_stop_it,
    nothing_polls_while_connections_are_drained,
    quiet_prints_no_summary,
    bytes_already_received_are_echoed_after_the_stop,
    the_drain_deadline_aborts_a_peer_that_does_not_read,
    a_second_signal_does_not_wait_for_the_deadline,
    no_connection_is_accepted_while_it_drains,
    queued_connections_are_served_before_it_stops,
    a_peer_that_reads_late_and_still_sends_gets_everything,
    a_flood_does_not_prevent_stopping,
    the_summary_counts_messages,
}

fn a_signal_stops_it_with_exit_code_0_and_a_summary(engine: &str) {
    if skipped_without_stop("a_signal_stops_it_with_exit_code_0_and_a_summary") {
        return;
    }
    let mut stops = vec![Process::terminate, Process::interrupt];
    stops.extend(hang_up());
    for stop in stops {
        let server = start!(engine, &[]);
        exchange(&connect(server.address), b"Hello, world");
        stop(&server.process);
        let finished = server.process.wait().unwrap();
        assert!(finished.status.success());
        let summary = "echo-server: stopped: 1 connection served, 12 bytes echoed\n";
        assert_eq!(finished.stderr, summary);
    }
}

/// SIGHUP, unless this process and so the servers it starts ignore it; whether they do is known only on Linux.
#[cfg(unix)]
fn hang_up() -> Option<fn(&Process)> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    if ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|it| it & 1 != 0))
    {
        skipped("a stop by SIGHUP", "the test was started with it ignored, as by nohup");
        return None;
    }
    Some(|process| process.signal(Signal::HUP))
}

#[cfg(windows)]
fn hang_up() -> Option<fn(&Process)> {
    skipped("a stop by SIGHUP", "there is no such signal, and closing a console needs a window");
    None
}

#[cfg(unix)]
fn a_signal_that_nohup_ignores_does_not_stop_it(engine: &str) {
    let nohup = || {
        let mut command = command("nohup");
        command.arg(env!("CARGO_BIN_EXE_echo-server")).args(["--port", "0", "--engine", engine]);
        command
    };
    let server = Server::start_with(&mut nohup()).unwrap();
    server.process.signal(Signal::HUP);
    exchange(&connect(server.address), b"still here");
    server.process.terminate();
    let finished = server.process.wait().unwrap();
    assert!(finished.stderr.contains("stopped: 1 connection served"), "{finished:?}");
}

#[cfg(windows)]
fn a_signal_that_nohup_ignores_does_not_stop_it(_: &str) {
    skipped("a signal that is ignored", "there is no nohup");
}

/// A polling thread would block and be woken each time.
#[cfg(target_os = "linux")]
fn nothing_polls_while_connections_are_drained(engine: &str) {
    let server = start!(engine, &[]);
    let stuck = connect_and_never_read(server.address);
    server.process.terminate();
    wait_until_it_refuses(server.address);
    let before = server.process.context_switches(server.process.id());
    std::thread::sleep(Duration::from_millis(500));
    let switches = server.process.context_switches(server.process.id()) - before;
    assert!(switches <= 5, "the main thread was woken {switches} times in half a second");
    drop(stuck);
}

#[cfg(not(target_os = "linux"))]
fn nothing_polls_while_connections_are_drained(_: &str) {
    skipped("polling during a stop", "it needs /proc of Linux");
}

fn quiet_prints_no_summary(engine: &str) {
    if skipped_without_stop("quiet_prints_no_summary") {
        return;
    }
    let server = start!(engine, &["--quiet"]);
    exchange(&connect(server.address), b"hush");
    server.process.terminate();
    let finished = server.process.wait().unwrap();
    assert_eq!((finished.status.code(), finished.stderr.as_str()), (Some(0), ""));
}

fn bytes_already_received_are_echoed_after_the_stop(engine: &str) {
    if skipped_without_stop("bytes_already_received_are_echoed_after_the_stop") {
        return;
    }
    let server = start!(engine, &[]);
    // On loopback, send(2) delivers into the server's receive queue before it returns.
    let streams: Vec<_> = (0..100).map(|_| connect(server.address)).collect();
    for (number, stream) in streams.iter().enumerate() {
        let mut message = vec![0; 16 * 1024];
        Pattern::new(number as u64).fill(0, &mut message);
        (&*stream).write_all(&message).unwrap();
    }
    server.process.terminate();
    for (number, stream) in streams.iter().enumerate() {
        let echo = read_to_end(stream);
        assert_eq!(echo.len(), 16 * 1024, "connection {number}");
        Pattern::new(number as u64).check(0, &echo).unwrap();
    }
    drop(streams);
    assert!(server.process.wait().unwrap().status.success());
}

fn the_drain_deadline_aborts_a_peer_that_does_not_read(engine: &str) {
    if skipped_without_stop("the_drain_deadline_aborts_a_peer_that_does_not_read") {
        return;
    }
    let server = start!(engine, &["--drain-timeout", "300ms"]);
    let stuck = connect_and_never_read(server.address);
    server.process.terminate();
    let finished = server.process.wait().unwrap();
    assert_eq!(finished.status.code(), Some(1));
    let aborted =
        r"^echo-server: stopped: 1 .* 1 connection aborted before everything was echoed\n$";
    assert!(is_match(aborted).unwrap().eval(&finished.stderr), "{finished:?}");
    drop(stuck);
}

fn a_second_signal_does_not_wait_for_the_deadline(engine: &str) {
    if skipped_without_stop("a_second_signal_does_not_wait_for_the_deadline") {
        return;
    }
    let server = start!(engine, &["--drain-timeout", "1h"]);
    let stuck = connect_and_never_read(server.address);
    server.process.terminate();
    wait_until_it_refuses(server.address);
    server.process.interrupt();
    let finished = server.process.wait().unwrap();
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("1 connection aborted"), "{finished:?}");
    drop(stuck);
}

fn no_connection_is_accepted_while_it_drains(engine: &str) {
    if skipped_without_stop("no_connection_is_accepted_while_it_drains") {
        return;
    }
    let server = start!(engine, &["--drain-timeout", "1h"]);
    let idle = connect(server.address);
    exchange(&idle, b"hello");
    let stuck = connect_and_never_read(server.address);
    server.process.terminate();
    assert_eq!(read_to_end(&idle), b"", "only FIN");
    wait_until_it_refuses(server.address);
    // The stuck connection is still open: now its peer reads, and gets everything.
    assert!(read_to_end(&stuck).len() > 100_000);
    drop((idle, stuck));
    assert!(server.process.wait().unwrap().status.success());
}

#[cfg(windows)]
fn queued_connections_are_served_before_it_stops(_: &str) {
    skipped("connections queued before a stop", "it needs SIGSTOP");
}

#[cfg(unix)]
fn queued_connections_are_served_before_it_stops(engine: &str) {
    let server = start!(engine, &["--backlog", "64"]);
    // Linux queues one more than the backlog.
    stop_with_queued_connections(server, 65);
}

fn a_peer_that_reads_late_and_still_sends_gets_everything(engine: &str) {
    if !cfg!(target_os = "linux") {
        return skipped("a peer that reads late", "only Linux reports what is acknowledged");
    }
    let server = start!(engine, &[]);
    let late = connect_with_little_room(server.address);
    let message = vec![7; 100_000];
    (&late).write_all(&message).unwrap();
    server.process.terminate();
    wait_until_it_refuses(server.address);
    // Longer than LINGER_TIMEOUT, after which a silent peer that has everything is closed.
    std::thread::sleep(Duration::from_millis(1500));
    (&late).write_all(b"x").unwrap();
    assert_eq!(read_to_end(&late).len(), message.len());
    drop(late);
    let finished = server.process.wait().unwrap();
    assert!(finished.status.success(), "{finished:?}");
}

fn a_flood_does_not_prevent_stopping(engine: &str) {
    if skipped_without_stop("a_flood_does_not_prevent_stopping") {
        return;
    }
    let server = start!(engine, &["--drain-timeout", "1h"]);
    let stream = connect(server.address);
    std::thread::scope(|scope| {
        scope.spawn(|| while (&stream).write_all(&[1; 64 * 1024]).is_ok() {});
        let mut piece = vec![0; 64 * 1024];
        (&stream).read_exact(&mut piece).unwrap();
        server.process.terminate();
        // Everything received is echoed, then FIN, which the flood ignores: in the end it is reset.
        let signalled = Instant::now();
        while (&stream).read(&mut piece).is_ok_and(|count| count > 0) {
            if signalled.elapsed() > Duration::from_secs(20) {
                stream.shutdown(Shutdown::Both).unwrap();
                panic!("it is still echoing");
            }
        }
        assert!(server.process.wait().unwrap().status.success());
    });
}

fn the_summary_counts_messages(engine: &str) {
    if skipped_without_stop("the_summary_counts_messages") {
        return;
    }
    let server = start!(engine, &["--framing", "line"]);
    exchange(&connect(server.address), b"one\ntwo\n");
    exchange(&connect(server.address), b"\n");
    server.process.terminate();
    let finished = server.process.wait().unwrap();
    let summary = "echo-server: stopped: 2 connections served, 3 messages of 9 bytes echoed\n";
    assert_eq!(finished.stderr, summary);
}
