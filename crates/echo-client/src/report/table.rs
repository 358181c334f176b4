//! Sides of a comparison beside each other: one row per metric, one column per side, with ratios to
//! the first.

use serde::Serialize;

use super::Side;
use super::gates::{RatioCheck, check};
use super::grid::{self, Row, escaped, ratio_cells, ratios, times};
use super::settings::{EXPLANATIONS, LOAD_SETTINGS, Setting, settings};
use crate::compare::{Comparison, Median, RatioGate, Verdict};
use crate::metric::Metric;
use crate::percentile::Percentile;
use crate::units::{Unit, wrap};

/// What distinguishes sides, and their metrics. A missing metric is `None`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// Names of the sides. The first is the baseline.
    #[serde(rename = "runs")]
    pub sides: Vec<String>,
    /// How many runs each has.
    pub repeats: Vec<usize>,
    /// The settings that any run has.
    pub settings: Vec<Setting>,
    /// The metrics.
    #[serde(rename = "figures")]
    pub metrics: Vec<MetricRow>,
    /// The conditions on ratios, for each side but the first.
    pub gates: Vec<RatioCheck>,
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
    /// One per side: the median of its runs, or the sum of errors.
    pub values: Vec<Option<f64>>,
    /// 95 % intervals of these medians; `None` with fewer than 6 runs.
    pub intervals: Vec<Option<[f64; 2]>>,
    /// The value divided by that of the first side; `None` if that is zero.
    pub ratios: Vec<Option<f64>>,
    /// How each side but the first compares with it.
    pub comparison: Vec<Option<RatioRow>>,
}

/// The ratio of a side to the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RatioRow {
    /// The median of the ratios of all pairs of runs; `None` if a value is zero.
    pub ratio: Option<f64>,
    /// Lower end of its 95 % interval; `None` if there are too few runs.
    pub lower: Option<f64>,
    /// Upper end.
    pub upper: Option<f64>,
    /// How probable a difference as large as this is if the sides are equal.
    pub p_value: f64,
    /// What that means.
    pub verdict: Verdict,
}

impl From<Comparison> for RatioRow {
    fn from(comparison: Comparison) -> Self {
        let interval = comparison.ratio.and_then(|ratio| ratio.interval);
        Self {
            ratio: comparison.ratio.map(|ratio| ratio.estimate),
            lower: interval.map(|interval| interval.lower),
            upper: interval.map(|interval| interval.upper),
            p_value: comparison.p_value,
            verdict: comparison.verdict,
        }
    }
}

/// The rows of a table. These percentiles are among them.
fn rows(percentiles: &[Percentile]) -> impl Iterator<Item = Metric> {
    let others = [
        "max",
        "service.p50",
        "service.p99",
        "connect.p50",
        "connect.p99",
        "loss",
        "failed",
        "cpu_us_per_echo",
        "server_cpu_us_per_echo",
    ];
    let names = percentiles.iter().map(ToString::to_string);
    let names = ["rate".to_owned()].into_iter().chain(names).chain(others.map(str::to_owned));
    names.map(|name| name.parse().expect("every row has a metric"))
}

impl MetricRow {
    fn of(metric: Metric, sides: &[Side]) -> Self {
        let values: Vec<_> = sides.iter().map(|side| side.value(metric)).collect();
        let interval = |side: &Side| {
            let median = Median::of(&side.values(metric)).ok()?;
            let interval = median.interval.filter(|_| !metric.is_error_count())?;
            Some([interval.lower, interval.upper])
        };
        let compared = |side: &Side| Some(side.compared(&sides[0], metric)?.into());
        let path = metric.json_path();
        let path = path.strip_prefix("latency.").unwrap_or(&path).replace('.', "_");
        let label = metric.name().replace("_us", "").replace('_', " ");
        Self {
            metric: path,
            label: label.replace("service.", "service ").replace("connect.", "connect "),
            unit: metric.unit(),
            intervals: sides.iter().map(interval).collect(),
            ratios: ratios(&values),
            comparison: sides.iter().skip(1).map(compared).collect(),
            values,
        }
    }

