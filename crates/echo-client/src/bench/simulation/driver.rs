//! What happens outside of the worker: the server, the thread that collects results, and the stop.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender};

use echo_simulation::{Driver, Instant, with};

use super::case::Case;
use super::server::Link;
use crate::bench::Update;
use crate::bench::collector::Collector;
use crate::bench::stats::IntervalStats;

/// What the worker has reported.
pub(super) struct Facts {
    /// Whether a connection was open before the run began.
    pub(super) connected: Option<bool>,
    /// When the run began.
    pub(super) began: Option<u64>,
    /// What was measured, added up.
    pub(super) collector: Collector,
    /// Of each interval: its time, its echoes, and its samples.
    pub(super) intervals: Vec<(Range<u64>, u64, u64)>,
    pub(super) is_done: bool,
}

impl Facts {
    pub(super) fn new(case: &Case) -> Self {
        Self {
            connected: None,
            began: None,
            collector: Collector::new(case.workload.rate.is_some(), 1),
            intervals: Vec::new(),
            is_done: false,
        }
    }

    /// Adds an update. Returns statistics for another use.
    fn add(&mut self, update: Update) -> Option<IntervalStats> {
        assert!(!self.is_done, "an update follows the last one");
        match update {
            // With neither, every connection has failed after its handshake: the totals say how.
            Update::Ready { connected, failure: _ } => {
                assert!(self.connected.is_none(), "the worker is ready twice");
                self.connected = Some(connected);
                None
            }
            Update::Interval { worker, number, mut stats } => {
                self.collector.add(worker, number, &stats);
                self.intervals.push((stats.span.clone(), stats.echoes, stats.latency.len()));
                stats.reset();
                Some(stats)
            }
            Update::Done { worker, number, stats, totals } => {
                self.collector.add(worker, number, &stats);
                self.collector.finish(worker, *totals);
                self.intervals.push((stats.span.clone(), stats.echoes, stats.latency.len()));
                self.is_done = true;
                None
            }
        }
    }
}

/// The driver of a history.
pub(super) struct Outside {
    case: &'static Case,
    updates: Receiver<Update>,
    spares: SyncSender<IntervalStats>,
    facts: Rc<RefCell<Facts>>,
    links: Vec<Link>,
    /// When the barrier is opened, and when the run is stopped.
    open_at: Option<u64>,
    stop_at: Option<u64>,
}

impl Outside {
    pub(super) fn new(
        case: &'static Case,
        updates: Receiver<Update>,
        spares: SyncSender<IntervalStats>,
        facts: Rc<RefCell<Facts>>,
    ) -> Self {
        let links = Vec::new();
        Self { case, updates, spares, facts, links, open_at: None, stop_at: None }
    }

    /// What the collecting thread does. Returns whether it did anything.
    fn collect(&mut self) -> bool {
        let Ok(update) = self.updates.try_recv() else { return false };
        if matches!(update, Update::Ready { .. }) {
            self.open_at = Some(with(|world| world.now + world.rng.u64(..3_000_000)));
        }
        if let Some(stats) = self.facts.borrow_mut().add(update) {
            let _ = self.spares.try_send(stats);
        }
        true
    }

    /// Begins the run, and stops it, when it is time.
    fn control(&mut self) -> bool {
        let now = with(|world| world.now);
        if self.open_at.take_if(|at| *at <= now).is_some() {
            with(|world| world.note("the run begins".to_owned()));
            self.facts.borrow_mut().began = Some(now);
            self.case.shared.barrier.open_at(Instant(now));
            self.stop_at = self.case.stop_after.map(|after| now + after);
            return true;
        }
        if self.stop_at.take_if(|at| *at <= now).is_some() {
            with(|world| world.note("the run is stopped".to_owned()));
            self.case.shared.stop.stop();
            return true;
        }
        false
    }

    fn meet(&mut self) -> bool {
        let is_new = with(|world| world.sockets.len()) > self.links.len();
        if is_new {
            self.links.push(Link::new(self.links.len(), self.case.server));
        }
        is_new
    }
}

impl Driver for Outside {
    fn step(&mut self) -> bool {
        let server = self.case.server;
        self.control()
            || self.meet()
            || self.links.iter_mut().any(Link::act)
            || self.links.iter_mut().any(|link| link.plan(server))
            || self.collect()
    }

    fn at_rest(&mut self, _: bool) -> bool {
        let plans = self.links.iter().filter_map(Link::next_time);
        let Some(time) = plans.chain(self.open_at).chain(self.stop_at).min() else { return false };
        with(|world| {
            let is_before = world.waits_until.is_none_or(|until| time < until);
            if is_before {
                world.now = world.now.max(time);
            }
            is_before
        })
    }
}

impl Drop for Outside {
    /// The last updates are there when the worker has returned.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            while self.collect() {}
        }
    }
}
