//! What an echo pair agrees on, without a socket in sight: bytes in, facts out.
//!
//! A TCP echo server (RFC 862) returns what it receives, unchanged and in order. TCP delivers that
//! as a stream of bytes in pieces of any size, so both "where does a message end?" and "did my echo
//! come back?" are questions about offsets and counts. This crate answers them:
//!
//! - [`Framing`], [`encode`] and [`Decoder`] put messages on a stream and take them off again;
//!   [`Boundaries`] finds only their ends; [`blocking`] has the same over `Read` and `Write`.
//! - [`Pattern`] makes test streams in which every byte says where it belongs, so that loss,
//!   repetition, reordering and corruption are found, with the place; [`TestStream`] puts it into
//!   messages of one size.
//! - [`ReplyCheck`] compares what comes back with what was sent while it is in flight, and knows
//!   when as many bytes came back as went out.
//! - [`repr()`] shows bytes as Python does: `b'Hello, world'`.
//!
//! What it deliberately does *not* do: no threads, no clock, no `unsafe`, no dependencies, and no I/O
//! outside of [`blocking`]. Whoever owns the socket drives it.
//!
//! # The wire
//!
//! The messages `Hi` and the empty one, in each framing:
//!
//! ```text
//! Length   | 00 00 00 02 |  H  i | 00 00 00 00 |
//!            4 bytes, big-endian    then as many bytes as they say
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
pub use repr::{one_line, repr};
pub use test_stream::TestStream;
