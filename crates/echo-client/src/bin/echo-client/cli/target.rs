//! The server as arguments: `HOST`, `HOST:PORT`, `[IPV6]:PORT`, or `HOST PORT` as nc(1) has it.

use std::net::Ipv6Addr;
use std::str::FromStr;

use clap::{Args, ValueHint};

use super::connection::port;

/// The server, for the modes that take no other arguments.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// Server: HOST, HOST:PORT or [IPV6]:PORT; overrides --host and --port
    #[arg(value_hint = ValueHint::Hostname)]
    target: Option<Target>,

    /// Port of the server, as in HOST PORT
    #[arg(value_name = "PORT", value_parser = port())]
    target_port: Option<u16>,
}

/// Where to connect; without a port, to that of `--port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl TargetArgs {
    /// The server, if one was given.
    ///
    /// # Errors
    ///
    /// Its port was given twice.
    pub(crate) fn target(&self) -> Result<Option<Target>, String> {
        match (self.target.clone(), self.target_port) {
            (Some(Target { host, port: Some(first) }), Some(second)) => Err(format!(
                "the port is given twice: {first} and {second}; use {host}:{first} or {host} {second}"
            )),
            (Some(target), second) => Ok(Some(Target { port: target.port.or(second), ..target })),
            (None, _) => Ok(None),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Err("expected HOST or HOST:PORT, not a URL or a path".to_owned());
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or("there is no ] after the address")?;
            if !is_ipv6(host) {
                return Err(format!("{host} is not an IPv6 address; only those have brackets"));
            }
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err("expected a colon and a port after the ]".to_owned()),
            }
        } else if is_ipv6(text) {
            (text, None)
        } else {
            match text.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err("expected HOST:PORT, or [IPV6]:PORT".to_owned());
                }
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() {
            return Err("there is no host; this machine is localhost".to_owned());
        }
        // The resolver would take the number for an IPv4 address: 7 for 0.0.0.7.
        if host.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("the host comes before the port: localhost {host}"));
        }
        let port = port.map(|port| super::whole(1..=65535)(port)).transpose();
        let port = port.map_err(|expected| format!("wrong port: {expected}"))?;
        Ok(Self { host: host.to_owned(), port })
    }
}

/// Whether it is an IPv6 address, with or without a zone, such as `fe80::1%eth0`.
fn is_ipv6(text: &str) -> bool {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_with_or_without_a_port() {
        for (text, host, port) in [
            ("localhost", "localhost", None),
            ("example.com:7", "example.com", Some(7)),
            ("192.0.2.1:65535", "192.0.2.1", Some(65535)),
            ("::1", "::1", None),
            ("[::1]", "::1", None),
            ("[2001:db8::1]:7", "2001:db8::1", Some(7)),
            ("[fe80::1%eth0]:7", "fe80::1%eth0", Some(7)),
            ("fe80::1%eth0", "fe80::1%eth0", None),
        ] {
            let target = Target { host: host.to_owned(), port };
            assert_eq!(text.parse(), Ok(target), "{text}");
        }
    }

    #[test]
    fn wrong_targets_are_refused_with_the_way_out() {
        for (text, error) in [
            ("tcp://localhost:7", "expected HOST or HOST:PORT, not a URL or a path"),
            ("7000", "the host comes before the port: localhost 7000"),
            (":7000", "there is no host; this machine is localhost"),
            ("", "there is no host; this machine is localhost"),
            ("localhost:http", "wrong port: expected a whole number from 1 to 65535"),
            ("localhost:0", "wrong port: expected a whole number from 1 to 65535"),
            ("localhost:65536", "wrong port: expected a whole number from 1 to 65535"),
            ("localhost:", "wrong port: expected a whole number from 1 to 65535"),
            ("[::1", "there is no ] after the address"),
            ("[::1]7000", "expected a colon and a port after the ]"),
            ("[localhost]:7", "localhost is not an IPv6 address; only those have brackets"),
            ("a:b:c", "expected HOST:PORT, or [IPV6]:PORT"),
        ] {
            assert_eq!(text.parse::<Target>(), Err(error.to_owned()), "{text}");
        }
    }
}
