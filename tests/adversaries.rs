//! What strangers try (SECURITY.md), on every engine: it is refused, bounded or waited for, and nobody else
//! notices.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use echo_proto::{Decoder, Framing, Pattern, encode};
use echo_test_support::{
    Held, Server, connect, connect_from, connect_with_little_room, eventually, exchange,
    on_every_engine, read_to_end, reset,
};

on_every_engine! {
    peers_whose_windows_were_closed_get_every_byte_when_they_read,
    a_storm_of_resets_bothers_nobody_and_leaves_nothing_behind,
    connections_past_the_limit_hold_little_and_bother_nobody,
    a_flood_from_one_address_leaves_room_for_the_others,
    nonsense_gets_what_was_whole_in_it_and_bothers_nobody,
}

fn start(engine: &str, arguments: &[&str]) -> Server {
    let arguments = [&["--engine", engine], arguments].concat();
    Server::start(env!("CARGO_BIN_EXE_echo-server"), &arguments).unwrap()
}

/// Attacks while a bystander goes on sending its message and has to get every echo.
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

/// Numbers that seem random, the same ones each time: `count` of them below 65536.
fn numbers(seed: u64, count: usize) -> Vec<usize> {
    let mut bytes = vec![0; 2 * count];
    Pattern::new(seed).fill(0, &mut bytes);
    bytes.chunks_exact(2).map(|pair| usize::from(pair[0]) << 8 | usize::from(pair[1])).collect()
}

fn peers_whose_windows_were_closed_get_every_byte_when_they_read(engine: &str) {
    let server = start(engine, &["--threads", "1"]);
    let mut peers: Vec<_> =
        (0..8).map(|stream| Peer::new(server.address, Pattern::new(stream))).collect();
    // Closed, open for a moment, and closed again: all of them at the same time.
    for _ in 0..3 {
        peers.iter_mut().for_each(Peer::send_until_nothing_is_taken);
        peers.iter_mut().for_each(|peer| peer.read(50_000));
    }
    for peer in &mut peers {
        peer.stream.shutdown(Shutdown::Write).unwrap();
        peer.read(peer.sent - peer.received);
        assert_eq!(read_to_end(&peer.stream), b"", "FIN and no more");
    }
}

/// A peer with little room, whose stream is a pattern.
struct Peer {
    stream: TcpStream,
    pattern: Pattern,
    sent: u64,
    received: u64,
}

impl Peer {
    fn new(server: SocketAddr, pattern: Pattern) -> Self {
        let stream = connect_with_little_room(server);
        // What the server takes within that time it takes; then its window is closed, and ours.
        stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        Self { stream, pattern, sent: 0, received: 0 }
    }

