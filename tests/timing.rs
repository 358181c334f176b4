//! Whether `ping` and `bench` tell the truth about time, held against theory.

use std::net::SocketAddr;
use std::panic::{RefUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use echo_client::distribution::Distribution;
use echo_client::run::{Loop, Run};
use echo_test_support::peers::{echo, serve_each};
use echo_test_support::{Process, command, connect, exchange, skipped};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-client");

/// Runs a test of time, one at a time: they disturb each other. So does whatever else the machine is at,
/// which only makes things late; so it has five attempts, of which a wrong program fails each. On a machine
/// that does not let anybody keep time, it is skipped.
fn timed(test: impl Fn() + RefUnwindSafe) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut failure = None;
    for _ in 0..5 {
        match catch_unwind(&test) {
            Ok(()) => return,
            Err(panic) => failure = Some(panic),
        }
    }
    if let Err(late) = keep_time() {
        return skipped("a test of time", &format!("this machine is busy, {late:?} late"));
    }
    resume_unwind(failure.expect("it has failed each time"));
}

/// Whether a plain client sees that a server takes 5 ms, most of the time: else, how late it was.
fn keep_time() -> Result<(), Duration> {
    let time = Duration::from_millis(5);
    let port = serve_each(move |_, stream| echo(stream, |_| wait_until(Instant::now() + time)));
    let stream = connect(SocketAddr::from(([127, 0, 0, 1], port)));
    let mut late: Vec<_> = (0..200)
        .map(|_| {
            let started = Instant::now();
            exchange(&stream, b"how long?");
            started.elapsed().saturating_sub(time)
        })
        .collect();
    late.sort_unstable();
    let most = late[late.len() * 9 / 10];
    if most <= time / 50 { Ok(()) } else { Err(most) }
}

fn client(port: u16, mode: &str, arguments: &[&str]) -> String {
    let mut client = command(PROGRAM);
    client.args([mode, "--port", &port.to_string()]).args(arguments);
    let finished = Process::run(&mut client, b"").unwrap();
    assert!(finished.status.success(), "{finished:?}");
    finished.stdout
}

/// The saved run.
fn run(port: u16, engine: &str, arguments: &[&str]) -> Run {
    let format = ["--format", "json", "--engine", engine];
    let json = client(port, "bench", &[arguments, &format].concat());
    serde_json::from_str(&json).unwrap()
}

/// Waits to the microsecond: a sleep is late by as much as the system likes.
fn wait_until(time: Instant) {
    while let Some(left) = time.checked_duration_since(Instant::now()) {
        if left > Duration::from_micros(500) {
            thread::sleep(left - Duration::from_micros(500));
        }
    }
}

/// Samples of at least so many milliseconds.
fn samples_from(times: &Distribution, ms: u64) -> u64 {
    let times = times.decode().unwrap();
    times.count_between(ms * 1_000_000, times.high())
}

