//! Socket options of connections.
//!
//! They are set on the listener before a peer can connect. On Linux, which copies the listener's socket when the
//! handshake completes, connections inherit them; that saves several system calls per connection.

use std::io;
use std::time::Duration;

use socket2::TcpKeepalive;

use crate::Config;
use crate::platform::SockRef;

/// How often a silent peer is probed, and after how many unanswered probes the connection is dropped. With the
/// usual defaults of 75 s and 9 probes, a dead peer would be detected only after a further 11 minutes.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketOptions {
    /// See [`Config::keepalive`](crate::Config::keepalive).
    pub(crate) keepalive: Option<Duration>,
}

impl SocketOptions {
    /// Sets the options on a connection, or on a listener to be inherited.
    ///
    /// # Errors
    ///
    /// The system does not accept one of them, or the connection is broken.
    pub(crate) fn set_on(&self, socket: SockRef<'_>) -> io::Result<()> {
        // An echo is often small, and must not wait for the ACK of the one before (Nagle, RFC 896).
        socket.set_tcp_nodelay(true)?;
        // Windows does not pass this on to accepted sockets. A program started by another thread would keep the
        // connection open.
        #[cfg(windows)]
        socket.set_no_inherit(true)?;
        // Urgent bytes are data like any other (RFC 6093, section 6).
        socket.set_out_of_band_inline(true)?;
        if let Some(time) = self.keepalive {
            let time = keepalive_time(time);
            let keepalive = TcpKeepalive::new().with_time(time).with_interval(PROBE_INTERVAL);
            #[cfg(not(any(target_os = "openbsd", target_os = "haiku")))]
            let keepalive = keepalive.with_retries(PROBES);
            socket.set_tcp_keepalive(&keepalive)?;
        } else {
            socket.set_keepalive(false)?;
        }
        Ok(())
    }

    /// Whether the connections of `listener` inherit all options from it.
    pub(crate) fn are_inherited_from<'s>(&self, listener: impl Into<SockRef<'s>>) -> bool {
        #[cfg(target_os = "linux")]
        return self.are_set_on(&listener.into()).unwrap_or(false);
        #[cfg(not(target_os = "linux"))]
        {
            let _ = listener.into();
            false
        }
    }

    #[cfg(target_os = "linux")]
    fn are_set_on(&self, socket: &SockRef<'_>) -> io::Result<bool> {
        let keepalive = match self.keepalive {
            None => !socket.keepalive()?,
            Some(time) => {
                socket.keepalive()?
                    && socket.tcp_keepalive_time()? == keepalive_time(time)
                    && socket.tcp_keepalive_interval()? == PROBE_INTERVAL
                    && socket.tcp_keepalive_retries()? == PROBES
            }
        };
        Ok(keepalive && socket.tcp_nodelay()? && socket.out_of_band_inline()?)
    }
}

/// Rounds to what the system accepts: whole seconds, at least one (tcp(7), TCP_KEEPIDLE).
fn keepalive_time(time: Duration) -> Duration {
    Duration::from_secs(time.min(Config::MAX_KEEPALIVE).as_secs().max(1))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn connections_inherit_the_options_of_their_listener() {
        for keepalive in [
            None,
            Some(Duration::from_secs(7)),
            Some(Duration::from_millis(5)),
            Some(Duration::MAX),
        ] {
            let options = SocketOptions { keepalive };
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            assert!(!options.are_inherited_from(&listener));
            options.set_on(SockRef::from(&listener)).unwrap();
            assert!(options.are_inherited_from(&listener));
            let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            assert!(options.are_set_on(&SockRef::from(&accepted)).unwrap());
        }
    }
}
