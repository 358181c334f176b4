//! What every engine must do (`engine.rs` of echo-server), tested on each engine.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use echo_proto::Pattern;
use echo_test_support::{
    ResourceUsage, Server, connect, connect_and_never_read, connect_with_little_room, eventually,
    exchange, failing_from, on_every_engine, read_to_end, skipped_without_strace, start,
};
use socket2::SockRef;

on_every_engine! {
    half_close_still_echoes_what_was_sent,
    half_close_still_echoes_to_a_peer_with_a_small_window,
    a_stream_is_echoed_byte_for_byte_for_any_split,
    single_bytes_are_echoed,
    many_small_messages_are_echoed_to_a_peer_that_reads_late,
    alternating_small_and_large_messages_are_echoed,
    small_echoes_do_not_wait_for_each_other,
    urgent_bytes_are_echoed_in_their_place,
    a_peer_that_resets_ends_its_own_connection_only,
    peers_that_never_read_hold_little_and_do_not_affect_others,
    a_flood_does_not_starve_the_others,
    waiting_costs_no_cpu_time,
    the_number_of_event_loops_is_as_configured_or_one_per_processor,
    many_connections_leak_no_descriptors,
    events_are_reported_as_text_and_json,
    a_poller_that_fails_for_good_ends_the_server_with_a_message,
}

fn half_close_still_echoes_what_was_sent(engine: &str) {
    let server = start!(engine, &[]);
    let stream = connect(server.address);
    (&stream).write_all(b"the last words").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&stream), b"the last words");
}

fn a_stream_is_echoed_byte_for_byte_for_any_split(engine: &str) {
    let server = start!(engine, &[]);
    let pattern = Pattern::new(2);
    let total = 32 * 1024 * 1024;
    let stream = connect(server.address);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Pieces of 1 byte to 1 MiB.
            let sizes = (0..).map(|turn| 1_usize << (turn % 21));
            let mut sent = 0;
            for size in sizes {
                let mut piece = vec![0; size.min(total - sent)];
                pattern.fill(sent as u64, &mut piece);
                (&stream).write_all(&piece).unwrap();
                sent += piece.len();
                if sent == total {
                    return stream.shutdown(Shutdown::Write).unwrap();
                }
            }
        });
        let mut received = 0;
        let mut piece = vec![0; 100_000];
        loop {
            let count = (&stream).read(&mut piece).unwrap();
            if count == 0 {
                break;
            }
            pattern.check(received, &piece[..count]).unwrap();
            received += count as u64;
        }
        assert_eq!(received, total as u64);
    });
}

fn urgent_bytes_are_echoed_in_their_place(engine: &str) {
    let server = start!(engine, &[]);
    let peers: Vec<_> = (0..6).map(|_| connect(server.address)).collect();
    for round in 0..20 {
        for peer in &peers {
            (&*peer).write_all(b"before").unwrap();
            SockRef::from(peer).send_out_of_band(b"!").unwrap();
            if round % 2 == 0 {
                (&*peer).write_all(b"after").unwrap();
            }
            let expected: &[u8] = if round % 2 == 0 { b"before!after" } else { b"before!" };
            let mut echo = vec![0; expected.len()];
            (&*peer).read_exact(&mut echo).unwrap();
            assert_eq!(echo, expected);
        }
    }
    peers[0].shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&peers[0]), b"");
}

fn a_peer_that_resets_ends_its_own_connection_only(engine: &str) {
    let server = start!(engine, &[]);
    let bystander = connect(server.address);
    exchange(&bystander, b"before");
    for _ in 0..20 {
        // Closing with the echo unread sends RST.
        let stream = connect(server.address);
        (&stream).write_all(&[0; 1000]).unwrap();
        let mut one = [0];
        (&stream).read_exact(&mut one).unwrap();
    }
    exchange(&bystander, b"after");
}

fn half_close_still_echoes_to_a_peer_with_a_small_window(engine: &str) {
    let server = start!(engine, &[]);
    let stream = connect_with_little_room(server.address);
    let mut message = vec![0; 3_000_000];
    Pattern::new(5).fill(0, &mut message);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(&message).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        assert!(read_to_end(&stream) == message);
    });
}

