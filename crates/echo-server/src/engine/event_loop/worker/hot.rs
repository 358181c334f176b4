//! Reading the last active connection directly while busy-polling.
//!
//! The peer that has just received its echo is the likeliest to send next. A worker that busy-polls and has few
//! connections therefore reads that connection without waiting for the poller to report the message. Its interest is not
//! set meanwhile: io_uring would need a system call for each message to watch it.

use super::Worker;
use crate::engine::event_loop::{Interest, Poller};
use crate::platform::Instant;

/// With more connections than this, the next message is too likely to be from another one.
const FEW_CONNECTIONS: usize = if cfg!(simulation) { 2 } else { 4 };

/// The connection that is read directly.
#[derive(Default)]
pub(super) struct Hot {
    key: Option<usize>,
    /// The connection that echoed last.
    last_active: Option<usize>,
}

impl Hot {
    /// Forgets the connection at `key`.
    pub(super) fn remove(&mut self, key: usize) {
        self.key.take_if(|hot| *hot == key);
        self.last_active.take_if(|last| *last == key);
    }
}

impl<P: Poller> Worker<'_, P> {
    /// Whether the connection at `key`, after a run that echoed `echoed` bytes, is the one to read directly. If so, its
    /// interest is not set.
    pub(super) fn is_hot(&mut self, key: usize, interest: Interest, echoed: u64) -> bool {
        if interest != Interest::Receive
            || self.service.config.busy_poll.is_zero()
            || self.connections.len() > FEW_CONNECTIONS
            || self.poller.receives(key)
            || !self.connections[key].is_small_passthrough()
        {
            self.hot.remove(key);
        } else if echoed > 0 && self.hot.last_active.replace(key) == Some(key) {
            // No other connection was active in between. If some take turns, the next message is from another one.
            if self.hot.key != Some(key) {
                self.release_hot();
                self.hot.key = Some(key);
            }
        }
        self.hot.key == Some(key)
    }

    /// Reads the hot connection.
    pub(super) fn read_hot(&mut self) {
        let Some(key) = self.hot.key else { return };
        let before = self.echoed;
        self.ready(key, true);
        if self.echoed != before {
            self.last_event = Instant::now();
        }
    }

    /// Lets the poller watch the hot connection, before the worker sleeps or reads another one directly.
    pub(super) fn release_hot(&mut self) {
        if let Some(key) = self.hot.key.take() {
            self.set_interest(key, Interest::Receive, 0);
        }
    }
}
