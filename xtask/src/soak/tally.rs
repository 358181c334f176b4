//! What a soak amounts to.

use std::fmt;

use echo_test_support::Held;

use super::peer::Ending;

/// Counts over all spells of an engine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) spells: u64,
    visits: u64,
    bytes: u64,
    /// The most that a server held, each figure for itself.
    most: Held,
    /// The most that one held when everybody had left.
    left_behind: Held,
}

impl Tally {
    pub(super) fn add(&mut self, ending: &Ending) {
        self.visits += ending.visits;
        self.bytes += ending.bytes;
    }

    pub(super) fn watch(&mut self, held: &Held) {
        self.most = self.most.max(held);
    }

    pub(super) fn left_behind(&mut self, held: &Held) {
        self.left_behind = self.left_behind.max(held);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spells, visits, bytes, most, left_behind } = self;
        write!(
            f,
            "{visits} visits to {spells} servers, {bytes} bytes echoed and compared, 0 wrong; at the most \
             {most}; when all had left {left_behind}"
        )
    }
}
