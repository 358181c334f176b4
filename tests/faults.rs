//! Injected faults that change how the echo is sent: delays, rates, slices, corruption.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use echo_test_support::{
    DEADLINE, ResourceUsage, Server, connect, echo_in_pieces, exchange, is_silent, message,
    on_every_engine, read_to_end, skipped, skipped_without_stop, start,
};

on_every_engine! {
    a_delay_holds_back_each_echo_independently,
    a_delay_does_not_count_against_the_peers_timeouts,
    a_rate_limit_holds,
    each_slice_is_sent_separately,
    the_same_seed_means_the_same_faults_on_every_engine_for_any_split,
    faults_combine_with_each_other_and_with_framing,
    half_close_still_echoes_what_is_held_back,
    peers_that_never_read_hold_little_while_they_are_held_back,
    a_stop_echoes_what_is_held_back_at_once,
}

fn a_delay_holds_back_each_echo_independently(engine: &str) {
    let server = start!(engine, &["--delay", "300ms", "--threads", "1"]);
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
    assert!(took < Duration::from_secs(5), "they are delayed at the same time: {took:?}");
    exchange(&streams[0], b"again");
    assert!(started.elapsed() >= Duration::from_millis(600), "{:?}", started.elapsed());
}

fn a_delay_does_not_count_against_the_peers_timeouts(engine: &str) {
    let timeouts = ["--idle-timeout", "1s", "--write-timeout", "1s"];
    let server = start!(engine, &[&timeouts[..], &["--delay", "3s"]].concat());
    let stream = connect(server.address);
    exchange(&stream, b"still here after three times the timeouts");
    assert_eq!(read_to_end(&stream), b"", "then it is idle");
}

fn a_rate_limit_holds(engine: &str) {
    let server = start!(engine, &["--rate-limit", "100k"]);
    let stream = connect(server.address);
    let started = Instant::now();
    let message = message(60 * 1024);
    assert!(echo_in_pieces(&stream, &message, message.len()) == message);
    let took = started.elapsed();
    // Except for the burst of 10 ms that may be sent at once.
    assert!(took >= Duration::from_millis(590), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

fn each_slice_is_sent_separately(engine: &str) {
    // Each of the ten slices is delayed.
    let server = start!(engine, &["--slice", "2", "--delay", "20ms"]);
    let stream = connect(server.address);
    let started = Instant::now();
    exchange(&stream, b"ten slices, in turns");
    assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
    drop(server);

    let server = start!(engine, &["--slice", "1..7", "--threads", "1"]);
    let bystander = connect(server.address);
    let message = message(100_000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let stream = connect(server.address);
            assert!(echo_in_pieces(&stream, &message, 64 * 1024) == message);
        });
        for _ in 0..20 {
            let started = Instant::now();
            exchange(&bystander, b"not delayed by 25000 sends");
            assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        }
    });
}

