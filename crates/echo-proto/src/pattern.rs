//! A byte stream in which every byte depends on its offset.

use std::error::Error;
use std::fmt;

use crate::repr;

/// A numbered byte stream in which each byte is a function of the stream number and its offset.
/// The stream is 2^64 bytes long; a chunk must not extend beyond that.
///
/// Two ends that agree on the stream number can check any part of it, even a single byte, without a
/// header on the wire and without keeping data in memory. After a lost or repeated byte, all
/// following bytes are at the wrong offset. One byte matches by chance 1 in 256 times, eight in a
/// row practically never.
///
/// ```
/// use echo_proto::Pattern;
///
/// let pattern = Pattern::new(7);
/// let mut chunk = [0; 100];
/// pattern.fill(1_000, &mut chunk);
/// assert_eq!(pattern.check(1_000, &chunk), Ok(()));
///
/// chunk[3] ^= 0x10;
/// assert_eq!(pattern.check(1_000, &chunk).unwrap_err().offset, 1_003);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    key: u64,
}

/// The first wrong byte of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The offset in the stream.
    pub offset: u64,
    /// The expected byte.
    pub expected: u8,
    /// The byte found instead.
    pub found: u8,
}

/// The pattern consists of words of this many bytes, each the hash of a state.
const WORD: usize = size_of::<u64>();
/// Added to the state from one word to the next: 2^64 over the golden ratio, so that neighbours
/// differ in about half of their bits.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Pattern {
    /// The stream with this number.
    #[must_use]
    pub const fn new(stream: u64) -> Self {
        // Streams are parts of one long cycle. Mixing the number spreads them far apart; the
        // constant (digits of pi) keeps stream 0 from starting with the one word that is all zeros.
        Self { key: mix((stream ^ 0x243f_6a88_85a3_08d3).wrapping_mul(STEP)) }
    }

    /// Fills `buffer` with the stream from `offset` on.
    pub fn fill(&self, offset: u64, buffer: &mut [u8]) {
        let (head, mut state) = self.head(offset, buffer.len());
        buffer[..head.len()].copy_from_slice(&head);
        let mut words = buffer[head.len()..].chunks_exact_mut(WORD);
        for chunk in &mut words {
            chunk.copy_from_slice(&word(state));
            state = state.wrapping_add(STEP);
        }
        let tail = words.into_remainder();
        tail.copy_from_slice(&word(state)[..tail.len()]);
    }

    /// Compares `bytes` with the stream from `offset` on.
    ///
    /// # Errors
    ///
    /// The first byte that differs.
    pub fn check(&self, offset: u64, bytes: &[u8]) -> Result<(), Mismatch> {
        let (head, mut state) = self.head(offset, bytes.len());
        let mut words = bytes[head.len()..].chunks_exact(WORD);
        // One comparison per word and no early exit: usually everything matches, and a loop without
        // branches runs at memory speed.
        let mut differs = 0;
        for chunk in &mut words {
            let found = u64::from_ne_bytes(chunk.try_into().expect("a chunk is one word"));
            differs |= found ^ u64::from_ne_bytes(word(state));
            state = state.wrapping_add(STEP);
        }
        let tail = words.remainder();
        let same =
            differs == 0 && bytes[..head.len()] == *head && tail == &word(state)[..tail.len()];
        if same { Ok(()) } else { Err(self.first_mismatch(offset, bytes)) }
    }

    /// Locates the difference that [`check`](Self::check) has found, byte by byte.
    fn first_mismatch(&self, offset: u64, bytes: &[u8]) -> Mismatch {
        let places = (0..).map(|i| offset.wrapping_add(i));
        places
            .zip(bytes)
            .map(|(offset, &found)| Mismatch { offset, expected: self.byte(offset), found })
            .find(|place| place.expected != place.found)
            .expect("only called for bytes that differ somewhere")
    }

    /// The bytes before the first whole word, at most `length`, and the state of that word.
    fn head(&self, offset: u64, length: usize) -> (Head, u64) {
        let (state, skip) = self.state(offset);
        if skip == 0 {
            return (Head { word: [0; WORD], start: 0, end: 0 }, state);
        }
        let end = WORD.min(skip + length);
        (Head { word: word(state), start: skip, end }, state.wrapping_add(STEP))
    }

    fn byte(&self, offset: u64) -> u8 {
        let (state, skip) = self.state(offset);
        word(state)[skip]
    }

    /// The state of the word that contains `offset`, and the position of its byte in that word.
    fn state(&self, offset: u64) -> (u64, usize) {
        let index = offset / WORD as u64;
        (self.key.wrapping_add(index.wrapping_mul(STEP)), (offset % WORD as u64) as usize)
    }
}

