//! One metric against a varied setting, as one curve per server.

use std::cmp::Ordering;
use std::fmt;

use serde::Serialize;

use super::error::Error;
use super::grid::{Line, Unit, align};
use super::table::{Setting, settings};
use super::{LoadedRun, printable};
use crate::metric::Metric;
use crate::run::{Loop, Run, Settings};

/// The setting on the x axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum XAxis {
    /// Connections.
    Connections,
    /// Bytes per message.
    Size,
    /// Requested messages per second.
    Rate,
}

/// Settings that affect the meaning of a metric. Within a curve only one of them may vary.
const COMPARABILITY_KEYS: [&str; 8] = [
    "connections",
    "size",
    "depth",
    "framing",
    "loop",
    "rate asked",
    "arrivals",
    "reconnect every",
];

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
    unit: Unit,
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
struct DataPoint<'a> {
    name: &'a str,
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
    pub fn of(saved: &[LoadedRun], against: XAxis, metric: Option<Metric>) -> Result<Self, Error> {
        let metric = metric.unwrap_or_else(|| default_metric(saved));
        let points = saved.iter().map(|saved| DataPoint::of(saved, against, &metric));
        let points = points.collect::<Result<Vec<_>, _>>()?;
        let mut settings = settings(saved);
        settings.retain(|row| {
            COMPARABILITY_KEYS.contains(&row.setting) && row.setting != against.setting()
        });
        let mut labels: Vec<&str> = Vec::new();
        for run in &points {
            if !labels.contains(&run.label.as_str()) {
                labels.push(&run.label);
            }
        }
        let curve = |label| Curve::of(label, &points, &settings);
        let curves = labels.into_iter().map(curve).collect::<Result<Vec<_>, _>>()?;
        let curves = Self {
            against,
            metric: metric.name().to_owned(),
            conditions: conditions(&settings, &curves),
            with_warnings: points.iter().filter(|run| run.has_warnings).count(),
            curves,
            unit: unit(&metric),
        };
        match curves.x_values().as_slice() {
            [only] => Err(Error::NothingVaries {
                setting: against.setting(),
                value: against.shown(*only),
            }),
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
        let (metric, against) = (self.metric_description(), self.against.description());
        let mut letters = metric.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        format!("{}{} by {against}", first.unwrap_or_default(), letters.as_str())
    }

    pub(super) fn metric_description(&self) -> String {
        match self.metric.as_str() {
            "server_cpu_us_per_echo" => "server CPU time per echo".to_owned(),
            "cpu_us_per_echo" => "client CPU time per echo".to_owned(),
            "rate" => "echoes per second".to_owned(),
            name if name.starts_with('p') || matches!(name, "min" | "mean" | "max" | "stdev") => {
                format!("latency, {name}")
            }
            name => name.replace('_', " ").replace('.', ", "),
        }
    }

    /// Whether the metric is a time in microseconds.
    pub(super) fn is_time(&self) -> bool {
        self.unit == Unit::Microseconds
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
            Self::Rate => "messages asked for per second",
        }
    }

    fn of(self, settings: &Settings) -> Option<f64> {
        match self {
            Self::Connections => Some(settings.connections as f64),
            Self::Size => Some(settings.size.into()),
            Self::Rate => settings.rate,
        }
    }

    pub(super) fn shown(self, at: f64) -> String {
        match self {
            Self::Connections => format!("{at}"),
            Self::Size => bytes(at),
            Self::Rate => format!("{at}/s"),
        }
    }
}

/// A number of bytes in the largest unit that divides it.
fn bytes(count: f64) -> String {
    let units = [("MiB", 1_048_576.0), ("KiB", 1024.0)];
    match units.into_iter().find(|(_, unit)| count >= *unit && count % unit == 0.0) {
        Some((name, unit)) => format!("{} {name}", count / unit),
        None => format!("{count} B"),
    }
}

/// The metric that the runs were probably made for.
fn default_metric(saved: &[LoadedRun]) -> Metric {
    let results = || saved.iter().filter_map(|saved| Some(&saved.run.as_ref()?.run));
    let name = if results().all(|run| run.result.server_cpu_us_per_echo.is_some()) {
        "server_cpu_us_per_echo"
    } else if results().all(|run| run.settings.pacing == Loop::Open) {
        "p99"
    } else {
        "rate"
    };
    name.parse().expect("there are these figures")
}

