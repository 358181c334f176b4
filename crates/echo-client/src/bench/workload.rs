//! What load to make: plain data.

use std::fmt;
use std::num::NonZero;
use std::str::FromStr;
use std::time::Duration;

use echo_proto::Framing;

use super::engine::Engine;

/// A load, and how to measure it.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Connections, over all threads; at least one.
    pub connections: usize,
    /// Bytes of a message; at least one.
    pub size: u32,
    /// How messages are told apart on the wire.
    pub framing: Framing,
    /// When it is over.
    pub limit: RunLimit,
    /// Messages in flight on a connection; at least one.
    pub depth: usize,
    /// Messages a second over all connections, more than zero. `None` for a closed loop: the next message
    /// is sent when an echo has come.
    pub rate: Option<f64>,
    /// When messages are due, with a rate.
    pub arrivals: Arrivals,
    /// How bytes are sent and received.
    pub engine: Engine,
    /// Event loops, a thread each; at least one. There are never more than connections.
    pub threads: usize,
    /// How long messages are sent before anything is measured.
    pub warmup: Duration,
    /// Whether the threads poll without sleeping: their own wake-up is then no part of the latency.
    pub busy_poll: bool,
    /// Messages after which a connection is replaced by a new one.
    pub reconnect_every: Option<NonZero<u64>>,
    /// How often the figures so far are told.
    pub interval: Duration,
    /// What the run is called in reports.
    pub label: Option<String>,
    /// The server's process on this machine, whose processor time is to be measured (Linux).
    pub server_pid: Option<u32>,
}

impl Workload {
    /// Whether messages are counted instead of the time.
    pub(super) fn is_counted(&self) -> bool {
        matches!(self.limit, RunLimit::Messages(_))
    }
}

/// When a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunLimit {
    /// This long after the warm-up.
    Duration(Duration),
    /// When as many messages were echoed, those of the warm-up among them.
    Messages(u64),
}

/// When messages are due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// At equal distances, the connections in turn.
    #[default]
    Constant,
    /// At random, independently of each other, as the requests of many users are: the distances are
    /// exponentially distributed. They are the same in every run.
    Poisson,
}

impl Arrivals {
    /// What they are called, for [`str::parse`] and on command lines.
    pub const NAMES: [&str; 2] = ["constant", "poisson"];
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

/// The name is not one of [`Arrivals::NAMES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownArrivals(String);

impl FromStr for Arrivals {
    type Err = UnknownArrivals;

    fn from_str(name: &str) -> Result<Self, UnknownArrivals> {
        let all = [Self::Constant, Self::Poisson];
        let named = all.into_iter().find(|arrivals| Self::NAMES[*arrivals as usize] == name);
        named.ok_or_else(|| UnknownArrivals(name.to_owned()))
    }
}

impl fmt::Display for UnknownArrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Arrivals::NAMES.join(", ");
        write!(f, "no arrivals are called {:?}: there are {names}", self.0)
    }
}

impl std::error::Error for UnknownArrivals {}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One connection and messages of 64 bytes for a second.
    pub(in crate::bench) fn workload() -> Workload {
        Workload {
            connections: 1,
            size: 64,
            framing: Framing::Raw,
            limit: RunLimit::Duration(Duration::from_secs(1)),
            depth: 1,
            rate: None,
            arrivals: Arrivals::Constant,
            engine: Engine::Auto,
            threads: 1,
            warmup: Duration::ZERO,
            busy_poll: false,
            reconnect_every: None,
            interval: Duration::from_secs(1),
            label: None,
            server_pid: None,
        }
    }

    #[test]
    fn arrivals_are_known_by_their_names() {
        for name in Arrivals::NAMES {
            assert_eq!(name.parse::<Arrivals>().unwrap().to_string(), name);
        }
        assert!("uniform".parse::<Arrivals>().is_err());
    }
}
