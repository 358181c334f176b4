//! When an edge-triggered poller is re-armed, per system.
//!
//! A connection that stops reading or writing before that is not reported again, and must requeue itself.

/// Whether a `recv` of up to `room` bytes that returned `count` has emptied the socket, so that further bytes are
/// reported.
///
/// A short read has (epoll(7), question 9; kqueue(2), `EV_CLEAR`, resets its state in the same way). End of
/// stream, errors and urgent data are exceptions: see `Connection::ended`.
#[cfg(not(windows))]
pub(super) fn recv_emptied_socket(count: usize, room: usize) -> bool {
    count < room
}

/// mio re-arms a socket on Windows only after a call has returned `WouldBlock` (`mio::Poll`, "Draining
/// readiness"), so no count of bytes suffices.
#[cfg(windows)]
pub(super) fn recv_emptied_socket(_: usize, _: usize) -> bool {
    false
}

/// Whether a short `send` has filled the socket, so that the socket is reported when it is writable again
/// (epoll(7), question 9).
#[cfg(not(windows))]
pub(super) fn short_send_fills_socket() -> bool {
    true
}

/// As for `recv`: only a `send` that returned `WouldBlock` re-arms the socket.
#[cfg(windows)]
pub(super) fn short_send_fills_socket() -> bool {
    false
}
