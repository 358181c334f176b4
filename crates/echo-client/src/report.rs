//! Saved runs: compared in a table, as curves, plotted, or merged.
//!
//! A saved run is either a [`Run`] in JSON or an HdrHistogram interval log, which has latencies
//! over time but no settings, losses or causes.

mod check;
mod curves;
mod error;
#[cfg(test)]
pub(crate) mod fixtures;
mod gates;
mod grid;
mod load;
mod merge;
mod plot;
mod settings;
mod side;
mod table;

use hdrhistogram::Histogram;

use crate::run::{Interval, Run};

pub use curves::{Curve, CurvePoint, Curves, XAxis};
pub use error::{Difference, Error};
pub use gates::RatioCheck;
pub use load::{load, printable};
pub use merge::{Overlap, merge};
pub use plot::{MAX_SERIES, plot, plot_curves};
pub use settings::Setting;
pub use side::{Side, numbered};
pub use table::{MetricRow, RatioRow, Table};

/// A saved run, ready for a report.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedRun {
    /// Name in tables and plots.
    pub name: String,
    /// Echoes per second; `None` for a log without interval lengths.
    pub rate: Option<f64>,
    /// Latencies in nanoseconds, from the time a message was due.
    pub latency: Histogram<u64>,
    /// The intervals of the run.
    pub intervals: Vec<Interval>,
    /// Everything else; `None` for an interval log.
    pub run: Option<Box<RunDetails>>,
}

/// What a run has beyond an interval log.
#[derive(Clone, Debug, PartialEq)]
pub struct RunDetails {
    /// The run as saved.
    pub run: Run,
    /// Times from sending a message to its echo, in nanoseconds.
    pub service: Histogram<u64>,
    /// Times from a message being due to sending it, in nanoseconds.
    pub send_lag: Histogram<u64>,
    /// Times to connect, in nanoseconds.
    pub connect: Histogram<u64>,
}
