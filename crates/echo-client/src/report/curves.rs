//! One metric against a varied setting, as one curve per server.

use std::slice;

use clap::ValueEnum;
use serde::Serialize;

use super::error::Error;
use super::grid::{self, Row, ratio_cells};
use super::settings::{LOAD_SETTINGS, Setting, common_load, difference, settings};
use super::{LoadedRun, printable};
use crate::compare::Median;
use crate::metric::Metric;
use crate::run::{Loop, Settings};
use crate::units::{Unit, bytes, wrap};

/// The setting on the x axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum XAxis {
    /// Connections.
    Connections,
    /// Bytes per message.
    Size,
    /// Requested messages per second.
    Rate,
}

/// A metric of several servers under loads that differ in one setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curves {
    /// The setting that varies.
    pub against: XAxis,
    /// Name of the metric. Times are in microseconds.
    #[serde(rename = "figure")]
    pub metric: String,
    /// What all loads have in common, as text.
    pub conditions: String,
    /// In the order of their first runs.
    pub curves: Vec<Curve>,
    /// Number of runs with warnings or losses.
    #[serde(rename = "doubtful")]
    pub with_warnings: usize,
    #[serde(skip)]
    pub(super) unit: Unit,
}

/// The curve of one server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// Label of its runs, or the server's address.
    pub label: String,
    /// By the varied setting, ascending.
    pub points: Vec<CurvePoint>,
}

/// One point of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Connections, bytes or messages per second.
    pub at: f64,
    /// The metric; the median if there are several runs.
    pub value: f64,
    /// Number of runs.
    pub runs: usize,
}

/// A run with its coordinates.
struct DataPoint {
    label: String,
    at: f64,
    value: f64,
    has_warnings: bool,
}

impl Curves {
    /// The curves of these runs. Runs with the same label, or without one and to the same address,
    /// form a curve; several runs at one point count with their median.
    ///
    /// The default metric is the server's CPU time per echo if all runs have it; otherwise the
    /// rate, or the 99th percentile if all runs are open loops.
    ///
    /// # Errors
    ///
    /// A run lacks the metric or the setting, nothing varies, or the runs of a curve differ in
    /// another setting too.
    pub fn of(runs: &[LoadedRun], against: XAxis, metric: Option<Metric>) -> Result<Self, Error> {
        let metric = metric.unwrap_or_else(|| default_metric(runs));
        let points = runs.iter().map(|run| DataPoint::of(run, against, metric));
        let points = points.collect::<Result<Vec<_>, _>>()?;
        let mut settings = settings(runs.iter().map(slice::from_ref));
        // Within a curve only one of them may vary.
        settings
            .retain(|row| LOAD_SETTINGS.contains(&row.setting) && row.setting != against.setting());
        let mut curves: Vec<Curve> = Vec::new();
        for DataPoint { label, .. } in &points {
            if curves.iter().any(|curve| curve.label == *label) {
                continue;
            }
            let own: Vec<usize> =
                (0..runs.len()).filter(|&run| points[run].label == *label).collect();
            if let Some(difference) = difference(&settings, runs, &own) {
                return Err(Error::Incomparable(difference));
            }
            let points =
                medians(own.iter().map(|&run| (points[run].at, points[run].value)).collect());
            curves.push(Curve { label: label.clone(), points });
        }
        let curves = Self {
            against,
            metric: metric.name(),
            conditions: conditions(&settings, &curves),
            with_warnings: points.iter().filter(|point| point.has_warnings).count(),
            curves,
            unit: metric.unit(),
        };
        match curves.x_values().as_slice() {
            [only] => Err(Error::NothingVaries(against.setting(), against.show(*only))),
            _ => Ok(curves),
        }
    }

    /// The values on the x axis, ascending.
    fn x_values(&self) -> Vec<f64> {
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        let mut x_values: Vec<f64> = points.map(|point| point.at).collect();
        x_values.sort_by(f64::total_cmp);
        x_values.dedup();
        x_values
    }

    /// The title.
    pub(super) fn heading(&self) -> String {
        let metric = self.metric_description();
        let (first, rest) = metric.split_at(1);
        format!("{}{rest} by {}", first.to_ascii_uppercase(), self.against.description())
    }

    pub(super) fn metric_description(&self) -> String {
        match self.metric.as_str() {
            "server_cpu_us_per_echo" => "server CPU time per echo".to_owned(),
            "cpu_us_per_echo" => "client CPU time per echo".to_owned(),
            "rate" => "echoes per second".to_owned(),
            name if self.unit == Unit::Microseconds && !name.contains('.')
                || name.starts_with('p') =>
            {
                format!("latency, {name}")
            }
            name => name.replace('_', " ").replace('.', ", "),
        }
    }

    /// One row per x, one column per curve with its ratios to the first.
    fn rows(&self) -> Vec<Row> {
        let labels = self.curves.iter().map(|curve| Some(&curve.label));
        let mut rows = vec![Row::of(self.against.setting(), labels)];
        for x in self.x_values() {
            let value =
                |curve: &Curve| Some(curve.points.iter().find(|point| point.at == x)?.value);
            let values: Vec<Option<f64>> = self.curves.iter().map(value).collect();
            rows.push(Row::new(&self.against.show(x), ratio_cells(self.unit, &values)));
        }
        rows
    }

