//! Spinning briefly before blocking.
//!
//! A sleep costs CPU time, some microseconds on a virtual machine, and its wake-up delays the event by more. Spinning
//! costs the time until the event. Which of the two is cheaper depends on the machine and the load, so a worker measures
//! what each costs per event: events that arrive during a wake-up are processed together, so sleeping may be cheaper for a
//! busy worker. It spins if that costs at most [`MAX_RATIO`] times as much, and never longer than a sleep costs.
//!
//! To compare, it waits some times in a row one way and then the other. A single wait would not do: peers that get their
//! echo sooner send sooner, so spinning may pay only while the worker keeps doing it.

#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use crate::platform::{Instant, thread_cpu_time};

/// The most that spinning may cost, relative to sleeping. It is worth more because it shortens the latency.
const MAX_RATIO: f64 = 1.25;
/// The longest time to spin, in nanoseconds, however much a sleep costs.
const MAX_SPIN: f64 = 30_000.0;
/// Waits of a trial of one way of waiting.
const TRIAL: u32 = 32;
/// Waits at the beginning of a trial that do not count: the peers still follow the other way.
const SETTLING: u32 = 8;
/// Waits between two comparisons, while sleeping and while spinning: at first, and at most. Each comparison that confirms
/// the last one doubles it. Spinning costs at most as much as the sleep that follows, so comparisons add less than 1 % to
/// the cost of sleeping in the long run. Sleeping delays events, so it is tried more rarely.
const FIRST_INTERVAL: [u32; 2] = [64, 4096];
const MAX_INTERVAL: [u32; 2] = [4096, 65_536];
/// The weight of a new sample in a moving average.
const WEIGHT: f64 = 1.0 / 32.0;

/// Decides whether to spin, from what waits have cost.
#[derive(Debug)]
pub(super) struct AdaptiveSpin {
    spins: bool,
    phase: Phase,
    /// Waits left in this phase.
    left: u32,
    /// Waits until the next comparison.
    interval: u32,
    /// The CPU time of a sleep, in nanoseconds.
    sleep_cost: f64,
    sleeping: Cost,
    spinning: Cost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between comparisons.
    Decided,
    /// Measures the present way of waiting.
    Present,
    /// Measures the other way.
    Other,
}

/// What waits have cost, in nanoseconds, and the events that they returned.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    nanos: f64,
    events: f64,
}

impl AdaptiveSpin {
    /// Sleeps at first. The cost of a sleep is a guess until one has been measured, and always on systems without a clock
    /// for the CPU time of a thread.
    pub(super) fn new() -> Self {
        Self {
            spins: false,
            phase: Phase::Decided,
            left: FIRST_INTERVAL[0],
            interval: FIRST_INTERVAL[0],
            sleep_cost: 5_000.0,
            sleeping: Cost::default(),
            spinning: Cost::default(),
        }
    }

    /// Waits for events for up to `timeout`, and returns how many there are. `wait` is the system call: it blocks unless
    /// its timeout is [`Duration::ZERO`].
    ///
    /// # Errors
    ///
    /// Returns the error of `wait`.
    pub(super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        wait: impl FnMut(Option<Duration>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.wait_by(Instant::now, thread_cpu_time, timeout, wait)
    }

    fn wait_by(
        &mut self,
        clock: impl Fn() -> Instant,
        cpu_time: impl Fn() -> Option<Duration>,
        timeout: Option<Duration>,
        mut wait: impl FnMut(Option<Duration>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if timeout == Some(Duration::ZERO) {
            return wait(timeout);
        }
        self.next_phase();
        let spins = self.spins != (self.phase == Phase::Other);
        if !spins && self.phase == Phase::Decided {
            return wait(timeout);
        }
        // Also submits what is queued, so that the costs below are only those of waiting.
        let mut events = wait(Some(Duration::ZERO))?;
        let mut cost = 0.0;
        if events == 0 && spins {
            (events, cost) = self.spin(clock, || wait(Some(Duration::ZERO)))?;
        }
        if events == 0 {
            events = self.sleep(cpu_time, || wait(timeout))?;
            cost += self.sleep_cost;
        }
        self.record(spins, cost, events);
        Ok(events)
    }

    /// Polls until there are events, or as long as a sleep would cost. Returns the number of events, and the time.
    fn spin(
        &self,
        clock: impl Fn() -> Instant,
        mut poll: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<(usize, f64)> {
        let budget = self.sleep_cost.min(MAX_SPIN);
        let (since, mut spun) = (clock(), 0.0);
        while spun < budget {
            let events = poll()?;
            if events > 0 {
                return Ok((events, spun));
            }
            // The thread may have been preempted, or the process suspended.
            spun = nanos(clock() - since).min(budget);
        }
        Ok((0, spun))
    }

    /// Sleeps, and measures that.
    fn sleep(
        &mut self,
        cpu_time: impl Fn() -> Option<Duration>,
        wait: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let before = cpu_time();
        let events = wait()?;
        if let (Some(before), Some(after)) = (before, cpu_time()) {
            let cost = nanos(after.saturating_sub(before));
            // With more events it may include the work of receiving them, so those can only lower the average.
            if events <= 1 || cost < self.sleep_cost {
                self.sleep_cost += WEIGHT * (cost - self.sleep_cost);
            }
        }
        Ok(events)
    }

    /// Begins the next phase if this one is over, and counts a wait.
    fn next_phase(&mut self) {
        if self.left == 0 {
            (self.phase, self.left) = match self.phase {
                Phase::Decided => (Phase::Present, TRIAL),
                Phase::Present => (Phase::Other, TRIAL),
                Phase::Other => {
                    self.decide(self.spinning.is_acceptable(self.sleeping));
                    (Phase::Decided, self.interval)
                }
            };
            match (self.phase, self.spins) {
                (Phase::Decided, _) => {}
                (Phase::Present, true) | (Phase::Other, false) => self.spinning = Cost::default(),
                (Phase::Present, false) | (Phase::Other, true) => self.sleeping = Cost::default(),
            }
        }
        self.left -= 1;
    }

    fn decide(&mut self, spins: bool) {
        let confirmed = spins == self.spins;
        let way = usize::from(spins);
        let doubled = MAX_INTERVAL[way].min(2 * self.interval);
        self.interval = if confirmed { doubled } else { FIRST_INTERVAL[way] };
        self.spins = spins;
    }

    /// Records a wait, whose cost is 0 if events were pending.
    fn record(&mut self, spun: bool, nanos: f64, events: usize) {
        let events = events as f64;
        if self.phase == Phase::Decided {
            // Only a worker that spins gets here. It stops as soon as that does not pay any more.
            self.spinning.nanos += WEIGHT * (nanos * f64::from(TRIAL) - self.spinning.nanos);
            self.spinning.events += WEIGHT * (events * f64::from(TRIAL) - self.spinning.events);
            if !self.spinning.is_acceptable(self.sleeping) {
                self.decide(false);
                self.left = self.interval;
            }
        } else if self.phase == Phase::Present || self.left < TRIAL - SETTLING {
            let cost = if spun { &mut self.spinning } else { &mut self.sleeping };
            cost.nanos += nanos;
            cost.events += events;
        }
    }
}

impl Cost {
    /// Whether spinning at this cost per event is worth it instead of sleeping.
    fn is_acceptable(self, sleeping: Self) -> bool {
        // Timeouts are no events, and there may have been nothing else.
        self.nanos * sleeping.events.max(1.0) <= MAX_RATIO * sleeping.nanos * self.events.max(1.0)
    }
}

fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}
