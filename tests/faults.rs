//! Faults on purpose, by the built echo-server.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use echo_proto::Pattern;
use echo_test_support::{
    DEADLINE, Held, Server, connect, connect_with_little_room, exchange, on_every_engine,
    read_to_end, reset, skipped,
};

on_every_engine! {
    a_delay_holds_each_echo_back_and_nobody_else,
    a_delay_is_no_silence_and_no_slowness_of_the_peer,
    a_rate_limit_is_kept,
    each_slice_is_sent_by_itself,
    a_stalled_connection_echoes_so_much_and_takes_no_more,
    a_stalled_connection_ends_with_its_peer_or_by_the_idle_timeout,
    a_reset_comes_behind_so_many_bytes,
    a_reset_waits_for_a_peer_that_reads_late,
    a_close_comes_behind_so_many_bytes_and_is_clean,
    an_echo_of_no_bytes_ends_although_the_peer_is_silent,
    the_share_that_is_refused_is_reset_and_the_seed_says_who,
    the_same_seed_brings_the_same_faults_on_every_engine_however_the_bytes_arrive,
    faults_combine_with_each_other_and_with_framing,
    half_close_still_echoes_what_is_held_back,
    peers_that_never_read_hold_little_while_they_are_held_back,
}

#[cfg(unix)]
mod stops {
    echo_test_support::on_every_engine! {
        a_stop_echoes_what_is_held_back_at_once,
        a_stop_cuts_no_connection_that_is_stalled,
        the_drain_deadline_cuts_a_connection_that_waits_to_be_reset,
    }

    use super::{
        a_stop_cuts_no_connection_that_is_stalled, a_stop_echoes_what_is_held_back_at_once,
        the_drain_deadline_cuts_a_connection_that_waits_to_be_reset,
    };
}

fn start(engine: &str, arguments: &[&str]) -> Server {
    let arguments = [&["--engine", engine], arguments].concat();
    Server::start(env!("CARGO_BIN_EXE_echo-server"), &arguments).unwrap()
}

/// A message in which no two places look alike.
fn message(length: usize) -> Vec<u8> {
    let mut message = vec![0; length];
    Pattern::new(9).fill(0, &mut message);
    message
}

/// Sends all of `message` in pieces of this size, half-closes, and returns what comes back until the end,
/// which may be a reset.
fn echo_of(stream: &TcpStream, message: &[u8], piece: usize) -> Vec<u8> {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // It fails where the server ends the connection.
            let _ = message.chunks(piece).try_for_each(|piece| (&*stream).write_all(piece));
            let _ = stream.shutdown(Shutdown::Write);
        });
        let mut echo = Vec::new();
        let _ = (&*stream).read_to_end(&mut echo);
        echo
    })
}

/// Whether nothing comes for a while, not even the end.
fn is_silent(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let silent = stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    silent
}

fn a_delay_holds_each_echo_back_and_nobody_else(engine: &str) {
    let server = start(engine, &["--delay", "300ms", "--threads", "1"]);
    let streams: Vec<_> = (0..20).map(|_| connect(server.address)).collect();
    let started = Instant::now();
    for stream in &streams {
        (&*stream).write_all(b"Hello").unwrap();
    }
    for stream in &streams {
        (&*stream).read_exact(&mut [0; 5]).unwrap();
    }
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_secs(5), "they wait at the same time: {took:?}");
    exchange(&streams[0], b"again");
    assert!(started.elapsed() >= Duration::from_millis(600), "{:?}", started.elapsed());
}

fn a_delay_is_no_silence_and_no_slowness_of_the_peer(engine: &str) {
    let timeouts = ["--idle-timeout", "1s", "--write-timeout", "1s"];
    let server = start(engine, &[&timeouts[..], &["--delay", "3s"]].concat());
    let stream = connect(server.address);
    exchange(&stream, b"still here after three times the timeouts");
    assert_eq!(read_to_end(&stream), b"", "and then it is idle");
}

