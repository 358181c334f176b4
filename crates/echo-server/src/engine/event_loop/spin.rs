//! Spinning briefly before blocking.
//!
//! Blocking and being woken costs CPU time, about 20 µs on a virtual machine, and adds as much to the latency.
//! Spinning avoids both, but pays only if the next event arrives soon. A worker therefore spins only if its recent
//! waits were short, and never longer than it has just worked, so spinning at most doubles the CPU time.

use std::io;
use std::time::Duration;

use crate::platform::Instant;

/// The longest time to spin. Spinning longer gives large messages slightly more throughput, for more CPU time per
/// echo.
const MAX_SPIN: Duration = Duration::from_micros(10);
/// The lowest score at which a worker spins.
const SPIN_FROM: u8 = 8;
/// The highest score.
const MAX_SCORE: u8 = 16;
/// Subtracted from the score for each long wait.
const LONG_WAIT_PENALTY: u8 = 4;

/// Decides whether to spin, from the lengths of recent waits.
#[derive(Debug)]
pub(super) struct AdaptiveSpin {
    /// One point for each short wait, minus [`LONG_WAIT_PENALTY`] for each long one.
    score: u8,
    /// When the last wait ended.
    last_wait_end: Instant,
}

impl AdaptiveSpin {
    pub(super) fn new() -> Self {
        Self { score: 0, last_wait_end: Instant::now() }
    }

    /// Waits for events for up to `timeout`, and returns whether there are any. `wait` is the system call: it
    /// blocks unless its timeout is [`Duration::ZERO`].
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
        let spin_budget = since.duration_since(self.last_wait_end).min(MAX_SPIN);
        let mut any = false;
        while self.score >= SPIN_FROM && !any {
            any = wait(Some(Duration::ZERO))?;
            if clock() - since >= spin_budget {
                break;
            }
        }
        let any = any || wait(timeout)?;
        self.last_wait_end = clock();
        self.record(self.last_wait_end - since < spin_budget);
        Ok(any)
    }

    fn record(&mut self, was_short: bool) {
        self.score = if was_short {
            MAX_SCORE.min(self.score + 1)
        } else {
            self.score.saturating_sub(LONG_WAIT_PENALTY)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const US: Duration = Duration::from_micros(1);

    /// Runs [`AdaptiveSpin`] with a simulated clock, which advances while the worker works, polls or sleeps.
    struct Simulation {
        spin: AdaptiveSpin,
        now: Cell<Instant>,
    }

    impl Simulation {
        fn new() -> Self {
            let spin = AdaptiveSpin::new();
            let now = Cell::new(spin.last_wait_end);
            Self { spin, now }
        }

        /// Works for `work`, then waits for an event that arrives `after` that. Returns how often it polled,
        /// 1 µs each, and whether it slept.
        fn iterate(&mut self, work: Duration, after: Duration) -> (u32, bool) {
            let pass = |time| self.now.set(self.now.get() + time);
            pass(work);
            let due = self.now.get() + after;
            let (mut polls, mut slept) = (0, false);
            let any = self.spin.wait_by(
                || self.now.get(),
                None,
                |timeout| {
                    match timeout {
                        None => {
                            (slept, _) = (true, pass(due.saturating_duration_since(self.now.get())))
                        }
                        Some(_) => (polls, _) = (polls + 1, pass(US)),
                    }
                    Ok(self.now.get() >= due)
                },
            );
            assert!(any.unwrap());
            (polls, slept)
        }

        /// A simulation with enough short waits to spin.
        fn spinning() -> Self {
            let mut simulation = Self::new();
            for _ in 0..SPIN_FROM {
                assert_eq!(simulation.iterate(5 * US, 2 * US), (0, true), "it does not spin yet");
            }
            simulation
        }
    }

    #[test]
    fn after_short_waits_events_are_found_without_sleeping() {
        let mut simulation = Simulation::spinning();
        for _ in 0..100 {
            assert_eq!(simulation.iterate(5 * US, 2 * US), (2, false));
        }
    }

    #[test]
    fn spinning_takes_no_longer_than_the_work_before_it_and_is_bounded() {
        for (work, budget) in [(5 * US, 5), (1000 * US, 10)] {
            let mut simulation = Simulation::spinning();
            assert_eq!(simulation.iterate(work, 1000 * US), (budget, true));
        }
    }

    #[test]
    fn a_long_wait_ends_spinning_unless_it_is_rare() {
        let mut simulation = Simulation::spinning();
        simulation.iterate(5 * US, 1000 * US);
        assert_eq!(simulation.iterate(5 * US, 2 * US), (0, true));

        let mut simulation = Simulation::spinning();
        for _ in 0..MAX_SCORE {
            simulation.iterate(5 * US, 2 * US);
        }
        simulation.iterate(5 * US, 1000 * US);
        assert_eq!(simulation.iterate(5 * US, 2 * US), (2, false));
    }

    #[test]
    fn a_zero_timeout_polls_once() {
        let mut simulation = Simulation::spinning();
        let polls = Cell::new(0);
        let poll = |timeout| {
            assert_eq!(timeout, Some(Duration::ZERO));
            polls.set(polls.get() + 1);
            Ok(false)
        };
        assert!(!simulation.spin.wait(Some(Duration::ZERO), poll).unwrap());
        assert_eq!(polls.get(), 1);
    }
}
