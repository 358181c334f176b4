//! Engines: how connections are driven. There is one so far; each is a module with the same `run`.
//!
//! What every engine must do:
//!
//! 1. Echo byte-exact and in order, any size, any split.
//! 2. Honour half-close: on EOF the rest is still echoed, then FIN. Never close with unread input:
//!    that sends RST, and a reset destroys the echo on its way (RFC 1122, 4.2.2.13).
//! 3. Bound what one connection can hold. A peer that does not read is not read from either: its
//!    TCP window closes, and nobody else notices.
//! 4. End a connection for its own faults only: RST, EPIPE and the like never reach another.
//! 5. On [`stop`](crate::Handle::stop), echo what was received by then, send FIN, and give the peer
//!    a moment to say goodbye; on [`cut`](crate::Handle::cut) or at the drain deadline, close and
//!    count those that were still owed something.
//!
//! What it gets: an [`Acceptor`](crate::accept::Acceptor), whose connections have TCP_NODELAY set.

pub(crate) mod threads;
