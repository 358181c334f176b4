//! What the user typed, and the one place where it turns into what the library uses.

mod faults;

use std::time::Duration;

use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Parser, value_parser};
use echo_server::{Config, Engine, Framing};

use self::faults::FaultOptions;
pub(crate) use self::faults::notice;

use crate::diagnostics::LogFormat;

/// TCP echo server (RFC 862): sends back whatever arrives, unchanged, until the peer is done.
///
/// Prints `Listening on …` for each address it is bound to and `Connected by …` for each peer. Stop
/// it with Ctrl-C or SIGTERM: it echoes what it has received, says goodbye and exits with 0. A
/// second signal, or the drain timeout, cuts what is left and exits with 1.
#[derive(Debug, Parser)]
#[command(version, after_long_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    /// Address or name to listen on; '' for every IPv4 interface, '::' for every interface
    ///
    /// With a name, every address that it resolves to is bound.
    #[arg(long, env = "ECHO_HOST", default_value = "127.0.0.1")]
    host: String,

    /// TCP port, 0 to 65535; 0 picks a free one, which the first line of output tells
    ///
    /// Ports below 1024 need a privilege on most systems.
    #[arg(long, env = "ECHO_PORT", default_value_t = 65432)]
    #[arg(allow_negative_numbers = true)]
    port: u16,

    /// Connections that the kernel may queue before they are accepted
    ///
    /// The kernel has a limit of its own (Linux: /proc/sys/net/core/somaxconn) and silently uses
    /// the smaller number.
    #[arg(long, env = "ECHO_BACKLOG", value_name = "N", default_value_t = 4096)]
    #[arg(allow_negative_numbers = true)]
    backlog: u16,

    /// Serve one connection, then exit
    #[arg(long, env = "ECHO_ONCE", value_parser = BoolishValueParser::new())]
    once: bool,

    /// Unit of echo: raw, whatever arrives; line or length, whole messages only
    ///
    /// A message of line ends with a line break, one of length follows a 4-byte big-endian count of
    /// its bytes. A connection that breaks the framing is closed.
    #[arg(long, env = "ECHO_FRAMING", value_name = "FRAMING", default_value_t)]
    #[arg(value_parser = PossibleValuesParser::new(Framing::NAMES).try_map(|name| name.parse::<Framing>()))]
    pub(crate) framing: Framing,

    /// Longest message with --framing line or length, such as 64, 4k or 1MiB
    ///
    /// A connection that sends a longer one is closed, once the messages before it are echoed. The
    /// framing itself, a line break or a count, is not included.
    #[arg(long, env = "ECHO_MAX_FRAME", value_name = "SIZE", default_value = "1MiB")]
    #[arg(value_parser = size)]
    max_frame: u64,

    /// How connections are driven: readiness, event loops; uring, event loops on Linux's io_uring;
    /// threads, a thread each; auto, uring where it works and readiness elsewhere
    ///
    /// With -v, the server says which one runs, and why auto did not take uring. That needs Linux 6.6, and
    /// that nothing forbids it, as most containers do.
    #[arg(long, env = "ECHO_ENGINE", value_name = "ENGINE", default_value_t)]
    #[arg(value_parser = PossibleValuesParser::new(Engine::NAMES).try_map(|name| name.parse::<Engine>()))]
    engine: Engine,

    /// Event loops [default: one for each processor]
    #[arg(long, env = "ECHO_THREADS", value_name = "N")]
    #[arg(value_parser = value_parser!(u16).range(1..), allow_negative_numbers = true)]
    threads: Option<u16>,

    /// Event loops poll this long after the last event before sleeping: lower latency for a busy processor
    #[arg(long, env = "ECHO_BUSY_POLL", value_name = "DURATION", default_value = "0s")]
    #[arg(value_parser = humantime::parse_duration)]
    busy_poll: Duration,

    /// Connections at the same time; those beyond are closed at once [default: what the descriptor
    /// limit allows]
    ///
    /// The soft limit on descriptors (ulimit -n) is raised to the hard one at the start.
    #[arg(long, env = "ECHO_MAX_CONNECTIONS", value_name = "N")]
    #[arg(value_parser = value_parser!(u32).range(1..), allow_negative_numbers = true)]
    max_connections: Option<u32>,

    /// The same for connections from one peer: an IPv4 address or an IPv6 network [default: no limit]
    #[arg(long, env = "ECHO_MAX_PER_PEER", value_name = "N")]
    #[arg(value_parser = value_parser!(u32).range(1..), allow_negative_numbers = true)]
    max_per_peer: Option<u32>,

    /// Leading bits of an IPv6 address that count as one peer with --max-per-peer, 1 to 128
    ///
    /// Every host of a network can use all its addresses, and the smallest network is usually a /64.
    #[arg(long, env = "ECHO_PEER_PREFIX_V6", value_name = "BITS", default_value_t = 64)]
    #[arg(value_parser = value_parser!(u8).range(1..=128), allow_negative_numbers = true)]
    peer_prefix_v6: u8,

    /// Close a connection that is silent for this long; 0s for never
    #[arg(long, env = "ECHO_IDLE_TIMEOUT", value_name = "DURATION", default_value = "0s")]
    #[arg(value_parser = humantime::parse_duration)]
    idle_timeout: Duration,

    /// Close a connection that takes less than 1 KiB in this long while more is owed; 0s for never
    ///
    /// What is left of an echo counts as well, however small it is.
    #[arg(long, env = "ECHO_WRITE_TIMEOUT", value_name = "DURATION", default_value = "60s")]
    #[arg(value_parser = humantime::parse_duration)]
    write_timeout: Duration,

    /// End a connection in order when it is this old; 0s for never
    ///
    /// What it has sent by then is echoed. Clients connect again, so that after a change of a load
    /// balancer's configuration, or of the servers behind it, they find the new one.
    #[arg(long, env = "ECHO_MAX_LIFETIME", value_name = "DURATION", default_value = "0s")]
    #[arg(value_parser = humantime::parse_duration)]
    max_lifetime: Duration,

    /// Probe a silent peer after this long, then every 10s, and give it up after 6 probes; 0s for never
    ///
    /// Finds peers that are gone without a FIN: a machine without power, a cable, a firewall that has
    /// forgotten the connection. A peer that is only silent answers by itself and is not closed.
    #[arg(long, env = "ECHO_KEEPALIVE", value_name = "DURATION", default_value = "60s")]
    #[arg(value_parser = keepalive)]
    keepalive: Duration,

    /// After Ctrl-C or SIGTERM, how long the peers may take to accept what is owed to them
    #[arg(long, env = "ECHO_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = humantime::parse_duration)]
    drain_timeout: Duration,

    /// Print neither a line for each connection nor a summary, unless connections were cut short
    #[arg(short, long, env = "ECHO_QUIET", value_parser = BoolishValueParser::new())]
    pub(crate) quiet: bool,

    /// Also print which engine runs, and a line when a connection ends: peer, bytes, duration, reason
    #[arg(short, long, env = "ECHO_VERBOSE", value_parser = BoolishValueParser::new())]
    #[arg(conflicts_with = "quiet")]
    pub(crate) verbose: bool,

    /// Format of what is printed on stderr: text for people, json for programs, an object a line
    #[arg(
        long,
        env = "ECHO_LOG_FORMAT",
        value_enum,
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub(crate) log_format: LogFormat,

    #[command(flatten)]
    faults: FaultOptions,
}

