//! Checking that a reply equals what was sent.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;

use crate::{Mismatch, repr};

/// Compares an echo with what was sent. Keeps only the bytes in flight.
///
/// Register bytes *before* sending them: a fast echo could arrive first. Memory use is
/// [`in_flight`](Self::in_flight) bytes; the sender limits it by waiting.
///
/// ```
/// use echo_proto::ReplyCheck;
///
/// let mut reply = ReplyCheck::new();
/// reply.sent(b"Hello, world");
/// // The echo may arrive in any chunks.
/// reply.received(b"Hello")?;
/// assert_eq!(reply.in_flight(), 7);
/// reply.received(b", world")?;
/// assert_eq!(reply.finish()?, 12);
/// # Ok::<(), echo_proto::ReplyError>(())
/// ```
#[derive(Debug, Default)]
pub struct ReplyCheck {
    expected: VecDeque<u8>,
    received: u64,
}

/// Why a reply is not the echo of what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyError {
    /// A byte was changed or out of place.
    Differs(Mismatch),
    /// More bytes were received than sent.
    Surplus {
        /// Bytes sent, all of which had been received.
        sent: u64,
        /// The first surplus byte.
        found: u8,
    },
    /// The stream ended too early.
    Short {
        /// Bytes that were received.
        received: u64,
        /// Bytes that were sent.
        sent: u64,
    },
}

impl ReplyCheck {
    /// Creates a check for a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers bytes that are about to be sent.
    pub fn sent(&mut self, bytes: &[u8]) {
        self.expected.extend(bytes);
    }

    /// Compares the next chunk of the reply, of any size, with what was sent.
    ///
    /// # Errors
    ///
    /// [`ReplyError::Differs`] with the first wrong byte, or [`ReplyError::Surplus`]. The check is
    /// unusable afterwards.
    pub fn received(&mut self, bytes: &[u8]) -> Result<(), ReplyError> {
        let (known, surplus) = bytes.split_at(bytes.len().min(self.expected.len()));
        let (front, back) = self.expected.as_slices();
        let (first, second) = known.split_at(known.len().min(front.len()));
        self.compare(0, first, front)?;
        self.compare(first.len(), second, back)?;
        self.expected.drain(..known.len());
        self.received += known.len() as u64;
        match surplus.first() {
            Some(&found) => Err(ReplyError::Surplus { sent: self.received, found }),
            None => Ok(()),
        }
    }

    /// Compares `found` with the start of `expected`; `at` is its offset in the chunk.
    fn compare(&self, at: usize, found: &[u8], expected: &[u8]) -> Result<(), ReplyError> {
        let expected = &expected[..found.len()];
        if found == expected {
            return Ok(());
        }
        let same = found.iter().zip(expected).take_while(|(found, expected)| found == expected);
        let place = same.count();
        Err(ReplyError::Differs(Mismatch {
            offset: self.received + (at + place) as u64,
            expected: expected[place],
            found: found[place],
        }))
    }

    /// Bytes sent that have not been received yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.expected.len()
    }

    /// Bytes received unchanged.
    #[must_use]
    pub fn received_total(&self) -> u64 {
        self.received
    }

    /// Bytes sent so far.
    #[must_use]
    pub fn sent_total(&self) -> u64 {
        self.received + self.expected.len() as u64
    }

    /// Reports the end of the reply. Returns the number of bytes received.
    ///
    /// # Errors
    ///
    /// [`ReplyError::Short`] if some are missing.
    pub fn finish(&self) -> Result<u64, ReplyError> {
        let (received, sent) = (self.received, self.sent_total());
        if received == sent { Ok(received) } else { Err(ReplyError::Short { received, sent }) }
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs(mismatch) => write!(f, "the reply differs: {mismatch}"),
            Self::Surplus { sent: 0, found } => {
                let found = repr(std::slice::from_ref(found));
                write!(f, "the other end spoke first: {found} came before anything was sent")
            }
            Self::Surplus { sent, found } => {
                let found = repr(std::slice::from_ref(found));
                write!(f, "the reply is too long: {found} after all {sent} bytes had come back")
            }
            Self::Short { received, sent } => {
                write!(f, "the reply was cut short: {received} of {sent} bytes came back")
            }
        }
    }
}