fn single_bytes_are_echoed(engine: &str) {
    let server = start!(engine, &[]);
    let stream = connect(server.address);
    stream.set_nodelay(true).unwrap();
    for byte in 0..=255 {
        (&stream).write_all(&[byte]).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(read_to_end(&stream).into_iter().eq(0..=255));
}

fn many_small_messages_are_echoed_to_a_peer_that_reads_late(engine: &str) {
    const MESSAGES: usize = 6000;
    const SIZE: usize = 300;
    let server = start!(engine, &[]);
    let streams: Vec<_> = (0..4).map(|_| connect_with_little_room(server.address)).collect();
    std::thread::scope(|scope| {
        for (number, stream) in streams.iter().enumerate() {
            let pattern = Pattern::new(number as u64);
            scope.spawn(move || {
                stream.set_nodelay(true).unwrap();
                let mut message = [0; SIZE];
                for number in 0..MESSAGES {
                    pattern.fill((number * SIZE) as u64, &mut message);
                    (&*stream).write_all(&message).unwrap();
                    // One by one, so that each is received alone.
                    std::thread::sleep(Duration::from_micros(10));
                }
                stream.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                let echo = read_to_end(stream);
                assert_eq!(echo.len(), MESSAGES * SIZE);
                pattern.check(0, &echo).unwrap();
            });
        }
    });
}

fn alternating_small_and_large_messages_are_echoed(engine: &str) {
    let server = start!(engine, &[]);
    let stream = connect(server.address);
    let pattern = Pattern::new(4);
    let mut offset = 0;
    for size in [100, 5000, 64, 200_000, 1024, 2048, 1] {
        for _ in 0..30 {
            let mut message = vec![0; size];
            pattern.fill(offset, &mut message);
            exchange(&stream, &message);
            offset += size as u64;
        }
    }
}

/// Without TCP_NODELAY, an echo waits for the ACK of the one before it, which a peer with nothing to send delays
/// by 40 ms (RFC 896 with RFC 1122, 4.2.3.2).
fn small_echoes_do_not_wait_for_each_other(engine: &str) {
    let server = start!(engine, &[]);
    let stream = connect(server.address);
    stream.set_nodelay(true).unwrap();
    let times = (0..50).map(|_| {
        let started = Instant::now();
        (&stream).write_all(b"a").unwrap();
        // Two segments, and so two echoes.
        std::thread::sleep(Duration::from_millis(1));
        (&stream).write_all(b"b").unwrap();
        (&stream).read_exact(&mut [0; 2]).unwrap();
        started.elapsed()
    });
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    // Some may be slow for other reasons.
    assert!(times[10] < Duration::from_millis(30), "{times:?}");
}

fn peers_that_never_read_hold_little_and_do_not_affect_others(engine: &str) {
    const PEERS: usize = 80;
    // A thread per connection also has a stack and buffers.
    let most = if engine == "threads" { 256 } else { 64 + 8 };
    let server = start!(engine, &["--quiet", "--threads", "1"]);
    let bystander = connect(server.address);
    // Touches all buffers that the event loop keeps: the large one, and the buffer ring.
    for _ in 0..20 {
        exchange(&bystander, &[1; 64 * 1024]);
    }
    let many: Vec<_> = (0..4).map(|_| connect(server.address)).collect();
    for _ in 0..200 {
        many.iter().for_each(|peer| exchange(peer, b"warm"));
    }
    let memory = || ResourceUsage::of(&server).memory_kib;
    let before = memory();
    let mut stuck = Vec::new();
    std::thread::scope(|scope| {
        let peers: Vec<_> =
            (0..PEERS).map(|_| scope.spawn(|| connect_and_never_read(server.address))).collect();
        stuck.extend(peers.into_iter().map(|peer| peer.join().unwrap()));
    });
    for _ in 0..100 {
        let started = Instant::now();
        exchange(&bystander, b"ping");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
    let held = memory().saturating_sub(before) / PEERS as u64;
    assert!(held <= most, "{held} KiB for each peer that does not read");
    if engine == "threads" {
        return; // the allocator keeps memory that was mapped for threads
    }
    drop(stuck);
    // The allocator keeps 128 KiB at the end of the worker's heap, and the table of connections grew.
    eventually("the memory is returned to the system", || memory() <= before + 192);
}

fn a_flood_does_not_starve_the_others(engine: &str) {
    let server = start!(engine, &["--threads", "1"]);
    let floods: Vec<_> = (0..4).map(|_| connect(server.address)).collect();
    let pings: Vec<_> = (0..20).map(|_| connect(server.address)).collect();
    std::thread::scope(|scope| {
        // Together they send more than one worker can echo: there is always something to read.
        for flood in &floods {
            scope.spawn(|| while (&*flood).write_all(&[1; 256 * 1024]).is_ok() {});
            scope.spawn(|| while (&*flood).read(&mut [0; 256 * 1024]).is_ok_and(|it| it > 0) {});
        }
        let _end = EndOnDrop(&floods);
        for _ in 0..5 {
            for ping in &pings {
                let started = Instant::now();
                exchange(ping, b"ping");
                let took = started.elapsed();
                assert!(took < Duration::from_secs(10), "{took:?}");
            }
        }
    });
}

/// Ends the floods, so that a failed test does not wait for them forever.
struct EndOnDrop<'a>(&'a [TcpStream]);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        for stream in self.0 {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(not(any(target_os = "linux", windows)))]
fn waiting_costs_no_cpu_time(_: &str) {
    echo_test_support::skipped("waiting for a peer", "CPU time is read on Linux and Windows only");
}

#[cfg(any(target_os = "linux", windows))]
fn waiting_costs_no_cpu_time(engine: &str) {
    let server = start!(engine, &["--threads", "1"]);
    let silent = connect(server.address);
    exchange(&silent, b"and then nothing");
    let never_reads = connect_and_never_read(server.address);
    let ended = connect_and_never_read(server.address);
    ended.shutdown(Shutdown::Write).unwrap();
    // On a busy machine it may still be receiving in the first second.
    eventually("waiting costs no CPU time", || {
        let (before, waiting) = (server.process.processor_time(), Instant::now());
        std::thread::sleep(Duration::from_secs(1));
        server.process.processor_time() - before <= waiting.elapsed() / 10
    });
    drop((silent, never_reads, ended));
}

#[cfg(not(target_os = "linux"))]
fn the_number_of_event_loops_is_as_configured_or_one_per_processor(_: &str) {
    echo_test_support::skipped("the number of event loops", "it needs /proc of Linux");
}

#[cfg(target_os = "linux")]
fn the_number_of_event_loops_is_as_configured_or_one_per_processor(engine: &str) {
    let threads = |arguments: &[&str]| {
        let server = start!(engine, arguments);
        exchange(&connect(server.address), b"all threads have started");
        ResourceUsage::of(&server).threads
    };
    if engine == "threads" {
        return; // it has no event loops
    }
    let one = threads(&["--threads", "1"]);
    assert_eq!(threads(&["--threads", "3"]), one + 2);
    let processors = std::thread::available_parallelism().unwrap().get() as u64;
    assert_eq!(threads(&[]), one + processors - 1);
}

fn many_connections_leak_no_descriptors(engine: &str) {
    let server = start!(engine, &["--quiet"]);
    let descriptors = || ResourceUsage::of(&server).descriptors;
    exchange(&connect(server.address), b"warm");
    let before = descriptors();
    for _ in 0..20 {
        let streams: Vec<_> = (0..50).map(|_| connect(server.address)).collect();
        for stream in &streams {
            exchange(stream, b"come and go");
        }
    }
    // The server may not have seen the last ones end yet.
    eventually("the descriptors are closed", || descriptors() <= before);
}

fn events_are_reported_as_text_and_json(engine: &str) {
    let server = start!(engine, &["-v"]);
    exchange(&connect(server.address), b"Hello");
    let told = server.process.wait_for_stderr("5 bytes echoed: done\n").unwrap();
    assert!(told.starts_with(&format!("echo-server: engine: {engine}\n")), "{told}");
    #[cfg(unix)]
    {
        server.process.signal(echo_test_support::Signal::USR1);
        let counters = "echo-server: connections: 0 open, 1 in total; refused: 0 by --max-connections, \
             0 by --max-per-peer, 0 by --refuse; closed: 1 done, 0 lost, 0 framing broken, 0 idle, 0 stalled, 0 expired, \
             0 stopped, 0 aborted, 0 fault; echoed: 5 bytes, 0 messages; accept pauses: 0\n";
        server.process.wait_for_stderr(counters).unwrap();
    }

    let server = start!(engine, &["-v", "--log-format", "json"]);
    exchange(&connect(server.address), b"Hello");
    let told = server.process.wait_for_stderr(r#""reason":"done"}"#).unwrap();
    assert!(told.contains(r#""bytes":5,"duration_ms":"#), "{told}");
    assert!(told.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{told}");
    #[cfg(unix)]
    {
        server.process.signal(echo_test_support::Signal::USR1);
        let told = server.process.wait_for_stderr(r#""event":"counters""#).unwrap();
        assert!(told.contains(r#""connections":1"#), "{told}");
    }
}

fn a_poller_that_fails_for_good_ends_the_server_with_a_message(engine: &str) {
    let call = match engine {
        "readiness" => "epoll_wait,epoll_pwait",
        "uring" => "io_uring_enter",
        _ => return, // it has no poller
    };
    if skipped_without_strace("a poller that fails for good") {
        return;
    }
    // The first calls succeed: if they fail, the server does not start.
    let mut tracer = failing_from(20, call, "EBADF", env!("CARGO_BIN_EXE_echo-server"));
    tracer.args(["--port", "0", "--engine", engine, "--threads", "2"]);
    let server = Server::start_with(&mut tracer).unwrap();
    // Each connection makes a worker call its poller, until a call fails.
    while let Ok(mut stream) = TcpStream::connect(server.address) {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let _ = stream.write_all(b"?");
        let _ = stream.read(&mut [0]);
    }
    let finished = server.process.wait().unwrap();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.stderr.contains("cannot wait for events: Bad file"), "{finished:?}");
}
