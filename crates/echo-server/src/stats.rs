//! Counters of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{CloseReason, RefuseReason};

/// The counters of a run, so far or at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Connections accepted.
    pub connections: u64,
    /// Connections being served now.
    pub open: u64,
    /// Connections refused because of [`Config::max_connections`].
    ///
    /// [`Config::max_connections`]: crate::Config::max_connections
    pub refused_full: u64,
    /// Connections refused because of [`Config::max_per_peer`].
    ///
    /// [`Config::max_per_peer`]: crate::Config::max_per_peer
    pub refused_per_peer: u64,
    /// Connections refused as an injected fault.
    pub refused_by_fault: u64,
    /// How often accepting paused because the system had no resources for another connection.
    pub accept_pauses: u64,
    /// Bytes received and sent back.
    pub bytes: u64,
    /// Whole messages received by connections that have ended; 0 without framing.
    pub messages: u64,
    /// Connections that have ended, by reason, in the order of [`CloseReason::ALL`].
    pub closed: [u64; CloseReason::ALL.len()],
}

impl Summary {
    /// The number of connections that ended for this reason.
    #[must_use]
    pub fn closed_as(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }
}

/// The counters of a running server, to be read from any thread.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    counts: Arc<Counts>,
}

/// No counter depends on another, so the ordering is relaxed.
#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    open: AtomicU64,
    refused_full: AtomicU64,
    refused_per_peer: AtomicU64,
    refused_by_fault: AtomicU64,
    accept_pauses: AtomicU64,
    bytes: AtomicU64,
    messages: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
}

impl Counters {
    /// Reads the counters. They are read one after the other, so a connection that begins or ends meanwhile
    /// may be in one and not in another.
    #[must_use]
    pub fn read(&self) -> Summary {
        let counts = &*self.counts;
        Summary {
            connections: counts.connections.load(Relaxed),
            open: counts.open.load(Relaxed),
            refused_full: counts.refused_full.load(Relaxed),
            refused_per_peer: counts.refused_per_peer.load(Relaxed),
            refused_by_fault: counts.refused_by_fault.load(Relaxed),
            accept_pauses: counts.accept_pauses.load(Relaxed),
            bytes: counts.bytes.load(Relaxed),
            messages: counts.messages.load(Relaxed),
            closed: std::array::from_fn(|reason| counts.closed[reason].load(Relaxed)),
        }
    }

    pub(crate) fn connected(&self) {
        self.counts.connections.fetch_add(1, Relaxed);
        self.counts.open.fetch_add(1, Relaxed);
    }

    pub(crate) fn refused(&self, reason: RefuseReason) {
        let count = match reason {
            RefuseReason::Connections => &self.counts.refused_full,
            RefuseReason::PerPeer => &self.counts.refused_per_peer,
            RefuseReason::Fault => &self.counts.refused_by_fault,
        };
        count.fetch_add(1, Relaxed);
    }

    pub(crate) fn accept_paused(&self) {
        self.counts.accept_pauses.fetch_add(1, Relaxed);
    }

    pub(crate) fn echoed(&self, bytes: u64) {
        self.counts.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn closed(&self, messages: u64, reason: CloseReason) {
        self.counts.open.fetch_sub(1, Relaxed);
        self.counts.messages.fetch_add(messages, Relaxed);
        self.counts.closed[reason as usize].fetch_add(1, Relaxed);
    }
}
