//! Spinning briefly before blocking.
//!
//! A sleep costs CPU time, some microseconds on a virtual machine, and its wake-up delays the event by more. Spinning
//! costs the time until the event. Which of the two is cheaper depends on the machine and the load, so a worker measures
//! both, as CPU time per event: events that arrive during a wake-up are processed together, so sleeping may be cheaper
//! for a busy worker. It spins if that is at most [`MAX_RATIO`] times as expensive, and never longer than a sleep
//! costs. Now and then it tries the other way, to notice a change.

use std::io;
use std::time::Duration;

use crate::platform::{Instant, thread_cpu_time};

/// The most that spinning may cost, relative to sleeping. It is worth more because it shortens the latency.
const MAX_RATIO: f64 = 1.25;
/// The longest time to spin, however much a sleep costs.
const MAX_SPIN: f64 = 30_000.0;
/// Waits that sleep between two that spin, and waits that spin between two that sleep. A trial of spinning costs at most
/// as much as a sleep, so it adds at most 1/64 to the cost of sleeping; one of sleeping delays an event, so it is rare.
const SPIN_TRIAL_EVERY: u16 = 64;
const SLEEP_TRIAL_EVERY: u16 = 1024;
/// The weight of a new sample in an average.
const WEIGHT: f64 = 1.0 / 8.0;

/// Decides whether to spin, from what recent waits have cost. Costs are in nanoseconds.
#[derive(Debug)]
pub(super) struct AdaptiveSpin {
    /// Averages over waits that slept at once: the CPU time, and the number of events.
    sleep_cost: f64,
    sleep_events: f64,
    /// The same for waits that spun, and slept if that was in vain.
    spin_cost: f64,
    spin_events: f64,
    /// Waits until the other way is tried.
    until_trial: u16,
}

impl AdaptiveSpin {
    /// Sleeps first. The cost of a sleep is a guess until one has been measured; it remains so on systems that do not tell
    /// a thread its CPU time.
    pub(super) fn new() -> Self {
        Self {
            sleep_cost: 5_000.0,
            sleep_events: 1.0,
            spin_cost: 10_000.0,
            spin_events: 1.0,
            until_trial: SPIN_TRIAL_EVERY,
        }
    }

    /// Waits for events for up to `timeout`, and returns how many there are. `wait` is the system call: it blocks unless
    /// its timeout is [`Duration::ZERO`].
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
        if !self.is_to_spin() {
            let events = wait(timeout)?;
            if events > 0 {
                average(&mut self.sleep_events, events as f64);
            }
            return Ok(events);
        }
        // Submits what is queued, so that neither spinning nor the sleep includes that.
        let mut events = wait(Some(Duration::ZERO))?;
        let (since, mut spun) = (clock(), 0.0);
        while events == 0 && spun < self.sleep_cost.min(MAX_SPIN) {
            events = wait(Some(Duration::ZERO))?;
            if events == 0 {
                spun = nanos(clock() - since);
            }
        }
        if events == 0 {
            let before = cpu_time();
            events = wait(timeout)?;
            if let (1, Some(before), Some(after)) = (events, before, cpu_time()) {
                // More events may include the work of receiving them.
                average(&mut self.sleep_cost, nanos(after.saturating_sub(before)));
            }
            spun += self.sleep_cost;
        }
        if events > 0 {
            average(&mut self.spin_cost, spun);
            average(&mut self.spin_events, events as f64);
        }
        Ok(events)
    }

    /// Whether the next wait spins: because that pays, or as a trial.
    fn is_to_spin(&mut self) -> bool {
        let pays =
            self.spin_cost * self.sleep_events <= MAX_RATIO * self.sleep_cost * self.spin_events;
        self.until_trial -= 1;
        if self.until_trial > 0 {
            return pays;
        }
        self.until_trial = if pays { SLEEP_TRIAL_EVERY } else { SPIN_TRIAL_EVERY };
        !pays
    }
}

/// Adds a sample to a moving average.
fn average(average: &mut f64, sample: f64) {
    *average += WEIGHT * (sample - *average);
}

fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const US: Duration = Duration::from_micros(1);
    /// What a sleep costs and how long its wake-up takes.
    const SLEEP_COST: Duration = Duration::from_micros(8);
    const WAKE_UP: Duration = Duration::from_micros(20);

    /// Runs [`AdaptiveSpin`] with simulated clocks. A poll takes 100 ns.
    struct Simulation {
        spin: AdaptiveSpin,
        now: Cell<Instant>,
        cpu: Cell<Duration>,
        /// When the next events arrive, in order.
        arrivals: Vec<Instant>,
        sleeps: u32,
    }

    impl Simulation {
        fn new() -> Self {
            Self {
                spin: AdaptiveSpin::new(),
                now: Cell::new(Instant::now()),
                cpu: Cell::default(),
                arrivals: Vec::new(),
                sleeps: 0,
            }
        }

        fn pass(&self, time: Duration) {
            self.now.set(self.now.get() + time);
            self.cpu.set(self.cpu.get() + time);
        }

        /// Waits for the events in `arrivals`, and takes those that have arrived.
        fn wait(&mut self) -> usize {
            let mut spin = std::mem::replace(&mut self.spin, AdaptiveSpin::new());
            let mut slept = false;
            let this = &*self;
            let events = spin.wait_by(
                || this.now.get(),
                || Some(this.cpu.get()),
                None,
                |timeout| {
                    let arrived = || this.arrivals.partition_point(|&at| at <= this.now.get());
                    this.pass(US / 10);
                    if timeout.is_none() && arrived() == 0 {
                        slept = true;
                        this.pass(SLEEP_COST);
                        this.now.set(this.now.get().max(this.arrivals[0]) + WAKE_UP);
                    }
                    Ok(arrived())
                },
            );
            let events = events.unwrap();
            self.spin = spin;
            self.sleeps += u32::from(slept);
            self.arrivals.drain(..events);
            events
        }

        /// One peer that sends `after` it has received, `count` times. Returns the CPU time per echo.
        fn closed_loop(&mut self, after: Duration, count: u32) -> Duration {
            let since = self.cpu.get();
            for _ in 0..count {
                self.arrivals.push(self.now.get() + after);
                assert_eq!(self.wait(), 1);
                self.pass(5 * US);
            }
            (self.cpu.get() - since) / count
        }

        /// A message every `interval`, whatever the server does, `count` times. Returns the CPU time per echo.
        fn open_loop(&mut self, interval: Duration, count: u32) -> Duration {
            let since = self.cpu.get();
            self.arrivals = (1..=count).map(|i| self.now.get() + interval * i).collect();
            while !self.arrivals.is_empty() {
                let events = self.wait();
                self.pass(3 * US * events as u32);
            }
            (self.cpu.get() - since) / count
        }
    }

    #[test]
    fn events_that_arrive_sooner_than_a_sleep_costs_are_found_without_sleeping() {
        let mut simulation = Simulation::new();
        simulation.closed_loop(4 * US, 2000);
        simulation.sleeps = 0;
        let cost = simulation.closed_loop(4 * US, 1000);
        assert!(simulation.sleeps <= 1, "{}", simulation.sleeps);
        assert!(cost < 10 * US, "{cost:?}");
    }

    #[test]
    fn events_that_arrive_later_are_waited_for_asleep_at_nearly_no_extra_cost() {
        for after in [30 * US, 1000 * US] {
            let mut simulation = Simulation::new();
            let cost = simulation.closed_loop(after, 10_000);
            let asleep = SLEEP_COST + 5 * US;
            assert!(cost < asleep + asleep / 20, "{cost:?}");
        }
    }

    #[test]
    fn a_worker_does_not_spin_where_a_sleep_collects_several_events() {
        // Spinning would take all of the CPU time: 7 µs more for each event. A sleep takes 8 µs for three.
        let mut simulation = Simulation::new();
        let cost = simulation.open_loop(10 * US, 3000);
        assert!(cost < 7 * US, "{cost:?}");
    }

    #[test]
    fn a_change_of_the_load_is_noticed() {
        let mut simulation = Simulation::new();
        simulation.closed_loop(1000 * US, 1000);
        let cost = simulation.closed_loop(2 * US, 2000);
        assert!(cost < 10 * US, "{cost:?}");
        let cost = simulation.closed_loop(1000 * US, 1000);
        assert!(cost < 15 * US, "{cost:?}");
    }

    #[test]
    fn spinning_ends_when_it_has_cost_as_much_as_a_sleep() {
        let mut simulation = Simulation::new();
        simulation.closed_loop(2 * US, 5000);
        // Learn the true cost of a sleep.
        for _ in 0..100 {
            simulation.closed_loop(100 * US, 64);
        }
        simulation.closed_loop(2 * US, 2000);
        let cost = simulation.closed_loop(1000 * US, 1);
        assert!(cost < 2 * SLEEP_COST + 6 * US, "{cost:?}");
    }

    #[test]
    fn a_zero_timeout_polls_once() {
        let polls = Cell::new(0);
        let poll = |timeout| {
            assert_eq!(timeout, Some(Duration::ZERO));
            polls.set(polls.get() + 1);
            Ok(0)
        };
        assert_eq!(AdaptiveSpin::new().wait(Some(Duration::ZERO), poll).unwrap(), 0);
        assert_eq!(polls.get(), 1);
    }
}
