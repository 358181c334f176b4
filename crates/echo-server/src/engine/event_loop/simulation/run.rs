//! Plays the history of a seed.

use std::cell::RefCell;
use std::rc::Rc;

use echo_simulation::{Settings, TcpListener, World, drive, enter, settle, with};
use fastrand::Rng;

use super::history::{Beginning, History};
use super::judge::{Facts, judge};
use super::{READINESS, case};
use crate::engine::event_loop::pool::{Waker, WorkerContext, WorkerHandle, WorkerPool};
use crate::engine::event_loop::uring::Sizes;
use crate::engine::event_loop::{readiness, uring};
use crate::faults::mix;
use crate::listen::accept::Acceptor;

/// The most steps of a history: one that takes more spins.
const MOST_STEPS: u64 = 200_000;

/// Plays the history of a seed. Panics if it fails.
pub(super) fn play(engine: &str, seed: u64, traced: bool) {
    case::take_events();
    let rng = &mut Rng::with_seed(mix(seed));
    let mut settings = settings(rng);
    if engine != "uring" {
        // Only a ring takes submissions.
        settings.partial = 0;
    }
    let mut world = World::new(rng.u64(..), settings);
    world.most_steps = MOST_STEPS;
    world.trace = traced.then(Vec::new);
    enter(world);
    let case = case::pick(rng);
    let service = case.service;
    service.handle.restart();
    let before = service.counters.read();
    let sizes = Sizes {
        submissions: 1 << rng.u32(..4),
        completions: 2 << rng.u32(..4),
        buffers: 2 << rng.u16(..4),
        multishot_threshold: rng.usize(1..4),
    };
    if traced {
        with(|world| world.note(format!("{:?}", service.config)));
        with(|world| world.note(format!("{sizes:?}, {:?}", world.settings)));
    }
    let facts = Rc::new(RefCell::new(Facts::default()));
    let elsewhere = rng.u8(..4) == 0;
    let mut acceptors = Acceptor::per_group(vec![vec![TcpListener::listening()]], service.config);
    let acceptor = acceptors.remove(0);
    let (here, there) = if elsewhere { (None, Some(acceptor)) } else { (Some(acceptor), None) };
    let (connections, steps) = (rng.usize(1..5), rng.usize(2..40));
    let shared = Rc::clone(&facts);
    let start = |waker: Waker, work: Box<dyn FnOnce(WorkerContext<'_>)>| {
        let pool = Rc::new(WorkerPool::new(service, vec![waker], 1));
        let own = WorkerHandle::new(Box::new(|| {}));
        let beginning =
            Beginning { case, pool: Rc::clone(&pool), own, acceptor: there, facts: shared };
        let driver = Box::new(History::new(beginning, connections, steps));
        drive(driver, || {
            work(WorkerContext { pool: &pool, handle: &pool.workers[0], acceptor: here });
        });
        assert_eq!(pool.open(), 0, "connections are not counted as ended");
    };
    if engine == READINESS {
        let (poll, waker) = readiness::new_loop().expect("a simulated poller cannot fail");
        start(waker, Box::new(|context| readiness::work(poll, context)));
    } else {
        let (parts, waker) = uring::new_loop(sizes).expect("a simulated ring cannot fail");
        start(waker, Box::new(move |context| uring::work(sizes, parts, context)));
    }
    with(|world| world.sockets.iter_mut().for_each(|tcp| tcp.reads = true));
    settle();
    judge(case, &facts.borrow(), case::take_events(), before, service.counters.read());
}

/// How the system behaves: some are well-behaved, some fail now and then.
fn settings(rng: &mut Rng) -> Settings {
    let mut settings = Settings {
        interleave: [0, 20, 80][rng.usize(..3)],
        liberty: [0, 8, 40, 100][rng.usize(..4)],
        ..Settings::default()
    };
    match rng.u8(..8) {
        0 => settings.failure = 1000,
        1 => settings.suspend = (1000, 700),
        2 => settings.broken_poller = 200,
        3 => settings.partial = 100,
        4 => settings.partial = 5,
        _ => {}
    }
    settings
}
