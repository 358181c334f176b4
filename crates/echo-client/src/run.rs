//! One run of the load generator: how it was made and what it measured.
//!
//! Field names are those of the JSON. Times end in their unit. The whole file is
//! [`RunFile`](crate::run_file::RunFile).

use echo_proto::ReplyError;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::distribution::Distribution;

/// A run with everything needed to know what it measured. It is also what version 1 of the format
/// held.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Run {
    /// Name and version of the program.
    pub program: String,
    /// Label in reports, if one was given.
    pub label: Option<String>,
    /// When the run started (RFC 3339).
    pub started: String,
    /// When measuring began (RFC 3339), after the warm-up.
    #[serde(default)]
    pub measured_from: Option<String>,
    /// When measuring ended.
    #[serde(default)]
    pub measured_until: Option<String>,
    /// The machine that generated the load.
    pub machine: Machine,
    /// The executables of both sides.
    #[serde(default)]
    pub builds: Builds,
    /// What was requested.
    pub settings: Settings,
    /// What was measured.
    pub result: Metrics,
    /// The same per interval.
    pub intervals: Vec<Interval>,
    /// The conditions given with `--fail-if`.
    pub gates: Vec<GateResult>,
}

/// The machine that generated the load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Machine {
    /// Operating system.
    pub os: String,
    /// Its version.
    pub kernel: String,
    /// Name of the processor.
    pub cpu: String,
    /// Number of processors that the program may use.
    pub cpus: usize,
    /// Whether it is a virtual machine; null where the processor does not tell, as on other
    /// architectures than x86.
    #[serde(default)]
    pub is_virtual: Option<bool>,
    /// TCP congestion control of new connections; null where the system does not report it.
    #[serde(default)]
    pub congestion_control: Option<String>,
    /// Longest queue of connections to be accepted that a listener may have; null where the system
    /// does not report it. It concerns the server if it runs on this machine.
    #[serde(default)]
    pub somaxconn: Option<u32>,
}

/// The executables of both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Builds {
    /// This program; null if it is not known.
    pub client: Option<Build>,
    /// The server. An echo server says nothing about itself: null unless its process was given with
    /// `--server-pid` and may be read.
    pub server: Option<Build>,
}

/// An executable. Runs of the same build have the same size and time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Build {
    /// Its path.
    pub path: String,
    /// Its length.
    pub size_bytes: u64,
    /// When it was written (RFC 3339).
    pub modified: String,
}

/// What was requested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Settings {
    /// The host as given.
    pub host: String,
    /// The address that was connected to.
    pub address: String,
    /// Connections.
    pub connections: usize,
    /// Bytes per message, without framing.
    #[serde(rename = "size_bytes")]
    pub size: u32,
    /// Messages in flight per connection, at most.
    pub depth: usize,
    /// How messages are delimited on the wire.
    pub framing: String,
    /// `closed`: a message is sent when an echo arrives. `open`: when it is due.
    #[serde(rename = "loop")]
    pub pacing: Loop,
    /// Requested messages per second; null in a closed loop.
    pub rate: Option<f64>,
    /// When messages are due, `constant` or `poisson`; null in a closed loop.
    pub arrivals: Option<String>,
    /// Seed of random arrivals in the first run; each further run uses the next number. Null for
    /// other arrivals, and in a merged run.
    #[serde(default)]
    pub seed: Option<u64>,
    /// How long to measure; null if the number of messages is given.
    pub duration_s: Option<f64>,
    /// How many messages to send; null if the duration is given.
    pub messages: Option<u64>,
    /// How long messages were sent before measuring.
    pub warmup_s: f64,
    /// How bytes were sent and received: `readiness` or `uring`.
    pub engine: String,
    /// Threads.
    pub threads: usize,
    /// Whether the threads polled without sleeping.
    pub busy_poll: bool,
    /// Messages after which a connection was replaced by a new one.
    pub reconnect_every: Option<u64>,
    /// How long to wait for the next byte of an echo.
    pub timeout_s: f64,
    /// How many runs were requested.
    #[serde(default = "one")]
    pub repeat: u32,
    /// How long to wait between runs; null for a single run.
    #[serde(default)]
    pub pause_s: Option<f64>,
}

