//! `echo-client report --against`: a metric against a varied setting.

mod saved;

use std::fs;

use echo_client::run::{Loop, Run};
use serde_json::{Value, json};

use self::saved::{Folder, run, texts_of_well_formed};

/// A labelled run with this CPU time per echo of the server.
fn measured(label: &str, connections: usize, server_us: f64) -> Run {
    let mut run = run(vec![1_000; 100]);
    run.label = Some(label.to_owned());
    run.settings.connections = connections;
    run.result.server_cpu_us_per_echo = Some(server_us);
    run
}

/// Two servers at 1 to 10 000 connections, three runs each, of which the third is an outlier.
fn sweep(folder: &Folder) -> Vec<String> {
    let mut files = Vec::new();
    for (label, base) in [("ring", 2.0), ("a<b&c", 4.0)] {
        for connections in [10_000, 1, 10, 100, 1_000] {
            for (repetition, noise) in [0.0, 0.5, 90.0].into_iter().enumerate() {
                let name = format!("{}-{connections}-{repetition}.json", files.len());
                folder.run(&name, &measured(label, connections, base + noise));
                files.push(name);
            }
        }
    }
    files
}

#[test]
fn each_label_has_a_curve_of_medians() {
    let folder = Folder::new("curves");
    let files = sweep(&folder);
    let mut arguments: Vec<&str> = files.iter().map(String::as_str).collect();
    arguments.extend(["--against", "connections"]);
    let table = folder.report(&arguments);
    assert!(table.status.success(), "{table:?}");
    let expected = "\
Server CPU time per echo by connections: size 64, depth 1, framing raw, loop
closed, medians of 3 runs

connections     ring    a<b&c
1            2.50 µs  4.50 µs (1.80x)
10           2.50 µs  4.50 µs (1.80x)
100          2.50 µs  4.50 µs (1.80x)
1000         2.50 µs  4.50 µs (1.80x)
10000        2.50 µs  4.50 µs (1.80x)
";
    assert_eq!(table.stdout, expected);
    let json = folder.json(&arguments);
    assert_eq!(json["figure"], "server_cpu_us_per_echo");
    let points = json["curves"][1]["points"].as_array().unwrap();
    assert_eq!(points[4], json!({ "at": 10_000.0, "value": 4.5, "runs": 3 }));
}

#[test]
fn the_plot_of_curves_has_readable_ticks_and_names() {
    let folder = Folder::new("curves-svg");
    let files = sweep(&folder);
    let mut arguments: Vec<&str> = files.iter().map(String::as_str).collect();
    arguments.extend(["--against", "connections", "--svg", "picture.svg"]);
    let finished = folder.report(&arguments);
    assert!(finished.status.success(), "{finished:?}");
    let svg = fs::read_to_string(folder.0.join("picture.svg")).unwrap();
    let texts = texts_of_well_formed(&svg);
    for text in [
        "Server CPU time per echo by connections",
        "size 64, depth 1, framing raw, loop closed, medians of 3 runs",
        "connections",
        "server CPU time per echo",
        "1",
        "10",
        "100",
        "1k",
        "10k",
        "2 µs",
        "ring",
        "a<b&c",
    ] {
        assert!(texts.iter().any(|found| found == text), "no {text:?} in {texts:?}");
    }
}

