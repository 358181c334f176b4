//! The built echo-client, reading saved runs.

mod saved;

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use echo_client::distribution::{Distribution, histogram};
use echo_client::hdr_log::LogWriter;
use echo_client::run::Run;
use echo_client::run_file::RunFile;
use echo_test_support::{Finished, Process, command, skipped};
use hdrhistogram::Histogram;
use serde_json::Value;

#[cfg(target_os = "linux")]
use self::saved::PROGRAM;
use self::saved::{Folder, json, run, texts_of_well_formed, times};

/// Reads a log with another implementation of HdrHistogram and prints percentiles in nanoseconds.
const OTHER_READER: &str = "
import sys
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
total = HdrHistogram(1, 3600 * 1000 ** 3, 3)
log = HistogramLogReader(sys.argv[1], total)
while log.add_next_interval_histogram():
    pass
print(total.get_total_count(), *map(total.get_value_at_percentile, (50, 99, 99.9, 100)))
";

/// A log of three intervals of one second.
fn log(intervals: [Histogram<u64>; 3]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut log = LogWriter::new(&mut bytes, SystemTime::now(), "echo-client to example").unwrap();
    for (second, times) in (0..).zip(&intervals) {
        log.write(times, Duration::from_secs(second), Duration::from_secs(1), None).unwrap();
    }
    bytes
}

fn values(json: &Value, figure: &str, key: &str) -> Vec<Option<f64>> {
    let figures = json["figures"].as_array().unwrap();
    let row = figures.iter().find(|row| row["figure"] == figure).unwrap();
    row[key].as_array().unwrap().iter().map(Value::as_f64).collect()
}

fn only_run(json: Value) -> Run {
    let file: RunFile = serde_json::from_value(json).unwrap();
    let [run] = file.into_runs().try_into().unwrap();
    run
}

#[test]
fn runs_are_compared_with_ratios_to_the_first() {
    let folder = Folder::new("table");
    folder.run("a.json", &run(vec![1_000; 100]));
    let mut other = run(vec![1_500; 50]);
    other.settings.connections = 7;
    other.result.warnings = vec!["the machine was busy".to_owned()];
    folder.run("b.json", &other);
    let finished = folder.report(&["a.json", "b.json"]);
    assert!(finished.status.success(), "{finished:?}");
    let row = |name: &str| {
        let row = finished.stdout.lines().find(|line| line.starts_with(name)).unwrap();
        row.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("rate"), ["rate", "50.0/s", "25.0/s", "(0.50x)"]);
    assert_eq!(row("p99 "), ["p99", "1.00", "µs", "1.50", "µs", "(1.50x)"]);
    assert_eq!(row("connections"), ["connections", "1", "7"]);
    assert!(finished.stdout.ends_with("\nwarning: b: the machine was busy\n"), "{finished:?}");
    let json = folder.json(&["a.json", "b.json"]);
    assert_eq!(json["runs"], serde_json::json!(["a", "b"]));
    assert_eq!(values(&json, "rate", "ratios"), [Some(1.0), Some(0.5)]);
    assert_eq!(values(&json, "p50_us", "values"), [Some(1.0), Some(1.5)]);
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let folder = Folder::new("bom");
    let text = [b"\xef\xbb\xbf", &json(&run([1_000])).into_bytes()[..]].concat();
    folder.file("bom.json", text);
    let finished = folder.report(&["bom.json"]);
    assert!(finished.status.success(), "{finished:?}");
}

#[test]
fn a_run_may_come_in_on_stdin() {
    let folder = Folder::new("stdin");
    let finished = folder.report_of(&json(&run([1_000])).into_bytes(), &["-"]);
    assert!(finished.status.success() && finished.stdout.contains("stdin"), "{finished:?}");
}

#[test]
fn merged_runs_have_the_percentiles_of_all_their_samples() {
    let folder = Folder::new("merge");
    folder.run("a.json", &run(1_000..=3_000));
    folder.run("b.json", &run(2_000..=90_000));
    let merged = only_run(folder.json(&["--merge", "a.json", "b.json"]));
    let all = Distribution::of(&times((1_000..=3_000).chain(2_000..=90_000)));
    assert_eq!(merged.result.latency, all);
    assert_eq!((merged.result.sent, merged.settings.connections), (all.count, 2));
    assert_eq!(merged.result.rate, all.count as f64 / 2.0);
    // Each connection had a different number of echoes.
    let (a, b) = (2_001.0_f64, 88_001.0_f64);
    let jain = (a + b).powi(2) / (2.0 * (a * a + b * b));
    assert!(
        (merged.result.fairness.jain.unwrap() - jain).abs() < 1e-9,
        "{:?}",
        merged.result.fairness
    );
    assert!(merged.program.contains("2 runs merged"), "{}", merged.program);
    // A merged run is a run, and can be merged again.
    folder.run("ab.json", &merged);
    folder.run("c.json", &run([5]));
    let more = only_run(folder.json(&["--merge", "ab.json", "c.json"]));
    assert_eq!(more.result.latency.count, all.count + 1);
    let table = folder.report(&["--merge", "a.json", "b.json"]);
    assert!(table.status.success() && table.stdout.contains("a + b"), "{table:?}");
    assert_eq!(table.stderr, "echo-client: the runs overlap for 2 s of 2 s, 100 %\n");
    let mut late = run([5]);
    late.started = "2026-01-02T03:04:08Z".to_owned();
    folder.run("late.json", &late);
    let apart = folder.report(&["--merge", "a.json", "late.json"]);
    assert_eq!(apart.status.code(), Some(1), "{apart:?}");
    assert!(apart.stderr.contains("cannot merge a and late: they were not measured at the same"));
}