// No `source`: it is part of the message.
impl Error for ReplyError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after_sending(bytes: &[u8]) -> ReplyCheck {
        let mut reply = ReplyCheck::new();
        reply.sent(bytes);
        reply
    }

    #[test]
    fn a_changed_byte_is_reported_with_its_offset() {
        let mut reply = after_sending(b"Hello, world");
        assert_eq!(reply.received(b"Hello"), Ok(()));
        let mismatch = Mismatch { offset: 7, expected: b'w', found: b'W' };
        assert_eq!(reply.received(b", World"), Err(ReplyError::Differs(mismatch)));
    }

    #[test]
    fn a_reply_longer_than_what_was_sent_is_an_error() {
        let mut reply = after_sending(b"abc");
        let surplus = ReplyError::Surplus { sent: 3, found: b'a' };
        assert_eq!(reply.received(b"abcab"), Err(surplus));
        let text = surplus.to_string();
        assert_eq!(text, "the reply is too long: b'a' after all 3 bytes had come back");
    }

    #[test]
    fn a_difference_is_reported_before_a_surplus() {
        let mut reply = after_sending(b"abc");
        let mismatch = Mismatch { offset: 1, expected: b'b', found: b'x' };
        assert_eq!(reply.received(b"axcd"), Err(ReplyError::Differs(mismatch)));
    }

    #[test]
    fn a_short_reply_is_reported_with_both_counts() {
        let mut reply = after_sending(b"Hello, world");
        assert_eq!(reply.received(b"Hello"), Ok(()));
        assert_eq!(reply.finish(), Err(ReplyError::Short { received: 5, sent: 12 }));
        let text = reply.finish().unwrap_err().to_string();
        assert_eq!(text, "the reply was cut short: 5 of 12 bytes came back");
    }

    #[test]
    fn bytes_in_flight_and_received_are_counted() {
        let mut reply = after_sending(b"Hello, world");
        assert_eq!((reply.in_flight(), reply.received_total(), reply.sent_total()), (12, 0, 12));
        reply.received(b"Hello").unwrap();
        assert_eq!((reply.in_flight(), reply.received_total(), reply.sent_total()), (7, 5, 12));
    }

    #[test]
    fn an_empty_message_is_complete_at_once() {
        assert_eq!(ReplyCheck::new().finish(), Ok(0));
    }

    proptest! {
        /// Sends and receives interleave in any way, and the ring buffer wraps around.
        #[test]
        fn an_echo_in_any_chunks_is_accepted_and_a_flipped_bit_is_not(
            message in prop::collection::vec(any::<u8>(), 1..300),
            steps in prop::collection::vec(0usize..40, 0..60),
            flip in any::<prop::sample::Index>(),
        ) {
            let flip = flip.index(message.len());
            let mut corrupt = message.clone();
            corrupt[flip] ^= 1;
            for (echo, verdict) in [(&message, Ok(())), (&corrupt, Err(flip as u64))] {
                prop_assert_eq!(exchange(&message, echo, &steps), verdict);
            }
        }
    }

    /// Alternately sends `message` and receives `echo` in the sizes of `steps`, then the rest.
    fn exchange(message: &[u8], echo: &[u8], steps: &[usize]) -> Result<(), u64> {
        let mut reply = ReplyCheck::new();
        let (mut to_send, mut to_receive) = (message, echo);
        for pair in steps.chunks(2) {
            let (now, later) = to_send.split_at(pair[0].min(to_send.len()));
            reply.sent(now);
            to_send = later;
            let count = pair.last().copied().unwrap_or(0).min(reply.in_flight());
            let (now, later) = to_receive.split_at(count);
            reply.received(now).map_err(offset)?;
            to_receive = later;
        }
        reply.sent(to_send);
        reply.received(to_receive).map_err(offset)?;
        assert_eq!(reply.finish(), Ok(message.len() as u64));
        Ok(())
    }

    fn offset(error: ReplyError) -> u64 {
        match error {
            ReplyError::Differs(mismatch) => mismatch.offset,
            other => panic!("unexpected: {other}"),
        }
    }
}
