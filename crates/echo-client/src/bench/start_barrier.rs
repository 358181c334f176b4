//! Starting all workers at the same time.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::platform::Instant;

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
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_while(state, |state| matches!(state, BarrierState::Waiting));
        match *waited.unwrap_or_else(PoisonError::into_inner) {
            BarrierState::Open(since) => Some(since),
            _ => None,
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
