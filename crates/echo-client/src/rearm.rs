//! Registering a connection again before each wait, on the system that needs it.

use std::io;

use crate::platform::{Registry, TcpStream, Token};

/// Edges stay registered, for both directions.
#[cfg(not(windows))]
#[inline(always)]
pub(crate) fn rearm(_: &Registry, _: &mut TcpStream, _: Token, _: bool) -> io::Result<()> {
    Ok(())
}

/// Registers a connection for input, and for room if `has_unsent` bytes. What is already pending is
/// reported at once.
///
/// mio removes each reported event from the registration, and restores all of them only when a call
/// returns `WouldBlock` (`IoSourceState::do_io`). A connection that was read until it is empty but not
/// beyond would not be reported again, and one that is always registered for room would be reported
/// each time.
#[cfg(windows)]
pub(crate) fn rearm(
    registry: &Registry,
    stream: &mut TcpStream,
    token: Token,
    has_unsent: bool,
) -> io::Result<()> {
    use crate::platform::Interest;

    let both = Interest::READABLE | Interest::WRITABLE;
    registry.reregister(stream, token, if has_unsent { both } else { Interest::READABLE })
}