fn a_rate_limit_is_kept(engine: &str) {
    let server = start(engine, &["--rate-limit", "100k"]);
    let stream = connect(server.address);
    let started = Instant::now();
    let message = message(60 * 1024);
    assert!(echo_of(&stream, &message, message.len()) == message);
    let took = started.elapsed();
    // But for the 10 ms' worth that may go at once.
    assert!(took >= Duration::from_millis(590), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

fn each_slice_is_sent_by_itself(engine: &str) {
    // Each of the ten is held back by itself.
    let server = start(engine, &["--slice", "2", "--delay", "20ms"]);
    let stream = connect(server.address);
    let started = Instant::now();
    exchange(&stream, b"ten slices, in turns");
    assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
    drop(server);

    let server = start(engine, &["--slice", "1..7", "--threads", "1"]);
    let bystander = connect(server.address);
    let message = message(100_000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let stream = connect(server.address);
            assert!(echo_of(&stream, &message, 64 * 1024) == message);
        });
        for _ in 0..20 {
            let started = Instant::now();
            exchange(&bystander, b"nobody else waits for 25000 sends");
            assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        }
    });
}

fn a_stalled_connection_echoes_so_much_and_takes_no_more(engine: &str) {
    let server = start(engine, &["--stall-after", "5"]);
    let stream = connect(server.address);
    (&stream).write_all(b"Hello, world").unwrap();
    let mut echo = [0; 5];
    (&stream).read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"Hello");
    assert!(is_silent(&stream));
    // The peer's window closes: a write blocks in the end.
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let blocked = std::iter::repeat_with(|| (&stream).write(&[1; 64 * 1024])).take(10_000);
    let error = blocked.filter_map(Result::err).next().expect("it does not take 640 MB");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    // Each connection has its own five bytes.
    (&connect(server.address)).write_all(b"others").unwrap();
    exchange(&connect(server.address), b"five!");
}

fn a_stalled_connection_ends_with_its_peer_or_by_the_idle_timeout(engine: &str) {
    let server = start(engine, &["--stall-after", "0", "-v"]);
    let stream = connect(server.address);
    (&stream).write_all(b"Hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(is_silent(&stream), "a goodbye alone does not end it");
    reset(stream);
    server.process.wait_for_stderr("0 bytes echoed: lost\n").unwrap();
    drop(server);

    let server = start(engine, &["--stall-after", "0", "--idle-timeout", "300ms", "-v"]);
    let stream = connect(server.address);
    (&stream).write_all(b"Hello").unwrap();
    assert_eq!(read_to_end(&stream), b"", "FIN and no reset");
    drop(stream);
    server.process.wait_for_stderr("0 bytes echoed: idle\n").unwrap();
}

fn a_reset_comes_behind_so_many_bytes(engine: &str) {
    let server = start(engine, &["--reset-after", "5", "-v"]);
    let stream = connect(server.address);
    (&stream).write_all(b"Hello, world").unwrap();
    let mut echo = Vec::new();
    let error = (&stream).read_to_end(&mut echo).unwrap_err();
    assert_eq!((error.kind(), &*echo), (ErrorKind::ConnectionReset, &b"Hello"[..]));
    server.process.wait_for_stderr("5 bytes echoed: fault\n").unwrap();
}

fn a_reset_waits_for_a_peer_that_reads_late(engine: &str) {
    if !cfg!(target_os = "linux") {
        return skipped("a reset behind many bytes", "only Linux tells what is acknowledged");
    }
    let server = start(engine, &["--reset-after", "300k"]);
    let stream = connect_with_little_room(server.address);
    let message = message(500 * 1024);
    let sender = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // It fails with the reset.
            let _ = (&sender).write_all(&message);
        });
        let mut echo = vec![0; 300 * 1024];
        (&stream).read_exact(&mut echo).unwrap();
        assert!(echo == message[..300 * 1024]);
        assert!((&stream).read(&mut [0]).is_ok_and(|count| count == 0) || is_broken(&stream));
    });
}

/// Whether a connection does not take what is written any more.
fn is_broken(mut stream: &TcpStream) -> bool {
    stream.write(b"?").is_err()
}

fn a_close_comes_behind_so_many_bytes_and_is_clean(engine: &str) {
    let server = start(engine, &["--close-after", "100k", "-v"]);
    let stream = connect(server.address);
    let message = message(1_000_000);
    std::thread::scope(|scope| {
        // More than is echoed, and no reset for it.
        scope.spawn(|| (&stream).write_all(&message));
        let echo = read_to_end(&stream);
        assert!(echo == message[..100 * 1024], "{}", echo.len());
    });
    drop(stream);
    server.process.wait_for_stderr("102400 bytes echoed: fault\n").unwrap();
}