impl<'a> DataPoint<'a> {
    fn of(saved: &'a LoadedRun, against: XAxis, metric: &Metric) -> Result<Self, Error> {
        let name = || saved.name.clone();
        let missing_x = || Error::MissingX { name: name(), setting: against.setting() };
        let Run { settings, result, .. } = &saved.run.as_ref().ok_or_else(missing_x)?.run;
        let unmeasured = || Error::Unmeasured { name: name(), metric: metric.name().to_owned() };
        Ok(Self {
            name: &saved.name,
            label: saved.label().unwrap_or_else(|| printable(&settings.address)),
            at: against.of(settings).ok_or_else(missing_x)?,
            value: metric.of(result).ok_or_else(unmeasured)?,
            has_warnings: result.loss > 0 || result.failed > 0 || !result.warnings.is_empty(),
        })
    }
}

impl Curve {
    /// The curve of the runs with this label, which must agree in these settings.
    fn of(label: &str, all: &[DataPoint<'_>], settings: &[Setting]) -> Result<Self, Error> {
        let own: Vec<usize> = (0..all.len()).filter(|&run| all[run].label == label).collect();
        for Setting { setting, values } in settings {
            if let Some(&other) = own.iter().find(|&&run| values[run] != values[own[0]]) {
                let value = |run: usize| values[run].as_deref().unwrap_or("not set").to_owned();
                let runs = [own[0], other].map(|run| (all[run].name.to_owned(), value(run)));
                return Err(Error::Incomparable { setting, runs });
            }
        }
        let runs = own.iter().map(|&run| (all[run].at, all[run].value)).collect();
        Ok(Self { label: label.to_owned(), points: points(runs) })
    }
}

/// The medians by x, ascending.
fn points(mut runs: Vec<(f64, f64)>) -> Vec<CurvePoint> {
    runs.sort_by(|one, other| one.0.total_cmp(&other.0));
    let same_place =
        |one: &(f64, f64), other: &(f64, f64)| one.0.total_cmp(&other.0) == Ordering::Equal;
    let point = |runs: &[(f64, f64)]| {
        let value = median(runs.iter().map(|&(_, value)| value))?;
        Some(CurvePoint { at: runs[0].0, value, runs: runs.len() })
    };
    runs.chunk_by(same_place).filter_map(point).collect()
}

/// The middle value, or the mean of the two middle ones; `None` without a value.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(values[values.len() / 2 - 1], upper))
}

/// What the loads of all curves have in common, and how many runs each point stands for.
fn conditions(settings: &[Setting], curves: &[Curve]) -> String {
    let alike = |row: &&Setting| row.values.windows(2).all(|two| two[0] == two[1]);
    let mut words: Vec<String> =
        settings.iter().filter(alike).filter_map(|row| row.description()).collect();
    let runs = || curves.iter().flat_map(|curve| &curve.points).map(|point| point.runs);
    match (runs().min().unwrap_or(1), runs().max().unwrap_or(1)) {
        (_, 1) => {}
        (least, most) if least == most => words.push(format!("medians of {most} runs")),
        (least, most) => words.push(format!("medians of {least} to {most} runs")),
    }
    // It appears in the plot too.
    printable(&words.join(", "))
}

fn unit(metric: &Metric) -> Unit {
    match metric.name() {
        "rate" => Unit::PerSecond,
        name if metric.is_time() || name.ends_with("us_per_echo") => Unit::Microseconds,
        _ => Unit::Count,
    }
}

impl fmt::Display for Curves {
    /// As text: one row per x, one column per curve with its ratios to the first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}\n", self.heading(), self.conditions)?;
        let labels = self.curves.iter().map(|curve| Some(curve.label.clone()));
        let mut grid = vec![Line::of(self.against.setting(), labels)];
        for place in self.x_values() {
            let value = |curve: &Curve| {
                curve.points.iter().find(|point| point.at == place).map(|point| point.value)
            };
            let values: Vec<Option<f64>> = self.curves.iter().map(value).collect();
            let first = values[0].filter(|&first| first > 0.0);
            let ratios: Vec<_> = values.iter().map(|value| Some((*value)? / first?)).collect();
            let shown = values.iter().map(|value| value.map(|value| self.unit.shown(value)));
            let mut line = Line::of(self.against.shown(place), shown);
            line.compare(&ratios);
            grid.push(line);
        }
        align(f, &grid)?;
        if self.with_warnings > 0 {
            let runs: usize =
                self.curves.iter().flat_map(|curve| &curve.points).map(|point| point.runs).sum();
            writeln!(
                f,
                "\nwarning: {} of {runs} runs have warnings or losses, which the report without \
                 --against tells",
                self.with_warnings
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::{run, saved};

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_divides_them() {
        let shown = [1.0, 1023.0, 1024.0, 1536.0, 65_536.0, 1_048_576.0].map(bytes);
        assert_eq!(shown, ["1 B", "1023 B", "1 KiB", "1536 B", "64 KiB", "1 MiB"]);
    }

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
        assert!(matches!(error, Error::MissingX { setting: "size", .. }), "{error}");
    }
}
