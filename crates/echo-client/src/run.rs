//! A run of the load generator as it is saved: what `bench --format json` writes and `report` reads.
//!
//! The names here are those of the JSON; `docs/schema/bench-1.json` describes it. Times end in their unit.

use echo_proto::ReplyError;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::distribution::Distribution;

/// The version of the format. Fields may be added to it; none changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

/// A run and all that is needed to know what it measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Run {
    /// The version of this format: 1.
    pub schema_version: u32,
    /// Name and version of the program that measured.
    pub program: String,
    /// What it is called in reports, where a name was given.
    pub label: Option<String>,
    /// When the run started, by RFC 3339.
    pub started: String,
    /// The machine that the load came from.
    pub machine: Machine,
    /// What was asked for.
    pub settings: Settings,
    /// What came of it.
    pub result: Metrics,
    /// The same, interval by interval.
    pub intervals: Vec<Interval>,
    /// The conditions that were asked for with `--fail-if`.
    pub gates: Vec<GateResult>,
}

/// The machine that the load came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Machine {
    /// Operating system.
    pub os: String,
    /// Its version.
    pub kernel: String,
    /// The processor's name.
    pub cpu: String,
    /// How many of them this program may use.
    pub cpus: usize,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Settings {
    /// The host as given.
    pub host: String,
    /// The address that was connected to.
    pub address: String,
    /// Connections.
    pub connections: usize,
    /// Bytes of a message, without what the framing adds.
    #[serde(rename = "size_bytes")]
    pub size: u32,
    /// Messages in flight on each connection, at the most.
    pub depth: usize,
    /// How messages are told apart on the wire.
    pub framing: String,
    /// `closed`: a message is sent when an echo has come. `open`: when its time has come.
    #[serde(rename = "loop")]
    pub pacing: Loop,
    /// Messages a second that were asked for; none in a closed loop.
    pub rate: Option<f64>,
    /// When messages are due, `constant` or `poisson`; none in a closed loop.
    pub arrivals: Option<String>,
    /// How long to measure; none where messages are counted instead.
    pub duration_s: Option<f64>,
    /// How many messages to send; none where time is measured instead.
    pub messages: Option<u64>,
    /// How long messages were sent before measuring began.
    pub warmup_s: f64,
    /// How bytes were sent and received: `readiness` or `uring`.
    pub engine: String,
    /// Threads.
    pub threads: usize,
    /// Whether the threads polled without sleeping.
    pub busy_poll: bool,
    /// Messages after which a connection was replaced by a new one.
    pub reconnect_every: Option<u64>,
    /// The silence of the server that was tolerated.
    pub timeout_s: f64,
}

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Loop {
    /// When the echo of an earlier one has come.
    Closed,
    /// When their time has come.
    Open,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Metrics {
    /// How long it was measured.
    pub seconds: f64,
    /// Messages that came back right in that time.
    pub echoes: u64,
    /// The same a second.
    pub rate: f64,
    /// Bytes on the wire a second, each way.
    pub bytes_per_second: f64,
    /// From the time a message was due until its echo was there. In a closed loop a message is due when
    /// it is sent.
    pub latency: Distribution,
    /// From the time a message was sent until its echo was there.
    pub service: Distribution,
    /// From asking for a connection until it was there.
    pub connect: Distribution,
    /// Messages sent in all, those of the warm-up among them.
    pub sent: u64,
    /// Messages sent that did not come back right, from the first one on.
    pub loss: u64,
    /// Bytes sent that did not come back right.
    pub missing_bytes: u64,
    /// Messages that were asked for, or due before the end, and were not sent; about, with `poisson`.
    pub unsent: u64,
    /// Connections that failed, in all and by cause.
    pub failed: u64,
    /// The causes of it.
    pub causes: Causes,
    /// The first failures, in words.
    pub incidents: Vec<Failure>,
    /// How evenly the echoes fall on the connections.
    pub fairness: Fairness,
    /// The client's processor time for each echo; none where the system does not tell.
    pub cpu_us_per_echo: Option<f64>,
    /// The share of the time that the busiest thread of the client was running.
    pub busy: Option<f64>,
    /// The server's processor time, user and system, while it was measured, in seconds; none unless its
    /// process was named.
    pub server_cpu_s: Option<f64>,
    /// The same for each echo, in microseconds.
    pub server_cpu_us_per_echo: Option<f64>,
    /// TCP segments that were sent again, on the client's side (Linux).
    pub retransmits: Option<u64>,
    /// What should be known before the figures are believed.
    pub warnings: Vec<String>,
}

/// Failed connections by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Causes {
    /// It was not there to begin with.
    pub connect: u64,
    /// A byte came back changed, or in the place of another.
    pub changed: u64,
    /// More came back than was sent.
    pub surplus: u64,
    /// The server ended it.
    pub closed: u64,
    /// It broke: reset, or lost on the way.
    pub lost: u64,
    /// Nothing came for the whole timeout.
    pub timeout: u64,
}