/// The word for a state. Always little-endian, because the two ends may have different byte orders.
fn word(state: u64) -> [u8; WORD] {
    mix(state).to_le_bytes()
}

/// The partial word at the start of an unaligned chunk.
struct Head {
    word: [u8; WORD],
    start: usize,
    end: usize,
}

impl std::ops::Deref for Head {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.word[self.start..self.end]
    }
}

/// Spreads each input bit over the output: one round of the 64-bit finaliser of MurmurHash3
/// (Appleby, public domain). With [`STEP`] it forms a generator of the SplitMix kind (Steele, Lea
/// and Flood, "Fast splittable pseudorandom number generators", 2014).
const fn mix(mut x: u64) -> u64 {
    x ^= x >> 32;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^ (x >> 29)
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, expected, found } = *self;
        write!(f, "byte {offset} is {}, expected {}", repr(&[found]), repr(&[expected]))
    }
}

impl Error for Mismatch {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(stream: u64, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        Pattern::new(stream).fill(offset, &mut bytes);
        bytes
    }

    #[test]
    fn every_part_is_taken_from_the_same_stream() {
        let whole = bytes(1, 0, 100);
        for start in 0..100 {
            for end in start..100 {
                assert_eq!(bytes(1, start as u64, end - start), whole[start..end]);
                assert_eq!(Pattern::new(1).check(start as u64, &whole[start..end]), Ok(()));
            }
        }
    }

    #[test]
    fn the_stream_is_the_same_on_every_machine_and_in_every_version() {
        // Hosts with different versions must agree: these bytes, computed by an independent
        // implementation, are part of the interface.
        assert_eq!(bytes(0, 0, 8), [185, 227, 147, 196, 63, 211, 131, 216]);
        assert_eq!(bytes(1, 3, 12), [247, 228, 37, 106, 179, 16, 220, 109, 88, 17, 134, 12]);
    }

    #[test]
    fn every_changed_bit_is_found_at_its_offset() {
        let original = bytes(9, 5, 40);
        for place in 0..original.len() {
            for bit in 0..8 {
                let mut changed = original.clone();
                changed[place] ^= 1 << bit;
                let mismatch = Pattern::new(9).check(5, &changed).unwrap_err();
                assert_eq!(mismatch.offset, 5 + place as u64);
                assert_eq!(mismatch.expected, original[place]);
                assert_eq!(mismatch.found, changed[place]);
            }
        }
    }

    #[test]
    fn a_mismatch_reads_as_a_sentence() {
        let mismatch = Mismatch { offset: 3, expected: b'l', found: 0 };
        assert_eq!(mismatch.to_string(), r"byte 3 is b'\x00', expected b'l'");
    }

    proptest! {
        #[test]
        fn a_shifted_stream_is_found_within_eight_bytes(
            stream: u64, offset in 0..u64::MAX / 2, shift in 1u64..1 << 32,
        ) {
            // What loss and repetition look like to the receiver.
            let shifted = bytes(stream, offset + shift, 64);
            let mismatch = Pattern::new(stream).check(offset, &shifted).unwrap_err();
            prop_assert!(mismatch.offset < offset + 8);
        }

        #[test]
        fn another_stream_is_found_within_eight_bytes(
            stream: u64, other: u64, offset in 0..u64::MAX / 2,
        ) {
            prop_assume!(stream != other);
            let mismatch = Pattern::new(stream).check(offset, &bytes(other, offset, 64)).unwrap_err();
            prop_assert!(mismatch.offset < offset + 8);
        }
    }
}
