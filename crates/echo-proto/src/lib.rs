//! What an echo pair agrees on, without a socket in sight: bytes in, facts out.
//!
//! A TCP echo server (RFC 862) returns what it receives, unchanged and in order. TCP delivers that
//! as a stream of bytes in pieces of any size, so "did my echo come back?" is a question about
//! offsets and counts. This crate answers it in three parts:
//!
//! - [`Pattern`] makes test streams in which every byte says where it belongs, so that loss,
//!   repetition, reordering and corruption are found, with the place.
//! - [`ReplyCheck`] compares what comes back with what was sent while it is in flight, and knows
//!   when as many bytes came back as went out.
//! - [`repr()`] shows bytes as Python does: `b'Hello, world'`.
//!
//! What it deliberately does *not* do: no I/O, no threads, no clock, no `unsafe`, no dependencies.
//! Whoever owns the socket drives it.
//!
//! ```
//! use echo_proto::ReplyCheck;
//!
//! let mut reply = ReplyCheck::new();
//! reply.sent(b"Hello, world");
//! // The echo may arrive in any pieces.
//! reply.received(b"Hello")?;
//! assert_eq!(reply.in_flight(), 7);
//! reply.received(b", world")?;
//! assert_eq!(reply.finish()?, 12);
//! # Ok::<(), echo_proto::ReplyError>(())
//! ```

mod pattern;
mod reply;
mod repr;

pub use pattern::{Mismatch, Pattern};
pub use reply::{ReplyCheck, ReplyError};
pub use repr::repr;