#[test]
fn any_metric_of_the_json_can_be_plotted() {
    let folder = Folder::new("curves-figure");
    for (name, size, rate, latency) in [
        ("small.json", 64, 50_000.0, 20_000),
        ("large.json", 1 << 20, 1_000.0, 1_500_000),
        ("odd.json", 1_000, 40_000.0, 30_000),
    ] {
        let mut run = run(vec![latency; 100]);
        (run.settings.size, run.result.rate) = (size, rate);
        folder.run(name, &run);
    }
    let files = ["small.json", "large.json", "odd.json"];
    let against = |figure: &[&str]| {
        let arguments = [&files[..], &["--against", "size", "--svg", "size.svg"], figure].concat();
        let finished = folder.report(&arguments);
        assert!(finished.status.success(), "{finished:?}");
        let (_, table) = finished.stdout.split_once("\n\n").unwrap();
        let rows = table.lines();
        rows.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    // Without a label the curve has the server's address; without its CPU time the metric is the
    // rate.
    let address = "size 192.0.2.1:65432";
    assert_eq!(against(&[]), [address, "64 B 50000/s", "1000 B 40000/s", "1 MiB 1000/s"]);
    let times = [address, "64 B 20.0 µs", "1000 B 30.0 µs", "1 MiB 1.50 ms"];
    assert_eq!(against(&["--figure", "connect.p50"]), times);
    let svg = fs::read_to_string(folder.0.join("size.svg")).unwrap();
    let texts = texts_of_well_formed(&svg);
    for text in ["connect, p50", "message size", "64 B", "1 KiB", "64 KiB", "1 MiB"] {
        assert!(texts.iter().any(|found| found == text), "no {text:?} in {texts:?}");
    }
}

#[test]
fn latency_is_plotted_against_the_requested_rate() {
    let folder = Folder::new("curves-rate");
    for (name, rate, ns) in [("1.json", 10_000.0, 50_000), ("2.json", 90_000.0, 2_500_000)] {
        let mut run = run(vec![ns; 100]);
        (run.settings.pacing, run.settings.rate) = (Loop::Open, Some(rate));
        run.result.warnings = vec!["the client was busy".to_owned()];
        folder.run(name, &run);
    }
    let finished = folder.report(&["1.json", "2.json", "--against", "rate"]);
    assert!(finished.stdout.starts_with("Latency, p99 by requested messages"), "{finished:?}");
    assert!(finished.stdout.contains("\n90000/s             2.50 ms\n"), "{finished:?}");
    let warning = "warning: 2 of 2 runs have warnings or losses; report without --against shows";
    assert!(finished.stdout.contains(warning), "{finished:?}");
}

#[test]
fn runs_that_do_not_form_a_curve_are_named_with_a_hint() {
    let folder = Folder::new("curves-refused");
    folder.run("one.json", &measured("ring", 1, 2.0));
    folder.run("two.json", &measured("ring", 2, 2.0));
    let mut deep = measured("ring", 3, 2.0);
    deep.settings.depth = 16;
    folder.run("deep.json", &deep);
    let mut bare = run([]);
    bare.settings.connections = 4;
    folder.run("bare.json", &bare);
    let against = ["--against", "connections"];
    for (arguments, code, message) in [
        (
            &["one.json", "one.json"][..],
            1,
            "nothing varies: connections is 1 in all runs\nhint: name runs that differ in it",
        ),
        (
            &["one.json", "deep.json"],
            1,
            "cannot put ring, run 1 and ring, run 2 (depth is 1 and 16) in one curve\n\
             hint: give runs of different curves different labels",
        ),
        (
            &["one.json", "bare.json", "--figure", "server_cpu_us_per_echo"],
            1,
            "bare has no server_cpu_us_per_echo: it was not measured\nhint: run bench with --server-pid",
        ),
        (&["one.json", "bare.json", "--figure", "p99"], 1, "bare has no p99: it was not measured"),
        (&["one.json", "two.json", "--figure", "p9x"], 2, "\"p9x\" is not a percentile; write"),
        (&["one.json", "two.json", "--merge"], 2, "cannot be used with"),
    ] {
        let finished = folder.report(&[arguments, &against].concat());
        assert_eq!(finished.status.code(), Some(code), "{finished:?}");
        assert!(finished.stderr.contains(message), "{arguments:?}: {finished:?}");
        assert_eq!(finished.stdout, "");
    }
    let finished = folder.report(&["one.json", "two.json", "--against", "rate"]);
    let message =
        "ring, run 1 cannot be part of a curve: it does not have the setting `rate asked`\nhint: ";
    assert!(finished.stderr.contains(message), "{finished:?}");
    let finished = folder.report(&["one.json", "two.json", "--figure", "p99"]);
    assert_eq!(finished.status.code(), Some(2), "{finished:?}");
}

#[test]
fn texts_of_a_run_are_escaped_on_the_terminal_and_in_the_plot() {
    let folder = Folder::new("curves-label");
    folder.run("one.json", &measured("\u{1b}[2J", 1, 2.0));
    folder.run("two.json", &measured("\u{1b}[2J", 2, 2.0));
    for arguments in
        [&["one.json", "two.json"][..], &["one.json", "two.json", "--against", "connections"]]
    {
        let finished = folder.report(arguments);
        assert!(finished.stdout.contains("\u{fffd}[2J"), "{finished:?}");
        assert!(!finished.stdout.contains('\u{1b}'), "{finished:?}");
    }
    let mut runs = [1, 2].map(|connections| measured("ring", connections, 2.0));
    runs.iter_mut().for_each(|run| run.settings.framing = "\u{1b}\u{ffff}".to_owned());
    runs.iter().zip(["one.json", "two.json"]).for_each(|(run, name)| folder.run(name, run));
    let against = ["one.json", "two.json", "--against", "connections", "--svg", "picture.svg"];
    assert!(folder.report(&against).status.success());
    let svg = fs::read_to_string(folder.0.join("picture.svg")).unwrap();
    assert!(!svg.contains(['\u{1b}', '\u{ffff}']), "XML cannot hold them");
}

#[test]
fn files_of_version_1_are_still_read() {
    let folder = Folder::new("curves-earlier");
    for (name, connections) in [("one.json", 1), ("two.json", 2)] {
        // As the first release wrote it. Still earlier files had neither of these fields.
        let mut json: Value = serde_json::from_str(include_str!("saved/version-1.json")).unwrap();
        assert!(json.as_object_mut().unwrap().remove("label").is_some());
        for field in ["server_cpu_s", "server_cpu_us_per_echo"] {
            assert!(json["result"].as_object_mut().unwrap().remove(field).is_some());
        }
        json["settings"]["connections"] = connections.into();
        folder.file(name, json.to_string());
    }
    let finished = folder.report(&["one.json", "two.json", "--against", "connections"]);
    assert!(finished.stdout.starts_with("Latency, p99 by connections"), "{finished:?}");
    assert!(finished.stdout.contains("connections  127.0.0.1:47001"), "{finished:?}");
    folder.file("whole.json", include_str!("saved/version-1.json"));
    let json = folder.json(&["whole.json"]);
    assert_eq!(json["runs"], serde_json::json!(["version 1"]));
    assert_eq!(json["figures"][3]["values"], serde_json::json!([223.231]), "p99");
}
