//! A run of `ping` as data: what `--format json` and `jsonl` write.
//!
//! Field names are those of the JSON, described by `docs/schema/ping-1.json` and
//! `ping-line-1.json`. Those that `bench` has too mean the same. Times end in their unit.

use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::{Outage, Ping, Summary};
use crate::distribution::Distribution;
use crate::error::source_address;
use crate::run::{Causes, GateResult};
use crate::{Config, Error};

/// Version of the format. Fields may be added; none is removed or changes its meaning.
const SCHEMA_VERSION: u32 = 1;

/// A run with everything needed to know what it measured.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PingRun {
    /// What was requested, and when.
    #[serde(flatten)]
    pub start: PingStart,
    /// What was measured.
    pub result: PingMetrics,
    /// The outages, at most the first hundred and the current one.
    pub outages: Vec<OutageRecord>,
    /// The conditions given with `--fail-if`.
    pub gates: Vec<GateResult>,
}

/// What is known when the first connection is open.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PingStart {
    /// Version of this format: 1.
    pub schema_version: u32,
    /// Name and version of the program.
    pub program: String,
    /// When the run started (RFC 3339).
    pub started: String,
    /// What was requested.
    pub settings: PingSettings,
}

/// What was requested.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PingSettings {
    /// The host as given.
    pub host: String,
    /// The address that was connected to last; null if there was no connection.
    pub address: Option<String>,
    /// The source address, if one was given.
    pub bind: Option<String>,
    /// Bytes per message, without framing.
    pub size_bytes: u32,
    /// How messages are delimited on the wire.
    pub framing: String,
    /// Time from one message to the next.
    pub interval_s: f64,
    /// Number of messages, if it was given.
    pub messages: Option<u64>,
    /// How long to try to connect to each address.
    pub connect_timeout_s: f64,
    /// How long to wait for the next byte of an echo.
    pub timeout_s: f64,
    /// Whether a lost connection was opened again.
    pub reconnect: bool,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PingMetrics {
    /// Length of the run.
    pub seconds: f64,
    /// Messages sent, or due while there was no connection.
    pub transmitted: u64,
    /// Messages that came back unchanged.
    pub echoes: u64,
    /// Messages that did not come back unchanged.
    pub loss: u64,
    /// The same as a share of those transmitted, 0 to 1; null without one.
    pub loss_share: Option<f64>,
    /// From before a message was sent until its echo had arrived.
    pub latency: Distribution,
    /// Times to connect.
    pub connect: Distribution,
    /// Times without an echo.
    pub outage: OutageMetrics,
}

/// Times without an echo, from the first message that did not come back until the next echo, or
/// until the end of the run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OutageMetrics {
    /// Number of outages.
    pub count: u64,
    /// Length of the longest.
    pub max_us: f64,
    /// Length of all together.
    pub total_us: f64,
}

/// One outage.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OutageRecord {
    /// When the first message without an echo was sent or due (RFC 3339).
    pub started: String,
    /// From then until the next echo, or until the end of the run.
    pub duration_us: f64,
    /// Number of the first message without an echo.
    pub first: u64,
    /// Number of the last one.
    pub last: u64,
    /// Whether an echo has ended it.
    pub is_over: bool,
}

/// One line of `jsonl`. Events have the time at which they were known, in microseconds since the start
/// of the run.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
pub enum PingLine {
    /// The first connection is open.
    Start(PingStart),
    /// A message came back unchanged.
    Reply {
        /// When it was known.
        at_us: u64,
        /// Number of the message, from 1.
        seq: u64,
        /// Its round-trip time.
        latency_us: f64,
    },
    /// A message did not come back, or came back wrong.
    Lost {
        /// When it was known.
        at_us: u64,
        /// Number of the message, from 1.
        seq: u64,
        /// Name of the cause, as bench's counters have it; null for a message that was not sent.
        cause: Option<String>,
        /// What happened.
        text: String,
        /// The likely cause and what to do, if known.
        hint: Option<String>,
    },
    /// The first message did not come back.
    OutageBegin {
        /// When it was known.
        at_us: u64,
        /// Its number.
        seq: u64,
    },
    /// A message came back after others had not.
    OutageEnd {
        /// When it was known.
        at_us: u64,
        /// The outage.
        outage: OutageRecord,
    },
    /// The end of the run: all of it.
    End(Box<PingRun>),
}

