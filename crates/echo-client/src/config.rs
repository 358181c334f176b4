//! Settings of a client: plain data.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Settings of a [`Connection`](crate::Connection). The defaults are those of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// An address, a name, or `""` for this machine.
    pub host: String,
    /// TCP port, 1 to 65535.
    pub port: u16,
    /// Use only addresses of this version; `None` for any.
    pub ip_version: Option<IpVersion>,
    /// Source address. Port 0 lets the system pick one. Only addresses of the same version are used.
    pub bind: Option<SocketAddr>,
    /// How long to try each address of the host; more than zero.
    pub connect_timeout: Duration,
    /// How long to wait for the next byte of an echo; more than zero.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 65432,
            ip_version: None,
            bind: None,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
        }
    }
}

/// A version of the Internet Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// Such as 192.0.2.1.
    V4,
    /// Such as 2001:db8::1.
    V6,
}

impl IpVersion {
    /// The version of an address.
    #[must_use]
    pub fn of(address: SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for IpVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}
