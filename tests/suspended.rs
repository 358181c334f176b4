//! A server that is suspended (SIGSTOP, a paused container, a sleeping laptop) and resumed.
#![cfg(unix)]

#[cfg(target_os = "linux")]
use std::io::ErrorKind;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[cfg(target_os = "linux")]
use echo_test_support::{ResourceUsage, connect_with_little_room, eventually};
use echo_test_support::{Server, Signal, connect, exchange, on_every_engine, start};

on_every_engine! {
    bytes_queued_while_suspended_are_echoed,
    peers_that_send_a_burst_while_suspended_hold_little,
    a_stop_while_suspended_echoes_what_was_queued,
}

fn start(engine: &str, arguments: &[&str]) -> Server {
    start!(engine, &[&["--threads", "1"], arguments].concat())
}

/// `count` connections, each after enough small echoes for the ring poller to receive for it.
fn warm_peers(count: usize, connect: impl Fn() -> TcpStream) -> Vec<TcpStream> {
    let peers: Vec<_> = (0..count).map(|_| connect()).collect();
    for _ in 0..20 {
        peers.iter().for_each(|peer| exchange(peer, b"small"));
    }
    peers
}

fn bytes_queued_while_suspended_are_echoed(engine: &str) {
    let idle = Duration::from_millis(400);
    let server = start(engine, &["--idle-timeout", "400ms", "-v"]);
    for _ in 0..5 {
        let peers = warm_peers(10, || connect(server.address));
        server.process.signal(Signal::STOP);
        std::thread::sleep(idle * 2);
        peers.iter().for_each(|mut peer| peer.write_all(b"late").unwrap());
        server.process.signal(Signal::CONT);
        for mut peer in &peers {
            let mut echo = [0; 4];
            peer.read_exact(&mut echo).expect("the connection was not idle");
            assert_eq!(&echo, b"late");
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn peers_that_send_a_burst_while_suspended_hold_little(_: &str) {
    echo_test_support::skipped("bursts to a suspended server", "it needs /proc of Linux");
}

#[cfg(target_os = "linux")]
fn peers_that_send_a_burst_while_suspended_hold_little(engine: &str) {
    const PEERS: u64 = 6;
    // A thread per connection also has a stack.
    let most = if engine == "threads" { 128 } else { 64 + 8 };
    let server = start(engine, &["--quiet"]);
    let bystander = connect(server.address);
    exchange(&bystander, &[1; 200 * 1024]);
    let peers = warm_peers(PEERS as usize, || connect_with_little_room(server.address));
    let before = ResourceUsage::of(&server).memory_kib;
    server.process.signal(Signal::STOP);
    let sent: Vec<_> = peers.iter().map(fill_buffers).collect();
    server.process.signal(Signal::CONT);
    for _ in 0..20 {
        // In each iteration the server may receive more for peers that do not read.
        exchange(&bystander, b"ping");
    }
    let held = ResourceUsage::of(&server).memory_kib.saturating_sub(before) / PEERS;
    assert!(held <= most, "{held} KiB for each peer");
    for (mut peer, sent) in peers.iter().zip(sent) {
        let mut echo = vec![0; sent];
        peer.read_exact(&mut echo).unwrap();
        assert!((0..sent).all(|at| echo[at] == (at % 251) as u8), "the echo differs");
    }
}

/// Sends as much as the socket buffers have room for. Returns how much.
#[cfg(target_os = "linux")]
fn fill_buffers(mut peer: &TcpStream) -> usize {
    peer.set_nonblocking(true).unwrap();
    let bytes: Vec<_> = (0..8 * 1024 * 1024).map(|at| (at % 251) as u8).collect();
    let mut sent = 0;
    eventually("the buffers are full", || match peer.write(&bytes[sent..]) {
        Ok(count) => (sent += count, false).1,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    });
    peer.set_nonblocking(false).unwrap();
    sent
}

fn a_stop_while_suspended_echoes_what_was_queued(engine: &str) {
    for size in [5, 4096 + 64, 2 * (4096 + 64), 60_000] {
        let server = start(engine, &["--drain-timeout", "10s"]);
        let peers = warm_peers(8, || connect(server.address));
        server.process.signal(Signal::STOP);
        peers.iter().for_each(|mut peer| peer.write_all(&vec![7; size]).unwrap());
        server.process.terminate();
        server.process.signal(Signal::CONT);
        for mut peer in &peers {
            let mut echo = Vec::new();
            peer.read_to_end(&mut echo).unwrap();
            assert_eq!(echo.len(), size);
        }
        drop(peers);
        let finished = server.process.wait().unwrap();
        assert!(finished.status.success(), "{finished:?}");
    }
}