fn an_echo_of_no_bytes_ends_although_the_peer_is_silent(engine: &str) {
    let closes = start(engine, &["--close-after", "0"]);
    assert_eq!(read_to_end(&connect(closes.address)), b"");
    let resets = start(engine, &["--reset-after", "0"]);
    // Whoever looks first is told of a reset, and that may be who connects.
    let error = TcpStream::connect(resets.address).and_then(|mut stream| {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.read(&mut [0])
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// What becomes of twenty connections: who is served.
fn served(engine: &str, seed: &str) -> Vec<bool> {
    let server = start(engine, &["--refuse", "50%", "--seed", seed]);
    let served = (0..20).map(|_| {
        // Whoever looks first is told of a reset, and that may be who connects.
        let exchanged = TcpStream::connect(server.address).and_then(|mut stream| {
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.write_all(b"?")?;
            stream.read_exact(&mut [0])
        });
        exchanged.map_err(|error| assert_eq!(error.kind(), ErrorKind::ConnectionReset)).is_ok()
    });
    let served = served.collect();
    server.process.wait_for_stderr("refused on purpose (--refuse)").unwrap();
    served
}

fn the_share_that_is_refused_is_reset_and_the_seed_says_who(engine: &str) {
    let first = served(engine, "1");
    assert!(first.contains(&true) && first.contains(&false));
    assert_eq!(first, served("threads", "1"));
    assert_ne!(first, served(engine, "2"));
}

fn the_same_seed_brings_the_same_faults_on_every_engine_however_the_bytes_arrive(engine: &str) {
    let faults = ["--corrupt", "1%", "--slice", "1..999", "--seed", "7"];
    let message = message(50_000);
    let echoes = |engine: &str, piece: usize| {
        let server = start(engine, &faults);
        [(); 3].map(|()| echo_of(&connect(server.address), &message, piece))
    };
    let reference = echoes("threads", message.len());
    let changed = |echo: &[u8]| echo.iter().zip(&message).filter(|(a, b)| a != b).count();
    for echo in &reference {
        assert!(echo.len() == message.len() && (300..700).contains(&changed(echo)));
    }
    assert!(reference[0] != reference[1], "connections differ");
    for piece in [message.len(), 333] {
        assert!(echoes(engine, piece) == reference, "in pieces of {piece}");
    }
}

fn faults_combine_with_each_other_and_with_framing(engine: &str) {
    let slow = ["--delay", "20ms~10ms", "--rate-limit", "20k", "--slice", "100..300"];
    let wrong = ["--corrupt", "5%", "--close-after", "1000", "--seed", "3", "--framing", "line"];
    let arguments = [&slow[..], &wrong[..]].concat();
    // No line ends where a fault does.
    let lines: Vec<u8> = "seventeen letters\n".bytes().cycle().take(1800).collect();
    let echoes = |engine: &str, piece| {
        let server = start(engine, &arguments);
        let started = Instant::now();
        let echo = echo_of(&connect(server.address), &lines, piece);
        assert_eq!(echo.len(), 1000);
        // At least four slices with their delays of 10 ms or more.
        assert!(started.elapsed() >= Duration::from_millis(40), "{:?}", started.elapsed());
        echo
    };
    let reference = echoes("threads", 1800);
    assert!(reference != lines[..1000]);
    assert!(echoes(engine, 70) == reference);
}

fn half_close_still_echoes_what_is_held_back(engine: &str) {
    let server = start(engine, &["--delay", "200ms", "--slice", "40..60", "--rate-limit", "100k"]);
    let stream = connect(server.address);
    let message = message(100);
    (&stream).write_all(&message).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(read_to_end(&stream) == message);
}

fn peers_that_never_read_hold_little_while_they_are_held_back(engine: &str) {
    const PEERS: usize = 200;
    // With buffers and stack of its thread, for the engine that has one for each connection.
    let most = if engine == "threads" { 256 } else { 64 + 8 };
    for fault in [["--delay", "1h"], ["--rate-limit", "100"]] {
        let server = start(engine, &[&fault[..], &["--quiet", "--threads", "1"]].concat());
        let before = Held::by(&server).memory_kib;
        if before == 0 {
            return skipped("what is held for peers", "this system does not tell");
        }
        let peers: Vec<_> = (0..PEERS).map(|_| connect(server.address)).collect();
        for peer in &peers {
            // More than is held; no more than needed, because the system has to hold the rest.
            peer.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            let _ = (&*peer).write_all(&[7; 200 * 1024]);
        }
        let held = || Held::by(&server).memory_kib.saturating_sub(before) / PEERS as u64;
        let started = Instant::now();
        // A thread has received no more than its small buffer holds when the echo of that is held back.
        let some = if engine == "threads" { 16 } else { 48 };
        while held() < some {
            assert!(started.elapsed() < DEADLINE, "{} KiB for each peer with {fault:?}", held());
            std::thread::sleep(Duration::from_millis(20));
        }
        // If it went on reading, it would be at it now.
        assert!(is_silent(&peers[0]) || fault[0] == "--rate-limit");
        // And a MiB in all for what the engine itself touches meanwhile.
        assert!(
            held() <= most + 1024 / PEERS as u64,
            "{} KiB for each peer with {fault:?}",
            held()
        );
    }
}

#[cfg(unix)]
fn a_stop_echoes_what_is_held_back_at_once(engine: &str) {
    let server = start(engine, &["--delay", "1h", "--rate-limit", "1"]);
    let stream = connect(server.address);
    (&stream).write_all(b"Hello, ").unwrap();
    // One is held back already; the other waits in the socket's buffer.
    assert!(is_silent(&stream));
    (&stream).write_all(b"world").unwrap();
    server.process.terminate();
    assert_eq!(read_to_end(&stream), b"Hello, world");
    drop(stream);
    let finished = server.process.wait().unwrap();
    assert!(finished.status.success(), "{finished:?}");
    assert!(finished.stderr.ends_with("1 connection served, 12 bytes echoed\n"), "{finished:?}");
}

#[cfg(unix)]
fn a_stop_cuts_no_connection_that_is_stalled(engine: &str) {
    let server = start(engine, &["--stall-after", "5"]);
    let stream = connect(server.address);
    (&stream).write_all(b"Hello, world").unwrap();
    (&stream).read_exact(&mut [0; 5]).unwrap();
    assert!(is_silent(&stream));
    server.process.terminate();
    assert_eq!(read_to_end(&stream), b"", "FIN and no reset");
    drop(stream);
    let finished = server.process.wait().unwrap();
    assert!(finished.status.success(), "{finished:?}");
}

#[cfg(unix)]
fn the_drain_deadline_cuts_a_connection_that_waits_to_be_reset(engine: &str) {
    if !cfg!(target_os = "linux") {
        return skipped("a reset behind many bytes", "only Linux tells what is acknowledged");
    }
    let server = start(engine, &["--reset-after", "12000", "--drain-timeout", "300ms"]);
    let stream = connect_with_little_room(server.address);
    (&stream).write_all(&message(12_000)).unwrap();
    // What there is room for is there, so the rest waits.
    assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
    server.process.terminate();
    let finished = server.process.wait().unwrap();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.stderr.contains("1 connection cut"), "{finished:?}");
}

#[test]
fn the_server_says_loudly_what_is_on_and_how_to_repeat_it() {
    let faults = ["--quiet", "--corrupt", "1e-6", "--delay", "20ms~5ms", "--refuse", "5%"];
    let server = start("auto", &faults);
    let said = server.process.wait_for_stderr("\n").unwrap();
    let options = said.strip_prefix("echo-server: FAULTS ON PURPOSE: ").expect(&said);
    let seed = options.strip_prefix("--delay 20ms~5ms --corrupt 1e-6 --refuse 0.05 --seed ");
    let seed: u64 = seed.expect(&said).trim_end().parse().unwrap();
    let again: Vec<_> = options.split_whitespace().collect();
    assert_eq!(start("auto", &again).process.wait_for_stderr("\n").unwrap(), said);
    assert!(seed <= u32::MAX.into(), "easy to type");

    let mut command = echo_test_support::command(env!("CARGO_BIN_EXE_echo-server"));
    command.args(["--port", "0", "--log-format", "json"]).env("ECHO_STALL_AFTER", "4k");
    let server = Server::start_with(command.env("ECHO_SEED", "42")).unwrap();
    let said = server.process.wait_for_stderr("\n").unwrap();
    let expected =
        r#"{"event":"faults","message":"FAULTS ON PURPOSE: --stall-after 4096 --seed 42"}"#;
    assert_eq!(said.trim_end(), expected);
}

#[test]
fn without_a_fault_a_seed_changes_nothing() {
    let server = start("auto", &["--seed", "42", "-v"]);
    exchange(&connect(server.address), b"Hello");
    let said = server.process.wait_for_stderr("5 bytes echoed: done\n").unwrap();
    assert!(!said.contains("FAULTS"), "{said}");
}