#[test]
fn files_that_cannot_be_reported_are_named_with_their_cause() {
    let folder = Folder::new("refused");
    let good = run([1_000]);
    folder.run("good.json", &good);
    let mut larger = run([2_000]);
    larger.settings.size = 4096;
    folder.run("larger.json", &larger);
    let text = json(&good);
    folder.file("newer.json", text.replace("\"schema_version\":2", "\"schema_version\":3"));
    folder.file("cut.json", &text[..text.len() - 40]);
    folder.file("other.json", "{\"answer\": 42}");
    folder.file("damaged.json", text.replacen("\"histogram\":\"HIST", "\"histogram\":\"HITS", 1));
    folder.file("words.txt", "Hello, world\n");
    let max = format!("\"loss\":{}", u64::MAX);
    folder.file("wrapped.json", text.replacen("\"loss\":0", &max, 1));
    folder.file("long.json", text.replacen("\"rate\":0.5", "\"rate\":1e308", 1));
    folder.file("null.json", text.replacen("\"rate\":0.5", "\"rate\":null", 1));
    folder.file("more.json", text.clone() + "}");
    folder.file("empty", "");
    folder.file("bare.hlog", "#[Histogram log format version 1.2]\n");
    let mut cut = log([times([1]), times([2]), times([3])]);
    cut.truncate(cut.len() - 30);
    folder.file("cut.hlog", cut);
    let missing = fs::read(folder.0.join("missing.json")).unwrap_err();
    let missing = format!("cannot read missing.json: {missing}");
    for (arguments, code, message) in [
        (&["missing.json"][..], 1, missing.as_str()),
        (
            &["newer.json"],
            1,
            "newer.json: it has version 3 of the format, but this program knows only",
        ),
        (&["cut.json"], 1, "cut.json: the JSON is cut off in line 1\nhint: "),
        (&["other.json"], 1, "other.json: the JSON is not a run: missing field `schema_version`"),
        (
            &["damaged.json"],
            1,
            "damaged.json: the histogram of `runs[0].result.latency` is damaged",
        ),
        (
            &["wrapped.json"],
            1,
            "wrapped.json: `runs[0].result.loss` is 18446744073709552000, which",
        ),
        (
            &["long.json"],
            1,
            "long.json: `runs[0].result.rate` is 1e308, which no run can have\nhint: ",
        ),
        (
            &["null.json"],
            1,
            "null.json: the JSON is not a run: `runs[0].result.rate`: invalid type",
        ),
        (&["more.json"], 1, "more.json: the JSON is damaged: trailing characters"),
        (&["words.txt"], 1, "words.txt: it is neither a saved run (JSON) nor an HdrHistogram"),
        (&["empty"], 1, "empty: it is empty"),
        (&["bare.hlog"], 1, "bare.hlog: the interval log has no interval"),
        (&["cut.hlog"], 1, "cut.hlog: the histogram of interval 3 is cut off"),
        (&["good.json", "larger.json", "--merge"], 1, "(size is 64 and 4096)"),
        (
            &["good.json", "good.json", "--merge"],
            1,
            "good, run 1 and good, run 2 are the same run\nhint: name each run once",
        ),
        (&["good.json", "--svg", "no/such/folder.svg"], 1, "cannot write no/such/folder.svg: "),
        (&[], 2, "required arguments were not provided"),
        (&["good.json", "--format", "xml"], 2, "invalid value 'xml'"),
    ] {
        let finished = folder.report(arguments);
        assert_eq!(finished.status.code(), Some(code), "{finished:?}");
        assert!(finished.stderr.contains(message), "{arguments:?}: {finished:?}");
        assert_eq!(finished.stdout, "", "a bad file leaves no half report");
    }
}

