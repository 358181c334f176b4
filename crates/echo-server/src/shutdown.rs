//! Stopping a server from anywhere.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};

/// The token of the waker; listeners have their index.
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

/// How far stopping has come. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    Running,
    /// Accept no more, echo what was received, say goodbye.
    Draining,
    /// Close what is left.
    Aborting,
}

/// The thread that a [`Handle`] wakes, as long as it sleeps here.
pub(crate) struct ShutdownListener {
    poll: Poll,
    events: Events,
}

impl Handle {
    /// A handle, and whom it wakes.
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

    /// Closes every connection at once, whatever is owed to it. `run` then returns.
    pub fn abort(&self) {
        self.advance(Phase::Aborting);
    }

    fn advance(&self, phase: Phase) {
        self.shared.phase.fetch_max(phase as u8, Ordering::Release);
        self.wake();
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
        // It writes to an eventfd or a pipe of our own. That fails only when one is already full
        // of wake-ups, and then the thread wakes anyway.
        let _ = self.shared.waker.wake();
    }
}

impl ShutdownListener {
    /// Wakes up for connections that come to these, too.
    pub(crate) fn watch(&mut self, listeners: &mut [TcpListener]) -> io::Result<()> {
        for (index, listener) in listeners.iter_mut().enumerate() {
            self.poll.registry().register(listener, Token(index), Interest::READABLE)?;
        }
        Ok(())
    }

    /// Sleeps until it is woken or the time has passed.
    pub(crate) fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            // A signal; the caller looks around and sleeps again.
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
