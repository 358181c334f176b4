//! Plays the history of a seed.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc;

use echo_simulation::{World, drive, enter, with};
use fastrand::Rng;

use super::case::Case;
use super::driver::{Facts, Outside};
use super::judge::judge;
use crate::bench::SPARES_PER_WORKER;
use crate::bench::stats::IntervalStats;
use crate::bench::worker::Worker;

/// The most steps of a history: one that takes more spins.
const MOST_STEPS: u64 = 400_000;
/// Plays the history of a seed. Panics if it fails.
pub(super) fn play(_: &str, seed: u64, traced: bool) {
    // Neighbouring seeds give histories that have nothing in common.
    let rng = &mut Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let case = Case::pick(rng);
    let mut world = World::new(rng.u64(..), case.settings);
    world.most_steps = MOST_STEPS;
    world.trace = traced.then(Vec::new);
    enter(world);
    if traced {
        let Case { config, workload, server, stop_after, settings, .. } = case;
        with(|world| {
            world.note(format!("{config:?}\n{workload:?}"));
            world.note(format!("{server:?}, {settings:?}, stopped after {stop_after:?}"));
        });
    }
    let facts = Rc::new(RefCell::new(Facts::new(case)));
    let (sender, updates) = mpsc::sync_channel(SPARES_PER_WORKER + 1);
    let (spares, returned) = mpsc::sync_channel(SPARES_PER_WORKER);
    for _ in 0..SPARES_PER_WORKER {
        let _ = spares.try_send(IntervalStats::new(case.workload.rate.is_some()));
    }
    let worker = Worker::new(&case.shared, 0, sender, returned, None);
    let outside = Outside::new(case, updates, spares, Rc::clone(&facts));
    drive(Box::new(outside), || worker.expect("a simulated poll cannot fail").run());
    judge(case, &facts.borrow());
}
