//! Events that a running server reports.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use echo_proto::FrameError;

/// Something that happened while the server ran.
///
/// Events are delivered on the thread that serves the connection, so the observer must not block.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A connection was accepted. Its first bytes may already have been echoed.
    Connected {
        /// The other end.
        peer: SocketAddr,
    },
    /// A connection was closed at once, because of a limit or an injected fault.
    Refused {
        /// The other end.
        peer: SocketAddr,
        /// Why.
        reason: RefuseReason,
    },
    /// A peer broke the framing. The messages before it are echoed, then the connection is closed.
    FramingBroken {
        /// The other end.
        peer: SocketAddr,
        /// How.
        error: FrameError,
    },
    /// A connection has ended.
    Closed {
        /// The other end.
        peer: SocketAddr,
        /// Bytes received and sent back.
        bytes: u64,
        /// The time from accepting to closing.
        duration: Duration,
        /// Why.
        reason: CloseReason,
    },
    /// The system has no more descriptors, memory or threads for new connections. Accepting pauses
    /// briefly; open connections are not affected. Reported at most once a second.
    AcceptPaused {
        /// The system's error.
        error: io::Error,
    },
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefuseReason {
    /// [`Config::max_connections`](crate::Config::max_connections).
    Connections,
    /// [`Config::max_per_peer`](crate::Config::max_per_peer).
    PerPeer,
    /// An injected fault: [`Faults::refuse`](crate::Faults::refuse).
    Fault,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer sent FIN and got back everything it had sent.
    Done,
    /// The connection broke: it was reset or timed out.
    Lost,
    /// The peer broke the framing.
    Framing,
    /// The peer was silent for [`Config::idle_timeout`](crate::Config::idle_timeout).
    Idle,
    /// The peer took less than 1 KiB of what it was owed in
    /// [`Config::write_timeout`](crate::Config::write_timeout).
    Stalled,
    /// The connection has reached [`Config::max_lifetime`](crate::Config::max_lifetime).
    Expired,
    /// The server stopped; everything received by then was echoed.
    Stopped,
    /// The server reached its drain timeout, or was aborted, while bytes were owed.
    Aborted,
    /// An injected fault reset or closed the connection; see [`Faults`](crate::Faults).
    Fault,
}

impl CloseReason {
    /// All reasons, in the order of [`Summary::closed`](crate::Summary::closed).
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

    /// The name of the reason in messages.
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
            Self::Aborted => "aborted",
            Self::Fault => "fault",
        }
    }
}