    /// Why the values may not be what they seem.
    fn warning(&self) -> Option<String> {
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        let runs: usize = points.map(|point| point.runs).sum();
        let advice = "report without --against shows them";
        (self.with_warnings > 0).then(|| {
            format!(
                "warning: {} of {runs} runs have warnings or losses; {advice}",
                self.with_warnings
            )
        })
    }

    /// As text.
    #[must_use]
    pub fn text(&self, width: usize) -> String {
        let heading = wrap(&format!("{}: {}", self.heading(), self.conditions), width, 0);
        let warning = self.warning().map(|text| format!("\n{}\n", wrap(&text, width, 9)));
        format!("{heading}\n\n{}{}", grid::text(&self.rows(), width), warning.unwrap_or_default())
    }

    /// As GitHub's Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let heading = grid::escaped(&format!("{}: {}", self.heading(), self.conditions));
        let warning = self.warning().map(|text| format!("\n- {text}\n"));
        format!("{heading}\n\n{}{}", grid::markdown(&self.rows()), warning.unwrap_or_default())
    }

    /// As CSV: one line per point. Times are in microseconds.
    #[must_use]
    pub fn csv(&self) -> String {
        let header = [self.against.setting(), "curve", &self.metric, "runs"];
        let mut csv = grid::csv_line(header.map(str::to_owned));
        for Curve { label, points } in &self.curves {
            for CurvePoint { at, value, runs } in points {
                let numbers = [at.to_string(), label.clone(), value.to_string(), runs.to_string()];
                csv += &grid::csv_line(numbers);
            }
        }
        csv
    }
}

impl XAxis {
    /// Name of the setting in a report.
    fn setting(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Size => "size",
            Self::Rate => "rate asked",
        }
    }

    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Size => "message size",
            Self::Rate => "requested messages per second",
        }
    }

    fn of(self, settings: &Settings) -> Option<f64> {
        match self {
            Self::Connections => Some(settings.connections as f64),
            Self::Size => Some(settings.size.into()),
            Self::Rate => settings.rate,
        }
    }

    fn show(self, x: f64) -> String {
        match self {
            Self::Connections => format!("{x}"),
            Self::Size => bytes(x),
            Self::Rate => format!("{x}/s"),
        }
    }
}

/// The metric that the runs were probably made for.
fn default_metric(runs: &[LoadedRun]) -> Metric {
    let runs = || runs.iter().filter_map(|run| Some(&run.run.as_ref()?.run));
    let name = if runs().all(|run| run.result.server_cpu_us_per_echo.is_some()) {
        "server_cpu_us_per_echo"
    } else if runs().all(|run| run.settings.pacing == Loop::Open) {
        "p99"
    } else {
        "rate"
    };
    name.parse().expect("these metrics exist")
}

impl DataPoint {
    fn of(loaded: &LoadedRun, against: XAxis, metric: Metric) -> Result<Self, Error> {
        let name = || loaded.name.clone();
        let missing_x = || Error::MissingX(name(), against.setting());
        let run = &loaded.run.as_ref().ok_or_else(missing_x)?.run;
        let result = &run.result;
        Ok(Self {
            label: loaded.label().unwrap_or_else(|| printable(&run.settings.address)),
            at: against.of(&run.settings).ok_or_else(missing_x)?,
            value: metric.of(result).ok_or_else(|| Error::Unmeasured(name(), metric.name()))?,
            has_warnings: result.loss > 0 || result.failed > 0 || !result.warnings.is_empty(),
        })
    }
}

/// The medians by x, ascending.
fn medians(mut runs: Vec<(f64, f64)>) -> Vec<CurvePoint> {
    runs.sort_by(|one, other| one.0.total_cmp(&other.0));
    let point = |runs: &[(f64, f64)]| {
        let values: Vec<f64> = runs.iter().map(|&(_, value)| value).collect();
        let value = Median::of(&values).ok()?.value;
        Some(CurvePoint { at: runs[0].0, value, runs: runs.len() })
    };
    runs.chunk_by(|one, other| one.0 == other.0).filter_map(point).collect()
}

/// What the loads of all curves have in common, and how many runs each point stands for.
fn conditions(settings: &[Setting], curves: &[Curve]) -> String {
    let mut words = common_load(settings);
    let runs = || curves.iter().flat_map(|curve| &curve.points).map(|point| point.runs);
    match (runs().min().unwrap_or(1), runs().max().unwrap_or(1)) {
        (_, 1) => {}
        (least, most) if least == most => words.push(format!("medians of {most} runs")),
        (least, most) => words.push(format!("medians of {least} to {most} runs")),
    }
    // It appears in the plot too.
    printable(&words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::{run, saved};

    #[test]
    fn different_numbers_of_runs_per_point_are_reported() {
        let runs = [1, 1, 5].map(|connections| saved("a", run(connections, 1_000..=2_000)));
        let curves = Curves::of(&runs, XAxis::Connections, None).unwrap();
        assert!(curves.conditions.ends_with("loop closed, medians of 1 to 2 runs"), "{curves:?}");
        assert_eq!(curves.metric, "rate");
    }

    #[test]
    fn an_interval_log_cannot_be_part_of_a_curve() {
        let log = LoadedRun { run: None, ..saved("log", run(1, 1_000..=1_000)) };
        let error = Curves::of(&[log], XAxis::Size, None).unwrap_err();
        assert!(matches!(error, Error::MissingX(_, "size")), "{error}");
    }
}
