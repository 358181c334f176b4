//! What can go wrong between a message and its echo, and what to do about it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use echo_proto::{Framing, ReplyError, one_line, repr};

use crate::config::IpVersion;
use crate::units::exact_time;

/// Why there is no echo, or a wrong one.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The host is neither an address nor a name that resolves.
    Resolve {
        /// The host as given.
        host: String,
        /// The error of the resolver.
        source: io::Error,
    },
    /// The host has no address of the version asked for.
    NoAddress {
        /// The host as given.
        host: String,
        /// The version.
        version: IpVersion,
    },
    /// The source address cannot be used.
    Bind {
        /// The address as given, and the port or 0.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// None of the host's addresses accepted a connection.
    Connect {
        /// The host as given.
        host: String,
        /// The port.
        port: u16,
        /// The failure of each address, in the order tried.
        failures: Vec<ConnectFailure>,
    },
    /// The reply is not what was sent: changed, too long or too short.
    Reply {
        /// What is wrong with it.
        fault: ReplyError,
        /// The start of the reply, if it was wrong from the first chunk on.
        excerpt: Option<Vec<u8>>,
    },
    /// The server closed the connection between messages: everything sent came back, but the input
    /// had not ended.
    Closed {
        /// Bytes sent and received.
        bytes: u64,
    },
    /// The connection was reset or lost.
    Lost {
        /// Bytes that came back.
        received: u64,
        /// Bytes passed to the system.
        sent: u64,
        /// The error of the system.
        source: io::Error,
    },
    /// No byte of the echo arrived within the timeout.
    Timeout {
        /// The timeout.
        after: Duration,
        /// Bytes that came back.
        received: u64,
        /// Bytes passed to the system.
        sent: u64,
    },
    /// Everything came back, but the server did not close the connection after our half-close.
    CloseTimeout {
        /// The timeout.
        after: Duration,
        /// Bytes sent and received.
        bytes: u64,
    },
    /// The input ended in the middle of a message.
    TruncatedInput {
        /// The framing of the input.
        framing: Framing,
        /// Bytes of the last message that are there.
        received: u64,
        /// Bytes missing, at least.
        missing: u64,
    },
    /// The input cannot be read.
    Input(io::Error),
    /// The output cannot be written.
    Output(io::Error),
    /// The system refused a thread, a socket option or the like.
    Setup(io::Error),
    /// The CPU time of the server's process cannot be measured.
    ServerProcess {
        /// The process ID as given.
        pid: u32,
        /// The error of the system.
        source: io::Error,
    },
    /// io_uring was requested, but is missing, incomplete or forbidden.
    Uring(io::Error),
}

/// A reply that starts with this many correct bytes is an echo, not another protocol.
const MIN_ECHO_PREFIX: u64 = 4;
const HINT_CHANGED: &str = "the server, or something on the path, changes the data";
const HINT_DROPPED: &str = "the server accepted the connection and closed it: it may have been \
    stopped, have reached its connection limit, or use another --framing";
const HINT_STOPPED: &str =
    "the server may have been stopped, or limit the time or the bytes of a connection";

/// Why one address did not accept a connection.
#[derive(Debug)]
pub struct ConnectFailure {
    /// The address.
    pub address: SocketAddr,
    /// The error of the system.
    pub source: io::Error,
}

