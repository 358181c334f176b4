//! `echo-client report` with repeated runs: sides, intervals, gates and formats.

mod saved;

use std::fs;

use echo_client::run::Run;
use echo_client::run_file::RunFile;
use echo_test_support::Finished;

use self::saved::{Folder, run, texts_of_well_formed};

/// One run with this latency, from its own time.
fn one(label: &str, us: u64) -> Run {
    let mut run = run(vec![us * 1_000; 100]);
    run.label = Some(label.to_owned());
    run.started = format!("2026-01-02T03:04:{:02}Z", us % 60);
    run
}

fn repeats(label: &str, us: impl IntoIterator<Item = u64>) -> String {
    let runs = us.into_iter().map(|us| one(label, us)).collect();
    serde_json::to_string(&RunFile::of(runs)).unwrap()
}

/// Two sides of six runs; `new` is a fifth slower.
fn folder(test: &str) -> Folder {
    let folder = Folder::new(test);
    folder.file("base.json", repeats("base", 100..106));
    folder.file("new.json", repeats("new", 120..126));
    folder
}

fn row(finished: &Finished, name: &str) -> String {
    let mut rows = finished.stdout.lines();
    let row = rows.find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{finished:?}"));
    row.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn fits(finished: &Finished) {
    assert!(finished.stdout.lines().all(|line| line.chars().count() <= 80), "{finished:?}");
}

#[test]
fn repeated_runs_are_compared_with_intervals() {
    let finished = folder("repeated").report(&["base.json", "new.json"]);
    assert!(finished.status.success(), "{finished:?}");
    assert_eq!(row(&finished, "runs"), "runs 6 6");
    assert_eq!(row(&finished, "p99 "), "p99 103 µs ±2% 123 µs ±2% 1.20x 1.17x to 1.23x");
    assert_eq!(row(&finished, "rate"), "rate 50.0/s ±0% 50.0/s ±0% ~ 1.00x to 1.00x");
    assert!(finished.stdout.contains("\n~ no difference is seen at the 5 % level"));
    fits(&finished);
}

#[test]
fn files_with_the_same_label_are_one_side() {
    let folder = Folder::new("sides");
    let mut files: Vec<String> = Vec::new();
    for (label, first) in [("base", 100), ("new", 120)] {
        for us in first..first + 6 {
            files.push(format!("{us}.json"));
            folder.run(&files[files.len() - 1], &one(label, us));
        }
    }
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let finished = folder.report(&files);
    assert_eq!(row(&finished, "p99 "), "p99 103 µs ±2% 123 µs ±2% 1.20x 1.17x to 1.23x");
    let twice = folder.report(&["100.json", "101.json", "100.json"]);
    assert_eq!(twice.status.code(), Some(1), "{twice:?}");
    assert!(twice.stderr.contains("base, run 1 and base, run 3 are the same run\nhint: name each"));
}

#[test]
fn a_ratio_gate_fails_with_3_if_the_whole_interval_lies_beyond_it() {
    let folder = folder("gates");
    folder.file("few.json", repeats("few", 120..122));
    let ask = |files: &[&str], gate: &str| folder.report(&[files, &["--fail-if", gate]].concat());
    let both = ["base.json", "new.json"];
    for (gate, code, line) in [
        ("p99>1.10x", 3, "gate: p99>1.10x failed: new is at 1.20x (1.17x to 1.23x)\n"),
        ("p99>1.19x", 0, "gate: p99>1.19x passed: new is at 1.20x (1.17x to 1.23x)\n"),
        ("p95>1.1x", 3, "gate: p95>1.1x failed: new is at 1.20x"),
        ("rate<0.95x", 0, "gate: rate<0.95x passed: new is at 1.00x"),
    ] {
        let finished = ask(&both, gate);
        assert_eq!(finished.status.code(), Some(code), "{finished:?}");
        assert!(finished.stdout.contains(line) && finished.stderr.is_empty(), "{finished:?}");
        fits(&finished);
    }
    // CSV has no place for it.
    let csv = folder.report(&["base.json", "new.json", "--format", "csv", "--fail-if", "p99>1.1x"]);
    assert_eq!(csv.status.code(), Some(3), "{csv:?}");
    assert!(csv.stderr.contains("gate p99>1.1x failed: new is at 1.20x"), "{csv:?}");
    // What is not known does not pass, but the report is there.
    for (files, gate, message) in [
        (
            &["base.json", "few.json"],
            "p99>1.10x",
            "p99>1.10x cannot be judged for few: 2 runs against 6\nhint: so few runs",
        ),
        (
            &both,
            "loss>2x",
            "it is 0 in a run of base, which has no ratio\nhint: use bench --fail-if",
        ),
        (&both, "server_cpu_s>2x", "for new: it was not measured in every run\nhint: "),
    ] {
        let finished = ask(files, gate);
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        assert!(finished.stderr.contains(message), "{finished:?}");
        assert!(finished.stdout.contains(" cannot be judged for "), "{finished:?}");
    }
    // A failure is known even if something else is not.
    let mixed = ask(&both, "loss>2x,p99>1.1x");
    assert_eq!(mixed.status.code(), Some(3), "{mixed:?}");
    let alone = ask(&both[..1], "p99>1.1x");
    assert_eq!(alone.status.code(), Some(1), "{alone:?}");
    assert!(alone.stderr.contains("nothing to compare: all runs are of base\nhint: name the"));
    for wrong in ["p99>2ms", "p99", "p100>1.1x", "nothing>1.1x"] {
        assert_eq!(ask(&both, wrong).status.code(), Some(2), "{wrong}");
    }
    for other in [&["--merge"][..], &["--against", "size"]] {
        let finished = ask(&[&both, other].concat(), "p99>1.1x");
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
    }
}

#[test]
fn a_report_may_be_markdown_csv_or_json() {
    let folder = folder("formats");
    let report = |format: &str| {
        let arguments = ["base.json", "new.json", "--title", "b > a?", "--format", format];
        let finished = folder.report(&arguments);
        assert!(finished.status.success(), "{finished:?}");
        finished.stdout
    };
    let markdown = report("markdown");
    assert!(markdown.starts_with("# b > a?\n\nhost example, "), "{markdown}");
    assert!(markdown.contains("\n|  | base | new | ratio | 95 % interval |\n|---|---:|"));
    assert!(markdown.contains("\n| p99 | 103 µs ±2% | 123 µs ±2% | 1.20x | 1.17x to 1.23x |\n"));
    let csv = report("csv");
    assert!(csv.starts_with("metric,side,runs,value,"), "{csv}");
    let p99: Vec<_> = csv.lines().filter(|line| line.starts_with("p99_us,")).collect();
    assert!(p99[1].starts_with("p99_us,new,6,122.5") && p99[1].ends_with(",different"), "{csv}");
    assert!(p99.iter().all(|line| line.split(',').count() == 11), "{csv}");
    let json = folder.json(&["base.json", "new.json"]);
    assert_eq!(json["repeats"], serde_json::json!([6, 6]));
    let row = json["figures"].as_array().unwrap().iter().find(|row| row["figure"] == "p99_us");
    let comparison = &row.unwrap()["comparison"][0];
    assert_eq!(comparison["verdict"], "different");
    assert!((comparison["ratio"].as_f64().unwrap() - 1.195).abs() < 0.01, "{comparison}");
    assert!(report("text").starts_with("b > a?\n\nhost example, "));
}

#[test]
fn curves_may_be_markdown_or_csv() {
    let folder = Folder::new("curve-formats");
    for connections in [1, 10] {
        let mut run = one("a,b", 100);
        run.settings.connections = connections;
        folder.run(&format!("{connections}.json"), &run);
    }
    let report = |format: &str| {
        let arguments = ["1.json", "10.json", "--against", "connections", "--figure", "rate"];
        let finished = folder.report(&[&arguments[..], &["--format", format]].concat());
        assert!(finished.status.success(), "{finished:?}");
        finished.stdout
    };
    assert_eq!(report("csv"), "connections,curve,rate,runs\n1,\"a,b\",50,1\n10,\"a,b\",50,1\n");
    let table = "| connections | a,b |\n|---|---:|\n| 1 | 50.0/s |\n| 10 | 50.0/s |\n";
    assert!(report("markdown").ends_with(table), "{}", report("markdown"));
}

#[test]
fn the_plot_has_a_title_and_the_load_and_one_curve_per_side() {
    let folder = folder("side-plot");
    let arguments = ["base.json", "new.json", "--svg", "sides.svg", "--title", "before & after"];
    assert!(folder.report(&arguments).status.success());
    let svg = fs::read_to_string(folder.0.join("sides.svg")).unwrap();
    let texts = texts_of_well_formed(&svg);
    for text in [
        "before & after",
        "connections 1, size 64, depth 1, framing raw, loop closed",
        "base, median of 6 runs",
        "new, median of 6 runs",
    ] {
        assert!(texts.iter().any(|found| found == text), "no {text:?} in {texts:?}");
    }
}

#[test]
fn repeated_runs_are_not_merged() {
    let finished = folder("merge-repeated").report(&["base.json", "new.json", "--merge"]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let message =
        "cannot merge repeated runs: base.json has 6 of them\nhint: bench without --repeat";
    assert!(finished.stderr.contains(message), "{finished:?}");
}
