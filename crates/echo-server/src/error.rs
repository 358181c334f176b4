//! Errors that keep a server from starting, with hints on the remedy.

mod hint;

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
    /// There cannot be a listening socket for each event loop ([`Config::reuseport`](crate::Config::reuseport)).
    Reuseport {
        /// Why not.
        reason: &'static str,
    },
    /// The engine does not work on this machine.
    Engine {
        /// The engine.
        engine: Engine,
        /// The system's error when the engine was tried.
        source: io::Error,
    },
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
            Self::Reuseport { reason } => {
                write!(f, "cannot share the port: {reason}")
            }
            Self::Engine { engine, source } => write!(f, "{engine} is not available: {source}"),
        }
    }
}

// No `source`: the message already contains it.
impl Error for BindError {}