impl Error {
    /// One line on the likely cause and what to do, if known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Resolve { .. } => {
                "check the spelling; the port belongs in --port, and IPv6 addresses have no brackets"
            }
            Self::NoAddress { version, .. } => {
                return Some(format!(
                    "only {version} is tried: see -4, -6 and the address given to --bind"
                ));
            }
            Self::Bind { source, .. } => match source.kind() {
                ErrorKind::AddrNotAvailable => {
                    "--bind takes an address of this machine; list them with  ip address"
                }
                ErrorKind::AddrInUse => "leave out the port: the system then picks a free one",
                ErrorKind::PermissionDenied => "ports below 1024 need a privilege on most systems",
                _ => return None,
            },
            // The first address is the preferred one.
            Self::Connect { failures, .. } => return failures.first()?.hint(),
            Self::Reply { fault: ReplyError::Short { received: 0, .. }, .. }
            | Self::Lost { received: 0, .. }
            | Self::Closed { bytes: 0 } => HINT_DROPPED,
            Self::Reply { fault: ReplyError::Short { .. }, .. }
            | Self::Lost { .. }
            | Self::Closed { .. } => HINT_STOPPED,
            Self::Reply { fault: ReplyError::Differs(mismatch), .. }
                if mismatch.offset >= MIN_ECHO_PREFIX =>
            {
                HINT_CHANGED
            }
            Self::Reply { excerpt: Some(excerpt), .. } => {
                let excerpt = repr(excerpt);
                return Some(format!("is this an echo server? its answer began {excerpt}"));
            }
            Self::Reply { .. } => HINT_CHANGED,
            Self::Timeout { received: 0, .. } => {
                "is this an echo server, and with the same --framing? it accepted the connection \
                 but does not answer; --timeout waits longer"
            }
            Self::Timeout { .. } => "the echo stopped on its way; --timeout waits longer",
            Self::CloseTimeout { .. } => {
                "the server ignores the half-close (shutdown(2)); use  echo-client -  instead"
            }
            Self::TruncatedInput { framing: Framing::Line, .. } => {
                "a server with --framing line echoes whole lines only; --framing raw sends any bytes"
            }
            Self::TruncatedInput { .. } => {
                "each message is a 4-byte big-endian length and its bytes; --framing raw sends any bytes"
            }
            Self::ServerProcess { source, .. } if source.kind() == ErrorKind::NotFound => {
                "give the ID of the server's process on this machine; see  pgrep echo-server"
            }
            Self::ServerProcess { .. } => "only Linux reports it; leave out --server-pid",
            Self::Uring(source) => match source.kind() {
                ErrorKind::PermissionDenied => {
                    "it may be disabled (sysctl kernel.io_uring_disabled) or forbidden in this \
                     container (seccomp); --engine readiness works without it"
                }
                ErrorKind::OutOfMemory => {
                    "the limit on locked memory may be too low (ulimit -l); --engine readiness works \
                     without it"
                }
                _ => {
                    "it needs Linux 6.1 or later, and a container that allows it (seccomp); --engine \
                     readiness works without it"
                }
            },
            Self::Input(_) | Self::Output(_) | Self::Setup(_) => return None,
        };
        Some(hint.to_owned())
    }
}

impl ConnectFailure {
    fn hint(&self) -> Option<String> {
        let port = self.address.port();
        let hint = match self.source.kind() {
            ErrorKind::ConnectionRefused => {
                "is echo-server running there? check the port; a firewall may also refuse connections"
            }
            ErrorKind::ConnectionReset => HINT_DROPPED,
            ErrorKind::TimedOut => {
                "no answer: check the address; a firewall may drop the packets; --connect-timeout \
                 waits longer"
            }
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                "no route: check the address and the network; a firewall, here or on the path, may also \
                 answer this"
            }
            ErrorKind::PermissionDenied => "a firewall forbids it, here or on the path",
            ErrorKind::AddrNotAvailable => {
                return Some(format!(
                    "no local port is free, or no local address can reach the server; list its \
                     connections with  ss -tan 'dport = :{port}'"
                ));
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host, source } => {
                write!(f, "cannot find the address of {host:?}: {source}")
            }
            Self::NoAddress { host, version } => {
                write!(f, "{host:?} has no {version} address")
            }
            Self::Bind { address, source } if address.port() == 0 => {
                write!(f, "cannot use the source address {}: {}", address.ip(), cause(source))
            }
            Self::Bind { address, source } => {
                write!(f, "cannot use the source address {address}: {}", cause(source))
            }
            Self::Connect { failures, .. } if failures.len() == 1 => {
                write!(f, "cannot connect to {}", failures[0])
            }
            Self::Connect { host, port, failures } => {
                write!(f, "cannot connect to {} port {port}", one_line(host))?;
                let mut mark = ": ";
                for failure in failures {
                    write!(f, "{mark}{failure}")?;
                    mark = "; ";
                }
                Ok(())
            }
            Self::Reply { fault, .. } => fault.fmt(f),
            Self::Closed { bytes: 0 } => {
                f.write_str("the server closed the connection before anything was sent")
            }
            Self::Closed { bytes } => write!(
                f,
                "the server closed the connection after {bytes} bytes, all of which came back"
            ),
            Self::Lost { sent: 0, source, .. } => {
                write!(f, "the connection failed before anything was sent: {}", cause(source))
            }
            Self::Lost { received, sent, source } => {
                let cause = cause(source);
                write!(f, "the connection failed: {cause}; {received} of {sent} bytes came back")
            }
            Self::Timeout { after, received, sent } => {
                let after = exact_time(*after);
                write!(f, "timed out: no byte for {after}; {received} of {sent} bytes came back")
            }
            Self::CloseTimeout { after, bytes } => write!(
                f,
                "timed out: all {bytes} bytes came back, but the server did not close the connection \
                 for {}",
                exact_time(*after)
            ),
            Self::TruncatedInput { framing: Framing::Line, received, .. } => write!(
                f,
                "the last line of the input has no line break at its end (length {received})"
            ),
            Self::TruncatedInput { received, missing, .. } => write!(
                f,
                "the input ends inside a message: {received} of at least {} bytes are there",
                received + missing
            ),
            Self::Input(source) => write!(f, "cannot read the message: {source}"),
            Self::Output(source) => write!(f, "cannot write the output: {source}"),
            Self::ServerProcess { pid, source } if source.kind() == ErrorKind::NotFound => {
                write!(f, "there is no process {pid}")
            }
            Self::ServerProcess { pid, source } => {
                write!(f, "cannot measure the CPU time of process {pid}: {source}")
            }
            Self::Uring(source) => write!(f, "cannot use io_uring: {source}"),
            Self::Setup(source) => {
                write!(f, "the system refused a socket or a thread: {source}")
            }
        }
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, cause(&self.source))
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

