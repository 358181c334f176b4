//! What happened, for whoever prints or counts it.

use std::io;
use std::net::SocketAddr;

use echo_proto::FrameError;

/// Something that happened while the server ran.
///
/// Events are delivered by the thread they happen on: an observer that blocks, blocks the service.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A connection was accepted. Its first bytes may have been echoed by now.
    Connected {
        /// The other end.
        peer: SocketAddr,
    },
    /// A peer broke the framing. The messages before that are echoed, then the connection is closed.
    FramingBroken {
        /// The other end.
        peer: SocketAddr,
        /// In which way.
        error: FrameError,
    },
    /// The system has no more descriptors, memory or threads for new connections. Accepting pauses
    /// for moments at a time; those already connected do not notice. Told at most once a second.
    AcceptPaused {
        /// What the system said.
        error: io::Error,
    },
}
