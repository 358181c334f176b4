//! Stopping a server from any thread.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::platform::{Events, Interest, Poll, TcpListener, Token, Waker};

/// The token of the waker; a listener's token is its index.
const WAKER: Token = Token(usize::MAX);

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

/// Sleeps until a [`Handle`] wakes it.
pub(crate) struct ShutdownListener {
    poll: Poll,
    events: Events,
}

impl Handle {
    /// Creates a handle and the listener that it wakes.
    pub(crate) fn new() -> io::Result<(Self, ShutdownListener)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let phase = AtomicU8::new(Phase::Running as u8);
        let handle = Self { shared: Arc::new(Shared { phase, waker }) };
        Ok((handle, ShutdownListener { poll, events: Events::with_capacity(16) }))
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
        // Fails only if the waker's counter or pipe is full; a wake-up is pending then.
        let _ = self.shared.waker.wake();
    }
}

impl ShutdownListener {
    /// Also wakes up when a connection arrives at one of `listeners`.
    pub(crate) fn watch(&mut self, listeners: &mut [TcpListener]) -> io::Result<()> {
        for (index, listener) in listeners.iter_mut().enumerate() {
            self.poll.registry().register(listener, Token(index), Interest::READABLE)?;
        }
        Ok(())
    }

    /// Sleeps until woken, or until the timeout.
    pub(crate) fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            // Interrupted by a signal: the caller checks the phase and sleeps again.
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("phase", &self.phase()).finish_non_exhaustive()
    }
}
