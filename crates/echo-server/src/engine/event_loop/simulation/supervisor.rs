//! The thread that supervises shutdown, as steps: what `WorkerPool::wait_for_the_last` does between two sleeps.

use echo_simulation::with;

use crate::engine::event_loop::pool::{WorkerHandle, WorkerPool};
use crate::shutdown::Phase;

/// Where it is.
enum State {
    Accepting,
    Serving,
    /// Until then.
    Draining(u64),
    Done,
}

pub(super) struct Supervisor {
    state: State,
    /// Wake-ups that it has seen.
    seen: u64,
}

impl Supervisor {
    pub(super) fn new() -> Self {
        Self { state: State::Accepting, seen: 0 }
    }

    /// Until when it sleeps, if it does.
    pub(super) fn deadline(&self) -> Option<u64> {
        if let State::Draining(deadline) = self.state { Some(deadline) } else { None }
    }

    /// Runs until it sleeps again. Returns whether it was awake.
    pub(super) fn step(&mut self, pool: &WorkerPool<'_>) -> bool {
        let (woken, now) = with(|world| {
            let woken =
                std::mem::replace(&mut self.seen, world.outside_wakes) != world.outside_wakes;
            (woken, world.now)
        });
        let handle = pool.service.handle;
        match self.state {
            State::Accepting if woken || !pool.is_accepting() => {
                // It checks after each sleep.
                pool.workers.iter().for_each(WorkerHandle::wake);
                if !pool.is_accepting() {
                    self.state = State::Serving;
                }
            }
            State::Serving if pool.service.phase() != Phase::Running || pool.open() == 0 => {
                handle.stop();
                pool.release();
                let timeout = u64::try_from(pool.service.config.drain_timeout.as_nanos());
                self.state = State::Draining(now + timeout.unwrap_or(u64::MAX / 2));
            }
            State::Draining(deadline)
                if pool.open() == 0
                    || pool.service.phase() >= Phase::Aborting
                    || now >= deadline =>
            {
                handle.abort();
                pool.release();
                self.state = State::Done;
            }
            _ => return false,
        }
        true
    }
}
