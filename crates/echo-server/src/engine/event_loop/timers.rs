//! When connections want to be run although nothing happens to them. Nothing is kept here, and no clock is
//! read for it, unless one of them does.

use std::collections::BTreeSet;
use std::time::Instant;

/// The keys of connections by the time at which they want to be run. A connection has one timer at most: it
/// knows whether it has one.
#[derive(Default)]
pub(super) struct Timers {
    set: BTreeSet<(Instant, usize)>,
}

impl Timers {
    pub(super) fn set(&mut self, time: Instant, key: usize) {
        self.set.insert((time, key));
    }

    pub(super) fn cancel(&mut self, time: Instant, key: usize) {
        self.set.remove(&(time, key));
    }

    /// The time of the next one.
    pub(super) fn next(&self) -> Option<Instant> {
        self.set.first().map(|(time, _)| *time)
    }

    /// Takes out the key of a connection whose time has come.
    pub(super) fn expired(&mut self, now: Instant) -> Option<usize> {
        self.next().filter(|time| *time <= now)?;
        self.set.pop_first().map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timers_expire_in_the_order_of_their_times_and_once() {
        let mut timers = Timers::default();
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        for (ms, key) in [(20, 2), (10, 1), (35, 4), (30, 3)] {
            timers.set(at(ms), key);
        }
        timers.cancel(at(20), 2);
        assert_eq!((timers.next(), timers.expired(at(9))), (Some(at(10)), None));
        assert_eq!([(); 3].map(|()| timers.expired(at(30))), [Some(1), Some(3), None]);
        assert_eq!(timers.next(), Some(at(35)));
    }
}
