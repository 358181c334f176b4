//! The command line, and its conversion into the library's settings.

mod faults;

use std::time::Duration;

use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, ValueHint, value_parser};
use echo_manual::Document;
use echo_server::{Config, Engine, Framing};

use self::faults::FaultOptions;
pub(crate) use self::faults::notice;

use crate::diagnostics::LogFormat;
use crate::limits::Limits;

/// TCP echo server (RFC 862): sends back every byte it receives
///
/// Prints `Listening on …` for each bound address and `Connected by …` for each connection. Stop it with
/// Ctrl-C or SIGTERM: it echoes what it has received, closes the connections and exits with 0. A second
/// signal, or the drain timeout, aborts the connections that are still owed data and exits with 1.
#[derive(Debug, Parser)]
#[command(version, after_long_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    /// Address or name to listen on; '' is every IPv4 interface, '::' every interface
    ///
    /// If a name resolves to several addresses, all of them are bound.
    #[arg(long, env = "ECHO_HOST", value_hint = ValueHint::Hostname, default_value = "127.0.0.1")]
    host: String,

    /// TCP port, 0 to 65535; 0 picks a free port, which is printed at startup
    ///
    /// Ports below 1024 need privileges on most systems.
    #[arg(long, env = "ECHO_PORT", default_value_t = 65432)]
    #[arg(allow_negative_numbers = true)]
    port: u16,

    /// Connections that the kernel may queue before they are accepted
    ///
    /// The kernel's own limit (Linux: /proc/sys/net/core/somaxconn) silently applies if it is lower.
    #[arg(long, env = "ECHO_BACKLOG", value_name = "N", default_value_t = 4096)]
    #[arg(allow_negative_numbers = true)]
    backlog: u16,

    /// Serve one connection, then exit
    #[arg(long, env = "ECHO_ONCE", value_parser = BoolishValueParser::new())]
    once: bool,

    /// What to echo: raw, bytes as they arrive; line or length, whole messages only
    ///
    /// With line, a message ends with a line break. With length, it follows a 4-byte big-endian count of its
    /// bytes. A connection that breaks the framing is closed.
    #[arg(long, env = "ECHO_FRAMING", value_name = "FRAMING", default_value_t)]
    #[arg(value_parser = PossibleValuesParser::new(Framing::NAMES).try_map(|name| name.parse::<Framing>()))]
    pub(crate) framing: Framing,

    /// Longest message with --framing line or length, such as 64, 4k or 1MiB
    ///
    /// A connection that sends a longer one is closed after the messages before it have been echoed. The line
    /// break or the count is not included.
    #[arg(long, env = "ECHO_MAX_FRAME", value_name = "SIZE", default_value = "1MiB")]
    #[arg(value_parser = size)]
    max_frame: u64,

    /// How to drive connections: auto is uring where it works, else readiness
    ///
    /// uring: event loops on io_uring (Linux 6.6 or later; most containers forbid it). readiness: event loops on
    /// epoll, kqueue or IOCP. threads: one thread per connection. With -v, the server prints which engine runs,
    /// and why auto did not choose uring.
    #[arg(long, env = "ECHO_ENGINE", value_name = "ENGINE", default_value_t)]
    #[arg(value_parser = PossibleValuesParser::new(Engine::NAMES).try_map(|name| name.parse::<Engine>()))]
    engine: Engine,

    /// Number of event loops [default: one per processor]
    ///
    /// Not for --engine threads, which has none.
    #[arg(long, env = "ECHO_THREADS", value_name = "N")]
    #[arg(value_parser = value_parser!(u16).range(1..), allow_negative_numbers = true)]
    threads: Option<u16>,

    /// Open a listening socket for each event loop (SO_REUSEPORT; Linux)
    ///
    /// Each event loop then accepts its own connections, which the kernel distributes by a hash of their addresses and
    /// ports. For clients that connect often: without it, the first event loop accepts for all. The number of
    /// connections differs between event loops, so a few long ones are served better without it. --backlog is per
    /// socket. --once opens one socket. Which connections get random faults is not repeated by --seed. Not for
    /// --engine threads and socket activation.
    #[arg(long, env = "ECHO_REUSEPORT", value_parser = BoolishValueParser::new())]
    pub(crate) reuseport: bool,

    /// Poll this long before sleeping; lowers latency at the cost of a busy CPU
    ///
    /// Not for --engine threads.
    #[arg(long, env = "ECHO_BUSY_POLL", value_name = "DURATION", default_value = "0s")]
    #[arg(value_parser = humantime::parse_duration)]
    busy_poll: Duration,

    /// Maximum number of concurrent connections; further ones are closed at once [default: as
    /// many as descriptors allow]
    ///
    /// The soft limit on descriptors (ulimit -n) is raised to the hard limit at startup.
    #[arg(long, env = "ECHO_MAX_CONNECTIONS", value_name = "N")]
    #[arg(value_parser = value_parser!(u32).range(1..), allow_negative_numbers = true)]
    max_connections: Option<u32>,

    /// Maximum number of connections from one IPv4 address or IPv6 network [default: no limit]
    #[arg(long, env = "ECHO_MAX_PER_PEER", value_name = "N")]
    #[arg(value_parser = value_parser!(u32).range(1..), allow_negative_numbers = true)]
    max_per_peer: Option<u32>,

    /// IPv6 prefix length that --max-per-peer counts as one peer, 1 to 128
    ///
    /// A host can use every address of its network, and the smallest network is usually a /64.
    #[arg(long, env = "ECHO_PEER_PREFIX_V6", value_name = "BITS", default_value_t = 64)]
    #[arg(value_parser = value_parser!(u8).range(1..=128), allow_negative_numbers = true)]
    peer_prefix_v6: u8,

    /// Close a connection that is silent for this long; 0s is never
    #[arg(long, env = "ECHO_IDLE_TIMEOUT", value_name = "DURATION", default_value = "0s")]
    #[arg(value_parser = humantime::parse_duration)]
    idle_timeout: Duration,

    /// Close a connection whose peer reads less than 1 KiB of its echo in this time; 0s is never
    ///
    /// Reading the rest of the echo also counts as progress, however short it is.
    #[arg(long, env = "ECHO_WRITE_TIMEOUT", value_name = "DURATION", default_value = "60s")]
    #[arg(value_parser = humantime::parse_duration)]
    write_timeout: Duration,

    /// Close a connection gracefully when it is this old; 0s is never
    ///
    /// Bytes received by then are echoed. A client that reconnects is balanced anew, for example after servers were
    /// added behind a load balancer.
    #[arg(long, env = "ECHO_MAX_LIFETIME", value_name = "DURATION", default_value = "0s")]
    #[arg(value_parser = humantime::parse_duration)]
    max_lifetime: Duration,

    /// Probe a silent peer after this long, then every 10s up to 6 times; 0s is never
    ///
    /// Detects peers that disappeared without a FIN: a power failure, an unplugged cable, a firewall that dropped
    /// its state. A peer that is only idle answers the probes and is not closed.
    #[arg(long, env = "ECHO_KEEPALIVE", value_name = "DURATION", default_value = "60s")]
    #[arg(value_parser = keepalive)]
    keepalive: Duration,

    /// Wait this long for peers to read what they are owed, after Ctrl-C or SIGTERM
    #[arg(long, env = "ECHO_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = humantime::parse_duration)]
    drain_timeout: Duration,

    /// Print no line per connection, and no summary unless connections were aborted
    #[arg(short, long, env = "ECHO_QUIET", value_parser = BoolishValueParser::new())]
    pub(crate) quiet: bool,

    /// Also print which engine runs, and a line when a connection ends
    ///
    /// The line contains the peer, the duration, the bytes echoed and the reason.
    #[arg(short, long, env = "ECHO_VERBOSE", value_parser = BoolishValueParser::new())]
    #[arg(conflicts_with = "quiet")]
    pub(crate) verbose: bool,

    /// Format of messages on stderr; json prints one JSON object per line
    #[arg(
        long,
        env = "ECHO_LOG_FORMAT",
        value_enum,
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub(crate) log_format: LogFormat,

    /// Print the man page (man), or completions for bash, zsh, fish or powershell
    #[arg(long, value_enum, value_name = "WHAT", hide_possible_values = true)]
    pub(crate) generate: Option<Document>,

    #[command(flatten)]
    faults: FaultOptions,
}

