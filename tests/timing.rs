//! The times that `ping` and `bench` report, compared with theory.

mod timed;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use echo_client::distribution::Distribution;
#[cfg(unix)]
use echo_client::run::Metrics;
use echo_client::run::{Loop, Run};
use echo_client::run_file::RunFile;
#[cfg(unix)]
use echo_test_support::Signal;
use echo_test_support::peers::{echo, serve_each, wait_for_its_end};
use echo_test_support::{Process, command, reset};

use self::timed::{timed, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-client");

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
    let file: RunFile = serde_json::from_str(&json).unwrap();
    file.into_runs().remove(0)
}

/// Number of samples of at least `ms` milliseconds.
fn samples_from(times: &Distribution, ms: u64) -> u64 {
    let times = times.decode().unwrap();
    times.count_between(ms * 1_000_000, times.high())
}

/// Makes each function, which takes the name of an engine, a test for every engine.
macro_rules! on_every_engine {
    ($($test:ident,)*) => {
        mod readiness {
            $(#[test] fn $test() { super::$test("readiness"); })*
        }
        // io_uring on Linux, where it works; tests/bench.rs reports if it does not.
        mod auto {
            $(#[test] fn $test() { super::$test("auto"); })*
        }
    };
}

on_every_engine! {
    a_server_that_takes_5_ms_has_a_latency_of_5_ms,
    every_message_due_during_a_stall_has_its_latency,
    waiting_to_be_sent_is_part_of_the_latency,
    lateness_of_the_client_is_a_figure_of_its_own,
    intervals_are_as_long_as_what_they_count_took,
    a_closed_loop_sees_a_stall_once_for_each_connection,
    poisson_arrivals_reach_the_requested_rate,
    a_rate_that_is_not_reached_gives_a_warning,
}

#[track_caller]
fn near(figure: f64, expected: f64, percent: f64) {
    let off = (figure / expected - 1.0).abs() * 100.0;
    assert!(off <= percent, "{figure} is {off:.1} % off {expected}");
}

fn a_server_that_takes_5_ms_has_a_latency_of_5_ms(engine: &str) {
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

/// A server that stalls once for 200 ms, 300 ms after its first message.
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

fn every_message_due_during_a_stall_has_its_latency(engine: &str) {
    timed(|| {
        // With room for all messages in flight, they queue only at the server.
        let arguments = ["-R", "1000", "--depth", "1000", "-d", "1s", "--warmup", "0s"];
        let latency = run(stalling_server(), engine, &arguments).result.latency;
        near(latency.count as f64, 1000.0, 1.0);
        // Messages that were due during the stall waited for its end, from 200 ms down to 0.
        near(samples_from(&latency, 2) as f64, 198.0, 5.0);
        near(samples_from(&latency, 100) as f64, 100.0, 5.0);
        near(latency.p90_us, 100_000.0, 5.0);
        near(latency.p99_us, 190_000.0, 5.0);
        near(latency.max_us, 200_000.0, 5.0);
    });
}

fn waiting_to_be_sent_is_part_of_the_latency(engine: &str) {
    timed(|| {
        let arguments = ["-R", "1000", "-d", "1s", "--warmup", "0s"];
        let result = run(stalling_server(), engine, &arguments).result;
        // The same, but messages behind the stall also wait until the backlog has been sent one by
        // one.
        near(samples_from(&result.latency, 100) as f64, 100.0, 10.0);
        near(result.latency.p99_us, 190_000.0, 5.0);
        // Counted from sending, only the message in flight waited.
        assert_eq!(samples_from(&result.service, 100), 1, "{:?}", result.service);
        assert!(result.service.p99_us < 50_000.0, "{:?}", result.service);
        // The client was not late: what it could send, it sent.
        assert!(result.send_lag.count > 700, "{:?}", result.send_lag);
        assert!(result.send_lag.p99_us < 10_000.0, "{:?}", result.send_lag);
    });
}

#[cfg(not(unix))]
fn lateness_of_the_client_is_a_figure_of_its_own(_: &str) {
    echo_test_support::skipped("a suspended client", "it needs SIGSTOP");
}

/// With a depth of 1, messages behind the stall wait for each other's echoes as well.
#[cfg(unix)]
fn lateness_of_the_client_is_a_figure_of_its_own(engine: &str) {
    for depth in ["1000", "1"] {
        timed(|| {
            // If an echo is on its way at a depth of 1, the client takes the stop for a slow echo.
            let most_slow = if depth == "1" { 0 } else { 9 };
            let runs = std::iter::repeat_with(|| suspended_run(engine, depth)).take(3);
            let is_prompt =
                |run: &SuspendedRun| samples_from(&run.result.service, 100) <= most_slow;
            lateness_is_that_of(&runs.into_iter().find(is_prompt).expect("prompt echoes"), depth);
        });
    }
}

/// The result of a client that was suspended, and for how many milliseconds it did not run, at least and at most: a
/// busy machine delays the signals as well as the client.
#[cfg(unix)]
struct SuspendedRun {
    result: Metrics,
    least_ms: f64,
    most_ms: f64,
}

#[cfg(unix)]
fn suspended_run(engine: &str, depth: &str) -> SuspendedRun {
    let port = serve_each(|_, stream| echo(stream, |_| {}));
    let mut client = command(PROGRAM);
    client.args(["bench", "--port", &port.to_string(), "-R", "1000", "--depth", depth]);
    client.args(["-d", "1s", "--warmup", "0s", "-i", "10ms", "--format", "jsonl"]);
    let client = Process::spawn(client.args(["--engine", engine])).unwrap();
    client.wait_for_stdout("interval").unwrap();
    // A message is due when an interval ends. Its echo has probably arrived, and the next is not due.
    wait_until(Instant::now() + Duration::from_micros(400));
    let before = Instant::now();
    client.signal(Signal::STOP);
    let stopped = Instant::now();
    wait_until(stopped + Duration::from_millis(200));
    let printed = client.output().0.matches("interval").count();
    let least = stopped.elapsed();
    client.signal(Signal::CONT);
    client.wait_for_stdout_times("interval", printed + 1).unwrap();
    let [least_ms, most_ms] = [least, before.elapsed()].map(|time| time.as_secs_f64() * 1e3);
    let output = client.wait().unwrap().stdout;
    let line: serde_json::Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    let result = serde_json::from_value(line["data"]["runs"][0]["result"].clone()).unwrap();
    SuspendedRun { result, least_ms, most_ms }
}

#[cfg(unix)]
fn lateness_is_that_of(run: &SuspendedRun, depth: &str) {
    let SuspendedRun { result: Metrics { latency, send_lag, .. }, least_ms, most_ms } = run;
    // A message was due each millisecond.
    let [late, lagging] = [latency, send_lag].map(|times| samples_from(times, 100) as f64);
    let at_least = 0.9 * (least_ms - 100.0);
    // With a depth of 1, catching up takes as long as the echoes do.
    let at_most = if depth == "1" { late } else { 1.1 * (most_ms - 100.0) };
    let seen = format!("{late} late, {lagging} lagging, {least_ms} to {most_ms} ms");
    assert!(late >= at_least && (at_least..=at_most).contains(&lagging), "{seen}");
    let max_ms = send_lag.max_us / 1e3;
    assert!((0.95 * least_ms..=1.05 * most_ms).contains(&max_ms), "{max_ms} ms: {seen}");
}

/// What to put into a new pipe so that it has room for a few lines. It holds 64 KiB on Unix (pipe(7)), and 4 KiB on
/// Windows, where std asks for the default.
const FILLED: usize = if cfg!(windows) { 0 } else { 60 * 1024 };

fn intervals_are_as_long_as_what_they_count_took(engine: &str) {
    timed(|| {
        // The pipe has room for some lines only, and is read after a second.
        let (mut output, mut writer) = std::io::pipe().unwrap();
        writer.write_all(&[b' '; FILLED]).unwrap();
        let port = serve_each(|_, stream| echo(stream, |_| {}));
        let mut client = command(PROGRAM);
        client.args(["bench", "--port", &port.to_string(), "-R", "2000", "-d", "1500ms"]);
        client.args(["--warmup", "0s", "-i", "20ms", "--format", "jsonl", "--engine", engine]);
        let mut process = client.stdout(writer).spawn().unwrap();
        // It holds an end of the pipe, which has to be closed.
        drop(client);
        thread::sleep(Duration::from_secs(1));
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        process.wait().unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let file: RunFile = serde_json::from_value(line["data"].clone()).unwrap();
        let run = file.into_runs().remove(0);
        let mut end = 0.0;
        for interval in &run.intervals {
            // The last one may be too short for a rate.
            assert!(
                interval.seconds < 0.01 || (1600.0..2400.0).contains(&interval.rate),
                "{run:?}"
            );
            assert!((interval.start_s - end).abs() < 0.001, "{run:?}");
            end = interval.start_s + interval.seconds;
        }
        assert!((end - run.result.seconds).abs() < 0.001, "{run:?}");
        assert_eq!(run.intervals.iter().map(|it| it.echoes).sum::<u64>(), run.result.echoes);
        assert!(run.intervals.iter().any(|it| it.seconds > 0.2), "the report was held up");
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

fn poisson_arrivals_reach_the_requested_rate(engine: &str) {
    timed(|| {
        let arguments =
            ["-R", "2000", "--arrivals", "poisson", "-c", "5", "-d", "1s", "--warmup", "0s"];
        let run = run(serve_each(|_, stream| echo(stream, |_| {})), engine, &arguments);
        // The count of a Poisson process has a standard deviation of its root, 2.2 %; 10 % is more
        // than four times that.
        near(run.result.rate, 2000.0, 10.0);
        assert_eq!(run.settings.pacing, Loop::Open);
    });
}

fn a_rate_that_is_not_reached_gives_a_warning(engine: &str) {
    timed(|| {
        let port = serve_each(|_, stream| {
            echo(stream, |_| wait_until(Instant::now() + Duration::from_millis(5)));
        });
        let run = run(port, engine, &["-R", "1000", "-d", "500ms", "--warmup", "0s"]);
        // In the 500 ms of the run and the 500 ms after it, 200 of the 500 due messages can be
        // sent.
        near(run.result.unsent as f64, 300.0, 10.0);
        assert!(
            run.result.warnings[0].contains("the rate was not reached"),
            "{:?}",
            run.result.warnings
        );
        // Each message is sent later than the one before, the last by 800 ms.
        near(run.result.latency.max_us, 800_000.0, 10.0);
        assert!(run.result.service.p50_us < 10_000.0);
    });
}

#[test]
fn ping_measures_the_time_the_server_takes() {
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

/// Answers one message, then resets the connection and is away for this long. Sends the time from
/// there to the next echo.
fn fail_over(away: Duration) -> (u16, mpsc::Receiver<Duration>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, measured) = mpsc::channel();
    thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut message = [0; 64];
        stream.read_exact(&mut message).unwrap();
        stream.write_all(&message).unwrap();
        stream.read_exact(&mut message).unwrap();
        let since = Instant::now();
        drop(listener);
        reset(stream);
        thread::sleep(away);
        let mut stream = TcpListener::bind(address).unwrap().accept().unwrap().0;
        stream.read_exact(&mut message).unwrap();
        stream.write_all(&message).unwrap();
        sender.send(since.elapsed()).unwrap();
        echo(stream, |_| {});
    });
    (address.port(), measured)
}

#[test]
fn an_outage_is_as_long_as_the_server_measures_it() {
    for (away, count) in [(6, "3"), (400, "7")] {
        timed(|| {
            let (port, measured) = fail_over(Duration::from_millis(away));
            let mut client = command(PROGRAM);
            client.args(["ping", "--port", &port.to_string(), "-i", "100ms", "-c", count]);
            let finished = Process::run(&mut client, b"").unwrap();
            let outage = finished.stdout.split("\noutage ").nth(1).expect(&finished.stdout);
            let seconds: f64 = outage.split(' ').next().unwrap().parse().unwrap();
            let truth = measured.recv().unwrap().as_secs_f64();
            let error = (seconds - truth).abs();
            assert!(error <= f64::max(0.005, truth / 100.0), "{seconds} s, but it was {truth} s");
            assert!(truth < away as f64 / 1e3 + 0.015, "back for long: {truth} s");
        });
    }
}

#[test]
fn messages_due_during_an_outage_are_lost_whatever_the_timeout() {
    timed(|| {
        let port = serve_each(|number, mut stream| {
            if number > 1 {
                return echo(stream, |_| {});
            }
            let mut message = [0; 64];
            stream.read_exact(&mut message).unwrap();
            stream.write_all(&message).unwrap();
            wait_for_its_end(stream);
        });
        let mut client = command(PROGRAM);
        client.args(["ping", "--port", &port.to_string(), "-i", "50ms", "-W", "225ms", "-c", "8"]);
        let finished = Process::run(&mut client, b"").unwrap();
        // Due after 50, 100, 150, 200 and 250 ms; the outage is from 50 to 275 ms.
        assert!(finished.stdout.contains("8 messages transmitted, 3 received"), "{finished:?}");
        assert!(finished.stdout.contains("Z, seq 2 to 6\n"), "{finished:?}");
    });
}

#[test]
fn the_interval_of_ping_does_not_drift() {
    timed(|| {
        let port = serve_each(|_, stream| echo(stream, |_| {}));
        let output = client(port, "ping", &["-i", "1ms", "-c", "1000", "-q"]);
        let (_, time) = output.split_once("% loss, time ").expect(&output);
        let ms: u64 = time.split(' ').next().unwrap().parse().unwrap();
        assert!((999..1_030).contains(&ms), "1000 messages took {ms} ms");
    });
}
