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

/// The stream consists of blocks of this many bytes.
const BLOCK_SIZE: usize = 4096;
/// Blocks are processed in words of this many bytes.
const WORD: usize = size_of::<u64>();
/// Added to the state from one block to the next: 2^64 over the golden ratio, so that neighbours
/// differ in about half of their bits.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// What all blocks are derived from. Each word of a block is a word of this one, XORed with a key that
/// depends on the stream and the number of the block. That takes one instruction for many bytes,
/// hashing each word would take several for eight. No two blocks of a stream have the same key.
static BASE: [u8; BLOCK_SIZE] = base();

impl Pattern {
    /// The stream with this number.
    #[must_use]
    pub const fn new(stream: u64) -> Self {
        // The keys of all streams are parts of one long cycle. Mixing the number spreads them far
        // apart; the constant (digits of pi) keeps the key of stream 0 from being zero.
        Self { key: mix((stream ^ 0x243f_6a88_85a3_08d3).wrapping_mul(STEP)) }
    }

    /// Fills `buffer` with the stream from `offset` on.
    pub fn fill(&self, offset: u64, buffer: &mut [u8]) {
        let mut rest = buffer;
        let mut position = offset;
        while !rest.is_empty() {
            let (base, key) = self.block(position, rest.len());
            let (chunk, after) = rest.split_at_mut(base.len());
            let (mut words, mut base_words) =
                (chunk.chunks_exact_mut(WORD), base.chunks_exact(WORD));
            for (word, base) in (&mut words).zip(&mut base_words) {
                word.copy_from_slice(&(load(base) ^ key).to_ne_bytes());
            }
            let tail = base_words.remainder().iter().zip(key.to_ne_bytes());
            for (byte, (base, key)) in words.into_remainder().iter_mut().zip(tail) {
                *byte = base ^ key;
            }
            position = position.wrapping_add(base.len() as u64);
            rest = after;
        }
    }

    /// Compares `bytes` with the stream from `offset` on.
    ///
    /// # Errors
    ///
    /// The first byte that differs.
    pub fn check(&self, offset: u64, bytes: &[u8]) -> Result<(), Mismatch> {
        let mut rest = bytes;
        let mut position = offset;
        while !rest.is_empty() {
            let (base, key) = self.block(position, rest.len());
            let (chunk, after) = rest.split_at(base.len());
            let (words, base_words) = (chunk.chunks_exact(WORD), base.chunks_exact(WORD));
            let tail = words.remainder().iter().zip(base_words.remainder()).zip(key.to_ne_bytes());
            // No early exit: usually everything matches, and a loop without branches is vectorised.
            let mut differs = words
                .zip(base_words)
                .fold(0, |differs, (word, base)| differs | load(word) ^ load(base) ^ key);
            for ((byte, base), key) in tail {
                differs |= u64::from(byte ^ base ^ key);
            }
            if differs != 0 {
                return Err(self.first_mismatch(position, chunk));
            }
            position = position.wrapping_add(base.len() as u64);
            rest = after;
        }
        Ok(())
    }

    /// Locates the difference that [`check`](Self::check) has found, byte by byte.
    fn first_mismatch(&self, offset: u64, bytes: &[u8]) -> Mismatch {
        let positions = (0..).map(|i| offset.wrapping_add(i));
        positions
            .zip(bytes)
            .map(|(offset, &found)| Mismatch { offset, expected: self.byte(offset), found })
            .find(|mismatch| mismatch.expected != mismatch.found)
            .expect("only called for bytes that differ somewhere")
    }

    /// The part of [`BASE`] from `offset` on, up to the end of the block and at most `length` bytes, and the
    /// key of the block, rotated to the first byte of that part.
    fn block(&self, offset: u64, length: usize) -> (&'static [u8], u64) {
        let (number, start) = (offset / BLOCK_SIZE as u64, (offset % BLOCK_SIZE as u64) as usize);
        let key = mix(self.key.wrapping_add(number.wrapping_mul(STEP)));
        // In memory the key is always little-endian, because the two ends may have different byte orders.
        let mut key = key.to_le_bytes();
        key.rotate_left(start % WORD);
        (&BASE[start..BLOCK_SIZE.min(start.saturating_add(length))], u64::from_ne_bytes(key))
    }

    fn byte(&self, offset: u64) -> u8 {
        let (base, key) = self.block(offset, 1);
        base[0] ^ key.to_ne_bytes()[0]
    }
}

/// Reads a word.
fn load(word: &[u8]) -> u64 {
    u64::from_ne_bytes(word.try_into().expect("a chunk is one word"))
}

/// Computes [`BASE`]: hashed words of a counter.
const fn base() -> [u8; BLOCK_SIZE] {
    let mut block = [0; BLOCK_SIZE];
    let mut at = 0;
    while at < BLOCK_SIZE {
        let word = mix((at as u64 + 1).wrapping_mul(STEP)).to_le_bytes();
        let mut i = 0;
        while i < WORD {
            block[at + i] = word[i];
            i += 1;
        }
        at += WORD;
    }
    block
}

/// Spreads each input bit over the output: the 64-bit finaliser of MurmurHash3 (Appleby, public
/// domain). With [`STEP`] it forms a generator of the SplitMix kind (Steele, Lea and Flood, "Fast
/// splittable pseudorandom number generators", 2014).
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
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
        // From the beginning, and across the boundary of two blocks.
        for first in [0, BLOCK_SIZE - 50] {
            let whole = bytes(1, first as u64, 100);
            for start in 0..100 {
                for end in start..100 {
                    let offset = (first + start) as u64;
                    assert_eq!(bytes(1, offset, end - start), whole[start..end]);
                    assert_eq!(Pattern::new(1).check(offset, &whole[start..end]), Ok(()));
                }
            }
        }
    }

    #[test]
    fn the_stream_is_the_same_on_every_machine_and_in_every_version() {
        // Hosts with different versions must agree: these bytes, computed by an independent
        // implementation, are part of the interface.
        assert_eq!(bytes(0, 0, 8), [207, 143, 254, 45, 160, 70, 106, 20]);
        assert_eq!(bytes(1, 3, 12), [105, 41, 226, 162, 111, 98, 12, 10, 218, 138, 181, 128]);
        assert_eq!(bytes(2, 4090, 10), [242, 8, 241, 159, 211, 102, 100, 231, 102, 72]);
        assert_eq!(bytes(2, (1 << 40) + 4093, 6), [161, 121, 53, 0, 106, 46]);
    }

    #[test]
    fn every_changed_bit_is_found_at_its_offset() {
        let offset = BLOCK_SIZE as u64 - 20;
        let original = bytes(9, offset, 43);
        for place in 0..original.len() {
            for bit in 0..8 {
                let mut changed = original.clone();
                changed[place] ^= 1 << bit;
                let mismatch = Pattern::new(9).check(offset, &changed).unwrap_err();
                assert_eq!(mismatch.offset, offset + place as u64);
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
            stream: u64, offset in 0..u64::MAX / 2,
            shift in prop_oneof![1u64..1 << 32, (1u64..1 << 20).prop_map(|n| n * BLOCK_SIZE as u64)],
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
