//! What the user typed, and the one place where it turns into what the library uses.

use std::time::Duration;

use clap::Parser;
use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use echo_server::{Config, Framing};

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

    /// After Ctrl-C or SIGTERM, how long the peers may take to accept what is owed to them
    #[arg(long, env = "ECHO_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = humantime::parse_duration)]
    drain_timeout: Duration,

    /// Print neither a line for each connection nor a summary
    #[arg(short, long, env = "ECHO_QUIET", value_parser = BoolishValueParser::new())]
    pub(crate) quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  echo-server                          listen on 127.0.0.1:65432
  echo-server --host ''                on every IPv4 interface: reachable from other machines
  echo-server --host :: --port 7777    on every interface, IPv6 and IPv4
  echo-server --port 0 --once          on a free port, for one connection
  echo-server --framing line           whole lines only, each up to 1 MiB

Try it from another terminal with:  echo-client  or  nc 127.0.0.1 65432

Sizes: 64, 4k (4096), 1MiB. Durations: 50us, 200ms, 10s.

Exit code: 0 served and stopped as asked, 1 could not listen or cut connections short,
2 wrong usage.";

/// A count of bytes. `k` is 1024, as in the sizes of buffers and messages elsewhere.
fn size(text: &str) -> Result<u64, String> {
    let sizes = parse_size::Config::new().with_binary();
    sizes.parse_size(text).map_err(|error| format!("{error}; write 64, 4k or 1MiB"))
}

impl Cli {
    pub(crate) fn config(&self) -> Config {
        Config {
            host: self.host.clone(),
            port: self.port,
            backlog: self.backlog,
            once: self.once,
            framing: self.framing,
            max_frame: self.max_frame,
            drain_timeout: self.drain_timeout,
        }
    }
}
