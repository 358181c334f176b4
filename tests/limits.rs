//! Limits on connections, on idle and stalled peers, and on descriptors.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use echo_test_support::{Server, with_engine};
use echo_test_support::{
    connect, connect_and_never_read, eventually, exchange, on_every_engine, read_to_end,
    skipped_on_wine, skipped_without_stop, start,
};

on_every_engine! {
    connections_beyond_the_limit_are_closed_at_once_without_a_byte,
    connections_beyond_the_limit_of_one_address_are_closed,
    an_idle_connection_is_closed_and_a_busy_one_is_not,
    a_stalled_peer_is_closed_and_a_slow_one_is_not,
    without_a_write_timeout_a_stalled_peer_is_kept,
    the_hard_limit_on_descriptors_limits_connections,
    running_out_of_descriptors_pauses_only_accepting,
}

fn connections_beyond_the_limit_are_closed_at_once_without_a_byte(engine: &str) {
    let server = start!(engine, &["--max-connections", "2"]);
    let first = connect(server.address);
    let second = connect(server.address);
    exchange(&first, b"first");
    exchange(&second, b"second");
    assert_eq!(read_to_end(&connect(server.address)), b"", "closed");
    server.process.wait_for_stderr("refused: --max-connections reached").unwrap();
    exchange(&first, b"still here");
    drop(second);
    // Its place is released once the server has seen it end.
    eventually("the place is free", || is_served(server.address));
}

/// Whether a new connection gets an echo, as opposed to being closed.
fn is_served(address: SocketAddr) -> bool {
    let stream = connect(address);
    (&stream).write_all(b"?").is_ok() && (&stream).read_exact(&mut [0]).is_ok()
}

fn connections_beyond_the_limit_of_one_address_are_closed(engine: &str) {
    let server = start!(engine, &["--max-per-peer", "1"]);
    let first = connect(server.address);
    exchange(&first, b"first");
    assert!(!is_served(server.address));
    server.process.wait_for_stderr("refused: --max-per-peer reached").unwrap();
    #[cfg(unix)]
    {
        server.process.signal(echo_test_support::Signal::USR1);
        let counted = "refused: 0 by --max-connections, 1 by --max-per-peer, 0 by --refuse; ";
        server.process.wait_for_stderr(counted).unwrap();
    }
    drop(first);
    if !skipped_without_stop("the summary of refused connections") {
        server.process.terminate();
        let finished = server.process.wait().unwrap();
        let summary = "stopped: 1 connection served, 5 bytes echoed, 1 connection refused\n";
        assert!(finished.stderr.ends_with(summary), "{finished:?}");
    }
}

fn an_idle_connection_is_closed_and_a_busy_one_is_not(engine: &str) {
    let server = start!(engine, &["--idle-timeout", "2s", "-v"]);
    let silent = connect(server.address);
    let started = Instant::now();
    exchange(&silent, b"once");
    let busy = connect(server.address);
    std::thread::scope(|scope| {
        let closed = scope.spawn(|| (read_to_end(&silent), started.elapsed()));
        while !closed.is_finished() {
            exchange(&busy, b"again");
            std::thread::sleep(Duration::from_millis(100));
        }
        let (echo, after) = closed.join().unwrap();
        assert_eq!(echo, b"");
        // The server counts whole milliseconds, so it may be early by one.
        assert!(after >= Duration::from_millis(1999), "{after:?}");
        assert!(after < Duration::from_secs(10), "{after:?}");
    });
    exchange(&busy, b"still here");
    drop(silent);
    server.process.wait_for_stderr("4 bytes echoed: idle\n").unwrap();
}

