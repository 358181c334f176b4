//! Large messages, which the event loops move by splice(2) where the system has it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use echo_proto::Pattern;
use echo_test_support::{
    ResourceUsage, connect, connect_with_little_room, counting, eventually, exchange,
    on_every_engine, read_to_end, skipped, skipped_without_stop, skipped_without_strace, start,
};
use socket2::SockRef;

on_every_engine! {
    urgent_bytes_between_large_messages_are_echoed_in_their_place,
    an_urgent_byte_before_the_fin_is_echoed,
    peers_that_stop_reading_large_messages_hold_little_and_get_every_byte_later,
    many_spliced_peers_that_stop_reading_hold_little,
    no_pipe_is_left_when_a_spliced_connection_has_ended,
    a_stop_echoes_large_messages_that_were_received,
    few_descriptors_are_left_to_connections,
    large_messages_are_not_copied_to_user_space,
    a_short_piece_is_spliced_by_two_calls,
}

/// Large enough, in sum, that the server splices the connection.
static LARGE: [u8; 256 * 1024] = [b'x'; 256 * 1024];

fn connect_and_send_large(server: SocketAddr) -> TcpStream {
    let stream = connect(server);
    for _ in 0..8 {
        exchange(&stream, &LARGE);
    }
    stream
}

fn urgent_bytes_between_large_messages_are_echoed_in_their_place(engine: &str) {
    let server = start!(engine, &[]);
    let stream = connect_and_send_large(server.address);
    for turn in 0..20 {
        let message = [&[b'a'; 70_000][..], b"!", &[b'z'; 70_000][..]].concat();
        (&stream).write_all(&message[..70_000]).unwrap();
        SockRef::from(&stream).send_out_of_band(b"!").unwrap();
        let mut echo = vec![0; message.len()];
        if turn % 2 == 0 {
            // The urgent byte is the last one for now.
            (&stream).read_exact(&mut echo[..70_001]).unwrap();
            (&stream).write_all(&message[70_001..]).unwrap();
            (&stream).read_exact(&mut echo[70_001..]).unwrap();
        } else {
            (&stream).write_all(&message[70_001..]).unwrap();
            (&stream).read_exact(&mut echo).unwrap();
        }
        assert!(echo == message, "turn {turn}");
        exchange(&stream, b"small");
        exchange(&stream, &LARGE);
    }
}

fn an_urgent_byte_before_the_fin_is_echoed(engine: &str) {
    let server = start!(engine, &[]);
    for _ in 0..20 {
        let stream = connect_and_send_large(server.address);
        (&stream).write_all(&LARGE).unwrap();
        SockRef::from(&stream).send_out_of_band(b"!").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let echo = read_to_end(&stream);
        assert!(echo.starts_with(&LARGE) && echo.ends_with(b"!"), "{} bytes", echo.len());
        assert_eq!(echo.len(), LARGE.len() + 1);
    }
}

/// More peers than one worker has pipes.
fn peers_that_stop_reading_large_messages_hold_little_and_get_every_byte_later(engine: &str) {
    if cfg!(windows) {
        // SO_SNDTIMEO: some of the data may have been sent.
        return skipped(
            "peers that stop reading",
            "how much a write that times out has sent is unknown",
        );
    }
    const PEERS: u64 = 24;
    // A thread per connection also has a stack and buffers.
    let most = if engine == "threads" { 256 } else { 64 + 8 };
    let server = start!(engine, &["--quiet", "--threads", "1"]);
    let bystander = connect_and_send_large(server.address);
    let before = ResourceUsage::of(&server);
    let peers: Vec<_> = (0..PEERS).map(|_| connect_with_little_room(server.address)).collect();
    thread::scope(|scope| {
        let sending: Vec<_> = peers
            .iter()
            .zip(0..)
            .map(|(peer, number)| scope.spawn(move || send_until_blocked(peer, number)))
            .collect();
        let sent: Vec<_> = sending.into_iter().map(|peer| peer.join().unwrap()).collect();
        exchange(&bystander, &LARGE);
        let usage = ResourceUsage::of(&server);
        let held = usage.memory_kib.saturating_sub(before.memory_kib) / PEERS;
        assert!(held <= most, "{held} KiB for each peer");
        let pipes = usage.descriptors.saturating_sub(before.descriptors + PEERS as usize);
        assert!(pipes <= 2 * 16, "{pipes} more descriptors than peers");
        if cfg!(target_os = "linux") {
            assert_eq!(pipes > 0, engine != "threads", "the event loops splice");
        }
        for ((peer, sent), number) in peers.iter().zip(sent).zip(0..) {
            scope.spawn(move || {
                peer.shutdown(Shutdown::Write).unwrap();
                let echo = read_to_end(peer);
                assert_eq!(echo.len() as u64, sent);
                Pattern::new(number).check(0, &echo).unwrap();
            });
        }
    });
    drop((peers, bystander));
    eventually("pipes and connections are closed", || {
        // Without /proc it is unknown, 0.
        before.descriptors == 0 || ResourceUsage::of(&server).descriptors < before.descriptors
    });
}

