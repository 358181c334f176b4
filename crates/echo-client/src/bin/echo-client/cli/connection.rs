//! Options of every mode that connects.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueHint};
use echo_client::{Config, Framing, IpVersion};

use super::target::Target;
use super::{nonzero_duration, whole};

#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionOptions {
    /// Address or name of the server; '' is this machine
    ///
    /// If a name has several addresses, they are tried in turn.
    #[arg(long, global = true, env = "ECHO_HOST", value_hint = ValueHint::Hostname, default_value = "127.0.0.1")]
    host: String,

    /// TCP port of the server, 1 to 65535
    #[arg(long, global = true, env = "ECHO_PORT", default_value_t = 65432)]
    #[arg(value_parser = port(), allow_negative_numbers = true)]
    port: u16,

    /// Use only IPv4 addresses of the server
    #[arg(short = '4', long, global = true, env = "ECHO_IPV4")]
    #[arg(value_parser = BoolishValueParser::new())]
    ipv4: bool,

    /// Use only IPv6 addresses of the server
    #[arg(short = '6', long, global = true, env = "ECHO_IPV6")]
    #[arg(value_parser = BoolishValueParser::new())]
    ipv6: bool,

    /// Source address of connections, ADDRESS, ADDRESS:PORT or [IPV6]:PORT
    ///
    /// With a port, only one connection at a time is possible, and one that was closed on this side
    /// keeps the port busy for a minute (TIME_WAIT).
    #[arg(long, global = true, env = "ECHO_BIND", value_name = "ADDRESS", value_parser = source_address)]
    bind: Option<SocketAddr>,

    /// Repeat the first connect for up to this time, until there is a server
    #[arg(long, global = true, env = "ECHO_WAIT_FOR_SERVER", value_name = "DURATION")]
    #[arg(value_parser = nonzero_duration)]
    pub(crate) wait_for_server: Option<Duration>,

    /// How long to try to connect to each address
    #[arg(
        long,
        global = true,
        env = "ECHO_CONNECT_TIMEOUT",
        value_name = "DURATION",
        default_value = "5s"
    )]
    #[arg(value_parser = nonzero_duration)]
    connect_timeout: Duration,

    /// How long to wait for the next byte of an echo
    #[arg(
        long,
        global = true,
        env = "ECHO_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s"
    )]
    #[arg(value_parser = nonzero_duration)]
    timeout: Duration,

    /// How messages are delimited [default: raw; line for a pipe on a terminal]
    ///
    /// raw sends the bytes as they are. With line each message ends with a line break; with length
    /// a 4-byte big-endian count precedes it. The server needs the same setting.
    #[arg(long, global = true, env = "ECHO_FRAMING", value_name = "FRAMING")]
    #[arg(value_parser = PossibleValuesParser::new(Framing::NAMES).try_map(|name| name.parse::<Framing>()))]
    pub(crate) framing: Option<Framing>,
}

impl ConnectionOptions {
    /// The settings of a connection to `target`, or else to `--host` and `--port`. `wait` bounds
    /// both timeouts.
    ///
    /// # Errors
    ///
    /// Options contradict each other.
    pub(super) fn config(
        &self,
        target: Option<Target>,
        wait: Option<Duration>,
    ) -> Result<Config, String> {
        let target = target.unwrap_or_else(|| Target { host: self.host.clone(), port: None });
        let ip_version = match (self.ipv4, self.ipv6) {
            (true, true) => return Err("-4 and -6 exclude each other".to_owned()),
            (true, false) => Some(IpVersion::V4),
            (false, true) => Some(IpVersion::V6),
            (false, false) => None,
        };
        if let (Some(version), Some(bind)) = (ip_version, self.bind)
            && IpVersion::of(bind) != version
        {
            return Err(format!("--bind {} is not an {version} address", bind.ip()));
        }
        Ok(Config {
            host: target.host,
            port: target.port.unwrap_or(self.port),
            ip_version,
            bind: self.bind,
            connect_timeout: wait
                .map_or(self.connect_timeout, |wait| wait.min(self.connect_timeout)),
            timeout: wait.unwrap_or(self.timeout),
        })
    }
}

/// A port to connect to.
pub(super) fn port() -> impl Fn(&str) -> Result<u16, String> + Clone + Send + Sync + 'static {
    whole(1..=65535)
}

/// A source address, with port 0 if there is none.
fn source_address(text: &str) -> Result<SocketAddr, &'static str> {
    let address = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let without_port = address.parse().map(|address: IpAddr| SocketAddr::new(address, 0));
    without_port
        .or_else(|_| text.parse())
        .map_err(|_| "expected an address such as 192.0.2.1, 192.0.2.1:4000 or [::1]:4000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_address_has_a_port_or_none() {
        for (text, address) in [
            ("127.0.0.1", "127.0.0.1:0"),
            ("127.0.0.1:4000", "127.0.0.1:4000"),
            ("::1", "[::1]:0"),
            ("[::1]", "[::1]:0"),
            ("[::1]:4000", "[::1]:4000"),
        ] {
            assert_eq!(source_address(text), Ok(address.parse().unwrap()), "{text}");
        }
        for wrong in ["eth0", "localhost", "127.0.0.1:", "4000", "", "[127.0.0.1:4"] {
            assert!(source_address(wrong).is_err(), "{wrong}");
        }
    }
}
