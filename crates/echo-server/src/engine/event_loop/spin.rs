//! Spinning briefly before blocking.
//!
//! A sleep costs CPU time, some microseconds on a virtual machine, and its wake-up delays the event by more. Spinning
//! costs the time until the event. Which of the two is cheaper depends on the machine and the load, so a worker measures
//! what each costs per event: events that arrive during a wake-up are processed together, so sleeping may be cheaper for a
//! busy worker. It spins if that costs at most [`MAX_RATIO`] times as much, and never longer than a sleep costs.
//!
//! To compare, it waits some times in a row one way and then the other. A single wait would not do: peers that get their
//! echo sooner send sooner, so spinning may pay only while the worker keeps doing it.

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
            simulation.closed_loop(2 * US, 20_000);
            simulation.sleeps = 0;
            simulation.closed_loop(2 * US, 100);
            assert!(simulation.sleeps <= TRIAL, "{}", simulation.sleeps);
            simulation
        }
    }

    #[test]
    fn events_that_arrive_sooner_than_a_sleep_costs_are_found_without_sleeping() {
        let mut simulation = Simulation::new();
        simulation.closed_loop(4 * US, 10_000);
        simulation.sleeps = 0;
        let cost = simulation.closed_loop(4 * US, 1000);
        assert!(simulation.sleeps <= TRIAL, "{}", simulation.sleeps);
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
        simulation.sleeps = 0;
        simulation.closed_loop(2 * US, 100);
        assert!(simulation.sleeps <= TRIAL, "{}", simulation.sleeps);
    }

    #[test]
    fn timeouts_count_as_waits_in_vain() {
        let mut simulation = Simulation::spinning();
        let cost = simulation.cost(1000, |this| {
            (0..1000).for_each(|_| assert_eq!(this.wait(Some(50 * US)), 0));
        });
        assert!(cost < SLEEP_COST + 2 * US, "{cost:?}");
    }

    #[test]
    fn without_a_clock_for_cpu_time_the_cost_of_a_sleep_is_guessed() {
        let mut simulation = Simulation::new();
        simulation.has_cpu_clock = false;
        simulation.closed_loop(2 * US, 10_000);
        simulation.sleeps = 0;
        simulation.closed_loop(2 * US, 1000);
        assert!(simulation.sleeps <= TRIAL, "{}", simulation.sleeps);
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