const EXAMPLES: &str = "\
Examples:
  echo-server                          listen on 127.0.0.1:65432
  echo-server --host ''                listen on every IPv4 interface: reachable from other machines
  echo-server --host :: --port 7777    listen on every interface, IPv6 and IPv4
  echo-server --port 0 --once          serve one connection on a free port
  echo-server --framing line           echo whole lines only, each up to 1 MiB
  echo-server --idle-timeout 5m --max-per-peer 100 --host ''
                                       settings for a server that is left running
  echo-server --delay 200ms~50ms --corrupt 1e-6
                                       inject faults; see docs/faults.md

SIGUSR1 prints the counters on stderr.

Try it from another terminal with `echo-client` or `nc -N 127.0.0.1 65432`.

Sizes: 64, 4k (4096), 1MiB. Durations: 50us, 200ms, 10s.

Environment:
  LISTEN_FDS, LISTEN_PID  sockets to serve instead of --host and --port: socket
                          activation, sd_listen_fds(3)
  NOTIFY_SOCKET           where to report READY=1 and STOPPING=1: sd_notify(3)

Exit code:
  0  stopped as requested, by a signal or --once
  1  could not listen, failed permanently, or aborted connections that were
     owed data
  2  wrong usage";

/// A number of bytes; `k` is 1024.
fn size(text: &str) -> Result<u64, String> {
    let sizes = parse_size::Config::new().with_binary();
    sizes.parse_size(text).map_err(|error| format!("{error}; write 64, 4k or 1MiB"))
}