    /// The value of a side, with the larger distance to an end of its interval.
    fn value(&self, side: usize) -> String {
        let Some(value) = self.values[side] else { return "-".to_owned() };
        let shown = self.unit.show(value);
        match self.intervals[side] {
            Some([lower, upper]) if value > 0.0 => {
                let percent = 100.0 * (upper / value - 1.0).max(1.0 - lower / value);
                format!("{shown} ±{percent:.0}%")
            }
            _ => shown,
        }
    }

    /// A side of repeated runs: its value, the ratio and the interval of the ratio. Leading blanks
    /// separate them.
    fn repeated(&self, side: usize) -> Vec<String> {
        let value = self.value(side);
        let Some(comparison) = side.checked_sub(1).and_then(|index| self.comparison[index]) else {
            return vec![value];
        };
        let RatioRow { ratio, lower, upper, verdict, .. } = comparison;
        let ratio = match verdict {
            Verdict::NoDifference => "~".to_owned(),
            Verdict::Different => ratio.map_or("differs".to_owned(), times),
            Verdict::TooFewRuns => ratio.map(|it| format!("({})", times(it))).unwrap_or_default(),
        };
        let interval = lower.zip(upper);
        let interval =
            interval.map(|(lower, upper)| format!("{} to {}", times(lower), times(upper)));
        vec![value, format!(" {ratio}"), format!(" {}", interval.unwrap_or_default())]
    }
}

impl Table {
    /// Compares these sides, with a row for each of these percentiles of latency.
    #[must_use]
    pub fn of(sides: &[Side], percentiles: &[Percentile], gates: &[RatioGate]) -> Self {
        let settings = settings(sides.iter().map(|side| &*side.runs));
        let differ = different(sides);
        let warnings = sides.iter().flat_map(Side::warnings);
        let rows = rows(percentiles).map(|metric| MetricRow::of(metric, sides));
        Self {
            sides: sides.iter().map(|side| side.name.clone()).collect(),
            repeats: sides.iter().map(|side| side.runs.len()).collect(),
            metrics: rows.collect(),
            gates: gates.iter().flat_map(|gate| check(gate, sides)).collect(),
            warnings: differ.into_iter().chain(warnings).collect(),
            settings,
        }
    }

    /// As text: common settings as a paragraph, different ones as rows, then the metrics with
    /// ratios, then the gates and the warnings.
    #[must_use]
    pub fn text(&self, width: usize) -> String {
        let settings = self.common_settings();
        let mut text = String::new();
        if !settings.is_empty() {
            text = wrap(&settings, width, 0) + "\n\n";
        }
        text += &grid::text(&self.rows(), width);
        for (index, note) in self.notes().iter().enumerate() {
            text += if index == 0 { "\n" } else { "" };
            text += &(wrap(note, width, 0) + "\n");
        }
        let gates = self.gates.iter().map(|gate| ("gate: ", gate.to_string()));
        let warnings = self.warnings.iter().map(|text| ("warning: ", text.clone()));
        for (index, (kind, line)) in gates.chain(warnings).enumerate() {
            text += if index == 0 { "\n" } else { "" };
            let line = echo_proto::one_line(&line).to_string();
            text += &(wrap(&format!("{kind}{line}"), width, kind.len()) + "\n");
        }
        text
    }

    /// As GitHub's Markdown, in the order of the text.
    #[must_use]
    pub fn markdown(&self) -> String {
        let settings = escaped(&self.common_settings());
        let mut text = if settings.is_empty() { settings } else { settings + "\n\n" };
        text += &grid::markdown(&self.rows());
        let notes = self.notes().into_iter();
        let gates = self.gates.iter().map(|gate| format!("- gate: {}", escaped(&gate.to_string())));
        let warnings = self.warnings.iter().map(|text| format!("- warning: {}", escaped(text)));
        for line in notes.chain(gates).chain(warnings) {
            text += &format!("\n{line}\n");
        }
        text
    }

