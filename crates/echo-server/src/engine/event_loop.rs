//! What the engines with event loops have in common: everything but how a loop learns the news.
//!
//! The thread that accepts hands each connection to one of the workers ([`crew`]). A [`worker`] waits for
//! news from its [`Source`], gives each [`connection`] its turn and looks at the deadlines. The engines
//! differ in their source.

mod connection;
mod crew;
mod worker;

use std::io;
use std::time::Duration;

use mio::net::TcpStream;

pub(super) use self::crew::{Waker, serve};

/// Where a worker learns what happens to its connections.
pub(super) trait Source {
    /// Begins to report what happens to the connection at `key`, and what has happened already.
    fn watch(&mut self, key: usize, stream: &mut TcpStream) -> io::Result<()>;

    /// Stops reporting it. The stream is closed next, and the key may then be another connection's.
    fn forget(&mut self, key: usize, stream: &mut TcpStream);

    /// Waits until there are news, but no longer than `timeout`, and adds them to `news`.
    fn wait(&mut self, timeout: Option<Duration>, news: &mut Vec<News>) -> io::Result<()>;
}

/// What a source reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Somebody knocked: there are connections to take in, or there is another phase.
    Knock,
    /// Something has changed about a connection.
    Ready {
        key: usize,
        /// There may be something to read; otherwise there is room to write.
        readable: bool,
        /// There is an end of the stream, an error or an urgent byte, so that a `recv` that leaves room
        /// says nothing about whether there is more.
        ended: bool,
    },
    /// A connection cannot be watched any more.
    Lost { key: usize },
}
