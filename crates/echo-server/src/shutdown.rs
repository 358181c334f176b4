//! Stopping a server from anywhere.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use mio::Waker;

/// Stops the server it belongs to, from any thread. Clones stop the same server.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    phase: AtomicU8,
    waker: Waker,
}

/// How far stopping has come. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    Running,
    /// Accept no more, echo what was received, say goodbye.
    Draining,
    /// Close what is left.
    Cutting,
}

impl Handle {
    pub(crate) fn new(waker: Waker) -> Self {
        let phase = AtomicU8::new(Phase::Running as u8);
        Self { shared: Arc::new(Shared { phase, waker }) }
    }

    /// Accepts no more connections, echoes every byte already received and ends the connections.
    ///
    /// [`Server::run`](crate::Server::run) returns when that is done or
    /// [`drain_timeout`](crate::Config::drain_timeout) has passed. Calling it again changes nothing.
    pub fn stop(&self) {
        self.advance(Phase::Draining);
    }

    /// Closes every connection at once, whatever is owed to it. `run` then returns.
    pub fn cut(&self) {
        self.advance(Phase::Cutting);
    }

    fn advance(&self, phase: Phase) {
        self.shared.phase.fetch_max(phase as u8, Ordering::Release);
        self.wake();
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.shared.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Cutting,
        }
    }

    /// Makes the thread that waits for connections look around.
    pub(crate) fn wake(&self) {
        // It writes to an eventfd or a pipe of our own. That fails only when one is already full
        // of wake-ups, and then the thread wakes anyway.
        let _ = self.shared.waker.wake();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("phase", &self.phase()).finish_non_exhaustive()
    }
}
