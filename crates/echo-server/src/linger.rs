//! How connections are closed: how long to listen to a peer that has our FIN, and how to do without one.
//!
//! Closing at once would reset a connection whose peer is still sending, and a reset destroys what the
//! peer has not read yet. So what still comes is taken and dropped: until the peer's FIN, or until
//! its system has acknowledged everything and it is silent, or goes on for too long.

use std::io;
use std::time::Duration;

use socket2::SockRef;

/// A peer that has got everything and is silent for this long has nothing under way that a close
/// could hurt.
pub(crate) const LINGER_TIMEOUT: Duration = Duration::from_millis(500);
/// The longest that a peer which has got everything but goes on sending is listened to.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// How often to look whether a connection that is to be reset has got everything.
pub(crate) const RESET_POLL: Duration = Duration::from_millis(2);

/// Whether a connection can be closed without harm.
pub(crate) fn is_over(unacknowledged: usize, silent: Duration, since_taken: Duration) -> bool {
    unacknowledged == 0 && (silent >= LINGER_TIMEOUT || since_taken >= LINGER_TIME)
}

/// Has a socket reset its connection (RST) when it is closed, instead of saying goodbye. What the peer's system
/// does not have by then is lost.
pub(crate) fn reset_when_closed(socket: SockRef<'_>) -> io::Result<()> {
    // socket(7): SO_LINGER with no time.
    socket.set_linger(Some(Duration::ZERO))
}
