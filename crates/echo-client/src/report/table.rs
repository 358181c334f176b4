//! Runs side by side: one row per metric, one column per run, with ratios to the first.

use echo_proto::one_line;
use serde::Serialize;

use super::LoadedRun;
use super::grid::{Row, align, ratios};
use super::settings::{Setting, settings};
use crate::distribution::Distribution;
use crate::metric::Metric;
use crate::percentile::Percentile;
use crate::run::Metrics;
use crate::units::{Unit, wrap};

/// What distinguishes runs, and their metrics. A missing metric is `None`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// Names of the columns.
    pub runs: Vec<String>,
    /// The settings that any run has.
    pub settings: Vec<Setting>,
    /// The metrics.
    #[serde(rename = "figures")]
    pub metrics: Vec<MetricRow>,
    /// Reasons to doubt the metrics, each with the run's name.
    pub warnings: Vec<String>,
}

/// One row of metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricRow {
    /// Its name; times end in their unit.
    #[serde(rename = "figure")]
    pub metric: String,
    /// Its name in the text.
    #[serde(skip)]
    label: String,
    #[serde(skip)]
    unit: Unit,
    /// One per run.
    pub values: Vec<Option<f64>>,
    /// The value divided by that of the first run; `None` if that is zero.
    pub ratios: Vec<Option<f64>>,
}

/// The metrics of a table by their names, there and as text. These percentiles are rows.
fn rows(percentiles: &[Percentile]) -> Vec<(String, String, String)> {
    let row = |(key, name, label): (&str, &str, &str)| (key.into(), name.into(), label.into());
    let below = [
        ("max_us", "max", "max"),
        ("service_p50_us", "service.p50", "service p50"),
        ("service_p99_us", "service.p99", "service p99"),
        ("connect_p50_us", "connect.p50", "connect p50"),
        ("connect_p99_us", "connect.p99", "connect p99"),
        ("loss", "loss", "loss"),
        ("failed", "failed", "failed"),
        ("cpu_us_per_echo", "cpu_us_per_echo", "cpu per echo"),
        ("server_cpu_us_per_echo", "server_cpu_us_per_echo", "server cpu per echo"),
    ];
    let percentile = |it: &Percentile| (format!("{}_us", it.key()), it.to_string(), it.to_string());
    let mut rows = vec![row(("rate", "rate", "rate"))];
    rows.extend(percentiles.iter().map(percentile));
    rows.extend(below.map(row));
    rows
}

impl Table {
    /// Compares these runs, with a row for each of these percentiles of latency.
    #[must_use]
    pub fn of(runs: &[LoadedRun], percentiles: &[Percentile]) -> Self {
        let all: Vec<Metrics> = runs.iter().map(metrics).collect();
        let row = |(key, name, label): (String, String, String)| {
            let metric: Metric = name.parse().expect("every row has a metric");
            let known = |run: &LoadedRun| run.run.is_some() || is_in_logs(&name, run);
            let value = |(run, metrics)| metric.of(metrics).filter(|_| known(run));
            let values: Vec<_> = runs.iter().zip(&all).map(value).collect();
            let (unit, ratios) = (metric.unit(), ratios(&values));
            MetricRow { metric: key, label, unit, ratios, values }
        };
        let warnings = runs.iter().zip(&all).flat_map(|(run, metrics)| {
            metrics.warnings.iter().map(|text| format!("{}: {text}", run.name))
        });
        let settings = settings(runs);
        Self {
            runs: runs.iter().map(|run| run.name.clone()).collect(),
            metrics: rows(percentiles).into_iter().map(row).collect(),
            warnings: different(&settings, runs).into_iter().chain(warnings).collect(),
            settings,
        }
    }

