//! What can go wrong between a message and its echo.

mod hint;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use echo_proto::{Framing, ReplyError, one_line};

use crate::config::IpVersion;
use crate::units::exact_time;

/// Why there is no echo, or a wrong one.
///
/// No variant has a `source()`: it is part of the message. `r#source` is how thiserror is told so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host is neither an address nor a name that resolves.
    #[error("cannot find the address of {host:?}: {source}")]
    Resolve {
        /// The host as given.
        host: String,
        /// The error of the resolver.
        r#source: io::Error,
    },
    /// The host has no address of the version asked for.
    #[error("{host:?} has no {version} address")]
    NoAddress {
        /// The host as given.
        host: String,
        /// The version.
        version: IpVersion,
    },
    /// The source address cannot be used.
    #[error("cannot use the source address {}: {}", source_address(*address), cause(source))]
    Bind {
        /// The address as given, and the port or 0.
        address: SocketAddr,
        /// The error of the system.
        r#source: io::Error,
    },
    /// None of the host's addresses accepted a connection.
    #[error("cannot connect to {}", failed(host, *port, failures))]
    Connect {
        /// The host as given.
        host: String,
        /// The port.
        port: u16,
        /// The failure of each address, in the order tried.
        failures: Vec<ConnectFailure>,
    },
    /// The reply is not what was sent: changed, too long or too short.
    #[error("{fault}")]
    Reply {
        /// What is wrong with it.
        fault: ReplyError,
        /// The start of the reply, if it was wrong from the first chunk on.
        excerpt: Option<Vec<u8>>,
    },
    /// The server closed the connection between messages: everything sent came back, but the input
    /// had not ended.
    #[error("the server closed the connection {}", closed(*bytes))]
    Closed {
        /// Bytes sent and received.
        bytes: u64,
    },
    /// The connection was reset or lost.
    #[error("the connection failed{}", lost(*received, *sent, source))]
    Lost {
        /// Bytes that came back.
        received: u64,
        /// Bytes passed to the system.
        sent: u64,
        /// The error of the system.
        r#source: io::Error,
    },
    /// No byte of the echo arrived within the timeout.
    #[error(
        "timed out: no byte for {}; {received} of {sent} bytes came back",
        exact_time(*after)
    )]
    Timeout {
        /// The timeout.
        after: Duration,
        /// Bytes that came back.
        received: u64,
        /// Bytes passed to the system.
        sent: u64,
    },
    /// Everything came back, but the server did not close the connection after our half-close.
    #[error(
        "timed out: all {bytes} bytes came back, but the server did not close the connection for {}",
        exact_time(*after)
    )]
    CloseTimeout {
        /// The timeout.
        after: Duration,
        /// Bytes sent and received.
        bytes: u64,
    },
    /// The input ended in the middle of a message.
    #[error("{}", truncated(*framing, *received, *missing))]
    TruncatedInput {
        /// The framing of the input.
        framing: Framing,
        /// Bytes of the last message that are there.
        received: u64,
        /// Bytes missing, at least.
        missing: u64,
    },
    /// The input cannot be read.
    #[error("cannot read the message: {0}")]
    Input(io::Error),
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
    /// The system refused a thread, a socket option or the like.
    #[error("the system refused a socket or a thread: {0}")]
    Setup(io::Error),
    /// The CPU time of the server's process cannot be measured.
    #[error("{}", no_cpu_time(*pid, source))]
    ServerProcess {
        /// The process ID as given.
        pid: u32,
        /// The error of the system.
        r#source: io::Error,
    },
    /// io_uring was requested, but is missing, incomplete or forbidden.
    #[error("cannot use io_uring: {0}")]
    Uring(io::Error),
}

/// Why one address did not accept a connection.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {}", cause(source))]
pub struct ConnectFailure {
    /// The address.
    pub address: SocketAddr,
    /// The error of the system.
    pub r#source: io::Error,
}

/// Bytes kept of a wrong reply.
const EXCERPT_LEN: usize = 64;

impl Error {
    /// A wrong reply; `beginning` is what came first, if it was wrong from the first chunk on.
    pub(crate) fn reply(fault: ReplyError, beginning: Option<&[u8]>) -> Self {
        let excerpt = beginning.map(|bytes| bytes[..bytes.len().min(EXCERPT_LEN)].to_owned());
        Self::Reply { fault, excerpt }
    }
}

/// A source address, with the port if one was given.
pub(crate) fn source_address(address: SocketAddr) -> String {
    if address.port() == 0 { address.ip().to_string() } else { address.to_string() }
}

fn failed(host: &str, port: u16, failures: &[ConnectFailure]) -> String {
    if let [failure] = failures {
        return failure.to_string();
    }
    let failures: Vec<_> = failures.iter().map(ToString::to_string).collect();
    format!("{} port {port}: {}", one_line(host), failures.join("; "))
}

fn closed(bytes: u64) -> String {
    match bytes {
        0 => "before anything was sent".to_owned(),
        bytes => format!("after {bytes} bytes, all of which came back"),
    }
}

fn lost(received: u64, sent: u64, source: &io::Error) -> String {
    match sent {
        0 => format!(" before anything was sent: {}", cause(source)),
        sent => format!(": {}; {received} of {sent} bytes came back", cause(source)),
    }
}

fn truncated(framing: Framing, received: u64, missing: u64) -> String {
    if framing == Framing::Line {
        return format!(
            "the last line of the input has no line break at its end (length {received})"
        );
    }
    let length = received + missing;
    format!("the input ends inside a message: {received} of at least {length} bytes are there")
}

fn no_cpu_time(pid: u32, source: &io::Error) -> String {
    match source.kind() {
        ErrorKind::NotFound => format!("there is no process {pid}"),
        _ => format!("cannot measure the CPU time of process {pid}: {source}"),
    }
}

/// The error in the words that people search for, `connection refused`, without the number.
fn cause(error: &io::Error) -> String {
    match error.kind() {
        kind @ (ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::TimedOut
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::AddrInUse
        | ErrorKind::AddrNotAvailable
        | ErrorKind::PermissionDenied) => kind.to_string(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn failure(address: &str, kind: ErrorKind) -> ConnectFailure {
        ConnectFailure { address: address.parse().unwrap(), source: kind.into() }
    }

    pub(super) fn connect(failures: Vec<ConnectFailure>) -> Error {
        Error::Connect { host: "example".to_owned(), port: 7, failures }
    }

    #[test]
    fn each_address_is_reported_with_its_cause() {
        let refused = || failure("127.0.0.1:7", ErrorKind::ConnectionRefused);
        let one = connect(vec![refused()]);
        assert_eq!(one.to_string(), "cannot connect to 127.0.0.1:7: connection refused");
        let two = connect(vec![failure("[::1]:7", ErrorKind::TimedOut), refused()]);
        assert_eq!(
            two.to_string(),
            "cannot connect to example port 7: [::1]:7: timed out; 127.0.0.1:7: connection refused"
        );
    }
}
