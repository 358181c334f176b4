//! The configurations of the server that histories are played against.

use std::cell::RefCell;
use std::num::NonZero;
use std::time::Duration;

use echo_proto::Framing;
use echo_test_support::model::{self, Rules, Termination};
use fastrand::Rng;

use crate::admission::Admission;
use crate::faults::{Delay, Faults, Probability};
use crate::service::Service;
use crate::stats::Counters;
use crate::{Config, Event, Handle};

/// How many there are.
const CASES: usize = 2048;

/// A configuration, what follows from it, and a service for all of its histories.
pub(super) struct Case {
    pub(super) rules: Rules,
    pub(super) service: &'static Service<'static>,
    /// Bytes that may be held for a connection in an unfinished message.
    pub(super) frame: usize,
}

thread_local! {
    static SERVED: RefCell<Vec<Option<&'static Case>>> = RefCell::new(vec![None; CASES]);
    static EVENTS: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) };
}

/// The events since they were last taken.
pub(super) fn take_events() -> Vec<Event> {
    EVENTS.take()
}

/// Picks a configuration. It is made when it is first picked, and never freed: its services live as long as the
/// thread.
pub(super) fn pick(rng: &mut Rng) -> &'static Case {
    let index = rng.usize(..CASES);
    SERVED.with_borrow_mut(|cases| *cases[index].get_or_insert_with(|| make(index as u64)))
}

/// Forgets all services, which a history that failed has left as they were.
pub(super) fn forget() {
    SERVED.with_borrow_mut(|cases| cases.fill(None));
}

fn make(index: u64) -> &'static Case {
    let rng = &mut Rng::with_seed(index);
    let framing = [Framing::Raw, Framing::Raw, Framing::Line, Framing::Length][rng.usize(..4)];
    let max_frame = [1, 4, 10, 40][rng.usize(..4)];
    let faults = (rng.u8(..) < 96).then(|| faults(rng));
    let termination = faults.as_ref().and_then(termination);
    let corrupts = faults.as_ref().is_some_and(|faults| faults.corrupt.get() > 0.0);
    let once = rng.u8(..) < 10;
    let config = Config {
        backlog: 4,
        max_pipes: rng.usize(..4),
        once,
        busy_poll: maybe(rng, 20, 1..50).map_or(Duration::ZERO, |time| time / 1000),
        max_connections: (rng.u8(..) < 40).then(|| rng.usize(1..4)),
        max_per_peer: (rng.u8(..) < 40).then(|| rng.usize(1..3)),
        idle_timeout: maybe(rng, 80, 20..300),
        write_timeout: maybe(rng, 128, 40..500),
        max_lifetime: maybe(rng, 50, 40..600),
        drain_timeout: maybe(rng, 100, 0..300).unwrap_or(LONG),
        framing,
        max_frame,
        faults,
        ..Config::default()
    };
    let (model, header) = match framing {
        Framing::Raw => (model::Framing::Raw, 0),
        Framing::Line => (model::Framing::Line, 1),
        Framing::Length => (model::Framing::Length, 4),
    };
    let rules = Rules { framing: model, max_frame: max_frame as usize, termination, corrupts };
    let frame = if framing == Framing::Raw { 0 } else { max_frame as usize + header };
    Box::leak(Box::new(Case { rules, service: service(config), frame }))
}

/// A drain timeout that does not pass unless a connection hangs.
pub(super) const LONG: Duration = Duration::from_secs(100_000);

fn service(config: Config) -> &'static Service<'static> {
    let config = Box::leak(Box::new(config));
    let (handle, _) = Handle::new().expect("a simulated poller cannot fail");
    Box::leak(Box::new(Service {
        config,
        handle: Box::leak(Box::new(handle)),
        counters: Box::leak(Box::new(Counters::default())),
        admission: Box::leak(Box::new(Admission::new(config))),
        observe: &|event| EVENTS.with_borrow_mut(|events| events.push(event)),
    }))
}

/// So many ms, with a chance in 256.
fn maybe(rng: &mut Rng, chance: u8, ms: std::ops::Range<u64>) -> Option<Duration> {
    (rng.u8(..) < chance).then(|| Duration::from_millis(rng.u64(ms)))
}

fn faults(rng: &mut Rng) -> Faults {
    let mut faults = Faults { seed: rng.u64(..), ..Faults::default() };
    let after = Some(rng.u64(..80));
    match rng.u8(..6) {
        0 => faults.stall_after = after,
        1 => faults.reset_after = after,
        2 => faults.close_after = after,
        _ => {}
    }
    if rng.u8(..) < 80 {
        let mean = Duration::from_millis(rng.u64(..100));
        faults.delay = Some(Delay { mean, jitter: mean / rng.u32(1..4) });
    }
    if rng.u8(..) < 60 {
        let least = rng.u64(1..10);
        faults.slice = Some(least..=least + rng.u64(..20));
    }
    if rng.u8(..) < 50 {
        faults.rate_limit = NonZero::new(rng.u64(1..5000));
    }
    if rng.u8(..) < 30 {
        faults.corrupt = Probability::new(0.1).expect("it is one");
    }
    if rng.u8(..) < 30 {
        faults.refuse = Probability::new(0.3).expect("it is one");
    }
    faults
}

fn termination(faults: &Faults) -> Option<(usize, Termination)> {
    let at = |at: Option<u64>, how| at.map(|at| (at as usize, how));
    at(faults.reset_after, Termination::Reset)
        .or(at(faults.close_after, Termination::Close))
        .or(at(faults.stall_after, Termination::Stall))
}
