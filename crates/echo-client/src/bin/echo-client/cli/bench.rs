//! Command line of `echo-client bench`.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::builder::{BoolishValueParser, NonEmptyStringValueParser};
use clap::error::ErrorKind;
use clap::{ArgGroup, Args, CommandFactory, ValueEnum};
use echo_client::bench::{Arrivals, Engine, RunLimit, Workload};
use echo_client::compare::MAX_RUNS;
use echo_client::gates::{Condition, Gate};
use echo_client::metric::PERCENTILES;
use echo_client::percentile::Percentile;
use echo_client::units;

use super::target::{Target, TargetArgs};
use super::{Cli, message_size, nonzero_duration, whole};

/// The short options are those of wrk2 and ping(8).
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("schedule").multiple(true)))]
pub(crate) struct BenchOptions {
    #[command(flatten)]
    server: TargetArgs,

    /// Concurrent connections
    #[arg(short, long, env = "ECHO_CONNECTIONS", value_name = "N", default_value_t = 1)]
    #[arg(value_parser = whole::<u32>(1..=u32::MAX.into()), allow_negative_numbers = true)]
    connections: u32,

    /// Bytes per message
    #[arg(short, long, env = "ECHO_SIZE", value_name = "SIZE", default_value = "64")]
    #[arg(value_parser = message_size)]
    size: u32,

    /// How long to measure [default: 10s; 1s for each trial of --find-rate]
    #[arg(short, long, env = "ECHO_DURATION", value_name = "DURATION", value_parser = nonzero_duration)]
    #[arg(conflicts_with = "messages")]
    duration: Option<Duration>,

    /// Send this many messages instead of measuring for a time
    #[arg(short = 'n', long, env = "ECHO_MESSAGES", value_name = "N")]
    #[arg(value_parser = whole::<u64>(1..=u64::MAX), allow_negative_numbers = true)]
    messages: Option<u64>,

    /// Messages in flight per connection
    #[arg(long, env = "ECHO_DEPTH", value_name = "N", default_value_t = 1)]
    #[arg(value_parser = whole::<u32>(1..=65536), allow_negative_numbers = true)]
    depth: u32,

    /// Messages per second over all connections, sent on schedule whatever comes back; 50k is 50000
    /// [default: closed loop, each echo triggers the next message]
    #[arg(short = 'R', long, env = "ECHO_RATE", value_name = "RATE", value_parser = rate)]
    #[arg(group = "schedule")]
    rate: Option<f64>,

    /// Spacing of messages with --rate: constant or poisson (random) [default: constant]
    #[arg(long, env = "ECHO_ARRIVALS", value_name = "ARRIVALS", requires = "schedule", value_enum)]
    #[arg(hide_possible_values = true)]
    arrivals: Option<Arrivals>,

    /// Seed of --arrivals poisson, to repeat a run [default: random, and reported]
    #[arg(long, env = "ECHO_BENCH_SEED", value_name = "N", requires = "arrivals")]
    #[arg(value_parser = whole::<u64>(0..=u64::MAX), allow_negative_numbers = true)]
    seed: Option<u64>,

    /// I/O interface: readiness (one system call per send and receive), uring (io_uring, Linux 6.1
    /// or later), auto (uring for messages below 16 KiB where it works, otherwise readiness)
    #[arg(long, env = "ECHO_BENCH_ENGINE", value_name = "ENGINE", value_enum, default_value_t)]
    #[arg(hide_possible_values = true)]
    engine: Engine,

    /// Threads, each with its own event loop
    #[arg(long, env = "ECHO_THREADS", value_name = "N", default_value_t = 1)]
    #[arg(value_parser = whole::<u16>(1..=u16::MAX.into()), allow_negative_numbers = true)]
    threads: u16,

    /// Send this long before measuring [default: 1s; none with --messages; 200ms with --find-rate]
    #[arg(long, env = "ECHO_WARMUP", value_name = "DURATION", conflicts_with = "messages")]
    #[arg(value_parser = units::duration)]
    warmup: Option<Duration>,

