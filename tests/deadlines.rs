//! Deadlines of connections, and their cost while none can pass.

use std::io::{Read, Write};
#[cfg(target_os = "linux")]
use std::net::TcpStream;
use std::time::{Duration, Instant};

use echo_test_support::{connect, exchange, on_every_engine, read_to_end, start};

on_every_engine! {
    a_connection_is_closed_gracefully_at_its_maximum_lifetime,
    a_connection_is_kept_before_its_maximum_lifetime,
    a_peer_that_never_closes_its_end_is_closed_after_a_deadline,
    an_idle_timeout_wakes_no_worker_without_connections,
    keepalive_is_on_unless_disabled,
    idle_connections_hold_little_memory,
}

fn a_connection_is_closed_gracefully_at_its_maximum_lifetime(engine: &str) {
    let server = start!(engine, &["--max-lifetime", "1s", "-v"]);
    let (busy, silent) = (connect(server.address), connect(server.address));
    let started = Instant::now();
    // Bytes sent before the FIN arrives are echoed or discarded, but never cause a reset: the echo is a prefix.
    let mut echoed = 0;
    while (&busy).write_all(b"again").is_ok() {
        let mut echo = [0; 5];
        match (&busy).read(&mut echo).unwrap() {
            0 => break,
            count => echoed += count,
        }
    }
    let lived = started.elapsed();
    assert!((900..4000).contains(&lived.as_millis()), "{lived:?}");
    assert_eq!(read_to_end(&silent), b"");
    drop((busy, silent));
    for bytes in [0, echoed] {
        server.process.wait_for_stderr(&format!(" ms, {bytes} bytes echoed: expired")).unwrap();
    }
}

fn a_connection_is_kept_before_its_maximum_lifetime(engine: &str) {
    let server = start!(engine, &["--max-lifetime", "5m"]);
    let stream = connect(server.address);
    for _ in 0..15 {
        exchange(&stream, b"young");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn a_peer_that_never_closes_its_end_is_closed_after_a_deadline(engine: &str) {
    for (deadline, reason) in [("--idle-timeout", "idle"), ("--max-lifetime", "expired")] {
        let server = start!(engine, &[deadline, "500ms", "-v"]);
        let stream = connect(server.address);
        assert_eq!(read_to_end(&stream), b"");
        let closed = format!(" ms, 0 bytes echoed: {reason}");
        server.process.wait_for_stderr(&closed).unwrap();
        drop(stream);
    }
}

#[cfg(target_os = "linux")]
fn an_idle_timeout_wakes_no_worker_without_connections(engine: &str) {
    let server = start!(engine, &["--idle-timeout", "1s", "--threads", "2"]);
    drop(connect(server.address));
    let wakeups = || -> u64 {
        let threads = server.process.threads();
        threads.iter().map(|thread| server.process.context_switches(*thread)).sum()
    };
    // Until then the server sees the connection end and releases its memory.
    std::thread::sleep(Duration::from_millis(1500));
    let before = wakeups();
    std::thread::sleep(Duration::from_secs(1));
    let woken = wakeups() - before;
    assert!(woken <= 2, "its threads were woken {woken} times in a second");
}

#[cfg(not(target_os = "linux"))]
fn an_idle_timeout_wakes_no_worker_without_connections(_: &str) {
    echo_test_support::skipped("wake-ups without connections", "it needs /proc of Linux");
}

/// The keepalive timer of the server's end of a connection, in seconds from now (the field `tr:tm->when` of
/// `/proc/net/tcp`, in ticks of 10 ms); `None` if no timer runs.
#[cfg(target_os = "linux")]
fn keepalive_timer(stream: &TcpStream) -> Option<u64> {
    const KEEPALIVE: &str = "02";
    let port = |address: std::net::SocketAddr| format!(":{:04X}", address.port());
    let (peer, server) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let row = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| fields[1].ends_with(&port(server)) && fields[2].ends_with(&port(peer)));
    let (timer, when) = row.expect("the connection is established")[5].split_once(':').unwrap();
    (timer == KEEPALIVE).then(|| u64::from_str_radix(when, 16).unwrap() / 100)
}

#[cfg(target_os = "linux")]
fn keepalive_is_on_unless_disabled(engine: &str) {
    for (arguments, seconds) in [
        (&[][..], Some(30..=60)),
        (&["--keepalive", "5m"], Some(270..=300)),
        (&["--keepalive", "1ms"], Some(0..=10)),
        (&["--keepalive", "0s"], None),
    ] {
        let server = start!(engine, arguments);
        let stream = connect(server.address);
        exchange(&stream, b"a timer is started when the connection is");
        // Until the echo is acknowledged it is the timer of that.
        echo_test_support::eventually("the timer is as expected", || {
            match (&seconds, keepalive_timer(&stream)) {
                (Some(seconds), Some(timer)) => seconds.contains(&timer),
                (seconds, timer) => seconds.is_none() && timer.is_none(),
            }
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn keepalive_is_on_unless_disabled(_: &str) {
    echo_test_support::skipped("keepalive", "it needs /proc of Linux");
}

#[cfg(target_os = "linux")]
fn idle_connections_hold_little_memory(engine: &str) {
    const PEERS: u64 = 200;
    // A thread has a stack, which holds the buffer for small messages.
    let most = if engine == "threads" { 32 } else { 1 };
    let server = start!(engine, &["--quiet", "--threads", "1"]);
    let first = connect(server.address);
    (0..20).for_each(|_| exchange(&first, &[1; 64 * 1024]));
    let before = echo_test_support::ResourceUsage::of(&server).memory_kib;
    let peers: Vec<_> = (0..PEERS).map(|_| connect(server.address)).collect();
    peers.iter().for_each(|peer| exchange(peer, &[1; 64 * 1024]));
    let held =
        || echo_test_support::ResourceUsage::of(&server).memory_kib.saturating_sub(before) / PEERS;
    echo_test_support::eventually("idle connections hold little", || held() <= most);
}

#[cfg(not(target_os = "linux"))]
fn idle_connections_hold_little_memory(_: &str) {
    echo_test_support::skipped("the memory of idle connections", "it needs /proc of Linux");
}
