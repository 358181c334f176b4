//! Starting all workers at the same time.

use std::sync::PoisonError;
#[cfg(not(loom))]
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::platform::Instant;
#[cfg(loom)]
use loom::sync::{Condvar, Mutex, MutexGuard};

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
    pub(super) fn wait(&self) -> Option<Instant> {
        let mut state = self.lock();
        loop {
            match *state {
                BarrierState::Waiting => state = self.sleep(state),
                BarrierState::Open(since) => return Some(since),
                BarrierState::Cancelled => return None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BarrierState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change of the state.
    #[cfg(not(simulation))]
    fn sleep<'a>(&self, state: MutexGuard<'a, BarrierState>) -> MutexGuard<'a, BarrierState> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The same in one thread, where others run while this one sleeps.
    #[cfg(simulation)]
    fn sleep<'a>(&'a self, state: MutexGuard<'a, BarrierState>) -> MutexGuard<'a, BarrierState> {
        drop(state);
        crate::platform::sleep(std::time::Duration::from_micros(100));
        self.lock()
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
        *self.lock() = BarrierState::Waiting;
    }

    fn set(&self, next: BarrierState) {
        let mut state = self.lock();
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
