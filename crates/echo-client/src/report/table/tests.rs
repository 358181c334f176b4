//! Tests of the table.

use super::*;
use crate::metric::PERCENTILES;
use crate::report::LoadedRun;
use crate::report::fixtures::{run, saved};

fn table(runs: &[LoadedRun]) -> Table {
    let percentiles = PERCENTILES.map(|name| name.parse().unwrap());
    Table::of(&Side::group(runs.to_vec()).unwrap(), &percentiles, &[])
}

#[test]
fn any_percentile_may_be_a_row() {
    let percentiles = ["p95", "p99.5"].map(|name| name.parse().unwrap());
    let sides = Side::group(vec![saved("a", run(1, 1_000..=2_000))]).unwrap();
    let table = Table::of(&sides, &percentiles, &[]);
    let rows: Vec<_> = table.metrics.iter().map(|row| row.metric.as_str()).collect();
    assert_eq!(rows[..4], ["rate", "p95_us", "p99_5_us", "max_us"]);
    assert!(table.text(80).contains("\np95 ") && !table.text(80).contains("\np50 "));
    assert_eq!(table.metrics[1].values, [Some(1.95)]);
}

#[test]
fn each_column_has_its_ratios_to_the_first() {
    let (mut first, mut second) = (run(50, 1_000..=1_000), run(500, 1_250..=1_250));
    (first.result.rate, second.result.rate) = (50_000.0, 40_000.0);
    second.result.warnings = vec!["the client was busy".to_owned()];
    let table = table(&[saved("a", first), saved("longer", second)]).text(300);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].contains("size 64, depth 1, framing raw, loop closed"), "{table}");
    for (row, expected) in [
        (2, "                    a   longer"),
        (3, "connections        50      500"),
        (4, "rate          50000/s  40000/s (0.80x)"),
        (5, "p50           1.00 µs  1.25 µs (1.25x)"),
    ] {
        assert_eq!(lines[row], expected, "{table}");
    }
    let warnings: Vec<_> = lines.iter().filter(|line| line.starts_with("warning")).collect();
    let differ = "warning: the runs differ in connections: a ratio may come from that alone";
    assert_eq!(warnings, [&differ, &"warning: longer: the client was busy"]);
}

/// A side of runs with this p50 in microseconds.
fn repeated(name: &str, values: &[u64]) -> Vec<LoadedRun> {
    values.iter().map(|us| saved(name, run(1, vec![us * 1_000; 100]))).collect()
}

#[test]
fn repeated_runs_have_medians_ratios_and_intervals() {
    let base = repeated("base", &[100, 101, 102, 103, 104, 105]);
    let slow = repeated("slow", &[120, 121, 122, 123, 124, 125]);
    let mut same = repeated("same", &[100, 101, 102, 103, 104, 106]);
    same[0].run.as_mut().unwrap().run.result.loss = 3;
    let table = table(&[base, slow, same].concat());
    let text = table.text(140);
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    assert_eq!(
        row("p50"),
        "p50            103 µs ±2%   123 µs ±2%  1.20x  1.17x to 1.23x   103 µs ±3%      ~  0.97x to 1.03x"
    );
    assert!(row("loss").ends_with("3      ~") && row("runs").ends_with("6"), "{text}");
    assert!(text.contains("\n~ no difference is seen") && !text.contains("may be chance"));
    let p50 = table.metrics.iter().find(|row| row.metric == "p50_us").unwrap();
    let verdicts = p50.comparison.iter().map(|it| it.unwrap().verdict);
    assert!(verdicts.eq([Verdict::Different, Verdict::NoDifference]));
    assert!(text.lines().all(|line| line.chars().count() <= 140), "{text}");
    let narrow = table.text(80);
    assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
}

#[test]
fn a_ratio_of_few_runs_may_be_chance() {
    let few = table(&[repeated("a", &[100, 101, 102]), repeated("b", &[120, 121, 122])].concat());
    let text = few.text(80);
    assert!(text.contains("p50            101 µs   121 µs  (1.20x)\n"), "{text}");
    assert!(text.contains("( ) may be chance: so few runs cannot show a difference"), "{text}");
    assert!(!text.contains('±') && !text.contains("(Mann"), "{text}");
}

