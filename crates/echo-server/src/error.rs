//! Errors that keep a server from starting, with hints on the remedy.

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
        /// The resolver's error.
        source: io::Error,
    },
    /// An address could not be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The system refused descriptors or memory needed to wait for connections.
    Setup(io::Error),
    /// The engine does not work on this machine.
    Engine {
        /// The engine.
        engine: Engine,
        /// The system's error when the engine was tried.
        source: io::Error,
    },
}

impl BindError {
    /// One line on the likely cause and the remedy, if there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let (address, source) = match self {
            Self::Listen { address, source } => (address, source),
            Self::Resolve { .. } => {
                return Some("check the spelling; give the port with --port, and an IPv6 address without brackets".to_owned());
            }
            Self::Engine { source, .. } => return engine_hint(source),
            Self::Setup(_) => return None,
        };
        let port = address.port();
        match source.kind() {
            ErrorKind::AddrInUse if port != 0 => Some(format!(
                "another program uses port {port}; find it with  ss -tlnp 'sport = :{port}'  or  \
                 lsof -i :{port}, or choose another port with --port"
            )),
            ErrorKind::PermissionDenied if port < 1024 => Some(format!(
                "ports below 1024 need CAP_NET_BIND_SERVICE: use --port 1024 or higher, or allow this program with  \
                 sudo setcap cap_net_bind_service=+ep \"$(command -v echo-server)\"  \
                 or all programs with  sudo sysctl net.ipv4.ip_unprivileged_port_start={port}"
            )),
            ErrorKind::AddrNotAvailable => Some(
                "this machine does not have that address; list its addresses with  ip address  or  \
                 ifconfig, or listen on all of them with --host ''"
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

/// The likely cause of an error of io_uring_setup(2).
#[cfg(target_os = "linux")]
fn engine_hint(source: &io::Error) -> Option<String> {
    let cause = match source.raw_os_error()? {
        libc::EPERM | libc::EACCES => {
            "io_uring is forbidden here: by the sysctl kernel.io_uring_disabled, or by a seccomp filter, as \
             most containers have"
        }
        libc::ENOSYS => {
            "this kernel has no io_uring, or a seccomp filter hides it, as in most containers"
        }
        libc::EINVAL => "this kernel is too old: io_uring needs Linux 6.6 here",
        libc::ENOMEM => {
            "the limit on locked memory is too low for this many workers: raise  ulimit -l  or lower \
             --threads"
        }
        _ => return None,
    };
    Some(format!("{cause}; use --engine readiness instead"))
}

#[cfg(not(target_os = "linux"))]
fn engine_hint(_: &io::Error) -> Option<String> {
    Some("only Linux has io_uring; use --engine readiness instead".to_owned())
}

// No `source`: the message already contains it.
impl Error for BindError {}