fn a_stalled_peer_is_closed_and_a_slow_one_is_not(engine: &str) {
    // `sock_send` in dlls/ntdll/unix/socket.c queues what does not fit, and sends it when Linux reports room: that is
    // when a third of a buffer of megabytes is free.
    let why = "the progress of a slow peer is seen after seconds";
    if skipped_on_wine("a_stalled_peer_is_closed_and_a_slow_one_is_not", why) {
        return;
    }
    let server = start!(engine, &["--write-timeout", "2s", "-v"]);
    let stuck = connect_and_never_read(server.address);
    let slow = connect_and_never_read(server.address);
    let started = Instant::now();
    // More than a segment each time, so that the window opens.
    let mut taken = 0;
    while started.elapsed() < Duration::from_secs(4) {
        taken += (&slow).read(&mut [0; 20_000]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(taken > 0);
    let stalled = server.process.wait_for_stderr("bytes echoed: stalled\n").unwrap();
    assert_eq!(stalled.matches(": stalled").count(), 1, "{stalled}");
    let port = stuck.local_addr().unwrap().port();
    assert!(stalled.contains(&format!("('127.0.0.1', {port}): closed")), "{stalled}");
}

fn without_a_write_timeout_a_stalled_peer_is_kept(engine: &str) {
    let server = start!(engine, &["--write-timeout", "0s", "-v"]);
    let stuck = connect_and_never_read(server.address);
    // As a deadline, zero would have passed at once: the server checks at least once a second.
    std::thread::sleep(Duration::from_secs(1));
    stuck.shutdown(Shutdown::Write).unwrap();
    assert!(read_to_end(&stuck).len() > 64 * 1024);
    server.process.wait_for_stderr(" bytes echoed: done\n").unwrap();
}

/// The server reserves 16 descriptors, and 4 for each event loop.
#[cfg(target_os = "linux")]
fn the_hard_limit_on_descriptors_limits_connections(engine: &str) {
    let mut command = echo_test_support::command("prlimit");
    command.args(["--nofile=30:60", env!("CARGO_BIN_EXE_echo-server"), "--port", "0"]);
    command.args(with_engine(engine, &["--threads", "1"]));
    let server = match Server::start_with(&mut command) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return echo_test_support::skipped("the hard limit", "prlimit is not installed");
        }
        server => server.unwrap(),
    };
    let reserve = if engine == "threads" { 16 } else { 16 + 4 };
    let streams: Vec<_> = (0..60 - reserve).map(|_| connect(server.address)).collect();
    streams.iter().for_each(|stream| exchange(stream, b"admitted"));
    assert!(!is_served(server.address));
    server.process.wait_for_stderr("refused: --max-connections reached").unwrap();
}

#[cfg(not(target_os = "linux"))]
fn the_hard_limit_on_descriptors_limits_connections(_: &str) {
    echo_test_support::skipped("the hard limit", "it needs prlimit(1) of Linux");
}

#[cfg(not(target_os = "linux"))]
fn running_out_of_descriptors_pauses_only_accepting(_: &str) {
    echo_test_support::skipped("no descriptors left", "it needs prlimit(1) of Linux");
}

#[cfg(target_os = "linux")]
fn running_out_of_descriptors_pauses_only_accepting(engine: &str) {
    let mut command = echo_test_support::command("prlimit");
    command.args(["--nofile=40", env!("CARGO_BIN_EXE_echo-server"), "--port", "0"]);
    command.args(with_engine(engine, &["--max-connections", "1000", "--threads", "1"]));
    let server = match Server::start_with(&mut command) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return echo_test_support::skipped("no descriptors left", "prlimit is not installed");
        }
        server => server.unwrap(),
    };
    let bystander = connect(server.address);
    exchange(&bystander, b"before");
    // The kernel completes the handshakes; those without a descriptor stay in the queue.
    let mut streams: Vec<_> = (0..80).map(|_| connect(server.address)).collect();
    // EMFILE, by its number: C libraries word it differently.
    server.process.wait_for_stderr("(os error 24); retrying").unwrap();
    let (before, waiting) = (server.process.processor_time(), Instant::now());
    for _ in 0..10 {
        exchange(&bystander, b"not affected");
        std::thread::sleep(Duration::from_millis(100));
    }
    let (used, waited) = (server.process.processor_time() - before, waiting.elapsed());
    assert!(used <= waited / 20, "{used:?} in {waited:?} of having to wait");
    let (_, stderr) = server.process.output();
    let lines = stderr.lines().count() as u64;
    assert!(lines <= 2 + waited.as_secs(), "at most one line a second: {stderr}");
    // The first ones are closed, and the last one is accepted.
    let last = streams.pop().unwrap();
    drop(streams);
    let started = Instant::now();
    exchange(&last, b"at last");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