impl Causes {
    /// The name and the counter for an error.
    pub(crate) fn counter(&mut self, error: &Error) -> (&'static str, &mut u64) {
        match error {
            Error::Reply { fault: ReplyError::Surplus { .. }, .. } => {
                ("surplus", &mut self.surplus)
            }
            Error::Reply { fault: ReplyError::Short { .. }, .. } | Error::Closed { .. } => {
                ("closed", &mut self.closed)
            }
            Error::Reply { .. } => ("changed", &mut self.changed),
            Error::Timeout { .. } | Error::CloseTimeout { .. } => ("timeout", &mut self.timeout),
            Error::Lost { .. } => ("lost", &mut self.lost),
            _ => ("connect", &mut self.connect),
        }
    }

    /// Together with those of another run, or of another part of this one.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            connect: self.connect + other.connect,
            changed: self.changed + other.changed,
            surplus: self.surplus + other.surplus,
            closed: self.closed + other.closed,
            lost: self.lost + other.lost,
            timeout: self.timeout + other.timeout,
        }
    }
}

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Failure {
    /// The connection's number, from 1.
    pub connection: usize,
    /// Microseconds since messages were first sent.
    pub at_us: u64,
    /// Bytes that had come back right on this connection.
    pub offset: u64,
    /// One of the names of the causes.
    pub cause: String,
    /// What happened.
    pub text: String,
}

/// How evenly the echoes fall on the connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Fairness {
    /// Echoes of the connection with the fewest.
    pub min: u64,
    /// Echoes of the connection with the most.
    pub max: u64,
    /// Jain's index: 1 where all have the same, 1/n where one of n has all (Jain et al., 1984); none
    /// without an echo.
    pub jain: Option<f64>,
}

/// A part of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Interval {
    /// Its beginning, from the beginning of the measurement.
    pub start_s: f64,
    /// Its length.
    pub seconds: f64,
    /// Echoes in it.
    pub echoes: u64,
    /// The same a second.
    pub rate: f64,
    /// Median latency; none without an echo, and in a merged run: percentiles do not add.
    pub p50_us: Option<f64>,
    /// 99th percentile.
    pub p99_us: Option<f64>,
    /// Longest.
    pub max_us: Option<f64>,
}

/// What became of a condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GateResult {
    /// The condition as given.
    pub gate: String,
    /// The figure that it speaks of, in the unit of its JSON name; none where it was not measured.
    pub value: Option<f64>,
    /// What it is held against, in the same unit.
    pub limit: f64,
    /// Whether they are microseconds.
    pub is_time: bool,
    /// Whether the run failed it.
    pub failed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the schema stands for those who read the files.
    const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema/bench-1.json");

    #[test]
    fn the_published_schema_is_that_of_the_data() {
        let schema = schemars::schema_for!(Run);
        let schema = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("ECHO_WRITE_SCHEMA").is_some() {
            std::fs::write(SCHEMA, &schema).unwrap();
        }
        let published = std::fs::read_to_string(SCHEMA).unwrap();
        assert!(
            schema == published,
            "the format has changed: look at the difference with  ECHO_WRITE_SCHEMA=1 cargo test -p \
             echo-client schema; git diff docs/schema  and if something was taken away or means \
             something else, raise SCHEMA_VERSION and write another file"
        );
    }
}
