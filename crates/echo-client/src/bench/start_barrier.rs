//! Starting all workers at the same time.

use std::sync::PoisonError;
#[cfg(not(loom))]
use std::sync::{Condvar, Mutex};

use crate::platform::Instant;
#[cfg(loom)]
use loom::sync::{Condvar, Mutex};

/// Where the workers wait for the common start time.
#[derive(Default)]
pub(super) struct StartBarrier {
    state: Mutex<BarrierState>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
enum BarrierState {
    #[default]
    Waiting,
    /// Started at this time.
    Open(Instant),
    /// The run was given up before it started.
    Cancelled,
}

impl StartBarrier {
    /// Waits for the start time; `None` if the run was given up.
    #[cfg(not(simulation))]
    pub(super) fn wait(&self) -> Option<Instant> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *state {
                BarrierState::Open(since) => return Some(since),
                BarrierState::Cancelled => return None,
                BarrierState::Waiting => {}
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The same in one thread, where others run while this one sleeps.
    #[cfg(simulation)]
    pub(super) fn wait(&self) -> Option<Instant> {
        loop {
            match *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
                BarrierState::Waiting => {}
                BarrierState::Open(since) => return Some(since),
                BarrierState::Cancelled => return None,
            }
            crate::platform::sleep(std::time::Duration::from_micros(100));
        }
    }

    pub(super) fn open(&self) {
        self.open_at(Instant::now());
    }

    pub(super) fn open_at(&self, start: Instant) {
        self.set(BarrierState::Open(start));
    }

    /// Closes it again, for the next run.
    #[cfg(simulation)]
    pub(super) fn restart(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = BarrierState::Waiting;
    }

    fn set(&self, next: BarrierState) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, BarrierState::Waiting) {
            *state = next;
        }
        drop(state);
        self.changed.notify_all();
    }
}

/// Cancels the barrier when dropped, so that no worker waits for ever.
pub(super) struct CancelOnDrop<'a>(pub(super) &'a StartBarrier);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.set(BarrierState::Cancelled);
    }
}

#[cfg(all(test, loom))]
mod interleavings {
    use std::sync::Arc;

    use super::*;

    /// Starts two workers that wait, and ends the barrier by `end`. Returns how many of them started.
    fn started(end: fn(&StartBarrier)) -> usize {
        let barrier = Arc::new(StartBarrier::default());
        let workers = [(); 2].map(|()| {
            let barrier = Arc::clone(&barrier);
            loom::thread::spawn(move || barrier.wait())
        });
        let guard = CancelOnDrop(&barrier);
        end(&barrier);
        drop(guard);
        workers.into_iter().filter_map(|worker| worker.join().unwrap()).count()
    }

    #[test]
    fn every_worker_starts_when_the_barrier_opens() {
        loom::model(|| assert_eq!(started(StartBarrier::open), 2));
    }

    #[test]
    fn no_worker_starts_or_waits_when_the_run_is_given_up() {
        loom::model(|| assert_eq!(started(|_| ()), 0));
    }
}
