//! Runs side by side: one row per metric, one column per run, with ratios to the first.

use std::fmt;

use echo_proto::one_line;
use serde::Serialize;

use super::grid::{Line, Unit, align};
use super::{LoadedRun, RunDetails};
use crate::distribution::ns_to_us;
use crate::run::{Loop, Metrics, Settings};

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

/// One row of settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name.
    pub setting: &'static str,
    /// One per run.
    pub values: Vec<Option<String>>,
}

/// One row of metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricRow {
    /// Its name; times end in their unit.
    #[serde(rename = "figure")]
    pub metric: &'static str,
    /// One per run.
    pub values: Vec<Option<f64>>,
    /// The value divided by that of the first run; `None` if that is zero.
    pub ratios: Vec<Option<f64>>,
    #[serde(skip)]
    label: &'static str,
    #[serde(skip)]
    unit: Unit,
}

impl Table {
    /// Compares these runs. Without an echo a run has no latencies.
    #[must_use]
    pub fn of(saved: &[LoadedRun]) -> Self {
        let row = |metric, label, unit, value: &dyn Fn(&LoadedRun) -> Option<f64>| {
            let values: Vec<_> = saved.iter().map(value).collect();
            let first = values.first().copied().flatten().filter(|&first| first > 0.0);
            let ratios = values.iter().map(|value| Some((*value)? / first?)).collect();
            MetricRow { metric, values, ratios, label, unit }
        };
        let latency = |metric, label, quantile| {
            row(metric, label, Unit::Microseconds, &|saved| at(&saved.latency, quantile))
        };
        let of_run = |metric, label, unit, value: fn(&RunDetails) -> Option<f64>| {
            row(metric, label, unit, &|saved| value(saved.run.as_ref()?))
        };
        let us = Unit::Microseconds;
        let count = Unit::Count;
        Self {
            runs: saved.iter().map(|saved| saved.name.clone()).collect(),
            settings: settings(saved),
            metrics: vec![
                row("rate", "rate", Unit::PerSecond, &|saved| saved.rate),
                latency("p50_us", "p50", 0.5),
                latency("p90_us", "p90", 0.9),
                latency("p99_us", "p99", 0.99),
                latency("p99_9_us", "p99.9", 0.999),
                latency("p99_99_us", "p99.99", 0.9999),
                latency("max_us", "max", 1.0),
                of_run("service_p50_us", "service p50", us, |run| at(&run.service, 0.5)),
                of_run("service_p99_us", "service p99", us, |run| at(&run.service, 0.99)),
                of_run("connect_p50_us", "connect p50", us, |run| at(&run.connect, 0.5)),
                of_run("connect_p99_us", "connect p99", us, |run| at(&run.connect, 0.99)),
                of_run("loss", "loss", count, |run| Some(metrics(run).loss as f64)),
                of_run("failed", "failed", count, |run| Some(metrics(run).failed as f64)),
                of_run("cpu_us_per_echo", "cpu per echo", us, |run| metrics(run).cpu_us_per_echo),
                of_run("server_cpu_us_per_echo", "server cpu per echo", us, |run| {
                    metrics(run).server_cpu_us_per_echo
                }),
            ],
            warnings: saved.iter().flat_map(warnings).collect(),
        }
    }
}

fn metrics(measured: &RunDetails) -> &Metrics {
    &measured.run.result
}

fn at(histogram: &hdrhistogram::Histogram<u64>, quantile: f64) -> Option<f64> {
    (!histogram.is_empty()).then(|| ns_to_us(histogram.value_at_quantile(quantile)))
}

fn warnings(saved: &LoadedRun) -> Vec<String> {
    let found = saved.run.as_ref().map(|measured| metrics(measured).warnings.as_slice());
    found.unwrap_or_default().iter().map(|text| format!("{}: {text}", saved.name)).collect()
}

