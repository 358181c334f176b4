//! Why a report cannot be made.

use super::MAX_SERIES;
use crate::hdr_log::LogError;
use crate::run_file::SCHEMA_VERSION;

/// Why a report cannot be made. Runs are named as in the report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is empty.
    #[error("it is empty")]
    Empty,
    /// The file has neither of the two formats.
    #[error("it is neither a saved run (JSON) nor an HdrHistogram interval log")]
    Unknown,
    /// The JSON ends early, in this line.
    #[error("the JSON is cut off in line {0}")]
    TruncatedJson(usize),
    /// The JSON is not a run.
    #[error("the JSON is not a run: {0}")]
    NotARun(serde_json::Error),
    /// The JSON is damaged.
    #[error("the JSON is damaged: {0}")]
    Json(serde_json::Error),
    /// This field of the JSON is not what it is in a run.
    #[error("the JSON is not a run: `{field}`")]
    Field {
        /// Its path in the JSON.
        field: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The file has another version of the format; a later one comes from a later program.
    #[error("it has version {0} of the format, but this program knows only 1 to {SCHEMA_VERSION}")]
    Version(u64),
    /// The file holds the trials of a search and no run.
    #[error("it holds a search for the highest rate, and no run to compare")]
    NoRuns,
    /// This field has a value that no run can have.
    #[error("`{field}` is {}, which no run can have", shown(*value))]
    Number {
        /// Its path in the JSON.
        field: String,
        /// Its value.
        value: f64,
    },
    /// The histogram in this field of the run is damaged.
    #[error("the histogram of `{0}` is damaged")]
    Histogram(String),
    /// The interval log cannot be read.
    #[error(transparent)]
    Log(LogError),
    /// Two runs to be merged differ in a setting that affects the meaning of a latency.
    #[error("cannot merge {0}: together their latencies mean nothing")]
    Differ(Difference),
    /// A run is to be merged with an interval log, whose settings are unknown.
    #[error("cannot merge {0} and {1}: the latter is an interval log, whose settings are unknown")]
    Mixed(String, String),
    /// The same measurement is named twice.
    #[error("{0} and {1} are the same run")]
    Duplicate(String, String),
    /// A condition on a ratio cannot be judged.
    #[error("{gate} cannot be judged for {side}: {reason}")]
    Undecided {
        /// The condition as given.
        gate: String,
        /// The side that was to be compared with the first.
        side: String,
        /// Why there is no answer.
        reason: String,
        /// Whether more runs would give one.
        too_few_runs: bool,
    },
    /// There is only one side.
    #[error("there is nothing to compare: all runs are of {0}")]
    OneSide(String),
    /// A file with several runs is to be merged.
    #[error("cannot merge repeated runs: {0} has {1} of them")]
    Repeated(String, usize),
    /// Two runs were not measured at the same time.
    #[error("cannot merge {0} and {1}: they were not measured at the same time")]
    Apart(String, String),
    /// The merged counts exceed their range.
    #[error("cannot merge: the counts are too large")]
    Overflow,
    /// No run has an echo to plot.
    #[error("there is nothing to plot: no echo came back")]
    NoSamples,
    /// A run does not have the setting on the x axis.
    #[error("{0} cannot be part of a curve: it does not have the setting `{1}`")]
    MissingX(String, &'static str),
    /// A run does not have the requested metric.
    #[error("{0} has no {1}: it was not measured")]
    Unmeasured(String, String),
    /// Two runs of one curve differ in a setting other than the varied one.
    #[error("cannot put {0} in one curve")]
    Incomparable(Difference),
    /// A setting is the same in all runs, so nothing varies.
    #[error("nothing varies: {0} is {1} in all runs")]
    NothingVaries(&'static str, String),
    /// There are more runs than can be told apart in a plot.
    #[error("cannot plot {0} runs: more than {MAX_SERIES} cannot be told apart")]
    TooManyRuns(usize),
}

/// A setting in which two runs differ.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} and {} ({setting} is {} and {})", runs[0].0, runs[1].0, runs[0].1, runs[1].1)]
pub struct Difference {
    /// The setting.
    pub setting: &'static str,
    /// The names of the runs and their values of it.
    pub runs: [(String, String); 2],
}

/// Numbers of any length in a readable form.
fn shown(value: f64) -> String {
    if value.abs() < 1e21 { format!("{value}") } else { format!("{value:e}") }
}

impl Error {
    /// The error with the field's path from the root of the file, where `part` holds the run.
    pub(super) fn within(self, part: &str) -> Self {
        match self {
            Self::Number { field, value } => {
                Self::Number { field: format!("{part}.{field}"), value }
            }
            Self::Histogram(field) => Self::Histogram(format!("{part}.{field}")),
            other => other,
        }
    }

    /// One line on what to do, if known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Empty
            | Self::TruncatedJson(_)
            | Self::Json(_)
            | Self::Number { .. }
            | Self::Histogram(_)
            | Self::Log(_) => "was the run still in progress or interrupted, or the disk full?",
            Self::Unknown | Self::NotARun(_) | Self::Field { .. } => {
                "report reads what bench --format json prints and bench --hdr-log FILE writes"
            }
            Self::NoRuns => "a run at the rate that was found is made with bench -R RATE",
            Self::Version(_) => "use the echo-client that wrote it, or a later one",
            Self::Differ(_) => "without --merge they are compared",
            Self::Apart(..) => "start the runs of all hosts at the same time",
            Self::Mixed(..) => "merge runs and logs separately",
            Self::Undecided { too_few_runs: true, .. } => {
                "so few runs cannot show a difference: use bench --repeat 6"
            }
            Self::Undecided { .. } => "use bench --fail-if for conditions on one side",
            Self::OneSide(_) => "name the baseline first, then runs with another label",
            Self::Repeated(..) => "bench without --repeat on each machine makes runs to be merged",
            Self::Duplicate(..) => "name each run once",
            Self::TooManyRuns(_) => "name fewer runs, or merge them with --merge",
            Self::MissingX(..) => {
                "interval logs have no settings, and runs without bench --rate have no rate"
            }
            Self::Unmeasured(_, metric) if metric.starts_with("server_cpu") => {
                "run bench with --server-pid to measure it"
            }
            Self::Unmeasured(..) => "leave out the run, or choose another --figure",
            Self::Incomparable(_) => {
                "give runs of different curves different labels: bench --label"
            }
            Self::NothingVaries(..) => "name runs that differ in it, or leave out --against",
            Self::Overflow | Self::NoSamples => return None,
        })
    }
}
