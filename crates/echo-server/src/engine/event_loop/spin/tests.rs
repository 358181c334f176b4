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
