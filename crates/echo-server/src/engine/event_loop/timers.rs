//! Timers of connections, for injected faults. While none is set, the clock is not read for them.

use std::collections::BTreeSet;

use crate::platform::Instant;

/// The keys of connections, ordered by the time at which to run them. A connection has at most one timer; the
/// caller keeps track of whether it is set.
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

    /// When the next timer expires.
    pub(super) fn next(&self) -> Option<Instant> {
        self.set.first().map(|(time, _)| *time)
    }

    /// Removes a timer that has expired by `now`, and returns its key.
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
