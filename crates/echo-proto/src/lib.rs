//! The protocol that an echo server and its client share, without I/O.
//!
//! A TCP echo server (RFC 862) returns what it receives, unchanged and in order. TCP delivers a
//! stream of bytes in chunks of any size, so both "where does a message end?" and "is the echo
//! complete?" are questions about offsets and counts. This crate answers them:
//!
//! - [`Framing`], [`encode`] and [`Decoder`] convert between messages and a byte stream;
//!   [`Boundaries`] finds only the ends of messages; [`blocking`] works over `Read` and `Write`.
//! - [`Pattern`] generates test streams in which every byte depends on its offset, so that loss,
//!   repetition, reordering and corruption are found and located; [`TestStream`] divides one into
//!   messages of one size.
//! - [`ReplyCheck`] compares a reply with the bytes that were sent, and knows when it is complete.
//! - [`repr()`] shows bytes as Python does: `b'Hello, world'`.
//!
//! It deliberately has no threads, clocks or `unsafe` code, and no I/O outside of [`blocking`]. The
//! owner of the socket drives it.
//!
//! # Wire format
//!
//! The messages `Hi` and the empty one, in each framing:
//!
//! ```text
//! Length   | 00 00 00 02 |  H  i | 00 00 00 00 |
//!            4 bytes, big-endian    then that many bytes
//!
//! Line     |  H  i | 0a |   | 0a |
//!            any bytes but 0a, then 0a
//!
//! Raw      |  H  i |
//!            no boundaries: the empty message leaves no trace
//! ```
//!
//! ```
//! use echo_proto::{Decoder, Framing, encode};
//!
//! let mut wire = Vec::new();
//! encode(Framing::Length, b"Hi", &mut wire)?;
//! encode(Framing::Length, b"", &mut wire)?;
//! assert_eq!(wire, b"\0\0\0\x02Hi\0\0\0\0");
//!
//! let mut decoder = Decoder::new(Framing::Length, 1024);
//! let mut input = wire.as_slice();
//! assert_eq!(decoder.decode(&mut input)?.unwrap().payload(), b"Hi");
//! assert_eq!(decoder.decode(&mut input)?.unwrap().payload(), b"");
//! assert_eq!(decoder.decode(&mut input)?, None);
//! # Ok::<(), echo_proto::FrameError>(())
//! ```

pub mod blocking;
mod decoder;
mod framing;
mod pattern;
mod reply;
mod repr;
mod test_stream;

pub use decoder::{Decoder, Frame};
pub use framing::{Boundaries, FrameError, Framing, UnknownFraming, encode};
pub use pattern::{Mismatch, Pattern};
pub use reply::{ReplyCheck, ReplyError};
pub use repr::{one_line, repr, wrap};
pub use test_stream::TestStream;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
