//! Whether to stay awake for a moment when there is nothing to do.
//!
//! Falling asleep and being woken up costs processor time, on a virtual machine some 20 µs, and the news wait
//! for it. Who gets them within a moment had better stay awake; who does not has spent the moment as well. So
//! it takes experience, and a moment is never longer than the work before it: then it cannot double the cost.

use std::io;
use std::time::{Duration, Instant};

/// The longest moment. Longer ones give large messages a few more echoes, at more processor time for each.
const LONGEST: Duration = Duration::from_micros(10);
/// How many waits of a moment, more or less in a row, it takes to expect another.
const EXPECTED: u8 = 8;
/// The most that are remembered.
const REMEMBERED: u8 = 16;
/// How many of them a longer wait outweighs.
const LATE: u8 = 4;

/// The experience of a worker.
#[derive(Debug)]
pub(super) struct AdaptiveSpin {
    /// Interest of a moment, less what longer ones outweigh.
    short: u8,
    /// When it last had news.
    awake_since: Instant,
}

impl AdaptiveSpin {
    pub(super) fn new() -> Self {
        Self { short: 0, awake_since: Instant::now() }
    }

    /// Interest until there are news, but no longer than `timeout`, and returns whether there are. `wait` does
    /// the same, with sleep; without for [`Duration::ZERO`].
    pub(super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        wait: impl FnMut(Option<Duration>) -> io::Result<bool>,
    ) -> io::Result<bool> {
        self.wait_by(Instant::now, timeout, wait)
    }

    fn wait_by(
        &mut self,
        clock: impl Fn() -> Instant,
        timeout: Option<Duration>,
        mut wait: impl FnMut(Option<Duration>) -> io::Result<bool>,
    ) -> io::Result<bool> {
        if timeout == Some(Duration::ZERO) {
            return wait(timeout);
        }
        let since = clock();
        let spin_budget = since.duration_since(self.awake_since).min(LONGEST);
        let mut any = false;
        while self.short >= EXPECTED && !any {
            any = wait(Some(Duration::ZERO))?;
            if clock() - since >= spin_budget {
                break;
            }
        }
        let any = any || wait(timeout)?;
        self.awake_since = clock();
        self.learn(self.awake_since - since < spin_budget);
        Ok(any)
    }

    fn learn(&mut self, was_short: bool) {
        self.short = if was_short {
            REMEMBERED.min(self.short + 1)
        } else {
            self.short.saturating_sub(LATE)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const US: Duration = Duration::from_micros(1);

    /// A spin, and a clock that goes on only while somebody works, looks or sleeps.
    struct Watch {
        spin: AdaptiveSpin,
        now: Cell<Instant>,
    }

    impl Watch {
        fn new() -> Self {
            let spin = AdaptiveSpin::new();
            let now = Cell::new(spin.awake_since);
            Self { spin, now }
        }

        /// Works for some time, and then waits for news that come `after` some more. Returns how often it
        /// has looked for them, which takes 1 us, and whether it has slept.
        fn turn(&mut self, work: Duration, after: Duration) -> (u32, bool) {
            let pass = |time| self.now.set(self.now.get() + time);
            pass(work);
            let due = self.now.get() + after;
            let (mut looks, mut slept) = (0, false);
            let any = self.spin.wait_by(
                || self.now.get(),
                None,
                |timeout| {
                    match timeout {
                        None => {
                            (slept, _) = (true, pass(due.saturating_duration_since(self.now.get())))
                        }
                        Some(_) => (looks, _) = (looks + 1, pass(US)),
                    }
                    Ok(self.now.get() >= due)
                },
            );
            assert!(any.unwrap());
            (looks, slept)
        }

        /// One that has had its news soon, often enough.
        fn experienced() -> Self {
            let mut watch = Self::new();
            for _ in 0..EXPECTED {
                assert_eq!(watch.turn(5 * US, 2 * US), (0, true), "it takes experience");
            }
            watch
        }
    }

    #[test]
    fn after_short_waits_it_has_the_news_without_sleep() {
        let mut watch = Watch::experienced();
        for _ in 0..100 {
            assert_eq!(watch.turn(5 * US, 2 * US), (2, false));
        }
    }

    #[test]
    fn a_moment_is_as_long_as_the_work_before_it_and_has_an_end() {
        for (work, moment) in [(5 * US, 5), (1000 * US, 10)] {
            let mut watch = Watch::experienced();
            assert_eq!(watch.turn(work, 1000 * US), (moment, true));
        }
    }

    #[test]
    fn after_a_wait_that_was_long_it_sleeps_at_once_unless_that_was_one_among_many() {
        let mut watch = Watch::experienced();
        watch.turn(5 * US, 1000 * US);
        assert_eq!(watch.turn(5 * US, 2 * US), (0, true));

        let mut watch = Watch::experienced();
        for _ in 0..REMEMBERED {
            watch.turn(5 * US, 2 * US);
        }
        watch.turn(5 * US, 1000 * US);
        assert_eq!(watch.turn(5 * US, 2 * US), (2, false));
    }

    #[test]
    fn who_has_no_time_to_wait_only_looks() {
        let mut watch = Watch::experienced();
        let looks = Cell::new(0);
        let look = |timeout| {
            assert_eq!(timeout, Some(Duration::ZERO));
            looks.set(looks.get() + 1);
            Ok(false)
        };
        assert!(!watch.spin.wait(Some(Duration::ZERO), look).unwrap());
        assert_eq!(looks.get(), 1);
    }
}
