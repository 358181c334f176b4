//! Sleeping until another thread wakes this one, or a connection arrives.

use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::platform::{self, Events, Interest, Poll, TcpListener, Token};

/// The token of the waker; a listener's token is its index.
const WAKER: Token = Token(usize::MAX);

/// Sleeps until its [`Waker`] wakes it.
pub(crate) struct ShutdownListener {
    poll: Poll,
    events: Events,
}

pub(super) struct Waker(platform::Waker);

impl Waker {
    pub(super) fn wake(&self) {
        // Fails only if the waker's counter or pipe is full; a wake-up is pending then.
        let _ = self.0.wake();
    }
}

impl ShutdownListener {
    pub(super) fn new() -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = platform::Waker::new(poll.registry(), WAKER)?;
        Ok((Self { poll, events: Events::with_capacity(16) }, Waker(waker)))
    }

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
