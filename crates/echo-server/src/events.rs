//! What happened, for whoever prints or counts it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

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
    /// A connection was closed at once, because a limit is reached or on purpose.
    Refused {
        /// The other end.
        peer: SocketAddr,
        /// Which limit.
        limit: RefuseReason,
    },
    /// A peer broke the framing. The messages before that are echoed, then the connection is closed.
    FramingBroken {
        /// The other end.
        peer: SocketAddr,
        /// In which way.
        error: FrameError,
    },
    /// A connection has ended.
    Closed {
        /// The other end.
        peer: SocketAddr,
        /// Bytes received and sent back.
        bytes: u64,
        /// From accepting it to closing it.
        duration: Duration,
        /// Why.
        reason: CloseReason,
    },
    /// The system has no more descriptors, memory or threads for new connections. Accepting pauses
    /// for moments at a time; those already connected do not notice. Told at most once a second.
    AcceptPaused {
        /// What the system said.
        error: io::Error,
    },
}

/// A limit that keeps connections out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefuseReason {
    /// [`Config::max_connections`](crate::Config::max_connections).
    Connections,
    /// [`Config::max_per_peer`](crate::Config::max_per_peer).
    PerPeer,
    /// None is reached: it is one of the share that is refused on purpose,
    /// [`Faults::refuse`](crate::Faults::refuse).
    Fault,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer said goodbye and got all it had sent.
    Done,
    /// The connection broke: reset, or lost on the way.
    Lost,
    /// The peer broke the framing.
    Framing,
    /// The peer was silent for [`Config::idle_timeout`](crate::Config::idle_timeout).
    Idle,
    /// The peer took next to nothing of what it was owed for
    /// [`Config::write_timeout`](crate::Config::write_timeout).
    Stalled,
    /// The connection has reached [`Config::max_lifetime`](crate::Config::max_lifetime).
    Expired,
    /// The server stopped; everything received by then was echoed.
    Stopped,
    /// The server stopped and could not wait any longer: something was owed.
    Aborted,
    /// The server reset or ended it on purpose; see [`Faults`](crate::Faults).
    Fault,
}

impl CloseReason {
    /// All of them, in the order of [`Summary::closed`](crate::Summary::closed).
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Lost,
        Self::Framing,
        Self::Idle,
        Self::Stalled,
        Self::Expired,
        Self::Stopped,
        Self::Aborted,
        Self::Fault,
    ];

    /// A word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Lost => "lost",
            Self::Framing => "framing broken",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Expired => "expired",
            Self::Stopped => "stopped",
            Self::Aborted => "cut",
            Self::Fault => "fault",
        }
    }
}