/// Relates the clock of events to the time of day.
#[derive(Clone, Copy, Debug)]
pub struct RunClock {
    start: Instant,
    start_time: SystemTime,
}

impl RunClock {
    /// A run that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now(), start_time: SystemTime::now() }
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Microseconds since the start.
    #[must_use]
    pub fn at_us(&self) -> u64 {
        self.elapsed().as_micros() as u64
    }

    /// The time of day (RFC 3339, milliseconds).
    #[must_use]
    pub fn time_of_day(&self, event: Instant) -> String {
        let time = self.start_time + event.saturating_duration_since(self.start);
        humantime::format_rfc3339_millis(time).to_string()
    }
}

impl PingStart {
    /// What is known of a run that has this clock.
    #[must_use]
    pub fn new(config: &Config, ping: &Ping, address: Option<String>, clock: &RunClock) -> Self {
        let settings = PingSettings {
            host: config.host.clone(),
            address,
            bind: config.bind.map(source_address),
            size_bytes: ping.size,
            framing: ping.framing.to_string(),
            interval_s: ping.interval.as_secs_f64(),
            messages: ping.count,
            connect_timeout_s: config.connect_timeout.as_secs_f64(),
            timeout_s: config.timeout.as_secs_f64(),
            reconnect: ping.reconnect,
        };
        let program = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned();
        let started = clock.time_of_day(clock.start);
        Self { schema_version: SCHEMA_VERSION, program, started, settings }
    }
}

impl PingMetrics {
    /// What a run has measured in this time.
    #[must_use]
    pub fn of(summary: &Summary, elapsed: Duration) -> Self {
        let Summary { transmitted, received, times, connects, .. } = summary;
        let loss = summary.lost();
        let current = summary.outage.map(|outage| outage.duration);
        let lengths = current.into_iter().chain([summary.longest_outage]);
        Self {
            seconds: elapsed.as_secs_f64(),
            transmitted: *transmitted,
            echoes: *received,
            loss,
            loss_share: (*transmitted > 0).then(|| loss as f64 / *transmitted as f64),
            latency: times.distribution(),
            connect: connects.distribution(),
            outage: OutageMetrics {
                count: summary.outage_count + u64::from(current.is_some()),
                max_us: us(lengths.max().unwrap_or_default()),
                total_us: us(summary.outage_time + current.unwrap_or_default()),
            },
        }
    }
}

impl OutageRecord {
    /// An outage that an echo has ended, or the current one.
    #[must_use]
    pub fn new(outage: &Outage, is_over: bool, clock: &RunClock) -> Self {
        let Outage { since, duration, first, last } = *outage;
        let started = clock.time_of_day(since);
        Self { started, duration_us: us(duration), first, last, is_over }
    }

    /// The outages of a run.
    #[must_use]
    pub fn all(summary: &Summary, clock: &RunClock) -> Vec<Self> {
        let over = summary.outages.iter().map(|outage| Self::new(outage, true, clock));
        let current = summary.outage.iter().map(|outage| Self::new(outage, false, clock));
        over.chain(current).collect()
    }
}

impl PingLine {
    /// A lost message. Without an error it was not sent.
    #[must_use]
    pub fn lost(at_us: u64, seq: u64, error: Option<&Error>) -> Self {
        let cause = error.map(|error| Causes::default().counter(error).0.to_owned());
        let text = error.map_or_else(|| NOT_SENT.to_owned(), ToString::to_string);
        let hint = error.and_then(Error::hint);
        Self::Lost { at_us, seq, cause, text, hint }
    }
}

/// What happened to a message that was due while there was no connection.
pub const NOT_SENT: &str = "not sent, there was no echo";

fn us(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::assert_published;

    #[test]
    fn the_published_schema_is_that_of_the_data() {
        assert_published::<PingRun>("ping-1");
        assert_published::<PingLine>("ping-line-1");
    }
}