/// Makes each function, which takes the name of an engine, a test for every way that bench can go.
macro_rules! on_every_engine {
    ($($test:ident,)*) => {
        mod readiness {
            $(#[test] fn $test() { super::$test("readiness"); })*
        }
        // On Linux that is io_uring, where it works; tests/bench.rs says if it does not.
        mod auto {
            $(#[test] fn $test() { super::$test("auto"); })*
        }
    };
}

on_every_engine! {
    the_time_of_a_server_that_takes_5_ms_is_5_ms,
    a_stall_shows_in_all_messages_that_were_due_in_it,
    waiting_to_be_sent_is_a_part_of_the_latency,
    a_closed_loop_sees_a_stall_once_for_each_connection,
    messages_that_are_due_at_random_have_the_rate_that_was_asked_for,
    a_rate_that_cannot_be_reached_is_said,
}

#[track_caller]
fn near(figure: f64, expected: f64, percent: f64) {
    let off = (figure / expected - 1.0).abs() * 100.0;
    assert!(off <= percent, "{figure} is {off:.1} % off {expected}");
}

fn the_time_of_a_server_that_takes_5_ms_is_5_ms(engine: &str) {
    timed(|| {
        let port = serve_each(|_, stream| {
            echo(stream, |_| wait_until(Instant::now() + Duration::from_millis(5)));
        });
        let run = run(port, engine, &["-d", "1s", "--warmup", "100ms"]);
        let latency = &run.result.latency;
        near(latency.p50_us, 5_000.0, 5.0);
        near(latency.p90_us, 5_000.0, 5.0);
        assert!(latency.min_us >= 5_000.0 * 0.999, "{latency:?}");
        near(run.result.rate, 200.0, 5.0);
    });
}

/// A server that stalls for 200 ms once, 300 ms after its first message.
fn stalling_server() -> u16 {
    let stalled = Arc::new(AtomicBool::new(false));
    serve_each(move |_, stream| {
        let mut first = None;
        let stalled = Arc::clone(&stalled);
        echo(stream, move |_| {
            let first = *first.get_or_insert_with(Instant::now);
            if first.elapsed() > Duration::from_millis(300)
                && !stalled.swap(true, Ordering::Relaxed)
            {
                wait_until(Instant::now() + Duration::from_millis(200));
            }
        });
    })
}

fn a_stall_shows_in_all_messages_that_were_due_in_it(engine: &str) {
    timed(|| {
        // With room for all of them in flight, the messages wait at the server and nowhere else.
        let arguments = ["-R", "1000", "--depth", "1000", "-d", "1s", "--warmup", "0s"];
        let latency = run(stalling_server(), engine, &arguments).result.latency;
        near(latency.count as f64, 1000.0, 1.0);
        // Those that were due in the stall waited for its end, from 200 ms down to nothing.
        near(samples_from(&latency, 2) as f64, 198.0, 5.0);
        near(samples_from(&latency, 100) as f64, 100.0, 5.0);
        near(latency.p90_us, 100_000.0, 5.0);
        near(latency.p99_us, 190_000.0, 5.0);
        near(latency.max_us, 200_000.0, 5.0);
    });
}

fn waiting_to_be_sent_is_a_part_of_the_latency(engine: &str) {
    timed(|| {
        let arguments = ["-R", "1000", "-d", "1s", "--warmup", "0s"];
        let result = run(stalling_server(), engine, &arguments).result;
        // The same, but that those behind the stall wait too until its backlog is sent, one by one.
        near(samples_from(&result.latency, 100) as f64, 100.0, 10.0);
        near(result.latency.p99_us, 190_000.0, 5.0);
        // From when they were sent, only the one that was under way waited.
        assert_eq!(samples_from(&result.service, 100), 1, "{:?}", result.service);
        assert!(result.service.p99_us < 50_000.0, "{:?}", result.service);
    });
}

fn a_closed_loop_sees_a_stall_once_for_each_connection(engine: &str) {
    timed(|| {
        let run = run(stalling_server(), engine, &["-d", "1s", "--warmup", "0s"]);
        assert_eq!(samples_from(&run.result.latency, 100), 1);
        assert_eq!(run.settings.pacing, Loop::Closed);
        assert_eq!(run.result.latency, run.result.service);
    });
}

fn messages_that_are_due_at_random_have_the_rate_that_was_asked_for(engine: &str) {
    timed(|| {
        let arguments =
            ["-R", "2000", "--arrivals", "poisson", "-c", "5", "-d", "1s", "--warmup", "0s"];
        let run = run(serve_each(|_, stream| echo(stream, |_| {})), engine, &arguments);
        // The number of a Poisson process varies by its root: by 2.2 %, and 10 % is more than four times that.
        near(run.result.rate, 2000.0, 10.0);
        assert_eq!(run.settings.pacing, Loop::Open);
    });
}

fn a_rate_that_cannot_be_reached_is_said(engine: &str) {
    timed(|| {
        let port = serve_each(|_, stream| {
            echo(stream, |_| wait_until(Instant::now() + Duration::from_millis(5)));
        });
        let run = run(port, engine, &["-R", "1000", "-d", "500ms", "--warmup", "0s"]);
        // In the run's 500 ms and as long again behind it, 200 of the 500 that were due can be sent.
        near(run.result.unsent as f64, 300.0, 10.0);
        assert!(
            run.result.warnings[0].contains("the rate was not reached"),
            "{:?}",
            run.result.warnings
        );
        // Due more and more before they could be sent: the last one by 800 ms.
        near(run.result.latency.max_us, 800_000.0, 10.0);
        assert!(run.result.service.p50_us < 10_000.0);
    });
}

#[test]
fn a_ping_takes_what_the_server_takes() {
    timed(|| {
        let port = serve_each(|_, stream| {
            echo(stream, |_| wait_until(Instant::now() + Duration::from_millis(5)));
        });
        let output = client(port, "ping", &["-i", "0", "-c", "150", "-q"]);
        let figures = |name: &str| -> Vec<f64> {
            let line = output.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_end_matches(" ms").split('/').map(|figure| figure.parse().unwrap()).collect()
        };
        let [min, average, max, mdev] = figures("rtt min/avg/max/mdev = ")[..] else {
            panic!("{output}")
        };
        assert!(min >= 4.99 && min <= average && average <= max && mdev <= max - min, "{output}");
        near(average, 5.0, 5.0);
        near(figures("rtt p50/p99 = ")[0], 5.0, 5.0);
    });
}