/// Sends large pieces until the server takes no more. Returns the number of bytes.
fn send_until_blocked(mut peer: &TcpStream, number: u64) -> u64 {
    let pattern = Pattern::new(number);
    peer.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut piece = vec![0; 128 * 1024];
    let mut sent = 0;
    loop {
        pattern.fill(sent, &mut piece);
        match peer.write(&piece) {
            Ok(count) => sent += count as u64,
            Err(_) => return sent,
        }
    }
}

/// Many more peers than one worker has pipes, each of which was spliced before.
#[cfg(target_os = "linux")]
fn many_spliced_peers_that_stop_reading_hold_little(engine: &str) {
    const PEERS: usize = 200;
    const MOST_PIPES: usize = 16;
    if engine == "threads" {
        return; // a thread has a buffer and no pipe
    }
    let server = start!(engine, &["--quiet", "--threads", "1"]);
    let bystander = connect(server.address);
    exchange(&bystander, b"small");
    let before = ResourceUsage::of(&server);
    let peers: Vec<_> = (0..PEERS).map(|_| connect_with_small_segments(server.address)).collect();
    for peer in &peers {
        for _ in 0..8 {
            exchange(peer, &LARGE);
        }
        let socket = SockRef::from(peer);
        socket.set_recv_buffer_size(4096).unwrap();
        socket.set_send_buffer_size(32 * 1024).unwrap();
    }
    send_until_all_are_blocked(&peers);
    let usage = ResourceUsage::of(&server);
    let pipes = usage.descriptors.saturating_sub(before.descriptors + PEERS).div_ceil(2);
    assert!((1..=MOST_PIPES).contains(&pipes), "{pipes} pipes: {before}, then {usage}");
    let held = usage.memory_kib.saturating_sub(before.memory_kib) / PEERS as u64;
    assert!(held <= 64 + 8, "{held} KiB for each peer: {before}, then {usage}");
    drop(peers);
    eventually("pipes and connections are closed", || {
        ResourceUsage::of(&server).descriptors == before.descriptors
    });
    exchange(&bystander, b"small");
}

#[cfg(not(target_os = "linux"))]
fn many_spliced_peers_that_stop_reading_hold_little(_: &str) {
    skipped("many spliced peers", "large messages are spliced on Linux only");
}

/// Connects with a segment size that keeps the send buffer of the server small: it grows with the congestion window,
/// which counts segments. Those of loopback have 64 KiB, and 200 connections would fill the kernel's memory for TCP.
#[cfg(target_os = "linux")]
fn connect_with_small_segments(server: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None).unwrap();
    socket.set_tcp_mss(8192).unwrap();
    socket.connect(&server.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(echo_test_support::DEADLINE)).unwrap();
    stream.set_write_timeout(Some(echo_test_support::DEADLINE)).unwrap();
    stream
}