/// The settings that any run has.
pub(super) fn settings(saved: &[LoadedRun]) -> Vec<Setting> {
    let row = |setting, value: fn(&Settings) -> Option<String>| Setting {
        setting,
        values: saved.iter().map(|saved| value(&saved.run.as_ref()?.run.settings)).collect(),
    };
    let mut rows = vec![
        row("host", |it| Some(it.host.clone())),
        row("address", |it| Some(it.address.clone())),
        row("connections", |it| Some(it.connections.to_string())),
        row("size", |it| Some(it.size.to_string())),
        row("depth", |it| Some(it.depth.to_string())),
        row("framing", |it| Some(it.framing.clone())),
        row("loop", |it| {
            Some(if it.pacing == Loop::Closed { "closed" } else { "open" }.to_owned())
        }),
        row("rate asked", |it| it.rate.map(|rate| format!("{rate}/s"))),
        row("arrivals", |it| it.arrivals.clone()),
        row("duration", |it| it.duration_s.map(|seconds| format!("{seconds}s"))),
        row("messages", |it| it.messages.map(|messages| messages.to_string())),
        row("warmup", |it| Some(format!("{}s", it.warmup_s))),
        row("threads", |it| Some(it.threads.to_string())),
        row("engine", |it| Some(it.engine.clone())),
        row("busy poll", |it| Some(if it.busy_poll { "yes" } else { "no" }.to_owned())),
        row("reconnect every", |it| it.reconnect_every.map(|messages| messages.to_string())),
        row("timeout", |it| Some(format!("{}s", it.timeout_s))),
    ];
    rows.retain(|row| row.values.iter().any(Option::is_some));
    rows
}

impl fmt::Display for Table {
    /// As text: common settings as a paragraph, different ones as rows, then the metrics with
    /// ratios in parentheses, then the warnings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (common, different): (Vec<_>, Vec<_>) =
            self.settings.iter().partition(|row| row.values.windows(2).all(|two| two[0] == two[1]));
        let common: Vec<String> = common.into_iter().filter_map(Setting::description).collect();
        if !common.is_empty() {
            writeln!(f, "{}\n", common.join(", "))?;
        }
        let mut grid = vec![Line::of("", self.runs.iter().cloned().map(Some))];
        grid.extend(different.iter().map(|row| Line::of(row.setting, row.values.iter().cloned())));
        grid.extend(self.metrics.iter().filter_map(MetricRow::line));
        align(f, &grid)?;
        for (index, warning) in self.warnings.iter().enumerate() {
            let gap = if index == 0 { "\n" } else { "" };
            writeln!(f, "{gap}warning: {}", one_line(warning))?;
        }
        Ok(())
    }
}

impl Setting {
    /// The setting as text, if all runs share it.
    pub(super) fn description(&self) -> Option<String> {
        Some(format!("{} {}", self.setting, one_line(self.values.first()?.as_ref()?)))
    }
}

impl MetricRow {
    /// The row as text; `None` if no run has the metric.
    fn line(&self) -> Option<Line> {
        self.values.iter().any(Option::is_some).then_some(())?;
        let mut line = Line::of(
            self.label,
            self.values.iter().map(|value| value.map(|it| self.unit.shown(it))),
        );
        line.compare(&self.ratios);
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::{run, saved};

    #[test]
    fn each_column_has_its_ratios_to_the_first() {
        let (mut first, mut second) = (run(50, 1_000..=1_000), run(500, 1_250..=1_250));
        (first.result.rate, second.result.rate) = (50_000.0, 40_000.0);
        second.result.warnings = vec!["the client was busy".to_owned()];
        let table = Table::of(&[saved("a", first), saved("longer", second)]).to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].contains("size 64, depth 1, framing raw, loop closed"), "{table}");
        for (row, expected) in [
            (2, "                    a   longer"),
            (3, "connections        50      500"),
            (4, "rate          50000/s  40000/s (0.80x)"),
            (5, "p50           1.00 us  1.25 us (1.25x)"),
        ] {
            assert_eq!(lines[row], expected, "{table}");
        }
        assert_eq!(lines[lines.len() - 2..], ["", "warning: longer: the client was busy"]);
    }

    #[test]
    fn a_missing_metric_has_no_value_and_no_ratio() {
        let log = LoadedRun { run: None, ..saved("log", run(1, 1_000..=1_000)) };
        let table = Table::of(&[saved("none", run(1, [])), log]);
        let row = |name| table.metrics.iter().find(|row| row.metric == name).unwrap();
        assert_eq!(
            (&row("p50_us").values[..], row("p50_us").ratios[1]),
            (&[None, Some(1.0)][..], None)
        );
        assert_eq!(
            (&row("loss").values[..], row("loss").ratios[0]),
            (&[Some(0.0), None][..], None)
        );
        assert!(!table.to_string().contains("NaN"), "{table}");
        assert!(table.settings.iter().all(|row| row.setting != "arrivals"), "{table}");
    }
}
