//! Stopping a server from any thread.

#[cfg_attr(loom, path = "shutdown/listener_loom.rs")]
mod listener;

use std::fmt;
use std::io;
use std::sync::Arc;

pub(crate) use self::listener::ShutdownListener;
#[cfg(loom)]
pub(crate) use self::listener::Waker;
#[cfg(not(loom))]
use self::listener::Waker;
use crate::sync::atomic::{AtomicU8, Ordering};

/// Stops the server it belongs to, from any thread. Clones stop the same server.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    phase: AtomicU8,
    waker: Waker,
}

/// The phase of the shutdown. It never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    Running,
    /// Accept no more connections, echo what was received, and send FIN.
    Draining,
    /// Close what is left.
    Aborting,
}

impl Handle {
    /// Creates a handle and the listener that it wakes.
    pub(crate) fn new() -> io::Result<(Self, ShutdownListener)> {
        let (listener, waker) = ShutdownListener::new()?;
        let phase = AtomicU8::new(Phase::Running as u8);
        Ok((Self { shared: Arc::new(Shared { phase, waker }) }, listener))
    }

    /// Accepts no more connections, echoes every byte already received and ends the connections.
    ///
    /// [`Server::run`](crate::Server::run) returns when that is done or
    /// [`drain_timeout`](crate::Config::drain_timeout) has passed. Calling it again changes nothing.
    pub fn stop(&self) {
        self.advance(Phase::Draining);
    }

    /// Closes every connection at once, even if bytes are owed to it. `run` then returns.
    pub fn abort(&self) {
        self.advance(Phase::Aborting);
    }

    fn advance(&self, phase: Phase) {
        self.shared.phase.fetch_max(phase as u8, Ordering::Release);
        self.wake();
    }

    /// For the next simulated history.
    #[cfg(simulation)]
    pub(crate) fn restart(&self) {
        self.shared.phase.store(Phase::Running as u8, Ordering::Release);
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.shared.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Aborting,
        }
    }

    /// Wakes the [`ShutdownListener`].
    pub(crate) fn wake(&self) {
        self.shared.waker.wake();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("phase", &self.phase()).finish_non_exhaustive()
    }
}