/// Sends until no peer can send for a while.
#[cfg(target_os = "linux")]
fn send_until_all_are_blocked(peers: &[TcpStream]) {
    peers.iter().for_each(|peer| peer.set_nonblocking(true).unwrap());
    let mut last_sent = std::time::Instant::now();
    while last_sent.elapsed() < Duration::from_millis(300) {
        for mut peer in peers {
            while peer.write(&LARGE).is_ok() {
                last_sent = std::time::Instant::now();
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn no_pipe_is_left_when_a_spliced_connection_has_ended(engine: &str) {
    let server = start!(engine, &["--quiet", "--threads", "1"]);
    let bystander = connect(server.address);
    exchange(&bystander, b"small");
    let before = ResourceUsage::of(&server).descriptors;
    drop(connect_and_send_large(server.address));
    eventually("the pipe is closed", || ResourceUsage::of(&server).descriptors == before);
    exchange(&bystander, b"small");
}

fn a_stop_echoes_large_messages_that_were_received(engine: &str) {
    if skipped_without_stop("a_stop_echoes_large_messages_that_were_received") {
        return;
    }
    let server = start!(engine, &[]);
    let stream = connect_and_send_large(server.address);
    let message = vec![b'm'; 1024 * 1024];
    (&stream).write_all(&message).unwrap();
    // Half of it has come back, so more than that has been received.
    let mut echo = vec![0; message.len() / 2];
    (&stream).read_exact(&mut echo).unwrap();
    server.process.terminate();
    echo.extend(read_to_end(&stream));
    assert!(message.starts_with(&echo));
    let finished = server.process.wait().unwrap();
    assert!(finished.status.success(), "{finished:?}");
    let said = format!("{} bytes echoed", 8 * LARGE.len() + echo.len());
    assert!(finished.stderr.contains(&said), "{said}: {finished:?}");
}

#[cfg(target_os = "linux")]
fn few_descriptors_are_left_to_connections(engine: &str) {
    let mut limited = echo_test_support::command("prlimit");
    limited.args(["--nofile=64", env!("CARGO_BIN_EXE_echo-server"), "-v", "--port", "0"]);
    limited.args(echo_test_support::with_engine(engine, &["--threads", "1"]));
    let server = match echo_test_support::Server::start_with(&mut limited) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return skipped("few descriptors", "prlimit is not installed");
        }
        server => server.unwrap(),
    };
    if engine != "threads" {
        server.process.wait_for_stderr("large messages are not spliced").unwrap();
    }
    let _large = connect_and_send_large(server.address);
    let pipes = ResourceUsage::of(&server).descriptors;
    let others: Vec<_> = (0..30).map(|_| connect(server.address)).collect();
    others.iter().for_each(|stream| exchange(stream, b"served"));
    assert_eq!(ResourceUsage::of(&server).descriptors, pipes + others.len());
}

#[cfg(not(target_os = "linux"))]
fn few_descriptors_are_left_to_connections(_: &str) {
    skipped("few descriptors", "it takes prlimit(1) of Linux");
}

/// Counts these calls of a server that echoes for one client.
fn counted<const N: usize>(
    calls: [&str; N],
    engine: &str,
    talk: impl FnOnce(SocketAddr),
) -> [usize; N] {
    // With more event loops there may be no descriptors for pipes.
    let arguments = ["--port", "0", "-q", "--once", "--threads", "1", "--engine", engine];
    counting(calls, env!("CARGO_BIN_EXE_echo-server"), &arguments, talk)
}

fn large_messages_are_not_copied_to_user_space(engine: &str) {
    if engine == "threads" || skipped_without_strace("splice") {
        return; // a thread reads and writes
    }
    let [spliced, sent] = counted(["splice", "sendto"], engine, |server| {
        let stream = connect_and_send_large(server);
        let message = vec![b'm'; 1024 * 1024];
        for _ in 0..50 {
            let mut writer = stream.try_clone().unwrap();
            thread::scope(|scope| {
                scope.spawn(|| writer.write_all(&message).unwrap());
                (&stream).read_exact(&mut vec![0; message.len()]).unwrap();
            });
        }
    });
    assert!(spliced > 1000 && sent < 100, "{spliced} and {sent}");
}

fn a_short_piece_is_spliced_by_two_calls(engine: &str) {
    // Edge-triggered pollers report only new input, so a third call finds the socket empty.
    if engine != "uring" || skipped_without_strace("splice") {
        return;
    }
    let [spliced] = counted(["splice"], engine, |server| {
        let stream = connect(server);
        for _ in 0..500 {
            exchange(&stream, &LARGE[..16 * 1024]);
        }
    });
    assert!((900..1100).contains(&spliced), "{spliced} calls");
}