/// The idle time before the first keepalive probe.
fn keepalive(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match time <= Config::MAX_KEEPALIVE {
        true => Ok(time),
        false => Err("at most 9h (32767s) is possible; 0s is never".to_owned()),
    }
}

impl Cli {
    /// Parses the command line; exits with a message if it is wrong. Options of event loops that only the environment has
    /// are ignored by the engine without them: `ECHO_THREADS` is also an option of the client.
    pub(crate) fn from_command_line() -> Self {
        let matches = Self::command().get_matches();
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        if cli.engine == Engine::Threads {
            let is_typed = |option| matches.value_source(option) == Some(ValueSource::CommandLine);
            let of_event_loops = [
                ("--threads", is_typed("threads")),
                ("--reuseport", is_typed("reuseport")),
                ("--busy-poll", is_typed("busy_poll") && !cli.busy_poll.is_zero()),
            ];
            if let Some((option, _)) = of_event_loops.iter().find(|(_, is_typed)| *is_typed) {
                let why =
                    format!("{option} cannot be used with --engine threads: it has no event loops");
                Self::command().error(ErrorKind::ArgumentConflict, why).exit();
            }
            cli.reuseport = false;
        }
        cli
    }

    /// The number of event loops.
    pub(crate) fn event_loops(&self) -> usize {
        match self.engine {
            Engine::Threads => 0,
            _ => self.threads.map_or(Config::default().threads, usize::from),
        }
    }

    /// The library's settings. `limits.connections` is the default for `--max-connections`.
    pub(crate) fn config(&self, limits: Limits) -> Config {
        let unless_zero = |duration: Duration| (!duration.is_zero()).then_some(duration);
        Config {
            engine: self.engine,
            threads: self.event_loops(),
            reuseport: self.reuseport,
            busy_poll: self.busy_poll,
            max_connections: self.max_connections.map(|max| max as usize).or(limits.connections),
            max_per_peer: self.max_per_peer.map(|max| max as usize),
            idle_timeout: unless_zero(self.idle_timeout),
            peer_prefix_v6: self.peer_prefix_v6,
            max_pipes: limits.pipes,
            write_timeout: unless_zero(self.write_timeout),
            max_lifetime: unless_zero(self.max_lifetime),
            keepalive: unless_zero(self.keepalive),
            host: self.host.clone(),
            port: self.port,
            backlog: self.backlog,
            once: self.once,
            framing: self.framing,
            max_frame: self.max_frame,
            drain_timeout: self.drain_timeout,
            faults: self.faults.faults(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_can_come_from_the_environment_under_its_own_name() {
        let command = Cli::command();
        // A variable must not keep the server from serving.
        let options: Vec<_> =
            command.get_arguments().filter(|option| option.get_id() != "generate").collect();
        assert!(options.len() > 20, "{options:?}");
        for option in options {
            let name = option.get_long().expect("every option has a long name").to_uppercase();
            let variable = format!("ECHO_{}", name.replace('-', "_"));
            assert_eq!(option.get_env(), Some(variable.as_ref()));
        }
    }
}
