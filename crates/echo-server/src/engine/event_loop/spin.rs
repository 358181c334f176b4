//! Spinning briefly before sleeping.
//!
//! Sleeping and being woken costs CPU time, on a virtual machine some 20 µs, and adds that to the latency. Spinning
//! saves it, but pays only if the next event arrives soon. So a worker spins only if its recent waits were short,
//! and never longer than it worked before: spinning cannot more than double the cost.

use std::io;
use std::time::{Duration, Instant};

/// The longest time to spin. Longer ones give large messages slightly more throughput for more CPU time per echo.
const LONGEST: Duration = Duration::from_micros(10);
/// The score from which a worker spins.
const SPIN_FROM: u8 = 8;
/// The highest score.
const MAX_SCORE: u8 = 16;
/// What a long wait subtracts from the score.
const LONG_WAIT: u8 = 4;

/// Decides whether to spin, from the lengths of recent waits.
#[derive(Debug)]
pub(super) struct AdaptiveSpin {
    /// One point for each short wait, minus [`LONG_WAIT`] for each long one.
    score: u8,
    /// When the last wait ended.
    awake_since: Instant,
}

impl AdaptiveSpin {
    pub(super) fn new() -> Self {
        Self { score: 0, awake_since: Instant::now() }
    }

    /// Waits for events, but no longer than `timeout`, and returns whether there are any. `wait` polls the
    /// system once, and sleeps unless its timeout is [`Duration::ZERO`].
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
        while self.score >= SPIN_FROM && !any {
            any = wait(Some(Duration::ZERO))?;
            if clock() - since >= spin_budget {
                break;
            }
        }
        let any = any || wait(timeout)?;
        self.awake_since = clock();
        self.record(self.awake_since - since < spin_budget);
        Ok(any)
    }

    fn record(&mut self, was_short: bool) {
        self.score = if was_short {
            MAX_SCORE.min(self.score + 1)
        } else {
            self.score.saturating_sub(LONG_WAIT)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const US: Duration = Duration::from_micros(1);

    /// A spin with a simulated clock, which advances while the worker works, polls or sleeps.
    struct Simulation {
        spin: AdaptiveSpin,
        now: Cell<Instant>,
    }

    impl Simulation {
        fn new() -> Self {
            let spin = AdaptiveSpin::new();
            let now = Cell::new(spin.awake_since);
            Self { spin, now }
        }

        /// Works for some time, then waits for an event that arrives `after` some more time. Returns how often
        /// it polled, which takes 1 us, and whether it slept.
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

        /// One that had enough short waits to spin.
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
