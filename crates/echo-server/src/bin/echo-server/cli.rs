//! What the user typed, and the one place where it turns into what the library uses.

use std::time::Duration;

use clap::Parser;
use clap::builder::BoolishValueParser;
use echo_server::Config;

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

Try it from another terminal with:  echo-client  or  nc 127.0.0.1 65432

Exit code: 0 served and stopped as asked, 1 could not listen or cut connections short,
2 wrong usage.";

impl Cli {
    pub(crate) fn config(&self) -> Config {
        Config {
            host: self.host.clone(),
            port: self.port,
            backlog: self.backlog,
            once: self.once,
            drain_timeout: self.drain_timeout,
        }
    }
}
