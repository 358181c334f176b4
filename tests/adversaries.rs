//! Hostile peers (SECURITY.md), on every engine: the server refuses, limits or outwaits them, and other connections
//! are not affected.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use echo_proto::{Decoder, Framing, Pattern, encode};
use echo_test_support::{
    ResourceUsage, Server, connect, connect_from, connect_with_little_room, eventually, exchange,
    is_timeout, on_every_engine, read_to_end, reset, start,
};

on_every_engine! {
    peers_that_close_their_windows_get_every_byte_when_they_read,
    resets_do_not_affect_other_connections_and_leak_nothing,
    connections_past_the_limit_hold_little_and_do_not_affect_others,
    connections_from_one_address_leave_room_for_others,
    of_random_bytes_only_whole_messages_are_echoed,
}

/// Runs an attack while another connection keeps exchanging `message` and must receive every echo.
fn beside_a_bystander(server: &Server, message: &[u8], attack: impl FnOnce() + Send) {
    let bystander = connect(server.address);
    exchange(&bystander, message);
    thread::scope(|scope| {
        let attack = scope.spawn(attack);
        while !attack.is_finished() {
            exchange(&bystander, message);
        }
        attack.join().unwrap();
    });
    exchange(&bystander, message);
}

/// `count` pseudorandom numbers below 65536.
fn numbers(seed: u64, count: usize) -> Vec<usize> {
    let mut bytes = vec![0; 2 * count];
    Pattern::new(seed).fill(0, &mut bytes);
    bytes.chunks_exact(2).map(|pair| usize::from(pair[0]) << 8 | usize::from(pair[1])).collect()
}

fn peers_that_close_their_windows_get_every_byte_when_they_read(engine: &str) {
    let server = start!(engine, &["--threads", "1"]);
    let mut peers: Vec<_> =
        (0..8).map(|stream| Peer::new(server.address, Pattern::new(stream))).collect();
    // All windows are closed, opened briefly and closed again, concurrently.
    for _ in 0..3 {
        peers.iter_mut().for_each(Peer::send_until_nothing_is_taken);
        peers.iter_mut().for_each(|peer| peer.read(50_000));
    }
    for peer in &mut peers {
        peer.stream.shutdown(Shutdown::Write).unwrap();
        peer.read(peer.sent - peer.received);
        assert_eq!(read_to_end(&peer.stream), b"", "only FIN");
    }
}

/// A peer with a small receive buffer, whose stream is a pattern.
struct Peer {
    stream: TcpStream,
    pattern: Pattern,
    sent: u64,
    received: u64,
}

impl Peer {
    fn new(server: SocketAddr, pattern: Pattern) -> Self {
        let stream = connect_with_little_room(server);
        // After this time without progress, the server's window and ours are taken to be closed.
        stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        Self { stream, pattern, sent: 0, received: 0 }
    }

    fn send_until_nothing_is_taken(&mut self) {
        let mut piece = [0; 16 * 1024];
        loop {
            assert!(self.sent < 64 << 20, "the server keeps reading without echoing");
            self.pattern.fill(self.sent, &mut piece);
            match self.stream.write(&piece) {
                Ok(count) => self.sent += count as u64,
                Err(error) => break assert!(is_timeout(&error), "{error}"),
            }
        }
    }

    fn read(&mut self, count: u64) {
        let mut echo = vec![0; count as usize];
        self.stream.read_exact(&mut echo).unwrap();
        self.pattern.check(self.received, &echo).unwrap();
        self.received += count;
    }
}

fn resets_do_not_affect_other_connections_and_leak_nothing(engine: &str) {
    let server = start!(engine, &["--quiet"]);
    exchange(&connect(server.address), b"warm");
    let before = ResourceUsage::of(&server).descriptors;
    beside_a_bystander(&server, b"bystander", || {
        for (turn, number) in numbers(1, 600).into_iter().enumerate() {
            connect_and_reset(server.address, turn, number);
        }
    });
    let left = || ResourceUsage::of(&server).descriptors;
    eventually("the reset connections are gone", || left() <= before);
}

/// Resets a connection at a point that depends on `turn`.
fn connect_and_reset(server: SocketAddr, turn: usize, size: usize) {
    let mut stream = connect_with_little_room(server);
    let message = vec![3; size];
    match turn % 6 {
        // Perhaps still in the accept queue.
        0 => {}
        // With the echo in flight.
        1 => stream.write_all(&message).unwrap(),
        // Between the echo and the next message.
        2 => exchange(&stream, &message[..size.min(1000)]),
        // In the middle of the echo.
        3 => {
            stream.write_all(&message).unwrap();
            stream.read_exact(&mut vec![0; size / 2]).unwrap();
        }
        // After its FIN.
        4 => {
            stream.write_all(&message).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        }
        // While the server owes it data: nothing is ever read.
        _ => {
            stream.set_nonblocking(true).unwrap();
            while stream.write(&message).is_ok_and(|count| count > 0) {}
        }
    }
    reset(stream);
}

