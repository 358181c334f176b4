//! `echo-client bench --repeat`: several runs, their medians, and what ends them early.

mod load;

use std::thread;
use std::time::Duration;

use echo_client::hdr_log::{Log, LogError, LogUnit};
use echo_client::run_file::{RunFile, SavedRun};
use echo_test_support::peers::{echo, serve_each, serve_one};
use echo_test_support::{Process, command, skipped_without_stop};

use self::load::{PROGRAM, bench, echo_server};

const SHORT: [&str; 8] = ["--repeat", "6", "--pause", "10ms", "-d", "100ms", "--warmup", "0s"];

fn repeated(port: u16, more: &[&str]) -> (RunFile, i32) {
    let finished = bench(port, &[&SHORT[..], &["--format", "json"], more].concat());
    let file = serde_json::from_str(&finished.stdout);
    (file.unwrap_or_else(|error| panic!("{error}: {finished:?}")), finished.status.code().unwrap())
}

#[test]
fn every_run_is_whole_and_the_summary_has_their_medians() {
    let path = std::env::temp_dir().join(format!("echo-repeats-{}.hdr", std::process::id()));
    let log = ["-c", "2", "--hdr-log", path.to_str().unwrap()];
    let (file, code) = repeated(echo_server(), &log);
    assert_eq!((code, file.runs.len(), file.settings.repeat), (0, 6, 6));
    assert_eq!(file.settings.pause_s, Some(0.01));
    for run in &file.runs {
        assert_eq!((run.result.connect.count, run.result.loss), (2, 0), "new connections each");
        assert!((run.result.seconds - 0.1).abs() < 0.05, "{}", run.result.seconds);
    }
    let mut p50: Vec<f64> = file.runs.iter().map(|run| run.result.latency.p50_us).collect();
    p50.sort_by(f64::total_cmp);
    let summary = file.summary.metrics["latency.p50_us"];
    let median = f64::midpoint(p50[2], p50[3]);
    assert!((summary.median / median - 1.0).abs() < 1e-9, "{} {median}", summary.median);
    assert_eq!((summary.lower, summary.upper), (Some(p50[0]), Some(p50[5])));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let samples: u64 = file.runs.iter().map(|run| run.result.latency.count).sum();
    let read = |text: &str| Log::read(text.as_bytes(), LogUnit::Nanoseconds);
    assert_eq!(read(&text), Err(LogError::SeveralRuns));
    let untagged: String = text
        .split_inclusive('\n')
        .map(|line| match line.split_once(',') {
            Some((tag, rest)) if tag.starts_with("Tag=run") => rest,
            _ => line,
        })
        .collect();
    let log = read(&untagged).unwrap();
    assert_eq!((log.histogram.len(), log.intervals.len()), (samples, 6), "{text}");
    assert!(text.contains("\nTag=run6,") && log.intervals[5].start_s > 0.5, "{text}");
}

#[test]
fn gates_judge_the_median_and_the_sum_of_errors() {
    // The second run is slow, and loses one message.
    let port = serve_each(|number, stream| {
        echo(stream, move |_| {
            if number == 2 {
                thread::sleep(Duration::from_millis(5));
            }
        });
    });
    let (file, code) = repeated(port, &["--fail-if", "p50>4ms,p50>1ns"]);
    assert_eq!(code, 3, "{:?}", file.gates);
    let [median, low] = &file.gates[..] else { panic!("{:?}", file.gates) };
    assert!(!median.failed && low.failed && median.values[1] > Some(4000.0), "{median:?}");
    let port = serve_each(|number, stream| {
        if number != 2 {
            echo(stream, |_| {})
        }
    });
    let (file, code) = repeated(port, &["--fail-if", "loss>0"]);
    assert_eq!((code, file.gates[0].value), (3, Some(1.0)), "{:?}", file.gates);
    let (_, code) = repeated(
        serve_each(|number, stream| {
            if number != 2 {
                echo(stream, |_| {})
            }
        }),
        &[],
    );
    assert_eq!(code, 1, "one run of six lost a message");
}

#[test]
fn random_arrivals_have_another_seed_in_each_run() {
    let poisson = ["-R", "200", "--arrivals", "poisson", "--seed", "7", "-c", "1"];
    let run = || repeated(echo_server(), &poisson).0;
    let (one, other) = (run(), run());
    assert_eq!(one.settings.seed, Some(7));
    // On a busy machine some may be too late to be sent, or a late client sends one that is due just after the end.
    let due = |run: &SavedRun| run.result.sent + run.result.unsent;
    let sent = |file: &RunFile| file.runs.iter().map(due).collect::<Vec<_>>();
    let same = sent(&one).iter().zip(sent(&other)).all(|(one, other)| one.abs_diff(other) <= 1);
    assert!(same, "the same schedules: {:?} {:?}", sent(&one), sent(&other));
    assert!(sent(&one).iter().any(|&it| it != sent(&one)[0]), "{:?}", sent(&one));
}

#[test]
fn an_interruption_keeps_the_runs_that_are_complete() {
    if skipped_without_stop("an_interruption_keeps_the_runs_that_are_complete") {
        return;
    }
    for (gate, code) in [(&[][..], 0), (&["--fail-if", "p99>30s"], 1)] {
        let mut client = command(PROGRAM);
        let port = echo_server().to_string();
        client.args(["bench", "--port", &port, "--repeat", "5", "--pause", "0s", "-d", "800ms"]);
        client.args(["--warmup", "0s", "-i", "200ms"]).args(gate);
        let process = Process::spawn(&mut client).unwrap();
        process.wait_for_stdout("run 3 of 5\n").unwrap();
        process.interrupt();
        let finished = process.wait().unwrap();
        assert_eq!(finished.status.code(), Some(code), "{finished:?}");
        // On a busy machine the signal may arrive in a later run.
        let complete = (2..5).find(|complete| {
            finished.stderr.contains(&format!("interrupted; {complete} of 5 runs are complete"))
        });
        let complete = complete.unwrap_or_else(|| panic!("{finished:?}"));
        let has_row = |run: usize| finished.stdout.contains(&format!("\nrun {run}   "));
        assert!(has_row(complete) && !has_row(complete + 1), "{finished:?}");
        assert_eq!(finished.stderr.contains("judged only a part"), code == 1, "{finished:?}");
    }
}

#[test]
fn a_server_that_ends_between_runs_leaves_the_earlier_ones() {
    // It accepts the connection of the first run and no other.
    let finished = bench(serve_one(|stream| echo(stream, |_| {})), &SHORT);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.stderr.contains("cannot connect to 127.0.0.1"), "{finished:?}");
    assert!(finished.stdout.contains("1 opened, no failure"), "{finished:?}");
}

#[test]
fn jsonl_has_a_start_for_each_run_and_one_end() {
    let finished = bench(echo_server(), &[&SHORT[..], &["--format", "jsonl"]].concat());
    let events = |name: &str| finished.stdout.matches(&format!("{{\"event\":\"{name}\"")).count();
    assert_eq!((events("start"), events("end")), (6, 1), "{finished:?}");
}