#[test]
fn a_run_without_an_echo_has_no_percentiles_and_no_curve() {
    let folder = Folder::new("empty");
    folder.run("empty.json", &run([]));
    let json = folder.json(&["empty.json"]);
    assert_eq!(values(&json, "p50_us", "values"), [None]);
    assert_eq!(values(&json, "rate", "ratios"), [None]);
    let finished = folder.report(&["empty.json", "--svg", "empty.svg"]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("there is nothing to plot: no echo came back"),
        "{finished:?}"
    );
    assert!(!folder.0.join("empty.svg").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_reported() {
    let folder = Folder::new("full");
    folder.run("a.json", &run([1_000]));
    let finished = folder.report(&["a.json", "--svg", "/dev/full"]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.stderr.contains("cannot write /dev/full: No space left"), "{finished:?}");
    let mut client = command(PROGRAM);
    client.args(["report", "a.json"]).current_dir(&folder.0);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = client.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("cannot write the report: No space left"), "{stderr}");
}

#[test]
fn files_and_their_names_reach_the_terminal_escaped() {
    let folder = Folder::new("escapes");
    let mut hostile = run([1_000]);
    hostile.settings.host = "\x1b[2J\nforged".to_owned();
    hostile.result.warnings = vec!["\x1b[2J\nforged".to_owned()];
    folder.run("a.json", &hostile);
    hostile.settings.host = "\u{9b}2J".to_owned();
    folder.run("b.json", &hostile);
    folder.file("c.json", r#"{"schema_version": 1, "settings": {"loop": "\u001b[2J\n"}}"#);
    // The settings of a single run are a paragraph; with another run they are rows.
    for files in [&["a.json"][..], &["a.json", "b.json"], &["c.json"], &["\x1b[2J\n.json"]] {
        let Finished { stdout, stderr, .. } = folder.report(files);
        let spoken = |letter: char| letter.is_control() && letter != '\n';
        assert!(!stdout.contains(spoken) && !stderr.contains(spoken), "{stdout:?}{stderr:?}");
        assert!(!stdout.contains("\nforged"), "{stdout}");
        assert!(stderr.lines().count() <= 2, "an error and a hint: {stderr}");
    }
}

#[test]
fn the_plot_has_its_series_and_labels() {
    let folder = Folder::new("svg");
    folder.run("a&b.json", &run((0..5_000).map(|index| 10_000 + 3 * index)));
    folder.run("slow.json", &run((0..5_000).map(|index| 20_000 + index * index)));
    let finished = folder.report(&["a&b.json", "slow.json", "--svg", "picture.svg"]);
    assert!(finished.status.success(), "{finished:?}");
    let svg = fs::read_to_string(folder.0.join("picture.svg")).unwrap();
    let texts = texts_of_well_formed(&svg);
    for text in [
        "latency",
        "percentile of the echoes",
        "rate (echoes/s)",
        "time from the start (s)",
        "50 %",
        "99.9 %",
        "100 µs",
        "a&b",
        "slow",
    ] {
        assert!(texts.iter().any(|found| found == text), "no {text:?} in {texts:?}");
    }
    // The colours of the first two runs, in paths long enough for a series.
    for (colour, points) in [("#0072B2", 20), ("#D55E00", 20)] {
        let lines = svg.lines().filter(|line| line.contains("polyline") && line.contains(colour));
        let found: usize = lines.map(|line| line.matches(',').count()).sum();
        assert!(found > points, "{colour} has {found} points");
    }
}

#[test]
fn an_interval_log_is_compared_with_a_run() {
    let folder = Folder::new("log");
    folder.run("run.json", &run(vec![4_000_000; 4]));
    folder.file("log.hlog", log([times([2_000]), times([2_000]), times([2_000; 10])]));
    let units = [
        (&[][..], 2.0),
        (&["--unit", "ns"], 2.0),
        (&["--unit", "us"], 2e3),
        (&["--unit", "ms"], 2e6),
    ];
    for (unit, us) in units {
        let json = folder.json(&[&["run.json", "log.hlog"], unit].concat());
        assert_eq!(values(&json, "rate", "values"), [Some(2.0), Some(4.0)]);
        let found = values(&json, "p50_us", "values")[1].unwrap();
        assert!((found / us - 1.0).abs() < 2e-3, "{unit:?}: {found}");
        assert_eq!(values(&json, "loss", "values"), [Some(0.0), None]);
    }
    let finished = folder.report(&["--merge", "run.json", "log.hlog"]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.stderr.contains("the latter is an interval log"), "{finished:?}");
}

#[test]
fn another_hdrhistogram_reads_our_log_to_the_same_percentiles() {
    let installed = Command::new("python3").args(["-c", "import hdrh.log"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        skipped("our interval log in another HdrHistogram", "no python3 with PyPI's hdrhistogram");
        return;
    }
    let folder = Folder::new("python");
    // 40 000 in all: if a percentile lies between two values, that library rounds to the nearest.
    let parts = [times(1_000..=40_096), times([9; 3]), times((0..900).map(|it| it * 1_000_000))];
    let mut all = histogram();
    parts.iter().for_each(|part| all.add(part).unwrap());
    folder.file("run.hlog", log(parts));
    let mut python = command("python3");
    let python = python.args(["-c", OTHER_READER, "run.hlog"]).current_dir(&folder.0);
    let finished = Process::run(python, b"").unwrap();
    assert!(finished.status.success(), "{finished:?}");
    let found: Vec<u64> =
        finished.stdout.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let ours = [0.5, 0.99, 0.999, 1.0].map(|quantile| all.value_at_quantile(quantile));
    assert_eq!(found, [&[all.len()], &ours[..]].concat());
}

#[cfg(not(target_os = "linux"))]
echo_test_support::ignored! {
    "it needs /dev/full of Linux":
        a_full_disk_is_reported;
}
