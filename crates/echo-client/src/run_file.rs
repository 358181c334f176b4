//! The file that `bench --format json` writes and `report` reads: runs of one workload on one
//! machine.
//!
//! Field names are those of the JSON, described by `docs/schema/bench-2.json`. Version 1 held a single
//! [`Run`], with its result at the top level; it is still read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::compare::{CompareError, Median};
use crate::metric::Metric;
use crate::run::{Builds, GateResult, Interval, Machine, Metrics, Run, Settings};

/// Version of the format. Fields may be added; none is removed or changes its meaning.
pub const SCHEMA_VERSION: u32 = 2;

/// Runs of one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunFile {
    /// Version of this format: 2.
    pub schema_version: u32,
    /// Name and version of the program.
    pub program: String,
    /// Label in reports, if one was given.
    pub label: Option<String>,
    /// The machine that generated the load.
    pub machine: Machine,
    /// The executables of both sides.
    pub builds: Builds,
    /// What was requested.
    pub settings: Settings,
    /// What was measured, in order. Empty for a search, whose trials are in `search`.
    pub runs: Vec<SavedRun>,
    /// The metrics over all runs.
    pub summary: Summary,
    /// The search for the highest rate; null without `--find-rate`.
    pub search: Option<SavedSearch>,
    /// The conditions given with `--fail-if`.
    pub gates: Vec<GateResult>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SavedRun {
    /// When it started (RFC 3339).
    pub started: String,
    /// When measuring began, after the warm-up; null if it did not. By the clock of this machine, to
    /// the microsecond. No other figure depends on that clock.
    #[serde(default)]
    pub measured_from: Option<String>,
    /// When measuring ended.
    #[serde(default)]
    pub measured_until: Option<String>,
    /// What was measured.
    pub result: Metrics,
    /// The same per interval.
    pub intervals: Vec<Interval>,
}

/// The metrics over all runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    /// Number of runs.
    pub runs: usize,
    /// By the path of the metric in a result, such as `latency.p99_us`. A metric that some run does
    /// not have is left out.
    pub metrics: BTreeMap<String, MetricSummary>,
}

/// A metric over all runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MetricSummary {
    /// The median run.
    pub median: f64,
    /// Lower end of the interval that contains the true median with 95 % confidence; null with fewer
    /// than 6 runs.
    pub lower: Option<f64>,
    /// Its upper end.
    pub upper: Option<f64>,
    /// The sum over all runs, of a count of errors; null for other metrics.
    pub sum: Option<f64>,
}

/// A search for the highest rate at which a condition holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SavedSearch {
    /// The condition as given.
    pub condition: String,
    /// What was found.
    pub result: SearchOutcome,
    /// The highest rate at which the condition held, in messages per second; null if there is none.
    pub lower_rate: Option<f64>,
    /// The lowest rate above it at which it did not; null if there is none.
    pub upper_rate: Option<f64>,
    /// What keeps the upper rate from holding: `condition`, or `generator` if this client did not
    /// send at that rate; null if there is no upper rate.
    pub limited_by: Option<LimitedBy>,
    /// How far the bounds may be apart, relative to the lower one.
    pub width: f64,
    /// Trials at each bound, unless fewer decided.
    pub trials_per_rate: u32,
    /// How many of them may be bad at a rate that holds.
    pub tolerated_bad: u32,
    /// The lowest rate with a bad trial and the highest one with a good trial, if good trials were
    /// seen above bad ones: the bounds are then less certain than they are close.
    pub mixed_rates: Option<[f64; 2]>,
    /// All trials, in order.
    pub trials: Vec<SavedTrial>,
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SearchOutcome {
    /// The highest rate lies between the two rates.
    Between,
    /// The condition does not hold at the lowest rate of the range.
    FailsAtLowest,
    /// The condition holds at the highest rate of the range.
    HoldsAtHighest,
    /// The search was ended early: the rates are those known until then.
    Interrupted,
}

/// What keeps a rate from holding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LimitedBy {
    /// The condition did not hold.
    Condition,
    /// This client did not send at the rate.
    Generator,
}

/// One trial of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SavedTrial {
    /// Messages per second.
    pub rate: f64,
    /// How long it measured.
    pub duration_s: f64,
    /// What came of it.
    pub outcome: SavedOutcome,
    /// The metric of the condition; null if it was not measured.
    pub value: Option<f64>,
    /// What was measured.
    pub result: Metrics,
}

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SavedOutcome {
    /// The rate was offered, everything came back, and the condition held.
    Met,
    /// The condition did not hold, or something was lost.
    NotMet,
    /// This client did not send at the rate.
    NotOffered,
}

