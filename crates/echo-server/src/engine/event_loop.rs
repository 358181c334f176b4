//! The event loop that the `readiness` and `uring` engines share. They differ only in their [`Poller`].
//!
//! A [`worker`] waits for events from its poller, runs each [`connection`] that is ready, and checks deadlines.
//! The first worker also accepts, and dispatches each connection to the worker with the fewest ([`pool`]); with
//! [`Config::reuseport`](crate::Config::reuseport), each worker accepts its own.

mod compact_addr;
mod connection;
mod edges;
mod nonblocking;
mod pool;
pub(super) mod readiness;
#[cfg(simulation)]
pub mod simulation;
mod spin;
mod splice;
mod timers;
#[cfg(target_os = "linux")]
pub(super) mod uring;
mod worker;

use std::io;
use std::time::Duration;

use crate::platform::{TcpListener, TcpStream};

/// The source of a worker's events. A connection's key is its index in the worker's table.
pub(super) trait Poller {
    /// A buffer of bytes that the poller has received for a connection.
    type Buf;

    /// Whether input that is already pending is reported when a connection's interest is set to reading. Otherwise a
    /// connection must read until its socket is empty.
    const REPORTS_PENDING_INPUT: bool;

    /// Registers listeners. Connections that are already queued are reported too.
    fn listen(&mut self, listeners: &mut [TcpListener]) -> io::Result<()>;

    /// Closes the listeners. [`Event::AcceptReady`] may still be reported.
    fn stop_listening(&mut self, listeners: Vec<TcpListener>);

    /// Registers the connection at `key`. Events that have already occurred are reported too.
    fn register(&mut self, key: usize, stream: &mut TcpStream) -> io::Result<()>;

    /// Deregisters the connection at `key`, and closes it as soon as no operation in flight prevents that. The
    /// key may be reused at once.
    fn deregister(&mut self, key: usize, stream: TcpStream);

    /// Waits for events for up to `timeout`. Returns how many there are.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize>;

    /// Returns the next event.
    fn next(&mut self) -> Option<Event<Self::Buf>>;

    /// Whether the poller receives, or holds received bytes, for the connection at `key`. The connection must
    /// not read from its socket then: the bytes would be out of order.
    fn receives(&self, _key: usize) -> bool {
        false
    }

    /// Whether the poller holds bytes that are still to be sent on the connection at `key`.
    fn sends(&self, _key: usize) -> bool {
        false
    }

    /// The maximum number of bytes received for a connection and not reported yet.
    fn received_ahead(&self) -> usize {
        0
    }

    /// Sets what the connection at `key` waits for, after a run that echoed `echoed` bytes.
    fn set_interest(&mut self, _key: usize, _interest: Interest, _echoed: u64) {}

    /// Registers the connection at `key` again for what it waits for, where the system does not repeat events.
    fn rearm(&mut self, _key: usize, _stream: &mut TcpStream, _interest: Interest) {}

    /// The contents of a buffer.
    fn bytes<'a>(&'a self, buf: &'a Self::Buf) -> &'a [u8];

    /// Releases a buffer.
    fn recycle(&mut self, buf: Self::Buf);

    /// Sends a buffer on the connection at `key`, from which it was received. Until the send has completed, no
    /// further bytes are reported for the connection, and [`sends`](Self::sends) is true.
    fn send(&mut self, key: usize, buf: Self::Buf);

    /// Keeps a buffer for which the connection has no room, and reports it again, in order, once the connection's
    /// interest is reading.
    fn defer(&mut self, key: usize, buf: Self::Buf);
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// Input to echo. The poller may receive it itself.
    Receive,
    /// Input while the connection is being closed. The connection reads it from its socket.
    Readable,
    /// Room to send. Nothing is read until then.
    Writable,
    /// A timer or the peer's acknowledgement. Nothing is read or sent until then.
    Timer,
    /// The interest does not change: the connection is on the run queue.
    Unchanged,
}

/// What a poller reports.
#[derive(Debug)]
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "some are reported only by io_uring")
)]
pub(super) enum Event<B> {
    /// Woken by another thread: check the inbox and the phase.
    Wake,
    /// A listener has connections to accept.
    AcceptReady,
    /// A connection's socket is readable or writable.
    Ready {
        key: usize,
        /// Readable if true, otherwise writable.
        readable: bool,
        /// End of stream, an error or urgent data is pending, so a short read does not mean that the socket is
        /// empty.
        ended: bool,
    },
    /// Bytes were received for a connection. The buffer must be [recycled](Poller::recycle),
    /// [sent](Poller::send) or [deferred](Poller::defer).
    Received { key: usize, buf: B },
    /// Only `sent` bytes of a buffer were sent: the socket had no room for the rest.
    ShortWrite { key: usize, buf: B, sent: usize },
    /// A connection is broken, or the poller can no longer report its events.
    Lost { key: usize },
}
