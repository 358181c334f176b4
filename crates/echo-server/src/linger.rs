//! How connections are closed: how long a peer that has our FIN may go on sending, and how to reset instead.
//!
//! Closing at once would reset a connection whose peer is still sending, and a reset destroys what the
//! peer has not read yet (RFC 1122, 4.2.2.13). So what still arrives is read and dropped, as by nginx's
//! `lingering_close`: until the peer's FIN, or until its system has acknowledged everything and it is silent,
//! or has sent for too long.

use std::io;
use std::time::Duration;

use socket2::SockRef;

/// A peer that has acknowledged everything and is silent for this long has nothing in flight that a close
/// could harm.
pub(crate) const LINGER_TIMEOUT: Duration = Duration::from_millis(500);
/// The longest that a peer which has acknowledged everything may go on sending.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// How often to check whether a connection that is to be reset has acknowledged everything.
pub(crate) const RESET_POLL: Duration = Duration::from_millis(2);

/// Whether a connection can be closed without harm.
pub(crate) fn is_over(unacknowledged: usize, silent: Duration, since_taken: Duration) -> bool {
    unacknowledged == 0 && (silent >= LINGER_TIMEOUT || since_taken >= LINGER_TIME)
}

/// Has a socket reset its connection (RST) when it is closed, instead of sending FIN. What the peer's system
/// has not received by then is lost.
pub(crate) fn reset_when_closed(socket: SockRef<'_>) -> io::Result<()> {
    // socket(7): SO_LINGER with no time.
    socket.set_linger(Some(Duration::ZERO))
}