impl RunFile {
    /// A file with what `run` says about itself, and no runs.
    #[must_use]
    pub fn header(run: &Run) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            program: run.program.clone(),
            label: run.label.clone(),
            machine: run.machine.clone(),
            builds: run.builds.clone(),
            settings: run.settings.clone(),
            runs: Vec::new(),
            summary: Summary::default(),
            search: None,
            gates: run.gates.clone(),
        }
    }

    /// The file of these runs.
    ///
    /// # Panics
    ///
    /// There is no run.
    #[must_use]
    pub fn of(runs: Vec<Run>) -> Self {
        let results: Vec<&Metrics> = runs.iter().map(|run| &run.result).collect();
        let summary = Summary::of(&results);
        let header = Self::header(&runs[0]);
        let saved = |run: Run| SavedRun {
            started: run.started,
            measured_from: run.measured_from,
            measured_until: run.measured_until,
            result: run.result,
            intervals: run.intervals,
        };
        Self { runs: runs.into_iter().map(saved).collect(), summary, ..header }
    }

    /// Its runs, each with the settings of all.
    #[must_use]
    pub fn into_runs(self) -> Vec<Run> {
        let Self { program, label, machine, builds, settings, runs, gates, .. } = self;
        let whole = |saved: SavedRun| Run {
            program: program.clone(),
            label: label.clone(),
            started: saved.started,
            measured_from: saved.measured_from,
            measured_until: saved.measured_until,
            machine: machine.clone(),
            builds: builds.clone(),
            settings: settings.clone(),
            result: saved.result,
            intervals: saved.intervals,
            gates: gates.clone(),
        };
        runs.into_iter().map(whole).collect()
    }
}

impl Summary {
    fn of(results: &[&Metrics]) -> Self {
        let over_runs = |metric: Metric| {
            let values: Option<Vec<f64>> = results.iter().map(|it| metric.of(it)).collect();
            let summary = MetricSummary::of(metric, &values?).ok()?;
            Some((metric.json_path(), summary))
        };
        Self { runs: results.len(), metrics: Metric::all().filter_map(over_runs).collect() }
    }
}

impl MetricSummary {
    /// A metric with its value in each run.
    ///
    /// # Errors
    ///
    /// There is no run, or too many, or a value is not finite.
    pub fn of(metric: Metric, values: &[f64]) -> Result<Self, CompareError> {
        let Median { value, interval, .. } = Median::of(values)?;
        Ok(Self {
            median: value,
            lower: interval.map(|interval| interval.lower),
            upper: interval.map(|interval| interval.upper),
            sum: metric.is_error_count().then(|| values.iter().sum()),
        })
    }

    /// What a condition judges: errors by their sum, everything else by its median.
    #[must_use]
    pub fn judged(&self) -> f64 {
        self.sum.unwrap_or(self.median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::run;

    #[test]
    fn the_published_schema_is_that_of_the_data() {
        crate::schema::assert_published::<RunFile>("bench-2");
    }

    #[test]
    fn a_file_holds_its_runs_and_their_medians() {
        let mut runs: Vec<_> = (1..=6).map(|us| run(1, vec![us * 1_000; 100])).collect();
        runs[3].result.loss = 2;
        let file = RunFile::of(runs.clone());
        let p99 = file.summary.metrics["latency.p99_us"];
        assert_eq!((file.summary.runs, p99.median.round()), (6, 4.0), "{p99:?}");
        assert_eq!((p99.lower.map(f64::round), p99.upper.map(f64::round)), (Some(1.0), Some(6.0)));
        let loss = file.summary.metrics["loss"];
        assert_eq!((loss.median, loss.sum, loss.judged()), (0.0, Some(2.0), 2.0));
        assert_eq!(file.summary.metrics.get("server_cpu_s"), None, "it was not measured");
        let json = serde_json::to_string(&file).unwrap();
        assert_eq!(serde_json::from_str::<RunFile>(&json).unwrap().into_runs(), runs);
        let five = RunFile::of(runs.split_off(1));
        assert_eq!(five.summary.metrics["rate"].lower, None, "five runs have no 95 % interval");
    }
}