    fn send_until_nothing_is_taken(&mut self) {
        let mut piece = [0; 16 * 1024];
        loop {
            assert!(self.sent < 64 << 20, "it takes all and gives nothing back");
            self.pattern.fill(self.sent, &mut piece);
            match self.stream.write(&piece) {
                Ok(count) => self.sent += count as u64,
                Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
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

fn a_storm_of_resets_bothers_nobody_and_leaves_nothing_behind(engine: &str) {
    let server = start(engine, &["--quiet"]);
    exchange(&connect(server.address), b"warm");
    let before = Held::by(&server).descriptors;
    beside_a_bystander(&server, b"bystander", || {
        for (turn, number) in numbers(1, 600).into_iter().enumerate() {
            connect_and_reset(server.address, turn, number);
        }
    });
    let left = || Held::by(&server).descriptors;
    eventually("the connections that were reset are gone", || left() <= before);
}

/// Resets a connection at a point of its life that the turn decides.
fn connect_and_reset(server: SocketAddr, turn: usize, size: usize) {
    let mut stream = connect_with_little_room(server);
    let message = vec![3; size];
    match turn % 6 {
        // Still in the queue, perhaps.
        0 => {}
        // Its echo is on the way.
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
        // While the server is owing, or about to: nothing is ever read.
        _ => {
            stream.set_nonblocking(true).unwrap();
            while stream.write(&message).is_ok_and(|count| count > 0) {}
        }
    }
    reset(stream);
}

/// Connects that often at the same time; every connection is closed without a byte.
fn are_refused(server: SocketAddr, source: IpAddr, times: usize) {
    let refused: Vec<_> = (0..times).map(|_| connect_from(source, server)).collect();
    for stream in &refused {
        assert_eq!(read_to_end(stream), b"", "closed");
    }
}

fn connections_past_the_limit_hold_little_and_bother_nobody(engine: &str) {
    let server = start(engine, &["--max-connections", "20"]);
    let started = Instant::now();
    beside_a_bystander(&server, b"bystander", || {
        let inside: Vec<_> = (1..20).map(|_| connect(server.address)).collect();
        inside.iter().for_each(|stream| exchange(stream, b"inside"));
        let before = Held::by(&server);
        for _ in 0..6 {
            are_refused(server.address, server.address.ip(), 100);
        }
        let after = Held::by(&server);
        assert_eq!(after.descriptors, before.descriptors);
        assert!(after.memory_kib <= before.memory_kib + 1024, "{after}, before {before}");
        inside.iter().for_each(|stream| exchange(stream, b"still inside"));
    });
    let line = "refused, --max-connections is reached";
    let stderr = server.process.wait_for_stderr(line).unwrap();
    let told = stderr.matches(line).count() as u64;
    let most = started.elapsed().as_secs() + 1;
    assert!((1..=most).contains(&told), "a line a second, no more: {stderr}");
}

#[cfg(not(target_os = "linux"))]
fn a_flood_from_one_address_leaves_room_for_the_others(_: &str) {
    echo_test_support::skipped(
        "a flood from one address",
        "it takes all of 127/8, as Linux has it",
    );
}

#[cfg(target_os = "linux")]
fn a_flood_from_one_address_leaves_room_for_the_others(engine: &str) {
    let server = start(engine, &["--max-per-peer", "5"]);
    let attacker = IpAddr::from([127, 0, 0, 2]);
    beside_a_bystander(&server, b"bystander", || {
        let inside: Vec<_> = (0..5).map(|_| connect_from(attacker, server.address)).collect();
        inside.iter().for_each(|stream| exchange(stream, b"inside"));
        // One more has been there all the time.
        let others: Vec<_> = (1..5).map(|_| connect(server.address)).collect();
        for _ in 0..3 {
            are_refused(server.address, attacker, 100);
            others.iter().for_each(|stream| exchange(stream, b"another address"));
            are_refused(server.address, server.address.ip(), 1);
        }
    });
}

fn nonsense_gets_what_was_whole_in_it_and_bothers_nobody(engine: &str) {
    for (framing, message) in
        [(Framing::Line, &b"bystander\n"[..]), (Framing::Length, b"\0\0\0\x09bystander")]
    {
        let name = framing.to_string();
        let server = start(engine, &["--framing", &name, "--max-frame", "300"]);
        beside_a_bystander(&server, message, || {
            for (turn, number) in numbers(2, 150).into_iter().enumerate() {
                let bytes = nonsense(framing, turn, number % 5000);
                let stream = connect(server.address);
                // In two pieces; the server may have refused what came before the second.
                let (first, second) = bytes.split_at(number % (bytes.len() + 1));
                (&stream).write_all(first).unwrap();
                let _ = (&stream).write_all(second);
                let _ = stream.shutdown(Shutdown::Write);
                let mut echo = Vec::new();
                if let Err(error) = (&stream).read_to_end(&mut echo) {
                    // It had waited for the second piece, but not that long.
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
                }
                assert_eq!(echo, whole_messages(framing, &bytes), "turn {turn}");
            }
        });
    }
}

/// Random bytes; every other time behind some messages that are in order.
fn nonsense(framing: Framing, turn: usize, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for size in 0..turn % 2 * 20 {
        encode(framing, &vec![b'x'; size], &mut bytes).unwrap();
    }
    let mut random = vec![0; length];
    Pattern::new(turn as u64).fill(0, &mut random);
    bytes.extend_from_slice(&random);
    bytes
}

/// What of it a server with `--max-frame 300` can echo.
fn whole_messages(framing: Framing, mut bytes: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::new(framing, 300);
    let mut whole = Vec::new();
    while let Ok(Some(frame)) = decoder.decode(&mut bytes) {
        whole.extend_from_slice(frame.wire());
    }
    whole
}
