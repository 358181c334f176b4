//! The results of a soak.

use std::fmt;

use echo_test_support::ResourceUsage;

use super::peer::Visits;

/// Sums over all lifetimes of an engine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) lifetimes: u64,
    visits: u64,
    bytes: u64,
    /// The maximum usage of each resource by a server.
    peak: ResourceUsage,
    /// The same after all peers had ended.
    at_end: ResourceUsage,
}

impl Totals {
    pub(super) fn add(&mut self, visits: &Visits) {
        self.visits += visits.visits;
        self.bytes += visits.bytes;
    }

    pub(super) fn watch(&mut self, usage: &ResourceUsage) {
        self.peak = self.peak.max(usage);
    }

    pub(super) fn at_end(&mut self, usage: &ResourceUsage) {
        self.at_end = self.at_end.max(usage);
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lifetimes, visits, bytes, peak, at_end } = self;
        write!(
            f,
            "{visits} visits to {lifetimes} servers, {bytes} bytes echoed and compared, 0 wrong; peak \
             {peak}; after all peers had ended {at_end}"
        )
    }
}
