//! Why a server cannot start, and what a person can do about it.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// The server could not be set up.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// The host is neither an address nor a name that resolves to one.
    Resolve {
        /// The host as given.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// An address could not be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused what it takes to wait for connections: descriptors or memory.
    Setup(io::Error),
}

impl BindError {
    /// One line on the likely cause and the way out, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let (address, source) = match self {
            Self::Listen { address, source } => (address, source),
            Self::Resolve { .. } => {
                return Some("check the spelling; the port goes into --port, and an IPv6 address has no brackets".to_owned());
            }
            Self::Setup(_) => return None,
        };
        let port = address.port();
        match source.kind() {
            ErrorKind::AddrInUse if port != 0 => Some(format!(
                "another program has port {port}; see which with  ss -tlnp 'sport = :{port}'  or  \
                 lsof -i :{port}  or take another with --port"
            )),
            ErrorKind::PermissionDenied if port < 1024 => Some(format!(
                "ports below 1024 need a privilege: take one above, run as root, or allow this \
                 program with  sudo setcap cap_net_bind_service=+ep \"$(command -v echo-server)\"  \
                 or everyone with  sudo sysctl net.ipv4.ip_unprivileged_port_start={port}"
            )),
            ErrorKind::AddrNotAvailable => Some(
                "this machine has no such address; see those it has with  ip address  or  \
                 ifconfig, or listen on all with --host ''"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host, source } => {
                write!(f, "cannot find the address of {host:?}: {source}")
            }
            Self::Listen { address, source } => {
                write!(f, "cannot listen on {address}: ")?;
                match source.kind() {
                    kind @ (ErrorKind::AddrInUse
                    | ErrorKind::AddrNotAvailable
                    | ErrorKind::PermissionDenied) => kind.fmt(f),
                    _ => source.fmt(f),
                }
            }
            Self::Setup(source) => write!(f, "cannot wait for connections: {source}"),
        }
    }
}

// No `source`: the message says it already.
impl Error for BindError {}
