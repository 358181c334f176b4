//! What load to generate: plain data.

use std::num::NonZero;
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use echo_proto::Framing;

use super::engine::Engine;

/// A load, and how to measure it.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Connections over all threads; at least 1.
    pub connections: usize,
    /// Bytes per message; at least 1.
    pub size: u32,
    /// How messages are delimited on the wire.
    pub framing: Framing,
    /// When the run ends.
    pub limit: RunLimit,
    /// Messages in flight per connection; at least 1.
    pub depth: usize,
    /// Messages per second over all connections, more than 0. `None` for a closed loop: the next
    /// message is sent when an echo arrives.
    pub rate: Option<f64>,
    /// With a rate, when messages are due.
    pub arrivals: Arrivals,
    /// Seed of random arrivals: the same seed gives the same due times.
    pub seed: u64,
    /// How bytes are sent and received.
    pub engine: Engine,
    /// Event loops, one thread each; at least 1. Never more than connections.
    pub threads: usize,
    /// When to begin sending, by this machine's clock; at once, with a warning, if it has passed.
    pub start_at: Option<SystemTime>,
    /// How long to send before measuring.
    pub warmup: Duration,
    /// Whether the threads poll without sleeping, which keeps the client's own wake-up out of the
    /// latency.
    pub busy_poll: bool,
    /// Messages after which a connection is replaced by a new one.
    pub reconnect_every: Option<NonZero<u64>>,
    /// How often interim metrics are reported.
    pub interval: Duration,
    /// Label of the run in reports.
    pub label: Option<String>,
    /// The server's process on this machine, to measure its CPU time (Linux).
    pub server_pid: Option<u32>,
}

impl Workload {
    /// Whether the run ends after a number of messages.
    pub(super) fn is_counted(&self) -> bool {
        matches!(self.limit, RunLimit::Messages(_))
    }
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunLimit {
    /// This long after the warm-up.
    Duration(Duration),
    /// After this many echoes, the warm-up included.
    Messages(u64),
}

/// The distribution of due times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Arrivals {
    /// Evenly spaced over all connections
    #[default]
    Constant,
    /// Random and independent, as the requests of many users are
    ///
    /// The gaps are exponentially distributed, and different in every run.
    Poisson,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One connection, 64 bytes per message, one second.
    pub(in crate::bench) fn workload() -> Workload {
        Workload {
            connections: 1,
            size: 64,
            framing: Framing::Raw,
            limit: RunLimit::Duration(Duration::from_secs(1)),
            depth: 1,
            rate: None,
            arrivals: Arrivals::Constant,
            seed: 0,
            engine: Engine::Auto,
            threads: 1,
            start_at: None,
            warmup: Duration::ZERO,
            busy_poll: false,
            reconnect_every: None,
            interval: Duration::from_secs(1),
            label: None,
            server_pid: None,
        }
    }
}