    /// As CSV: one line per metric and side. Times are in microseconds.
    #[must_use]
    pub fn csv(&self) -> String {
        let header = [
            "metric",
            "side",
            "runs",
            "value",
            "lower",
            "upper",
            "ratio",
            "ratio_lower",
            "ratio_upper",
            "p_value",
            "verdict",
        ];
        let mut csv = grid::csv_line(header.map(str::to_owned));
        let sides = || self.sides.iter().zip(&self.repeats).enumerate();
        for (row, (index, (side, runs))) in
            self.known().flat_map(|row| sides().map(move |side| (row, side)))
        {
            let compared = index.checked_sub(1).and_then(|index| row.comparison[index]);
            let of = |part: fn(RatioRow) -> Option<f64>| compared.and_then(part);
            let ratio = [of(|it| it.ratio), of(|it| it.lower), of(|it| it.upper)];
            let ends = row.intervals[index].map_or([None; 2], |ends| ends.map(Some));
            let numbers = [row.values[index]].into_iter().chain(ends).chain(ratio);
            let numbers = numbers.chain([of(|it| Some(it.p_value))]);
            let numbers = numbers.map(|it| it.map(|it| it.to_string()).unwrap_or_default());
            let names = [row.metric.clone(), side.clone(), runs.to_string()];
            let verdict = compared.map_or("", |it| it.verdict.name()).to_owned();
            csv += &grid::csv_line(names.into_iter().chain(numbers).chain([verdict]));
        }
        csv
    }

    /// The metrics that any side has.
    fn known(&self) -> impl Iterator<Item = &MetricRow> {
        self.metrics.iter().filter(|row| row.values.iter().any(Option::is_some))
    }

    fn is_repeated(&self) -> bool {
        self.repeats.iter().any(|&runs| runs > 1)
    }

    fn common_settings(&self) -> String {
        let common = self.settings.iter().filter(|row| row.is_common());
        common.filter_map(Setting::description).collect::<Vec<_>>().join(", ")
    }

    fn rows(&self) -> Vec<Row> {
        let repeated = self.is_repeated();
        let name = |(index, name): (usize, &String)| match index {
            1.. if repeated => vec![name.clone(), " ratio".to_owned(), " 95 % interval".to_owned()],
            _ => vec![name.clone()],
        };
        let mut rows = vec![Row::new("", self.sides.iter().enumerate().map(name).collect())];
        if repeated {
            rows.push(Row::of("runs", self.repeats.iter().map(Some)));
        }
        let different = self.settings.iter().filter(|row| !row.is_common());
        rows.extend(
            different.map(|row| Row::of(row.setting, row.values.iter().map(Option::as_ref))),
        );
        for row in self.known() {
            let cells = match repeated {
                true => (0..self.sides.len()).map(|side| row.repeated(side)).collect(),
                false => ratio_cells(row.unit, &row.values),
            };
            rows.push(Row::new(&row.label, cells));
        }
        rows
    }

    /// What the marks in the table mean, and what it cannot say.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let has = |verdict| {
            let mut rows = self.metrics.iter().flat_map(|row| row.comparison.iter().flatten());
            rows.any(|row| row.verdict == verdict)
        };
        if self.repeats.iter().any(|&runs| runs >= Median::RUNS_FOR_INTERVAL) {
            notes
                .push("± where the median of more runs would lie, with 95 % confidence".to_owned());
        }
        if has(Verdict::NoDifference) {
            notes.push("~ no difference is seen at the 5 % level (Mann-Whitney test)".to_owned());
        }
        if has(Verdict::TooFewRuns) {
            let text =
                "( ) may be chance: so few runs cannot show a difference; use bench --repeat 6";
            notes.push(text.to_owned());
        }
        notes
    }
}

/// A warning if the runs differ in more than the server.
fn different(sides: &[Side]) -> Option<String> {
    let rows = settings(sides.iter().flat_map(|side| side.runs.chunks(1)));
    let matters = |row: &&Setting| {
        LOAD_SETTINGS.contains(&row.setting) || EXPLANATIONS.contains(&row.setting)
    };
    let differ = rows.iter().filter(matters).filter(|row| !row.is_common_where_known());
    let names: Vec<&str> = differ.map(|row| row.setting).collect();
    let list = names.join(", ");
    (!names.is_empty())
        .then(|| format!("the runs differ in {list}: a ratio may come from that alone"))
}

#[cfg(test)]
mod tests;
