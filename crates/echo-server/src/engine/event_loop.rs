//! What the engines with event loops have in common: everything but how a loop learns the news.
//!
//! A [`worker`] waits for news from its [`Poller`], gives each [`connection`] its turn and looks at the
//! deadlines. The first of them accepts as well, and hands each connection to the one with the fewest
//! ([`pool`]). The engines differ in their source.

mod compact_addr;
mod connection;
mod pool;
mod spin;
mod timers;
mod worker;

use std::io;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};

pub(super) use self::pool::{Waker, serve};

/// Where a worker learns what happens to its connections.
pub(super) trait Poller {
    /// Bytes that it has received for a connection.
    type Piece;

    /// Begins to report that connections come to these, and whether some have come already.
    fn listen(&mut self, listeners: &mut [TcpListener]) -> io::Result<()>;

    /// Closes them. What was noticed of them before may still be reported.
    fn stop_listening(&mut self, listeners: Vec<TcpListener>);

    /// Begins to report what happens to the connection at `key`, and what has happened already.
    fn watch(&mut self, key: usize, stream: &mut TcpStream) -> io::Result<()>;

    /// Stops reporting it and closes it, as soon as nothing stands in the way. The key may be another
    /// connection's next.
    fn forget(&mut self, key: usize, stream: TcpStream);

    /// Interest until there are news, but no longer than `timeout`. Returns whether there are.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool>;

    /// The next of these news.
    fn next(&mut self) -> Option<Event<Self::Piece>>;

    /// Whether it receives for the connection at `key`, so that nobody else may.
    fn receives(&self, _key: usize) -> bool {
        false
    }

    /// Whether it is still at sending something back to the connection at `key`.
    fn sends(&self, _key: usize) -> bool {
        false
    }

    /// What the connection at `key` waits for after its turn, in which it has echoed so many bytes.
    fn set_interest(&mut self, _key: usize, _waits: Interest, _echoed: u64) {}

    /// What it has received.
    fn bytes<'a>(&'a self, piece: &'a Self::Piece) -> &'a [u8];

    /// Takes back the memory of a piece.
    fn give_back(&mut self, piece: Self::Piece);

    /// Sends a piece back to where it came from, before anything else is reported of that connection.
    fn send_back(&mut self, key: usize, piece: Self::Piece);
}

/// What a connection waits for after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// More bytes from the peer, to be echoed.
    Peer,
    /// What the peer still sends while the connection is being ended.
    Leave,
    /// Room for what it owes, or a time of its own: nothing is to be read before that.
    Room,
    /// Nothing: it has another turn in any case.
    Nothing,
}

/// What a source reports.
#[derive(Debug)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "some of it only a ring reports"))]
pub(super) enum Event<P> {
    /// Somebody knocked: there are connections to take in, or there is another phase.
    Wake,
    /// Connections have come to a listener.
    AcceptReady,
    /// Something has changed about a connection.
    Ready {
        key: usize,
        /// There may be something to read; otherwise there is room to write.
        readable: bool,
        /// There is an end of the stream, an error or an urgent byte, so that a `recv` that leaves room
        /// says nothing about whether there is more.
        ended: bool,
    },
    /// Bytes were received for a connection. They have to be [given](Poller::give_back) or
    /// [sent](Poller::send_back) back.
    Received { key: usize, piece: P },
    /// There was no room for a piece that was to be sent back, but for some bytes.
    ShortWrite { key: usize, piece: P, sent: usize },
    /// A connection is broken, or cannot be watched any more.
    Lost { key: usize },
}