/// Opens `times` connections, each of which must be closed without a byte.
fn expect_refusals(server: SocketAddr, source: IpAddr, times: usize) {
    let refused: Vec<_> = (0..times).map(|_| connect_from(source, server)).collect();
    for stream in &refused {
        assert_eq!(read_to_end(stream), b"", "closed");
    }
}

fn connections_past_the_limit_hold_little_and_do_not_affect_others(engine: &str) {
    let server = start!(engine, &["--max-connections", "20"]);
    let started = Instant::now();
    beside_a_bystander(&server, b"bystander", || {
        let inside: Vec<_> = (1..20).map(|_| connect(server.address)).collect();
        inside.iter().for_each(|stream| exchange(stream, b"inside"));
        let before = ResourceUsage::of(&server);
        for _ in 0..6 {
            expect_refusals(server.address, server.address.ip(), 100);
        }
        let after = ResourceUsage::of(&server);
        assert_eq!(after.descriptors, before.descriptors);
        assert!(after.memory_kib <= before.memory_kib + 1024, "{after}, before {before}");
        inside.iter().for_each(|stream| exchange(stream, b"still inside"));
    });
    let line = "refused: --max-connections reached";
    let stderr = server.process.wait_for_stderr(line).unwrap();
    let lines = stderr.matches(line).count() as u64;
    let most = started.elapsed().as_secs() + 1;
    assert!((1..=most).contains(&lines), "at most one line per second: {stderr}");
}

#[cfg(not(target_os = "linux"))]
fn connections_from_one_address_leave_room_for_others(_: &str) {
    echo_test_support::skipped(
        "a flood from one address",
        "it needs all of 127.0.0.0/8, which only Linux has",
    );
}

#[cfg(target_os = "linux")]
fn connections_from_one_address_leave_room_for_others(engine: &str) {
    let server = start!(engine, &["--max-per-peer", "5"]);
    let attacker = IpAddr::from([127, 0, 0, 2]);
    beside_a_bystander(&server, b"bystander", || {
        let inside: Vec<_> = (0..5).map(|_| connect_from(attacker, server.address)).collect();
        inside.iter().for_each(|stream| exchange(stream, b"inside"));
        // With the bystander, five.
        let others: Vec<_> = (1..5).map(|_| connect(server.address)).collect();
        for _ in 0..3 {
            expect_refusals(server.address, attacker, 100);
            others.iter().for_each(|stream| exchange(stream, b"another address"));
            expect_refusals(server.address, server.address.ip(), 1);
        }
    });
}

fn of_random_bytes_only_whole_messages_are_echoed(engine: &str) {
    for (framing, message) in
        [(Framing::Line, &b"bystander\n"[..]), (Framing::Length, b"\0\0\0\x09bystander")]
    {
        let name = framing.to_string();
        let server = start!(engine, &["--framing", &name, "--max-frame", "300"]);
        beside_a_bystander(&server, message, || {
            for (turn, number) in numbers(2, 150).into_iter().enumerate() {
                let bytes = random_bytes(framing, turn, number % 5000);
                let stream = connect(server.address);
                // In two pieces: the server may have refused the first before the second is sent.
                let (first, second) = bytes.split_at(number % (bytes.len() + 1));
                (&stream).write_all(first).unwrap();
                let _ = (&stream).write_all(second);
                let _ = stream.shutdown(Shutdown::Write);
                let mut echo = Vec::new();
                if let Err(error) = (&stream).read_to_end(&mut echo) {
                    // The server has lingered, but closed before the second piece arrived.
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
                }
                assert_eq!(echo, whole_messages(framing, &bytes), "turn {turn}");
            }
        });
    }
}

/// Random bytes, every other time after some valid messages.
fn random_bytes(framing: Framing, turn: usize, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for size in 0..turn % 2 * 20 {
        encode(framing, &vec![b'x'; size], &mut bytes).unwrap();
    }
    let mut random = vec![0; length];
    Pattern::new(turn as u64).fill(0, &mut random);
    bytes.extend_from_slice(&random);
    bytes
}

/// The whole messages in `bytes`, as a server with `--max-frame 300` echoes them.
fn whole_messages(framing: Framing, mut bytes: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::new(framing, 300);
    let mut whole = Vec::new();
    while let Ok(Some(frame)) = decoder.decode(&mut bytes) {
        whole.extend_from_slice(frame.wire());
    }
    whole
}
