//! A stream of equal messages that can be checked at any offset.

use crate::{Framing, Mismatch, Pattern};

/// Consecutive messages of one size, as they appear on the wire with a framing. Their payload is
/// taken from a [`Pattern`], so any part of the stream can be generated and checked independently.
///
/// ```
/// use echo_proto::{Framing, TestStream};
///
/// let stream = TestStream::new(1, Framing::Length, 100);
/// let mut chunk = vec![0; 150];
/// stream.fill(0, &mut chunk);
/// assert_eq!(chunk[..4], [0, 0, 0, 100]);
/// assert_eq!(chunk[104..108], [0, 0, 0, 100]);
/// assert_eq!(stream.check(0, &chunk), Ok(()));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TestStream {
    pattern: Pattern,
    framing: Framing,
    /// Bytes per message, without framing.
    size: u32,
}

/// Bytes compared at a time with framing, for which the expected bytes must be generated first.
const BLOCK_SIZE: usize = 1024;

impl TestStream {
    /// Creates a stream of messages of `size` bytes; `stream` selects their contents.
    ///
    /// An empty message leaves no trace on a raw stream, so there the size must be more than zero.
    #[must_use]
    pub const fn new(stream: u64, framing: Framing, size: u32) -> Self {
        Self { pattern: Pattern::new(stream), framing, size }
    }

    /// Bytes per message on the wire.
    #[must_use]
    pub fn wire_size(&self) -> u64 {
        let (before, after) = self.framing.overhead();
        u64::from(self.size) + (before + after) as u64
    }

    /// Fills `buffer` with the stream from `offset` on.
    pub fn fill(&self, offset: u64, buffer: &mut [u8]) {
        self.pattern.fill(offset, buffer);
        if !self.framing.is_framed() {
            return;
        }
        let wire_size = self.wire_size();
        let mut place = offset % wire_size;
        for byte in buffer {
            match self.framing {
                Framing::Length => {
                    if let Some(count) = self.size.to_be_bytes().get(place as usize) {
                        *byte = *count;
                    }
                }
                Framing::Line if place == wire_size - 1 => *byte = b'\n',
                // A line must not contain a line break.
                Framing::Line if *byte == b'\n' => *byte = b' ',
                _ => {}
            }
            place = if place == wire_size - 1 { 0 } else { place + 1 };
        }
    }

    /// Compares `bytes` with the stream from `offset` on.
    ///
    /// # Errors
    ///
    /// The first byte that differs.
    pub fn check(&self, offset: u64, bytes: &[u8]) -> Result<(), Mismatch> {
        if !self.framing.is_framed() {
            return self.pattern.check(offset, bytes);
        }
        let mut offset = offset;
        let mut expected = [0; BLOCK_SIZE];
        for chunk in bytes.chunks(BLOCK_SIZE) {
            let expected = &mut expected[..chunk.len()];
            self.fill(offset, expected);
            if let Some(place) = (0..chunk.len()).find(|&place| chunk[place] != expected[place]) {
                let (expected, found) = (expected[place], chunk[place]);
                return Err(Mismatch { offset: offset + place as u64, expected, found });
            }
            offset += chunk.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Decoder;

    #[test]
    fn a_decoder_recovers_the_messages() {
        for (framing, size) in [(Framing::Line, 300), (Framing::Length, 300), (Framing::Length, 0)]
        {
            let stream = TestStream::new(9, framing, size);
            let mut wire = vec![0; 5 * stream.wire_size() as usize];
            stream.fill(0, &mut wire);
            let mut decoder = Decoder::new(framing, 300);
            let mut input = wire.as_slice();
            for _ in 0..5 {
                let frame = decoder.decode(&mut input).unwrap().unwrap();
                assert_eq!(frame.payload().len(), size as usize, "{framing}");
            }
            assert_eq!(decoder.finish(), Ok(()));
        }
    }

    #[test]
    fn a_line_is_the_pattern_but_for_line_breaks() {
        let stream = TestStream::new(9, Framing::Line, 1023);
        let (mut line, mut pattern) = ([0; 1024], [0; 1024]);
        stream.fill(0, &mut line);
        Pattern::new(9).fill(0, &mut pattern);
        assert!(pattern[..1023].contains(&b'\n'), "there is one to be replaced");
        for (byte, expected) in line.iter().zip(&pattern[..1023]) {
            assert_eq!(*byte, if *expected == b'\n' { b' ' } else { *expected });
        }
    }

    #[test]
    fn any_part_equals_that_of_the_whole() {
        for framing in [Framing::Raw, Framing::Line, Framing::Length] {
            let stream = TestStream::new(3, framing, 37);
            let mut whole = vec![0; 3000];
            stream.fill(0, &mut whole);
            for offset in 0..100 {
                let mut chunk = [0; 1100];
                stream.fill(offset as u64, &mut chunk);
                assert_eq!(chunk, whole[offset..offset + chunk.len()], "{framing} at {offset}");
                assert_eq!(stream.check(offset as u64, &chunk), Ok(()));
            }
        }
    }

    #[test]
    fn the_first_changed_byte_is_found_with_its_offset() {
        for framing in [Framing::Raw, Framing::Line, Framing::Length] {
            let stream = TestStream::new(3, framing, 37);
            for place in [0, 3, 40, 1024, 2999] {
                let mut bytes = vec![0; 3000];
                stream.fill(50, &mut bytes);
                let expected = bytes[place];
                bytes[place] ^= 1;
                let found = bytes[place];
                let mismatch = Mismatch { offset: 50 + place as u64, expected, found };
                assert_eq!(stream.check(50, &bytes), Err(mismatch), "{framing}");
            }
        }
    }
}
