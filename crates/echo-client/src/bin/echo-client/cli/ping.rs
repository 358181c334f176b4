//! Command line of `echo-client ping`.

use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use echo_client::gates::Gate;
use echo_client::ping::{Ping, PingMetric};
use echo_client::units;

use super::target::TargetArgs;
use super::{Cli, Format, message_size, nonzero_duration, whole};

/// The short options are those of ping(8).
#[derive(Debug, Args)]
pub(crate) struct PingOptions {
    #[command(flatten)]
    server: TargetArgs,

    /// Stop after this many messages
    #[arg(short, long, env = "ECHO_COUNT", value_name = "N")]
    #[arg(value_parser = whole::<u64>(1..=u64::MAX), allow_negative_numbers = true)]
    count: Option<u64>,

    /// Time from one message to the next, if the echo has arrived by then; 0 for none
    ///
    /// During an outage the connection is tried more often, but a message is lost only when it was
    /// due.
    #[arg(short, long, env = "ECHO_INTERVAL", value_name = "DURATION", default_value = "1s")]
    #[arg(value_parser = units::duration)]
    interval: Duration,

    /// How long to wait for a connection or the next byte of an echo [default: --timeout]
    ///
    /// Without it, connecting is limited by --connect-timeout alone.
    #[arg(short = 'W', long, env = "ECHO_WAIT", value_name = "DURATION", value_parser = nonzero_duration)]
    wait: Option<Duration>,

    /// Stop after this time, however many messages were sent
    #[arg(short = 'w', long, env = "ECHO_DEADLINE", value_name = "DURATION")]
    #[arg(value_parser = nonzero_duration)]
    deadline: Option<Duration>,

    /// Bytes per message
    #[arg(short, long, env = "ECHO_SIZE", value_name = "SIZE", default_value = "64")]
    #[arg(value_parser = message_size)]
    size: u32,

    /// Print the summary and changes of the connection, but no line per message
    #[arg(short, long, env = "ECHO_QUIET", value_parser = BoolishValueParser::new())]
    pub(crate) quiet: bool,

    /// Print the time before each line of text: seconds since 1970 and microseconds
    #[arg(short = 'D', long, env = "ECHO_TIMESTAMPS", value_parser = BoolishValueParser::new())]
    pub(crate) timestamps: bool,

    /// Format of the report: text; json, one object; jsonl, one object per event as it comes
    #[arg(long, env = "ECHO_FORMAT", value_enum, value_name = "FORMAT", default_value = "text")]
    #[arg(hide_possible_values = true)]
    pub(crate) format: Format,

    /// Exit with code 3 if this holds: 'p99>2ms', 'loss>0', 'outage>1s'; repeatable
    ///
    /// The names are those of the JSON without the unit of times, and latency. may be left out. A
    /// metric that was not measured fails the condition too. A run that is interrupted does not
    /// pass: end it with --count or --deadline.
    #[arg(long, env = "ECHO_FAIL_IF", value_name = "CONDITION", value_delimiter = ',')]
    pub(crate) fail_if: Vec<Gate<PingMetric>>,

    /// Connect again after a lost connection; with =false the run ends instead
    #[arg(long, env = "ECHO_RECONNECT", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    #[arg(default_value = "true", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    reconnect: bool,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  echo-client ping                       one message per second until Ctrl-C
  echo-client ping example.com:7         another server
  echo-client ping -c 5 -i 200ms -s 1k   five of 1024 bytes, five per second
  echo-client ping -i 0 -q -w 10s        without pauses for ten seconds
  echo-client ping -D -W 500ms           watch a failover, with timestamps
  echo-client ping --format jsonl        one JSON object per event
  echo-client ping -c 60 --fail-if 'p99>5ms,loss>0'
                                         exit code 3 if slow or lossy

Ctrl-\\ (SIGQUIT) prints interim times to stderr.

Durations: 50us, 200ms, 10s; a bare number is seconds.

Exit code:
  0    every message came back unchanged
  1    one did not
  2    wrong usage
  3    a --fail-if condition holds, even if something was lost
  130  interrupted twice";

impl PingOptions {
    pub(super) fn server(&self) -> &TargetArgs {
        &self.server
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// How long to wait for a byte of an echo, if given.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.wait
    }
}

impl Cli {
    pub(crate) fn ping(&self, options: &PingOptions) -> Ping {
        Ping {
            count: options.count,
            interval: options.interval,
            size: options.size,
            framing: self.framing().unwrap_or_default(),
            reconnect: options.reconnect,
        }
    }
}
