//! Spinning briefly before blocking.
//!
//! A sleep costs CPU time, some microseconds on a virtual machine, and its wake-up delays the event by more. Spinning
//! costs the time until the event. Which of the two is cheaper depends on the machine and the load, so a worker compares
//! what both cost per event: events that arrive during a wake-up are processed together, so sleeping may be cheaper for
//! a busy worker. It spins if that costs at most [`MAX_RATIO`] times as much, and never longer than a sleep costs. Now and
//! then it tries the other way, to notice a change.

use std::io;
use std::time::Duration;

use crate::platform::{Instant, thread_cpu_time};

/// The most that spinning may cost, relative to sleeping. It is worth more because it shortens the latency.
const MAX_RATIO: f64 = 1.25;
/// The longest time to spin, in nanoseconds, however much a sleep costs.
const MAX_SPIN: f64 = 30_000.0;
/// While sleeping is cheaper, every so many waits are a trial: in turn, one that spins and one whose sleep is measured.
/// Spinning costs at most as much as the sleep that follows, so trials add at most 1/62 to the cost of sleeping. An odd
/// number, so that a load with a period of two waits shows both of them.
const TRIAL_EVERY: u16 = 31;
/// While spinning is cheaper, one of so many waits sleeps. It delays an event, so it is rare.
const SLEEP_TRIAL_EVERY: u16 = 1021;
/// The weight of a new sample in an average.
const WEIGHT: f64 = 1.0 / 8.0;
/// The least that an average number of events can be.
const MIN_EVENTS: f64 = 0.01;

/// Decides whether to spin, from what recent waits have cost. A wait for which events were pending costs nothing either
/// way and does not count.
#[derive(Debug)]
pub(super) struct AdaptiveSpin {
    /// The CPU time of a sleep, in nanoseconds.
    sleep_cost: f64,
    /// Events per sleep.
    sleep_events: f64,
    /// Nanoseconds per wait that spins, including the sleep if it spins in vain.
    spin_cost: f64,
    /// Events per wait that spins.
    spin_events: f64,
    /// Waits until the next trial.
    until_trial: u16,
    /// The last trial spun.
    last_trial_spun: bool,
}

impl AdaptiveSpin {
    /// Sleeps at first. The cost of a sleep is a guess until one has been measured, and always on systems without a clock
    /// for the CPU time of a thread.
    pub(super) fn new() -> Self {
        Self {
            sleep_cost: 5_000.0,
            sleep_events: 1.0,
            spin_cost: 10_000.0,
            spin_events: 1.0,
            until_trial: TRIAL_EVERY,
            last_trial_spun: false,
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
        let spins = self.spinning_pays();
        self.until_trial = self.until_trial.saturating_sub(1);
        let is_trial = self.until_trial == 0;
        if !spins && !is_trial {
            return wait(timeout);
        }
        // Also submits what is queued, so that the costs below are only those of waiting.
        let pending = wait(Some(Duration::ZERO))?;
        if pending > 0 {
            return Ok(pending);
        }
        if is_trial && !self.trial_spins(spins) {
            return self.sleep(cpu_time, || wait(timeout));
        }
        let budget = self.sleep_cost.min(MAX_SPIN);
        let (since, mut spun, mut events) = (clock(), 0.0, 0);
        while events == 0 && spun < budget {
            events = wait(Some(Duration::ZERO))?;
            if events == 0 {
                // The thread may have been preempted, or the process suspended.
                spun = nanos(clock() - since).min(budget);
            }
        }
        if events == 0 {
            events = self.sleep(cpu_time, || wait(timeout))?;
            spun += self.sleep_cost;
        }
        add_sample(&mut self.spin_cost, spun);
        add_events(&mut self.spin_events, events);
        Ok(events)
    }

    fn spinning_pays(&self) -> bool {
        self.spin_cost * self.sleep_events <= MAX_RATIO * self.sleep_cost * self.spin_events
    }

    /// Begins a trial. Returns whether it spins.
    fn trial_spins(&mut self, spinning_pays: bool) -> bool {
        self.until_trial = if spinning_pays { SLEEP_TRIAL_EVERY } else { TRIAL_EVERY };
        self.last_trial_spun = !spinning_pays && !self.last_trial_spun;
        self.last_trial_spun
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
                add_sample(&mut self.sleep_cost, cost);
            }
        }
        add_events(&mut self.sleep_events, events);
        Ok(events)
    }
}

