//! Counters of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{CloseReason, RefuseReason};

/// What a run amounts to, so far or in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Connections accepted.
    pub connections: u64,
    /// Connections being served now.
    pub open: u64,
    /// Connections refused because there were [`Config::max_connections`] of them.
    ///
    /// [`Config::max_connections`]: crate::Config::max_connections
    pub refused_full: u64,
    /// Connections refused because their address had [`Config::max_per_peer`] of them.
    ///
    /// [`Config::max_per_peer`]: crate::Config::max_per_peer
    pub refused_per_peer: u64,
    /// Connections refused on purpose.
    pub refused_on_purpose: u64,
    /// How often accepting paused because the system had no room for another connection.
    pub accept_pauses: u64,
    /// Bytes received and sent back.
    pub bytes: u64,
    /// Whole messages received; none without framing. Those of open connections are not counted yet.
    pub messages: u64,
    /// Connections that have ended, by reason, in the order of [`CloseReason::ALL`].
    pub closed: [u64; CloseReason::ALL.len()],
}

impl Summary {
    /// Connections that ended for this reason.
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

/// Each number stands alone, so the ordering is relaxed.
#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    open: AtomicU64,
    refused_full: AtomicU64,
    refused_per_peer: AtomicU64,
    refused_on_purpose: AtomicU64,
    accept_pauses: AtomicU64,
    bytes: AtomicU64,
    messages: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
}

impl Counters {
    /// The numbers as they stand. They are read one after the other, so connections that come and go
    /// meanwhile can be in one and not in another.
    #[must_use]
    pub fn read(&self) -> Summary {
        let counts = &*self.counts;
        Summary {
            connections: counts.connections.load(Relaxed),
            open: counts.open.load(Relaxed),
            refused_full: counts.refused_full.load(Relaxed),
            refused_per_peer: counts.refused_per_peer.load(Relaxed),
            refused_on_purpose: counts.refused_on_purpose.load(Relaxed),
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

    pub(crate) fn refused(&self, limit: RefuseReason) {
        let count = match limit {
            RefuseReason::Connections => &self.counts.refused_full,
            RefuseReason::PerPeer => &self.counts.refused_per_peer,
            RefuseReason::Fault => &self.counts.refused_on_purpose,
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