    /// Begin sending at this time (RFC 3339), so that several hosts start together
    ///
    /// For a single run. The connections are opened before. `date -u -d '+20 seconds' +%FT%TZ` prints such a time.
    #[arg(long, env = "ECHO_START_AT", value_name = "TIME", value_parser = start_time)]
    #[arg(conflicts_with_all = ["repeat", "find_rate"])]
    start_at: Option<SystemTime>,

    /// Poll without sleeping: keeps the client's wake-ups out of the latency
    #[arg(long, env = "ECHO_BENCH_BUSY_POLL", value_parser = BoolishValueParser::new())]
    busy_poll: bool,

    /// Replace each connection by a new one after this many messages
    #[arg(long, env = "ECHO_RECONNECT_EVERY", value_name = "N")]
    #[arg(value_parser = whole::<u64>(1..=u64::MAX), allow_negative_numbers = true)]
    reconnect_every: Option<u64>,

    /// Run this many times and report medians with 95 % intervals
    ///
    /// An interval needs 6 runs. Each run has new connections and its own warm-up. Gates judge the
    /// median, and counts of errors by their sum.
    #[arg(long, env = "ECHO_REPEAT", value_name = "N", default_value_t = 1)]
    #[arg(value_parser = whole::<u32>(1..=MAX_RUNS as u64), allow_negative_numbers = true)]
    #[arg(hide_default_value = true)]
    pub(crate) repeat: u32,

    /// Wait this long between runs [default: 1s]
    #[arg(long, env = "ECHO_PAUSE", value_name = "DURATION", requires = "repeat")]
    #[arg(value_parser = units::duration)]
    pub(crate) pause: Option<Duration>,

    /// Find the highest rate at which this holds: 'p99<2ms', 'loss<1'
    ///
    /// Runs short trials at many rates, from --rate on (default 1000/s), several at each, and reports
    /// two rates 2 % apart: the condition holds at the lower one in most trials, and does not at the
    /// upper one. Exit code 3 if it does not hold at 10/s either. --fail-if 'rate<40k' judges the
    /// lower rate.
    #[arg(long, env = "ECHO_FIND_RATE", value_name = "CONDITION", group = "schedule")]
    #[arg(conflicts_with_all = ["messages", "repeat", "interval", "hdr_log", "percentiles"])]
    pub(crate) find_rate: Option<Condition>,

    /// Percentiles that the text report shows
    #[arg(long, env = "ECHO_PERCENTILES", value_name = "LIST", value_delimiter = ',')]
    #[arg(default_values = PERCENTILES)]
    pub(crate) percentiles: Vec<Percentile>,

    /// Print a line this often [default: none; saved runs have intervals of 1s]
    #[arg(short, long, env = "ECHO_INTERVAL", value_name = "DURATION", value_parser = interval)]
    pub(crate) interval: Option<Duration>,

    /// Label for this run in reports [default: the file name]
    #[arg(long, env = "ECHO_LABEL", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    label: Option<String>,

    /// Also measure the CPU time of this process, the server, on this machine (Linux)
    #[arg(long, env = "ECHO_SERVER_PID", value_name = "PID")]
    #[arg(value_parser = whole::<u32>(1..=u32::MAX.into()), allow_negative_numbers = true)]
    server_pid: Option<u32>,

    /// Exit with code 3 if this holds: 'p99>2ms', 'loss>0', 'rate<50k'; repeatable
    ///
    /// The names are those of the JSON without the unit of times, and latency. may be left out. A
    /// metric that was not measured fails the condition too.
    #[arg(long, env = "ECHO_FAIL_IF", value_name = "CONDITION", value_delimiter = ',')]
    pub(crate) fail_if: Vec<Gate>,

    /// Format of the report: text; json, one object; jsonl, one object per line while it runs
    #[arg(long, env = "ECHO_FORMAT", value_enum, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,

