//! Closing connections: how long to linger after our FIN, and how to reset instead.
//!
//! Closing at once would reset a connection whose peer is still sending, and a reset destroys what the peer has
//! not read yet (RFC 1122, 4.2.2.13). Input after our FIN is therefore read and discarded, as with nginx's
//! `lingering_close`: until the peer's FIN, or until its system has acknowledged everything and it is silent or
//! has been sending for too long.

use std::io;
use std::time::Duration;

use crate::platform::SockRef;

/// Ends the linger of a peer that has acknowledged everything and is silent for this long: nothing is in flight
/// that a close could destroy.
pub(crate) const LINGER_TIMEOUT: Duration = Duration::from_millis(500);
/// The longest linger of a peer that has acknowledged everything but keeps sending.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// How often to check whether the peer of a connection to be reset has acknowledged everything.
pub(crate) const RESET_POLL: Duration = Duration::from_millis(2);

/// Whether a connection can be closed without destroying data in flight.
pub(crate) fn is_over(unacknowledged: usize, silent: Duration, since_taken: Duration) -> bool {
    unacknowledged == 0 && (silent >= LINGER_TIMEOUT || since_taken >= LINGER_TIME)
}

/// Makes closing a socket reset its connection (RST) instead of sending FIN. Data that the peer's system has not
/// received by then is lost.
pub(crate) fn reset_when_closed(socket: SockRef<'_>) -> io::Result<()> {
    // socket(7): SO_LINGER with no time.
    socket.set_linger(Some(Duration::ZERO))
}