// No `source`: it is part of the message.
impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use echo_proto::Mismatch;

    fn failure(address: &str, kind: ErrorKind) -> ConnectFailure {
        ConnectFailure { address: address.parse().unwrap(), source: kind.into() }
    }

    fn connect(failures: Vec<ConnectFailure>) -> Error {
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

    #[test]
    fn a_connection_dropped_at_once_has_one_hint_for_every_timing() {
        let lost =
            |sent| Error::Lost { received: 0, sent, source: ErrorKind::ConnectionReset.into() };
        let short = ReplyError::Short { received: 0, sent: 12 };
        for (error, message) in [
            (
                connect(vec![failure("127.0.0.1:7", ErrorKind::ConnectionReset)]),
                "cannot connect to 127.0.0.1:7: connection reset",
            ),
            (lost(0), "the connection failed before anything was sent: connection reset"),
            (lost(12), "the connection failed: connection reset; 0 of 12 bytes came back"),
            (
                Error::Closed { bytes: 0 },
                "the server closed the connection before anything was sent",
            ),
            (
                Error::Reply { fault: short, excerpt: None },
                "the reply was cut short: 0 of 12 bytes came back",
            ),
        ] {
            let (shown, hint) = (error.to_string(), error.hint());
            assert_eq!((shown.as_str(), hint.as_deref()), (message, Some(HINT_DROPPED)));
        }
    }

    #[test]
    fn a_reply_that_starts_as_an_echo_was_changed_on_the_way() {
        let hint = |offset| {
            let fault = ReplyError::Differs(Mismatch { offset, expected: b'x', found: b'y' });
            Error::Reply { fault, excerpt: Some(b"Hellp".to_vec()) }.hint().unwrap()
        };
        assert_eq!(hint(4), HINT_CHANGED);
        assert_eq!(hint(3), "is this an echo server? its answer began b'Hellp'");
    }

    #[test]
    fn every_connect_failure_has_a_hint() {
        for kind in [
            ErrorKind::ConnectionRefused,
            ErrorKind::ConnectionReset,
            ErrorKind::TimedOut,
            ErrorKind::HostUnreachable,
            ErrorKind::NetworkUnreachable,
            ErrorKind::PermissionDenied,
            ErrorKind::AddrNotAvailable,
        ] {
            let error = connect(vec![failure("127.0.0.1:7", kind)]);
            assert!(error.hint().is_some(), "{kind}");
        }
    }

    #[test]
    fn hints_blame_no_firewall_they_cannot_know_and_name_the_command_that_helps() {
        let hint = |kind| connect(vec![failure("127.0.0.1:7", kind)]).hint().unwrap();
        assert!(hint(ErrorKind::AddrNotAvailable).ends_with("ss -tan 'dport = :7'"));
        for kind in [ErrorKind::PermissionDenied, ErrorKind::HostUnreachable] {
            assert!(hint(kind).contains("a firewall") && hint(kind).contains("here or"), "{kind}");
        }
    }
}