    /// As text: common settings as a paragraph, different ones as rows, then the metrics with
    /// ratios in parentheses, then the warnings.
    #[must_use]
    pub fn text(&self, width: usize) -> String {
        let (common, different): (Vec<_>, Vec<_>) =
            self.settings.iter().partition(|row| row.is_common());
        let common: Vec<String> = common.into_iter().filter_map(Setting::description).collect();
        let mut text = String::new();
        if !common.is_empty() {
            text = wrap(&common.join(", "), width, 0) + "\n\n";
        }
        let mut grid = vec![Row::of("", self.runs.iter().cloned().map(Some))];
        grid.extend(different.iter().map(|row| Row::of(row.setting, row.values.iter().cloned())));
        for row in &self.metrics {
            if row.values.iter().any(Option::is_some) {
                grid.push(Row::compared(&row.label, row.unit, &row.values));
            }
        }
        text += &align(&grid, width);
        for (index, warning) in self.warnings.iter().enumerate() {
            text += if index == 0 { "\nwarning: " } else { "warning: " };
            text += &wrap(&one_line(warning).to_string(), width.saturating_sub(9), 9);
            text.push('\n');
        }
        text
    }
}

/// Settings that move the metrics whatever server is measured.
const LOAD_SETTINGS: [&str; 6] = ["connections", "size", "depth", "framing", "loop", "rate asked"];

/// A warning if the runs differ in more than the server.
fn different(settings: &[Setting], runs: &[LoadedRun]) -> Option<String> {
    let mut names: Vec<&str> = settings
        .iter()
        .filter(|row| LOAD_SETTINGS.contains(&row.setting) && !row.is_common_where_known())
        .map(|row| row.setting)
        .collect();
    let mut machines = runs.iter().filter_map(|run| Some(&run.run.as_ref()?.run.machine));
    if let Some(first) = machines.next()
        && machines.any(|other| other != first)
    {
        names.push("machine");
    }
    let list = names.join(", ");
    (!names.is_empty())
        .then(|| format!("the runs differ in {list}: a ratio may come from that alone"))
}

/// Whether an interval log has this metric.
fn is_in_logs(metric: &str, log: &LoadedRun) -> bool {
    metric == "rate" && log.rate.is_some() || metric.starts_with('p') || metric == "max"
}

/// The metrics of a run, or those of an interval log.
fn metrics(run: &LoadedRun) -> Metrics {
    match &run.run {
        Some(details) => details.run.result.clone(),
        None => Metrics {
            rate: run.rate.unwrap_or_default(),
            // Without a length there is no rate either.
            seconds: run.intervals.iter().map(|part| part.seconds).sum(),
            latency: Distribution::of(&run.latency),
            ..Metrics::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::PERCENTILES;
    use crate::report::fixtures::{run, saved};

    fn table(runs: &[LoadedRun]) -> Table {
        Table::of(runs, &PERCENTILES.map(|name| name.parse().unwrap()))
    }

    #[test]
    fn any_percentile_may_be_a_row() {
        let percentiles = ["p95", "p99.5"].map(|name| name.parse().unwrap());
        let table = Table::of(&[saved("a", run(1, 1_000..=2_000))], &percentiles);
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
        let table = table(&[saved("a", first), saved("longer", second)]).text(200);
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

    #[test]
    fn a_missing_metric_has_no_value_and_no_ratio() {
        let log = LoadedRun { run: None, ..saved("log", run(1, 1_000..=1_000)) };
        let table = table(&[saved("none", run(1, [])), log]);
        let row = |name| table.metrics.iter().find(|row| row.metric == name).unwrap();
        assert_eq!(
            (&row("p50_us").values[..], row("p50_us").ratios[1]),
            (&[None, Some(1.0)][..], None)
        );
        assert_eq!(
            (&row("loss").values[..], row("loss").ratios[0]),
            (&[Some(0.0), None][..], None)
        );
        assert_eq!(row("rate").values[1], Some(0.1));
        assert!(!table.text(80).contains("NaN"), "{table:?}");
        assert!(table.settings.iter().all(|row| row.setting != "arrivals"), "{table:?}");
    }
}
