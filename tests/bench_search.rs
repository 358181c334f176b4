//! `echo-client bench --find-rate` against servers whose limit is known.

mod load;
mod timed;

use std::num::NonZero;
use std::thread;
use std::time::Duration;

use echo_client::run_file::{RunFile, SavedOutcome, SearchOutcome};
use echo_server::{Config, Delay, Faults, Server};
use echo_test_support::{Finished, Process, command, skipped_without_stop};

use self::load::{PROGRAM, bench, echo_server, run};
use self::timed::timed;

fn faulty(faults: Faults) -> u16 {
    let server = Server::bind(Config { port: 0, faults: Some(faults), ..Config::default() });
    let server = server.unwrap();
    let port = server.local_addrs()[0].port();
    thread::spawn(|| server.run(|_| {}));
    port
}

fn search(port: u16, condition: &str, more: &[&str]) -> (RunFile, Finished) {
    let arguments = ["--find-rate", condition, "-d", "400ms", "--warmup", "100ms"];
    let finished = bench(port, &[&arguments[..], more, &["--format", "json"]].concat());
    let file = serde_json::from_str(&finished.stdout);
    (file.unwrap_or_else(|error| panic!("{error}: {finished:?}")), finished)
}

/// The lower bound, if it is within 5 % of what is expected.
#[track_caller]
fn found(file: &RunFile, expected: f64) {
    let search = file.search.as_ref().unwrap();
    let (lower, upper) = (search.lower_rate.unwrap(), search.upper_rate.unwrap());
    assert_eq!(search.result, SearchOutcome::Between);
    assert!((lower / expected - 1.0).abs() < 0.05, "{lower} to {upper}, not {expected}");
    assert!(upper / lower < 1.021, "{lower} {upper}");
}

#[test]
fn the_limit_of_a_rate_limited_server_is_found_within_5_percent() {
    timed(find_the_rate_limit);
}

fn find_the_rate_limit() {
    // 4096 messages of 64 bytes.
    let rate_limit = NonZero::new(256 << 10);
    let port = faulty(Faults { rate_limit, ..Faults::default() });
    let gates = ["-R", "2k", "--fail-if", "rate<1k,rate<1M"];
    let (file, finished) = search(port, "p90<15ms", &gates);
    found(&file, 4096.0);
    assert_eq!(finished.status.code(), Some(3), "{finished:?}");
    assert_eq!(file.gates.iter().map(|gate| gate.failed).collect::<Vec<_>>(), [false, true]);
    let search = file.search.unwrap();
    assert!(file.runs.is_empty() && search.trials.len() > 10, "{}", search.trials.len());
    assert!((search.trials[0].rate / 2000.0 - 1.0).abs() < 0.02, "--rate is tried first");
    for trial in search.trials {
        let holds = trial.value.is_some_and(|us| us < 15_000.0);
        let met = holds && trial.result.rate_reached == Some(true);
        assert_eq!(
            met,
            trial.outcome == SavedOutcome::Met,
            "{:?} {:?}",
            trial.value,
            trial.outcome
        );
    }
    let report = Process::run(command(PROGRAM).args(["report", "-"]), finished.stdout.as_bytes());
    let report = report.unwrap();
    assert_eq!(report.status.code(), Some(1), "{report:?}");
    assert!(report.stderr.contains("holds a search for the highest rate"), "{report:?}");
}

#[test]
fn the_limit_of_waiting_connections_is_their_rate_in_a_closed_loop() {
    timed(find_the_limit_of_waiting);
}

fn find_the_limit_of_waiting() {
    let delay = Delay { mean: Duration::from_millis(5), jitter: Duration::ZERO };
    let port = faulty(Faults { delay: Some(delay), ..Faults::default() });
    let (closed, _) = run(port, &["-c", "4", "-d", "1s", "--warmup", "100ms"]);
    let (file, finished) = search(port, "p50<8ms", &["-c", "4", "-R", "500"]);
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
    found(&file, closed.result.rate);
}

#[test]
fn an_interrupted_search_has_no_answer() {
    if skipped_without_stop("an_interrupted_search_has_no_answer") {
        return;
    }
    let mut client = command(PROGRAM);
    let port = echo_server().to_string();
    client.args(["bench", "--port", &port, "--find-rate", "p50<1h", "-d", "200ms"]);
    let process = Process::spawn(client.args(["--format", "jsonl"])).unwrap();
    process.wait_for_stdout("\"event\":\"trial\"").unwrap();
    process.interrupt();
    let finished = process.wait().unwrap();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.stderr.contains("interrupted; the rates are those known"), "{finished:?}");
    let end: serde_json::Value =
        serde_json::from_str(finished.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(end["data"]["search"]["result"], "interrupted");
    assert_eq!(end["data"]["search"]["trials"][0]["outcome"], "met");
}

#[test]
fn a_search_refuses_what_it_cannot_do() {
    for (more, message) in [
        (&["--repeat", "2"][..], "cannot be used with"),
        (&["-n", "5"], "cannot be used with"),
        (&["--percentiles", "p95"], "cannot be used with"),
        (&["--fail-if", "p99>1ms"], "--fail-if cannot judge p99>1ms of it"),
    ] {
        let finished = bench(1, &[&["--find-rate", "p99<2ms"], more].concat());
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        assert!(finished.stderr.contains(message), "{finished:?}");
    }
    for never_broken in ["p99>2ms", "rate>1k", "loss>0"] {
        let finished = bench(1, &["--find-rate", never_broken]);
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        let stderr = finished.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(stderr.contains("such as p99<2ms, not "), "{finished:?}");
    }
    let finished = bench(1, &["--find-rate", "p99"]);
    assert!(finished.stderr.contains("such as p99>2ms"), "{finished:?}");
}
