//! What to do about an error.

use std::io::ErrorKind;

use echo_proto::{Framing, ReplyError, repr};

use super::{ConnectFailure, Error};

/// A reply that starts with this many correct bytes is an echo, not another protocol.
const MIN_ECHO_PREFIX: u64 = 4;
const HINT_CHANGED: &str = "the server, or something on the path, changes the data";
const HINT_DROPPED: &str = "the server accepted the connection and closed it: it may have been \
    stopped, have reached its connection limit, or use another --framing";
const HINT_STOPPED: &str =
    "the server may have been stopped, or limit the time or the bytes of a connection";

impl Error {
    /// One line on the likely cause and what to do, if known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Resolve { .. } => {
                "check the spelling; with --host the port belongs in --port, and IPv6 addresses have no \
                 brackets"
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::tests::{connect, failure};
    use echo_proto::Mismatch;

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