    /// Write the report to this file instead of stdout
    #[arg(short, long, env = "ECHO_OUTPUT", value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Also write the latencies of each interval as an HdrHistogram log
    #[arg(long, env = "ECHO_HDR_LOG", value_name = "FILE")]
    pub(crate) hdr_log: Option<PathBuf>,
}

/// Format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For reading.
    Text,
    /// One object: docs/schema/bench-2.json.
    Json,
    /// One object per line while the run goes on: start, interval, end.
    Jsonl,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  echo-client bench                              one connection, 64 bytes, 10 s
  echo-client bench example.com:7                another server
  echo-client bench -c 50 -d 30s                 as fast as the echoes arrive
  echo-client bench -c 50 -R 20k                 20000 messages per second
  echo-client bench -c 4 -s 64k --depth 4        large messages, four in flight
  echo-client bench -c 10 --reconnect-every 1    connect, one echo, close
  echo-client bench -c 50 --server-pid $(pgrep -x echo-server)
                                                 CPU time per echo of the server
  echo-client bench -R 1000 --fail-if 'p99>2ms'  exit code 3 if too slow
  echo-client bench --format json -o run.json    for `echo-client report`
  echo-client bench --repeat 6                   six runs and their medians
  echo-client bench -c 50 --find-rate 'p99<2ms'  how much load it takes

Ctrl-C ends the run early and reports what was measured, once the messages in
flight have come back or timed out. Ctrl-\\ (SIGQUIT) prints interim metrics.
What the metrics mean: docs/measuring.md.

Durations: 50us, 200ms, 10s; a bare number is seconds. Sizes: 64, 4k (4096),
1MiB. Rates: 20000, 20k.

Exit code:
  0    everything came back unchanged
  1    it did not
  2    wrong usage
  3    a --fail-if condition holds, even if something was lost
  130  interrupted twice";

impl BenchOptions {
    /// The server, if one was given.
    ///
    /// # Errors
    ///
    /// The port was given twice, or the host is a duration, which `--busy-poll` of echo-server takes.
    pub(super) fn target(&self) -> Result<Option<Target>, String> {
        match self.server.target()? {
            Some(Target { host, port: None, .. })
                if self.busy_poll
                    && host.ends_with(|last: char| last.is_ascii_alphabetic())
                    && units::duration(&host).is_ok() =>
            {
                Err(format!(
                    "--busy-poll of bench takes no value: leave out {host}, or use --host {host}"
                ))
            }
            target => Ok(target),
        }
    }

    /// Whether more than one connection is opened, at once or one after the other.
    pub(super) fn connects_again(&self) -> bool {
        self.connections > 1 || self.reconnect_every.is_some()
    }
}

impl Cli {
    pub(crate) fn workload(&self, options: &BenchOptions) -> Workload {
        let (seconds, warmup_ms) = if options.find_rate.is_some() { (1, 200) } else { (10, 1000) };
        let duration = options.duration.unwrap_or(Duration::from_secs(seconds));
        let (limit, warmup) = match options.messages {
            Some(messages) => (RunLimit::Messages(messages), Duration::ZERO),
            None => (RunLimit::Duration(duration), Duration::from_millis(warmup_ms)),
        };
        if options.find_rate.is_some()
            && let Some(gate) = options.fail_if.iter().find(|gate| gate.metric().name() != "rate")
        {
            let why = format!("--find-rate finds a rate: --fail-if cannot judge {gate} of it");
            Self::command().error(ErrorKind::ArgumentConflict, why).exit();
        }
        if let Some(condition) = &options.find_rate
            && !is_limit(condition)
        {
            let why = format!(
                "--find-rate needs a condition that too high a rate breaks, such as p99<2ms, not \
                 {condition}"
            );
            Self::command().error(ErrorKind::ValueValidation, why).exit();
        }
        Workload {
            connections: options.connections as usize,
            size: options.size,
            framing: self.framing().unwrap_or_default(),
            limit,
            depth: options.depth as usize,
            rate: options.rate,
            arrivals: options.arrivals.unwrap_or_default(),
            // Short enough to be typed, and exact in any JSON reader.
            seed: options.seed.unwrap_or_else(|| fastrand::u32(..).into()),
            engine: options.engine,
            threads: options.threads.into(),
            start_at: options.start_at,
            warmup: options.warmup.unwrap_or(warmup),
            busy_poll: options.busy_poll,
            reconnect_every: options.reconnect_every.and_then(NonZero::new),
            interval: options.interval.unwrap_or(Duration::from_secs(1)),
            label: options.label.clone(),
            server_pid: options.server_pid,
        }
    }
}

