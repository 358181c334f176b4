//! When connections want to have a turn although nothing happens to them. Nothing is kept here, and no clock
//! read for it, unless one of them does.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// Connections by the time of their turn; each has one at the most.
#[derive(Default)]
pub(super) struct Timers {
    set: BTreeSet<(Instant, usize)>,
    times: HashMap<usize, Instant>,
}

impl Timers {
    /// Has the connection at `key` have a turn at this time, unless it has one before.
    pub(super) fn set(&mut self, time: Instant, key: usize) {
        if self.times.get(&key).is_none_or(|set| *set > time) {
            self.cancel(key);
            self.set.insert((time, key));
            self.times.insert(key, time);
        }
    }

    /// The connection at `key` has left.
    pub(super) fn cancel(&mut self, key: usize) {
        if let Some(time) = self.times.remove(&key) {
            self.set.remove(&(time, key));
        }
    }

    /// The time of the next one.
    pub(super) fn next(&self) -> Option<Instant> {
        self.set.first().map(|(time, _)| *time)
    }

    /// A connection whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<usize> {
        self.next().filter(|time| *time <= now)?;
        let (_, key) = self.set.pop_first()?;
        self.times.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn those_whose_time_has_come_have_their_turn_in_order_and_once() {
        let mut timers = Timers::default();
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        for (ms, key) in [(20, 2), (10, 1), (10, 1), (15, 1), (35, 3), (30, 3), (40, 4)] {
            timers.set(at(ms), key);
        }
        timers.cancel(2);
        assert_eq!((timers.next(), timers.due(at(9))), (Some(at(10)), None));
        assert_eq!([(); 3].map(|()| timers.due(at(30))), [Some(1), Some(3), None]);
        assert_eq!(timers.next(), Some(at(40)));
    }
}
