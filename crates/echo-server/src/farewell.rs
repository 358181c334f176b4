//! How long to listen to a peer that has our FIN.
//!
//! Closing at once would reset a connection whose peer is still sending, and a reset destroys what the
//! peer has not read yet. So what still comes is taken and dropped: until the peer's FIN, or until
//! its system has acknowledged everything and it is silent, or goes on for too long.

use std::time::Duration;

/// A peer that has got everything and is silent for this long has nothing under way that a close
/// could hurt.
pub(crate) const SILENCE: Duration = Duration::from_millis(500);
/// The longest that a peer which has got everything but goes on sending is listened to.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a connection can be closed without harm.
pub(crate) fn is_over(unacknowledged: usize, silent: Duration, since_taken: Duration) -> bool {
    unacknowledged == 0 && (silent >= SILENCE || since_taken >= PATIENCE)
}
