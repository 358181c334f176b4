//! Why a server cannot start, and what a person can do about it.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use crate::Engine;

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
    /// The engine does not work on this machine.
    Engine {
        /// The engine.
        engine: Engine,
        /// What the system said when it was tried.
        source: io::Error,
    },
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
            Self::Engine { source, .. } => return engine_hint(source),
            Self::Setup(_) => return None,
        };
        let port = address.port();
        match source.kind() {
            ErrorKind::AddrInUse if port != 0 => Some(format!(
                "another program has port {port}; see which with  ss -tlnp 'sport = :{port}'  or  \
                 lsof -i :{port}  or take another with --port"
            )),
            ErrorKind::PermissionDenied if port < 1024 => Some(format!(
                "ports below 1024 need a privilege: take one above, or allow this program with  sudo setcap cap_net_bind_service=+ep \"$(command -v echo-server)\"  \
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
            Self::Engine { engine, source } => write!(f, "{engine} is not available: {source}"),
        }
    }
}

/// Why a ring may not be had, by what io_uring_setup(2) says.
#[cfg(target_os = "linux")]
fn engine_hint(source: &io::Error) -> Option<String> {
    let cause = match source.raw_os_error()? {
        libc::EPERM | libc::EACCES => {
            "io_uring is forbidden: for everybody where  sysctl kernel.io_uring_disabled  says 2 (1: \
             but for a group), or for this process by a seccomp filter, which containers have"
        }
        libc::ENOSYS => {
            "this kernel has no io_uring, or a seccomp filter, which containers have, hides it"
        }
        libc::EINVAL => "this kernel is too old for it: it takes Linux 6.6",
        libc::ENOMEM => {
            "there is not enough memory that may be locked for all workers: raise  ulimit -l  or \
             lower --threads"
        }
        _ => return None,
    };
    Some(format!("{cause}; --engine readiness does without"))
}

#[cfg(not(target_os = "linux"))]
fn engine_hint(_: &io::Error) -> Option<String> {
    Some("only Linux has io_uring; --engine readiness does without".to_owned())
}

// No `source`: the message says it already.
impl Error for BindError {}
