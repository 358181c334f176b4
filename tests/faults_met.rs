//! How each mode of the built echo-client reports each injected fault.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use echo_server::{Config, Delay, Faults, Handle, Probability, Server};
use echo_test_support::{Finished, Process, RESETS_ON_WINE, command, connect, skipped_on_wine};

/// Ways to send as many bytes as "Hello, world" has.
const MODES: [(&str, &[&str]); 5] = [
    ("message", &[]),
    ("pipe", &["pipe"]),
    ("ping", &["ping", "--count", "1", "--size", "12"]),
    ("bench by readiness", &["bench", "-n", "1", "--size", "12", "--engine", "readiness"]),
    ("bench", &["bench", "-n", "1", "--size", "12"]),
];

/// A server in this process that injects faults. It stops with the test.
struct Faulty {
    port: u16,
    handle: Handle,
}

impl Faulty {
    fn start(faults: Faults) -> Self {
        let faults = Some(faults);
        let server = Server::bind(Config { port: 0, faults, ..Config::default() }).unwrap();
        let faulty = Self { port: server.local_addrs()[0].port(), handle: server.handle() };
        thread::spawn(|| server.run(|_| {}));
        faulty
    }

    fn meet(&self, arguments: &[&str], input: &[u8]) -> Finished {
        let mut client = command(env!("CARGO_BIN_EXE_echo-client"));
        client.args(["--port", &self.port.to_string(), "--timeout", "1s"]).args(arguments);
        Process::run(&mut client, input).unwrap()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

fn none() -> Faults {
    Faults::default()
}

fn always() -> Probability {
    Probability::new(1.0).unwrap()
}

fn delay(mean: Duration) -> Option<Delay> {
    Some(Delay { mean, jitter: Duration::ZERO })
}

/// Runs all modes at once, each against its own server.
fn meet_in_every_mode(faults: &Faults, check: impl Fn(&str, &Finished) + Sync) {
    thread::scope(|scope| {
        for (mode, arguments) in MODES {
            scope.spawn(|| {
                let faulty = Faulty::start(faults.clone());
                check(mode, &faulty.meet(arguments, b"Hello, world"));
            });
        }
    });
}

/// The whole output, unwrapped.
fn output(finished: &Finished) -> String {
    let words = finished.stdout.split_whitespace().chain(finished.stderr.split_whitespace());
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_mode_reports_each_fault_by_name() {
    let cut_short = "the reply was cut short: 5 of 12 bytes came back";
    let table = [
        (
            Faults { delay: delay(Duration::from_secs(3600)), ..none() },
            "timed out: no byte for 1 s; 0 of 12 bytes came back",
            "is this an echo server, and with the same --framing? it accepted the connection",
        ),
        (
            Faults { stall_after: Some(5), ..none() },
            "timed out: no byte for 1 s; 5 of 12 bytes came back",
            "the echo stopped on its way",
        ),
        (
            Faults { reset_after: Some(5), ..none() },
            if cfg!(windows) {
                // A reset discards what was received and not read.
                "the connection failed: connection reset; "
            } else {
                "the connection failed: connection reset; 5 of 12 bytes came back"
            },
            if cfg!(windows) {
                "the server"
            } else {
                "the server may have been stopped, or limit the time or the bytes of a connection"
            },
        ),
        (
            Faults { close_after: Some(5), ..none() },
            cut_short,
            "the server may have been stopped, or limit the time or the bytes of a connection",
        ),
        (
            Faults { corrupt: always(), ..none() },
            "the reply differs: byte 0 is ",
            "is this an echo server? its answer began ",
        ),
        // Before or after the first byte.
        (
            Faults { refuse: always(), ..none() },
            "connection reset",
            "the server accepted the connection and closed it",
        ),
    ];
    for (faults, message, hint) in table {
        if message.contains("connection reset") && skipped_on_wine("a reset", RESETS_ON_WINE) {
            continue;
        }
        meet_in_every_mode(&faults, |mode, finished| {
            let output = output(finished);
            assert_eq!(finished.status.code(), Some(1), "{mode}, {faults:?}: {output}");
            assert!(output.contains(message), "{mode}, {faults:?}: {output}");
            assert!(output.contains(hint), "{mode}: {output}");
        });
    }
}

#[test]
fn slow_and_fragmented_echoes_are_not_failures() {
    let table = [
        Faults { delay: delay(Duration::from_millis(50)), ..none() },
        Faults { rate_limit: NonZero::new(100), ..none() },
        Faults { slice: Some(1..=3), ..none() },
        // Everything that was sent came back.
        Faults { close_after: Some(12), ..none() },
    ];
    for faults in table {
        meet_in_every_mode(&faults, |mode, finished| {
            assert_eq!(finished.status.code(), Some(0), "{mode}, {faults:?}: {finished:?}");
        });
    }
}

#[test]
fn a_delay_shows_in_the_round_trip_times() {
    let faulty = Faulty::start(Faults { delay: delay(Duration::from_millis(50)), ..none() });
    let finished = faulty.meet(&["ping", "-c", "3", "-i", "0"], b"");
    let line =
        finished.stdout.lines().find_map(|line| line.strip_prefix("rtt min/avg/max/mdev = "));
    let least: f64 = line.unwrap().split('/').next().unwrap().parse().unwrap();
    assert!(least >= 50.0, "{finished:?}");
}

#[test]
fn a_changed_byte_is_found_at_its_exact_offset_in_every_mode() {
    let corrupt = Probability::new(1e-3).unwrap();
    let faults = Faults { corrupt, seed: 42, ..none() };
    // What another client sees of the same faults: the first connection, as in the runs below.
    let faulty = Faulty::start(faults.clone());
    let stream = connect(([127, 0, 0, 1], faulty.port).into());
    (&stream).write_all(&[b'x'; 10_000]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut echo = Vec::new();
    (&stream).read_to_end(&mut echo).unwrap();
    let place = echo.iter().position(|byte| *byte != b'x').expect("one in a thousand");

    let modes: [&[&str]; 4] = [
        &["-"],
        &["pipe"],
        &["ping", "-c", "1", "-s", "10000"],
        &["bench", "-n", "1", "-s", "10000"],
    ];
    for arguments in modes {
        let finished = Faulty::start(faults.clone()).meet(arguments, &[b'x'; 10_000]);
        let output = output(&finished);
        assert_eq!(finished.status.code(), Some(1), "{output}");
        assert!(output.contains(&format!("the reply differs: byte {place} is ")), "{output}");
        // The bytes before it were correct, so it is an echo server.
        let hint = "the server, or something on the path, changes the data";
        assert!(output.contains(hint), "{output}");
    }
}

#[test]
fn refused_connections_are_counted_and_the_others_echo() {
    let half = Probability::new(0.5).unwrap();
    // With this seed the first connection is served.
    let faults = Faults { refuse: half, seed: 1, close_after: Some(12), ..none() };
    let finished = Faulty::start(faults).meet(&["ping", "-c", "10", "-i", "0", "-s", "12"], b"");
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.stdout.contains("connection reset"), "{finished:?}");
    assert!(finished.stdout.contains("echoes again"), "{finished:?}");
}
