//! What both event-loop engines share: everything but how a loop learns what has happened.
//!
//! A [`worker`] waits for events from its [`Poller`], runs each [`connection`] that has something to do, and
//! checks deadlines. The first worker accepts as well, and dispatches each connection to the worker with the
//! fewest ([`pool`]). The engines differ in their poller.

mod compact_addr;
mod connection;
mod edges;
mod pool;
pub(super) mod readiness;
mod spin;
mod timers;
#[cfg(target_os = "linux")]
pub(super) mod uring;
mod worker;

use std::io;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};

pub(super) use self::pool::{Waker, serve};

/// Where a worker learns what happens to its connections. Each has a key, its place in the worker's table.
pub(super) trait Poller {
    /// Bytes that it has received for a connection.
    type Buf;

    /// Begins to report connections that arrive at these listeners, also those already queued.
    fn listen(&mut self, listeners: &mut [TcpListener]) -> io::Result<()>;

    /// Closes the listeners. [`Event::AcceptReady`] may still be reported.
    fn stop_listening(&mut self, listeners: Vec<TcpListener>);

    /// Begins to report what happens to the connection at `key`, and what has happened already.
    fn register(&mut self, key: usize, stream: &mut TcpStream) -> io::Result<()>;

    /// Stops reporting it and closes it, as soon as no operation in flight prevents that. The key may be
    /// another connection's next.
    fn deregister(&mut self, key: usize, stream: TcpStream);

    /// Waits for events, but no longer than `timeout`. Returns whether there are any.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool>;

    /// The next event.
    fn next(&mut self) -> Option<Event<Self::Buf>>;

    /// Whether it receives, or has received, bytes for the connection at `key`, so that nothing else may
    /// read from it.
    fn receives(&self, _key: usize) -> bool {
        false
    }

    /// Whether it has bytes that are still to go back to the connection at `key`.
    fn sends(&self, _key: usize) -> bool {
        false
    }

    /// The most that it can have received for a connection and not reported yet, in bytes.
    fn received_ahead(&self) -> usize {
        0
    }

    /// Sets what the connection at `key` waits for, after a run in which it has echoed so many bytes.
    fn set_interest(&mut self, _key: usize, _interest: Interest, _echoed: u64) {}

    /// What was received.
    fn bytes<'a>(&'a self, buf: &'a Self::Buf) -> &'a [u8];

    /// Takes back the memory of a buffer.
    fn recycle(&mut self, buf: Self::Buf);

    /// Sends a buffer back to the connection it came from, before anything else is reported of that connection.
    fn send(&mut self, key: usize, buf: Self::Buf);

    /// Keeps a buffer for which the connection has no room, and reports it again, in order, when the
    /// connection wants to read.
    fn defer(&mut self, key: usize, buf: Self::Buf);
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// Bytes from the peer, to be echoed: the poller may receive them itself.
    Receive,
    /// What the peer still sends while the connection is being ended: the connection reads it.
    Readable,
    /// Room for what it owes, or a time of its own: nothing is to be read before that.
    Writable,
    /// Nothing: it is run again in any case.
    Unchanged,
}

/// What a poller reports.
#[derive(Debug)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "some only a ring reports"))]
pub(super) enum Event<B> {
    /// Another thread has woken this one: check the inbox and the phase.
    Wake,
    /// Connections have arrived at a listener.
    AcceptReady,
    /// The state of a connection's socket has changed.
    Ready {
        key: usize,
        /// There may be something to read; otherwise there is room to write.
        readable: bool,
        /// There is an end of the stream, an error or an urgent byte, so that a `recv` that leaves room
        /// says nothing about whether there is more.
        ended: bool,
    },
    /// Bytes were received for a connection. The buffer has to be [recycled](Poller::recycle),
    /// [sent](Poller::send) or [deferred](Poller::defer).
    Received { key: usize, buf: B },
    /// There was room for only `sent` bytes of a buffer that was to be sent back.
    ShortWrite { key: usize, buf: B, sent: usize },
    /// A connection is broken, or can no longer be reported on.
    Lost { key: usize },
}