const EXAMPLES: &str = "\
Examples:
  echo-server                          listen on 127.0.0.1:65432
  echo-server --host ''                on every IPv4 interface: reachable from other machines
  echo-server --host :: --port 7777    on every interface, IPv6 and IPv4
  echo-server --port 0 --once          on a free port, for one connection
  echo-server --framing line           whole lines only, each up to 1 MiB
  echo-server --idle-timeout 5m --max-per-peer 100 --host ''
                                       something that may be left running
  echo-server --delay 200ms~50ms --corrupt 1e-6
                                       a bad line, on purpose: docs/faults.md

SIGUSR1 prints the counters on stderr.

Try it from another terminal with:  echo-client  or  nc -N 127.0.0.1 65432

Sizes: 64, 4k (4096), 1MiB. Durations: 50us, 200ms, 10s.

Exit code: 0 served and stopped as asked, 1 could not listen or cut connections short,
2 wrong usage.";

/// A count of bytes. `k` is 1024, as in the sizes of buffers and messages elsewhere.
fn size(text: &str) -> Result<u64, String> {
    let sizes = parse_size::Config::new().with_binary();
    sizes.parse_size(text).map_err(|error| format!("{error}; write 64, 4k or 1MiB"))
}

/// How long a peer may be silent before it is probed.
fn keepalive(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match time <= Config::MAX_KEEPALIVE {
        true => Ok(time),
        false => Err("it can be 9h at most (32767s), or 0s for never".to_owned()),
    }
}

impl Cli {
    pub(crate) fn threads(&self) -> usize {
        self.threads.map_or(Config::default().threads, usize::from)
    }

    /// The library's settings; `max_connections` is what the system allows.
    pub(crate) fn config(&self, max_connections: Option<usize>) -> Config {
        let unless_zero = |duration: Duration| (!duration.is_zero()).then_some(duration);
        Config {
            engine: self.engine,
            threads: self.threads(),
            busy_poll: self.busy_poll,
            max_connections: self.max_connections.map(|max| max as usize).or(max_connections),
            max_per_peer: self.max_per_peer.map(|max| max as usize),
            idle_timeout: unless_zero(self.idle_timeout),
            peer_prefix_v6: self.peer_prefix_v6,
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
    use clap::CommandFactory;

    #[test]
    fn every_option_can_come_from_the_environment_under_its_own_name() {
        let command = Cli::command();
        let options = command.get_arguments().filter(|option| option.get_env().is_some());
        let named: Vec<_> =
            command.get_arguments().filter_map(|option| option.get_long()).collect();
        assert!(named.len() > 20, "{named:?}");
        assert_eq!(options.count(), named.len());
        for option in command.get_arguments() {
            let name = option.get_long().expect("there is no other kind").to_uppercase();
            let variable = format!("ECHO_{}", name.replace('-', "_"));
            assert_eq!(option.get_env(), Some(variable.as_ref()));
        }
    }
}
