//! Saved runs side by side: as a table, as curves, as a picture, or added up to one.
//!
//! What is read is either a [`Run`] in JSON or an HdrHistogram interval log, which knows latencies and
//! when they were, but nothing of settings, losses or causes. Everything here is data in, data out.

mod curves;
mod error;
#[cfg(test)]
mod fixtures;
mod grid;
mod load;
mod merge;
mod plot;
mod table;

use hdrhistogram::Histogram;

use crate::run::{Interval, Run};

pub use curves::{Curve, CurvePoint, Curves, XAxis, median};
pub use error::Error;
pub use load::{load, printable};
pub use merge::merge;
pub use plot::{MAX_SERIES, plot, plot_curves};
pub use table::{MetricRow, Setting, Table};

/// Something that was measured and saved.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedRun {
    /// What it is called in tables and pictures.
    pub name: String,
    /// Echoes a second; none where a log does not tell for how long it was measured.
    pub rate: Option<f64>,
    /// Latencies in nanoseconds, from the time that a message was due.
    pub latency: Histogram<u64>,
    /// The parts of it in time.
    pub intervals: Vec<Interval>,
    /// All else; none for an interval log.
    pub run: Option<Box<RunDetails>>,
}

/// What a run tells beyond an interval log.
#[derive(Clone, Debug, PartialEq)]
pub struct RunDetails {
    /// As it was saved.
    pub run: Run,
    /// From sending a message to its echo, in nanoseconds.
    pub service: Histogram<u64>,
    /// From asking for a connection until it was there, in nanoseconds.
    pub connect: Histogram<u64>,
}
