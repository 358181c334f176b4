//! Why a report cannot be made.

use std::fmt;

use super::MAX_SERIES;
use crate::hdr_log::LogError;
use crate::run::SCHEMA_VERSION;

/// Why a report cannot be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The file is empty.
    Empty,
    /// The file has neither of the two formats.
    Unknown,
    /// The JSON is damaged, or not a run.
    Json(serde_json::Error),
    /// A later version of the program wrote the run.
    Newer {
        /// The version of its format.
        schema_version: u64,
    },
    /// A histogram of the run is damaged.
    Histogram {
        /// Its field in the result.
        field: &'static str,
    },
    /// The interval log cannot be read.
    Log(LogError),
    /// Runs to be merged differ in a setting that affects the meaning of a latency.
    Differ {
        /// The setting.
        setting: &'static str,
        /// Names of two runs, and their settings.
        runs: [(String, String); 2],
    },
    /// A run is to be merged with an interval log, whose settings are unknown.
    Mixed {
        /// The run's name.
        run: String,
        /// The log's name.
        log: String,
    },
    /// The same measurement is to be merged twice.
    Duplicate {
        /// Its two names.
        names: [String; 2],
    },
    /// The merged counts exceed their range.
    Overflow,
    /// No run has an echo to plot.
    NoSamples,
    /// A run does not have the setting on the x axis.
    MissingX {
        /// The run's name.
        name: String,
        /// The setting on the x axis.
        setting: &'static str,
    },
    /// A run does not have the requested metric.
    Unmeasured {
        /// The run's name.
        name: String,
        /// The figure's name.
        metric: String,
    },
    /// Runs of one curve differ in a setting other than the varied one.
    Incomparable {
        /// The setting.
        setting: &'static str,
        /// Names of two runs, and their settings.
        runs: [(String, String); 2],
    },
    /// All runs have the same x.
    NothingVaries {
        /// The setting on the x axis.
        setting: &'static str,
        /// Its value in all runs.
        value: String,
    },
    /// There are more runs than can be told apart in a plot.
    TooManyRuns {
        /// Number of runs.
        runs: usize,
    },
}

impl Error {
    /// One line on what to do, if known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Json(error) if error.is_data() => return Self::Unknown.hint(),
            Self::Empty | Self::Json(_) | Self::Histogram { .. } | Self::Log(_) => {
                "was the run that wrote it still going on, or cut off, or the disk full?"
            }
            Self::Unknown => {
                "it reads what `bench --format json` prints and what `bench --hdr-log FILE` writes"
            }
            Self::Newer { .. } => "use the echo-client that wrote it, or a later one",
            Self::Differ { .. } => "without --merge they stand side by side",
            Self::Mixed { .. } => "merge the runs and the logs apart from each other",
            Self::Duplicate { .. } => "name each run once",
            Self::TooManyRuns { .. } => "name fewer of them, or add them up with --merge",
            Self::MissingX { .. } => {
                "interval logs do not tell their settings, and without bench --rate none was asked for"
            }
            Self::Unmeasured { metric, .. } if metric.starts_with("server_cpu") => {
                "it takes bench --server-pid"
            }
            Self::Unmeasured { .. } => "leave the run out, or choose another --figure",
            Self::Incomparable { .. } => {
                "runs that are not one curve need different labels: bench --label"
            }
            Self::NothingVaries { .. } => "name runs that differ in it, or leave --against out",
            Self::Overflow | Self::NoSamples => return None,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::Unknown => {
                f.write_str("it is neither a saved run (JSON) nor an HdrHistogram interval log")
            }
            Self::Json(error) if error.is_eof() => {
                write!(f, "the JSON is cut off in line {}", error.line())
            }
            Self::Json(error) if error.is_data() => write!(f, "the JSON is not a run: {error}"),
            Self::Json(error) => write!(f, "the JSON is damaged: {error}"),
            Self::Newer { schema_version } => write!(
                f,
                "it has version {schema_version} of the format, but this program knows only up to \
                 {SCHEMA_VERSION}"
            ),
            Self::Histogram { field } => write!(f, "the histogram of `{field}` is damaged"),
            Self::Log(error) => error.fmt(f),
            Self::Differ { setting, runs: [(first, one), (second, other)] } => write!(
                f,
                "cannot merge {first} and {second}: {setting} is {one} in the one and {other} in \
                 the other, so together their latencies mean nothing"
            ),
            Self::Mixed { run, log } => write!(
                f,
                "cannot merge {run} and {log}: the latter is an interval log, which does not tell \
                 its settings"
            ),
            Self::Duplicate { names: [first, second] } => {
                write!(f, "cannot merge {first} and {second}: they are the same run")
            }
            Self::Overflow => f.write_str("cannot merge: the counts are too large to be added"),
            Self::NoSamples => f.write_str("there is nothing to draw: not one echo came back"),
            Self::TooManyRuns { runs } => write!(
                f,
                "cannot draw {runs} runs in one picture: more than {MAX_SERIES} cannot be \
                 told apart"
            ),
            Self::MissingX { name, setting } => {
                write!(f, "{name} has no place in a curve: it does not tell `{setting}`")
            }
            Self::Unmeasured { name, metric } => {
                write!(f, "{name} has no {metric}: it was not measured")
            }
            Self::Incomparable { setting, runs: [(first, one), (second, other)] } => write!(
                f,
                "{first} and {second} cannot be in one curve: {setting} is {one} in the one and \
                 {other} in the other"
            ),
            Self::NothingVaries { setting, value } => {
                write!(f, "nothing is varied: {setting} is {value} in all runs")
            }
        }
    }
}

impl std::error::Error for Error {}