/// Messages per second.
fn rate(text: &str) -> Result<f64, &'static str> {
    let rate = units::count(text).ok().filter(|rate| (0.001..=1e9).contains(rate));
    rate.ok_or("expected messages per second, 0.001 to 1000M, such as 20000 or 20k")
}

/// A time to come.
fn start_time(text: &str) -> Result<SystemTime, String> {
    let time = rfc3339(text);
    let time = time.ok_or("expected a time such as 2026-01-02T03:04:05Z (RFC 3339)")?;
    let Ok(past) = SystemTime::now().duration_since(time) else { return Ok(time) };
    Err(format!("this time was {:.1} s ago", past.as_secs_f64()))
}

/// RFC 3339, as `date -Iseconds` prints it: humantime knows no offset but that of UTC. Without an
/// offset it would be another time on another host.
fn rfc3339(text: &str) -> Option<SystemTime> {
    let (local, offset) = match text.strip_suffix('Z') {
        Some(local) => (local, "+00:00"),
        None => text.split_at_checked(text.len().checked_sub("+00:00".len())?)?,
    };
    let time = humantime::parse_rfc3339_weak(local).ok()?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let minutes = 60 * hours.parse::<u32>().ok()? + minutes.parse::<u32>().ok()?;
    let offset_time = Duration::from_secs(60 * u64::from(minutes));
    match offset.as_bytes()[0] {
        b'+' => time.checked_sub(offset_time),
        b'-' => time.checked_add(offset_time),
        _ => None,
    }
}

fn interval(text: &str) -> Result<Duration, &'static str> {
    let interval = units::duration(text)?;
    let is_long_enough = interval >= Duration::from_millis(10);
    is_long_enough.then_some(interval).ok_or("expected a duration of at least 10ms")
}

/// Whether a condition can hold at low rates and not at high ones, where times and errors grow.
fn is_limit(condition: &Condition) -> bool {
    let metric = condition.metric().name();
    metric != "rate" && (metric == "fairness.jain" || !condition.holds(f64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_time_has_an_offset_and_is_in_the_future() {
        let time = |text| rfc3339(text).map(|time| humantime::format_rfc3339(time).to_string());
        let utc = Some("2026-11-24T19:04:05Z".to_owned());
        assert_eq!(time("2026-11-24T19:04:05Z"), utc);
        assert_eq!(time("2026-11-24T20:34:05+01:30"), utc);
        assert_eq!(time("2026-11-24 14:04:05-05:00"), utc);
        assert_eq!(
            time("2026-11-24T19:04:05.25Z"),
            Some("2026-11-24T19:04:05.250000000Z".to_owned())
        );
        for wrong in ["19:04:05", "2026-11-24T19:04:05", "+30s", "2026-13-24T19:04:05Z", "é"] {
            assert_eq!(time(wrong), None, "{wrong}");
            assert!(start_time(wrong).unwrap_err().contains("2026-01-02T03:04:05Z"));
        }
        assert!(start_time("1970-01-01T00:00:00Z").unwrap_err().ends_with(" s ago"));
        assert!(start_time("2999-01-01T00:00:00Z").is_ok());
    }
}