/// Adds a sample to a moving average.
fn add_sample(average: &mut f64, sample: f64) {
    *average += WEIGHT * (sample - *average);
}

fn add_events(average: &mut f64, events: usize) {
    add_sample(average, (events as f64).max(MIN_EVENTS));
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
        /// The system has a clock for the CPU time of a thread.
        has_cpu_clock: bool,
        /// The process is suspended for this long in the second poll of the next wait.
        suspension: Cell<Duration>,
        polls: u32,
        sleeps: u32,
    }

    impl Simulation {
        fn new() -> Self {
            Self {
                spin: AdaptiveSpin::new(),
                now: Cell::new(Instant::now()),
                cpu: Cell::default(),
                arrivals: Vec::new(),
                has_cpu_clock: true,
                suspension: Cell::default(),
                polls: 0,
                sleeps: 0,
            }
        }

        fn pass(&self, time: Duration) {
            self.now.set(self.now.get() + time);
            self.cpu.set(self.cpu.get() + time);
        }

        /// Waits for the events in `arrivals`, for up to `timeout`, and takes those that have arrived.
        fn wait(&mut self, timeout: Option<Duration>) -> usize {
            let mut spin = std::mem::replace(&mut self.spin, AdaptiveSpin::new());
            let (mut polls, mut sleeps) = (0, 0);
            let this = &*self;
            let events = spin.wait_by(
                || this.now.get(),
                || this.has_cpu_clock.then(|| this.cpu.get()),
                timeout,
                |timeout| {
                    let arrived = || this.arrivals.partition_point(|&at| at <= this.now.get());
                    this.pass(US / 10);
                    polls += 1;
                    if polls == 2 {
                        this.now.set(this.now.get() + this.suspension.take());
                    }
                    if timeout != Some(Duration::ZERO) && arrived() == 0 {
                        (polls, sleeps) = (polls - 1, sleeps + 1);
                        this.pass(SLEEP_COST);
                        let until = timeout.map(|timeout| this.now.get() + timeout);
                        let next = this.arrivals.first().copied().into_iter().chain(until).min();
                        this.now.set(this.now.get().max(next.unwrap()) + WAKE_UP);
                    }
                    Ok(arrived())
                },
            );
            let events = events.unwrap();
            self.spin = spin;
            (self.polls, self.sleeps) = (self.polls + polls, self.sleeps + sleeps);
            self.arrivals.drain(..events);
            events
        }

        /// The CPU time per echo of what `echoes` does, which are `count`.
        fn cost(&mut self, count: u32, echoes: impl FnOnce(&mut Self)) -> Duration {
            let since = self.cpu.get();
            echoes(self);
            (self.cpu.get() - since) / count
        }

        /// One peer that sends `after` it has received, `count` times. An echo takes 5 µs.
        fn closed_loop(&mut self, after: Duration, count: u32) -> Duration {
            self.cost(count, |this| {
                for _ in 0..count {
                    this.arrivals.push(this.now.get() + after);
                    assert_eq!(this.wait(None), 1);
                    this.pass(5 * US);
                }
            })
        }

        /// A message every `interval`, whatever the server does, `count` times. An echo takes 3 µs.
        fn open_loop(&mut self, interval: Duration, count: u32) -> Duration {
            self.arrivals = (1..=count).map(|i| self.now.get() + interval * i).collect();
            self.cost(count, |this| {
                while !this.arrivals.is_empty() {
                    let events = this.wait(None);
                    this.pass(3 * US * events as u32);
                }
            })
        }

        /// Two messages `after` each other's echoes, the second while the first is processed. Returns the CPU time per pair.
        fn pairs(&mut self, after: Duration, count: u32) -> Duration {
            self.cost(count, |this| {
                for _ in 0..count {
                    this.arrivals.push(this.now.get() + after);
                    assert_eq!(this.wait(None), 1);
                    this.arrivals.push(this.now.get());
                    this.pass(5 * US);
                    assert_eq!(this.wait(None), 1);
                    this.pass(5 * US);
                }
            })
        }

        /// A simulation that spins, and has measured sleeps.
        fn spinning() -> Self {
            let mut simulation = Self::new();
            simulation.closed_loop(100 * US, 10_000);
            simulation.closed_loop(2 * US, 3000);
            let sleeps = simulation.sleeps;
            simulation.closed_loop(2 * US, 100);
            assert!(simulation.sleeps - sleeps <= 1);
            simulation
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
            let cost = Simulation::new().closed_loop(after, 10_000);
            let asleep = SLEEP_COST + 5 * US;
            assert!(cost < asleep + asleep / 25, "{cost:?}");
        }
    }

    #[test]
    fn a_worker_does_not_spin_where_a_sleep_collects_several_events() {
        // Spinning would take all of the CPU time: 7 µs more for each event. A sleep takes 8 µs for three.
        let cost = Simulation::new().open_loop(10 * US, 3000);
        assert!(cost < 7 * US, "{cost:?}");
    }

    #[test]
    fn waits_for_pending_events_say_nothing_about_spinning() {
        let cost = Simulation::new().pairs(1000 * US, 10_000);
        let asleep = SLEEP_COST + 10 * US;
        assert!(cost < asleep + asleep / 20, "{cost:?}");
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
        let mut simulation = Simulation::spinning();
        (simulation.polls, simulation.sleeps) = (0, 0);
        let cost = simulation.closed_loop(1000 * US, 1);
        assert!(simulation.polls > 20 && simulation.sleeps == 1, "{} polls", simulation.polls);
        assert!(cost < 2 * SLEEP_COST + 6 * US, "{cost:?}");
    }

    #[test]
    fn a_suspension_while_spinning_counts_as_one_wait_in_vain() {
        let mut simulation = Simulation::spinning();
        simulation.suspension.set(Duration::from_secs(10));
        simulation.closed_loop(Duration::from_secs(10) + 2 * US, 1);
        simulation.closed_loop(2 * US, 300);
        let sleeps = simulation.sleeps;
        simulation.closed_loop(2 * US, 100);
        assert!(simulation.sleeps - sleeps <= 1, "{}", simulation.sleeps - sleeps);
    }

    #[test]
    fn timeouts_count_as_waits_in_vain() {
        let mut simulation = Simulation::spinning();
        let cost = simulation.cost(1000, |this| {
            (0..1000).for_each(|_| assert_eq!(this.wait(Some(50 * US)), 0));
        });
        assert!(cost < SLEEP_COST + US, "{cost:?}");
    }

    #[test]
    fn without_a_clock_for_cpu_time_the_cost_of_a_sleep_is_guessed() {
        let mut simulation = Simulation::new();
        simulation.has_cpu_clock = false;
        simulation.closed_loop(2 * US, 2000);
        simulation.sleeps = 0;
        simulation.closed_loop(2 * US, 1000);
        assert!(simulation.sleeps <= 1, "{}", simulation.sleeps);
        assert_eq!(simulation.spin.sleep_cost, 5_000.0);
    }

    #[test]
    fn a_zero_timeout_polls_once_and_errors_are_returned() {
        let polls = Cell::new(0);
        let poll = |timeout| {
            assert_eq!(timeout, Some(Duration::ZERO));
            polls.set(polls.get() + 1);
            Ok(0)
        };
        let mut spin = AdaptiveSpin::new();
        assert_eq!(spin.wait(Some(Duration::ZERO), poll).unwrap(), 0);
        assert_eq!(polls.get(), 1);
        for _ in 0..100 {
            assert!(spin.wait(None, |_| Err(io::ErrorKind::OutOfMemory.into())).is_err());
        }
    }
}
