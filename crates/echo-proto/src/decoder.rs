//! Splits a stream into messages.

use crate::{Boundaries, FrameError, Framing};

/// Capacity kept between messages. More is freed after a larger message.
const KEEP_CAPACITY: usize = 4096;

/// Returns whole messages from a stream that arrives in chunks of any size.
///
/// A message that lies within one chunk is returned without a copy. Otherwise its parts are
/// buffered: memory grows with the bytes received, never with the announced length.
///
/// ```
/// use echo_proto::{Decoder, Framing};
///
/// let mut decoder = Decoder::new(Framing::Length, 1024 * 1024);
/// let mut messages = Vec::new();
/// for mut chunk in [&b"\0\0\0\x02h"[..], b"i\0\0\0\0\0"] {
///     // Takes messages off the front of the chunk until more bytes are needed.
///     while let Some(frame) = decoder.decode(&mut chunk)? {
///         messages.push(frame.payload().to_vec());
///     }
/// }
/// assert_eq!(messages, [b"hi".to_vec(), vec![]]);
/// // The stream ends inside the count of a third message.
/// assert!(decoder.finish().is_err());
/// # Ok::<(), echo_proto::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    boundaries: Boundaries,
    framing: Framing,
    /// The received part of the current message.
    partial: Vec<u8>,
    /// The partial message has been completed and returned.
    is_returned: bool,
}

/// A whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    wire: &'a [u8],
    framing: Framing,
}

impl<'a> Frame<'a> {
    /// The message without its framing.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        let (before, after) = self.framing.overhead();
        &self.wire[before..self.wire.len() - after]
    }

    /// The message with its framing, as received.
    #[must_use]
    pub fn wire(&self) -> &'a [u8] {
        self.wire
    }
}

impl Decoder {
    /// Creates a decoder for a stream whose messages have at most `max_frame` bytes each, without
    /// framing.
    #[must_use]
    pub fn new(framing: Framing, max_frame: u64) -> Self {
        let boundaries = Boundaries::new(framing, max_frame);
        Self { boundaries, framing, partial: Vec::new(), is_returned: false }
    }

    /// Consumes `input` up to the end of a message. Returns `Ok(None)` when all of the input was
    /// consumed and more is needed.
    ///
    /// # Errors
    ///
    /// [`FrameError::FrameTooLarge`]. The rest of the stream cannot be decoded.
    #[inline]
    pub fn decode<'m, 'i: 'm>(
        &'m mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Frame<'m>>, FrameError> {
        if self.is_returned {
            self.is_returned = false;
            self.partial.clear();
            self.partial.shrink_to(KEEP_CAPACITY);
        }
        let end = self.boundaries.next_end(input)?;
        let (taken, rest) = input.split_at(end.unwrap_or(input.len()));
        *input = rest;
        let framing = self.framing;
        match end {
            Some(_) if self.partial.is_empty() => Ok(Some(Frame { wire: taken, framing })),
            Some(_) => {
                self.partial.extend_from_slice(taken);
                self.is_returned = true;
                Ok(Some(Frame { wire: &self.partial, framing }))
            }
            None => {
                self.partial.extend_from_slice(taken);
                Ok(None)
            }
        }
    }

    /// The number of buffered bytes of an incomplete message.
    #[must_use]
    pub fn buffered(&self) -> usize {
        if self.is_returned { 0 } else { self.partial.len() }
    }