#[test]
fn three_runs_against_six_can_show_a_difference() {
    let six = repeated("a", &[100, 101, 102, 103, 104, 105]);
    let table = table(&[six, repeated("b", &[120, 121, 122])].concat());
    let p50 = table.metrics.iter().find(|row| row.metric == "p50_us").unwrap();
    assert_eq!(p50.comparison[0].unwrap().verdict, Verdict::Different);
}

#[test]
fn gates_judge_each_side_but_the_first() {
    let runs = [repeated("a", &[100, 101, 102, 103]), repeated("b", &[120, 121, 122, 123])];
    let sides = Side::group(runs.concat()).unwrap();
    let check = |gate: &str| {
        let table = Table::of(&sides, &[], &[gate.parse().unwrap()]);
        let [gate] = &table.gates[..] else { panic!("one side is judged") };
        gate.to_string()
    };
    assert_eq!(check("p50>1.10x"), "p50>1.10x failed: b is at 1.20x (1.17x to 1.23x)");
    assert_eq!(check("p50>1.17x"), "p50>1.17x passed: b is at 1.20x (1.17x to 1.23x)");
    let reason = "it is 0 in a run of a, which has no ratio";
    assert_eq!(check("loss>2x"), format!("loss>2x cannot be judged for b: {reason}"));
    let mut runs = runs.concat();
    runs.iter_mut().enumerate().for_each(|(index, run)| {
        run.run.as_mut().unwrap().run.result.loss = index as u64;
    });
    let sides = Side::group(runs).unwrap();
    let table = Table::of(&sides, &[], &["loss>2x".parse().unwrap()]);
    assert_eq!(table.gates[0].reason.as_deref(), Some(reason), "one loss of a is 0");
    let reason = "it was not measured in every run";
    assert_eq!(check("busy>2x"), "busy>2x passed: b is at 1.00x (1.00x to 1.00x)");
    let unknown = check("server_cpu_s>2x");
    assert_eq!(unknown, format!("server_cpu_s>2x cannot be judged for b: {reason}"));
}

#[test]
fn csv_has_a_line_per_metric_and_side_with_numbers_as_measured() {
    let runs = [repeated("a", &[100, 101, 102, 103]), repeated("b,c", &[200, 202, 204, 206])];
    let csv = table(&runs.concat()).csv();
    let lines: Vec<_> = csv.lines().filter(|line| line.starts_with("rate,")).collect();
    assert_eq!(lines[0], "rate,a,4,10,,,,,,,");
    assert_eq!(lines[1], "rate,\"b,c\",4,10,,,1,1,1,1,no_difference");
    assert!(csv.starts_with("metric,side,runs,value,lower,upper,ratio,"), "{csv}");
}

#[test]
fn settings_that_differ_are_a_warning_in_every_format() {
    let mut other = run(1, [5]);
    other.machine.congestion_control = Some("bbr".to_owned());
    let runs = [saved("a", run(1, [4])), saved("b|c", other)];
    let table = table(&runs);
    let expected = "the runs differ in congestion control: a ratio may come from that alone";
    assert_eq!(table.warnings, [expected]);
    let markdown = table.markdown();
    assert!(markdown.contains(&format!("\n- warning: {expected}\n")), "{markdown}");
    assert!(markdown.contains("\n| congestion control | cubic | bbr |  |\n"), "{markdown}");
    assert!(markdown.contains("\n|  | a | b\\|c |  |\n|---|---:|---:|---:|\n"), "{markdown}");
}

#[test]
fn a_missing_metric_has_no_value_and_no_ratio() {
    let log = LoadedRun { run: None, ..saved("log", run(1, 1_000..=1_000)) };
    let table = table(&[saved("none", run(1, [])), log]);
    let row = |name| table.metrics.iter().find(|row| row.metric == name).unwrap();
    assert_eq!(
        (&row("p50_us").values[..], row("p50_us").ratios[1]),
        (&[None, Some(1.0)][..], None)
    );
    assert_eq!((&row("loss").values[..], row("loss").ratios[0]), (&[Some(0.0), None][..], None));
    assert_eq!(row("rate").values[1], Some(0.1));
    assert!(!table.text(80).contains("NaN"), "{table:?}");
    assert!(table.settings.iter().all(|row| row.setting != "arrivals"), "{table:?}");
}