/// Runs before there were repeats.
fn one() -> u32 {
    1
}

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Loop {
    /// When an earlier echo arrives.
    Closed,
    /// When they are due.
    Open,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Metrics {
    /// Length of the measuring window.
    pub seconds: f64,
    /// Messages that came back unchanged in that time.
    pub echoes: u64,
    /// Echoes per second.
    pub rate: f64,
    /// Bytes on the wire per second, each way.
    pub bytes_per_second: f64,
    /// From the time a message was due until its echo had arrived. In a closed loop a message is
    /// due when it is sent.
    pub latency: Distribution,
    /// From the time a message was sent until its echo had arrived.
    pub service: Distribution,
    /// How late messages were sent, compared with a client that sends each as soon as it is due and
    /// its connection and earlier echoes have made room for it. No samples in a closed loop.
    #[serde(default)]
    pub send_lag: Distribution,
    /// Times to connect.
    pub connect: Distribution,
    /// Messages sent in all, the warm-up included.
    pub sent: u64,
    /// Messages sent that did not come back unchanged, the warm-up included.
    pub loss: u64,
    /// Bytes sent that did not come back unchanged.
    pub missing_bytes: u64,
    /// Messages requested, or due before the end, that were not sent; an estimate with `poisson`.
    pub unsent: u64,
    /// Whether messages were sent at the requested rate; null in a closed loop and in files of
    /// version 1.
    #[serde(default)]
    pub rate_reached: Option<bool>,
    /// Connections that failed.
    pub failed: u64,
    /// The same by cause.
    pub causes: Causes,
    /// The first failures, in words.
    pub incidents: Vec<Failure>,
    /// How evenly echoes are distributed over connections.
    pub fairness: Fairness,
    /// CPU time of the client per echo; null where the system does not report it.
    pub cpu_us_per_echo: Option<f64>,
    /// Utilisation of the client's busiest thread, 0 to 1.
    pub busy: Option<f64>,
    /// CPU time of the server's process in the measuring window, user and system, in seconds; null
    /// unless its process was given.
    pub server_cpu_s: Option<f64>,
    /// The same per echo, in microseconds.
    pub server_cpu_us_per_echo: Option<f64>,
    /// TCP segments that the client retransmitted (Linux).
    pub retransmits: Option<u64>,
    /// Reasons to doubt the metrics.
    pub warnings: Vec<String>,
}

/// A thread that runs for this share of the time is considered the bottleneck.
pub(crate) const BUSY_SHARE: f64 = 0.95;

impl Metrics {
    /// Whether the client may have been the bottleneck. Where the system does not report how busy it
    /// was, it may.
    #[must_use]
    pub fn is_client_busy(&self) -> bool {
        self.busy.is_none_or(|busy| busy >= BUSY_SHARE)
    }
}

/// Failed connections by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Causes {
    /// It could not be opened.
    pub connect: u64,
    /// A byte came back changed or out of place.
    pub changed: u64,
    /// More came back than was sent.
    pub surplus: u64,
    /// The server closed it.
    pub closed: u64,
    /// It was reset or lost.
    pub lost: u64,
    /// No byte arrived within the timeout.
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

    /// The sum with those of another run or worker.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
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
    /// Number of the connection, from 1.
    pub connection: usize,
    /// Microseconds since the start of sending.
    pub at_us: u64,
    /// Bytes that had come back unchanged on this connection.
    pub offset: u64,
    /// Name of the cause, as in the counters.
    pub cause: String,
    /// What happened.
    pub text: String,
    /// The likely cause and what to do, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How evenly echoes are distributed over connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Fairness {
    /// Echoes of the connection with the fewest.
    pub min: u64,
    /// Echoes of the connection with the most.
    pub max: u64,
    /// Jain's index: 1 if all have the same number, 1/n if one of n has all (Jain et al., 1984);
    /// null without an echo.
    pub jain: Option<f64>,
}

/// One interval of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Interval {
    /// Its start, from the start of measuring.
    pub start_s: f64,
    /// Its length.
    pub seconds: f64,
    /// Echoes in it.
    pub echoes: u64,
    /// Echoes per second.
    pub rate: f64,
    /// Median latency; null without an echo and in a merged run, as percentiles cannot be added.
    pub p50_us: Option<f64>,
    /// 99th percentile.
    pub p99_us: Option<f64>,
    /// Maximum.
    pub max_us: Option<f64>,
}

/// The result of a condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GateResult {
    /// The condition as given.
    pub gate: String,
    /// The metric, in the unit of its JSON name; null if it was not measured. Over several runs it is
    /// their median, or the sum of a count of errors.
    pub value: Option<f64>,
    /// The metric in each run.
    #[serde(default)]
    pub values: Vec<Option<f64>>,
    /// The limit, in the same unit.
    pub limit: f64,
    /// Whether these are times in microseconds.
    pub is_time: bool,
    /// Whether the run failed the condition.
    pub failed: bool,
}