    /// Reports the end of the stream.
    ///
    /// # Errors
    ///
    /// [`FrameError::Truncated`] if it ended inside a message.
    pub fn finish(&self) -> Result<(), FrameError> {
        self.boundaries.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;
    use proptest::prelude::*;

    const MAX: u64 = 1000;

    fn decode(framing: Framing, chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut decoder = Decoder::new(framing, MAX);
        let mut messages = Vec::new();
        for mut chunk in chunks.iter().copied() {
            while let Some(frame) = decoder.decode(&mut chunk)? {
                messages.push(frame.payload().to_vec());
            }
        }
        decoder.finish().map(|()| messages)
    }

    fn encoded(framing: Framing, messages: &[&[u8]]) -> Vec<u8> {
        let mut wire = Vec::new();
        for message in messages {
            encode(framing, message, &mut wire).unwrap();
        }
        wire
    }

    #[test]
    fn every_split_of_a_stream_in_three_gives_the_same_messages() {
        let messages: [&[u8]; 6] = [b"Hello", b"", b"\r", b"\0\0\0\x01", b"", b"world"];
        for framing in [Framing::Line, Framing::Length] {
            let wire = encoded(framing, &messages);
            for second in 0..=wire.len() {
                for first in 0..=second {
                    let chunks = [&wire[..first], &wire[first..second], &wire[second..]];
                    assert_eq!(decode(framing, &chunks).unwrap(), messages, "{first} {second}");
                }
            }
        }
    }

    #[test]
    fn one_byte_at_a_time_gives_the_same_messages() {
        let long = [b'x'; MAX as usize];
        let messages: [&[u8]; 4] = [b"", &long, b"short", &long];
        for framing in [Framing::Line, Framing::Length] {
            let wire = encoded(framing, &messages);
            let bytes: Vec<_> = wire.chunks(1).collect();
            assert_eq!(decode(framing, &bytes).unwrap(), messages);
        }
    }

    #[test]
    fn raw_passes_chunks_through() {
        assert_eq!(
            decode(Framing::Raw, &[b"any", b"", b"\n\0"]).unwrap(),
            [b"any".to_vec(), b"\n\0".to_vec()]
        );
    }

    #[test]
    fn a_frame_includes_its_bytes_on_the_wire() {
        let mut decoder = Decoder::new(Framing::Length, MAX);
        let mut chunk = &b"\0\0\0\x02hi"[..];
        let frame = decoder.decode(&mut chunk).unwrap().unwrap();
        assert_eq!((frame.payload(), frame.wire()), (&b"hi"[..], &b"\0\0\0\x02hi"[..]));
    }

    #[test]
    fn a_message_within_one_chunk_is_not_copied() {
        let wire = b"one\ntwo\n";
        let mut decoder = Decoder::new(Framing::Line, MAX);
        let mut chunk = &wire[..];
        for message in [&wire[..4], &wire[4..]] {
            let frame = decoder.decode(&mut chunk).unwrap().unwrap();
            assert!(std::ptr::eq(frame.wire(), message));
        }
    }

    #[test]
    fn the_buffered_part_of_a_message_is_counted() {
        let mut decoder = Decoder::new(Framing::Line, MAX);
        assert_eq!(decoder.buffered(), 0);
        assert_eq!(decoder.decode(&mut &b"unfin"[..]), Ok(None));
        assert_eq!(decoder.buffered(), 5);
        let mut rest = &b"ished\n"[..];
        assert!(decoder.decode(&mut rest).unwrap().is_some());
        assert_eq!(decoder.buffered(), 0, "it has been returned");
    }

    #[test]
    fn an_announced_length_of_4_gib_allocates_nothing() {
        let mut decoder = Decoder::new(Framing::Length, u64::MAX);
        let mut chunk = &b"\xff\xff\xff\xff"[..];
        assert_eq!(decoder.decode(&mut chunk), Ok(None));
        assert!(decoder.partial.capacity() <= 8, "{} bytes", decoder.partial.capacity());
    }

    #[test]
    fn memory_of_a_large_message_is_freed() {
        let message = vec![b'x'; 1_000_000];
        let wire = encoded(Framing::Length, &[&message, b"small"]);
        let mut decoder = Decoder::new(Framing::Length, u64::MAX);
        for mut chunk in wire.chunks(1000) {
            while decoder.decode(&mut chunk).unwrap().is_some() {}
        }
        assert!(decoder.partial.capacity() <= KEEP_CAPACITY);
    }

    #[test]
    fn an_error_stays_an_error() {
        let mut decoder = Decoder::new(Framing::Length, MAX);
        let mut chunk = &b"\0\x01\0\0rest"[..];
        let error = Err(FrameError::FrameTooLarge { len: 65536, max: MAX });
        assert_eq!(decoder.decode(&mut chunk), error);
    }

    proptest! {
        #[test]
        fn encoded_messages_are_decoded_from_any_chunks(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            sizes in prop::collection::vec(1usize..300, 1..10),
            framing in prop::sample::select(vec![Framing::Line, Framing::Length]),
        ) {
            let messages: Vec<Vec<u8>> = match framing {
                Framing::Line => messages
                    .into_iter()
                    .map(|message| message.into_iter().filter(|&byte| byte != b'\n').collect())
                    .collect(),
                _ => messages,
            };
            let borrowed: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let wire = encoded(framing, &borrowed);
            let mut chunks = Vec::new();
            let mut rest = wire.as_slice();
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, later) = rest.split_at(rest.len().min(*size));
                chunks.push(chunk);
                rest = later;
            }
            prop_assert_eq!(decode(framing, &chunks).unwrap(), messages);
        }
    }
}