fn the_same_seed_means_the_same_faults_on_every_engine_for_any_split(engine: &str) {
    let faults = ["--corrupt", "1%", "--slice", "1..999", "--seed", "7"];
    let message = message(50_000);
    let echoes = |engine: &str, piece: usize| {
        let server = start!(engine, &faults);
        [(); 3].map(|()| echo_in_pieces(&connect(server.address), &message, piece))
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
        let server = start!(engine, &arguments);
        let started = Instant::now();
        let echo = echo_in_pieces(&connect(server.address), &lines, piece);
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
    let server = start!(engine, &["--delay", "200ms", "--slice", "40..60", "--rate-limit", "100k"]);
    let stream = connect(server.address);
    let message = message(100);
    (&stream).write_all(&message).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(read_to_end(&stream) == message);
}

fn peers_that_never_read_hold_little_while_they_are_held_back(engine: &str) {
    const PEERS: usize = 200;
    // A thread per connection also has a stack and buffers.
    let most = if engine == "threads" { 256 } else { 64 + 8 };
    for fault in [["--delay", "1h"], ["--rate-limit", "100"]] {
        let server = start!(engine, &[&fault[..], &["--quiet", "--threads", "1"]].concat());
        let before = ResourceUsage::of(&server).memory_kib;
        if before == 0 {
            return skipped("memory held for peers", "it needs /proc of Linux");
        }
        let peers: Vec<_> = (0..PEERS).map(|_| connect(server.address)).collect();
        for peer in &peers {
            // More than the server may hold, but little more: the system holds the rest.
            peer.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            let _ = (&*peer).write_all(&[7; 200 * 1024]);
        }
        let held = || ResourceUsage::of(&server).memory_kib.saturating_sub(before) / PEERS as u64;
        let started = Instant::now();
        // A thread has received no more than its small buffer holds when the echo of that is held back.
        let some = if engine == "threads" { 16 } else { 48 };
        while held() < some {
            assert!(started.elapsed() < DEADLINE, "{} KiB for each peer with {fault:?}", held());
            std::thread::sleep(Duration::from_millis(20));
        }
        // A server that kept reading would be reading now.
        assert!(is_silent(&peers[0]) || fault[0] == "--rate-limit");
        // Plus 1 MiB in total for what the engine itself touches meanwhile.
        assert!(
            held() <= most + 1024 / PEERS as u64,
            "{} KiB for each peer with {fault:?}",
            held()
        );
    }
}

fn a_stop_echoes_what_is_held_back_at_once(engine: &str) {
    if skipped_without_stop("a_stop_echoes_what_is_held_back_at_once") {
        return;
    }
    let server = start!(engine, &["--delay", "1h", "--rate-limit", "1"]);
    let stream = connect(server.address);
    (&stream).write_all(b"Hello, ").unwrap();
    // The first is held back; the second waits in the socket's buffer.
    assert!(is_silent(&stream));
    (&stream).write_all(b"world").unwrap();
    server.process.terminate();
    assert_eq!(read_to_end(&stream), b"Hello, world");
    drop(stream);
    let finished = server.process.wait().unwrap();
    assert!(finished.status.success(), "{finished:?}");
    assert!(finished.stderr.ends_with("1 connection served, 12 bytes echoed\n"), "{finished:?}");
}

#[test]
fn the_server_prints_the_faults_and_how_to_repeat_them() {
    let faults = ["--quiet", "--corrupt", "1e-6", "--delay", "20ms~5ms", "--refuse", "5%"];
    let server = start!("auto", &faults);
    let message = server.process.wait_for_stderr("\n").unwrap();
    let options = message.strip_prefix("echo-server: INJECTED FAULTS: ").expect(&message);
    let seed = options.strip_prefix("--delay 20ms~5ms --corrupt 1e-6 --refuse 0.05 --seed ");
    let seed: u64 = seed.expect(&message).trim_end().parse().unwrap();
    let again: Vec<_> = options.split_whitespace().collect();
    assert_eq!(start!("auto", &again).process.wait_for_stderr("\n").unwrap(), message);
    assert!(seed <= u32::MAX.into(), "32 bits, easy to type");

    let mut command = echo_test_support::command(env!("CARGO_BIN_EXE_echo-server"));
    command.args(["--port", "0", "--log-format", "json"]).env("ECHO_STALL_AFTER", "4k");
    let server = Server::start_with(command.env("ECHO_SEED", "42")).unwrap();
    let message = server.process.wait_for_stderr("\n").unwrap();
    let expected =
        r#"{"event":"faults","message":"INJECTED FAULTS: --stall-after 4096 --seed 42"}"#;
    assert_eq!(message.trim_end(), expected);
}

#[test]
fn without_a_fault_a_seed_changes_nothing() {
    let server = start!("auto", &["--seed", "42", "-v"]);
    exchange(&connect(server.address), b"Hello");
    let message = server.process.wait_for_stderr("5 bytes echoed: done\n").unwrap();
    assert!(!message.contains("FAULTS"), "{message}");
}
