//! The boundaries of messages in a byte stream.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use memchr::memchr;

/// How messages are delimited in a byte stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Not delimited: bytes that arrive together form a chunk, which need not have been sent
    /// together.
    #[default]
    Raw,
    /// A message is a line: any bytes but `\n`, then `\n`. A `\r` before it is part of the message.
    Line,
    /// A message is a 4-byte big-endian length followed by that many bytes.
    Length,
}

/// Size of the length prefix of [`Framing::Length`].
const LENGTH_PREFIX: usize = size_of::<u32>();

/// Why a message cannot be framed, or a stream cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A message exceeds the limit.
    FrameTooLarge {
        /// Its length in bytes: the value of the prefix, or the received part of a line.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// The stream ended inside a message.
    Truncated {
        /// Bytes received of the message, its length prefix included.
        received: u64,
        /// The minimum number of missing bytes: with an incomplete prefix the length is unknown.
        missing: u64,
    },
    /// A message to be sent as a line contains a line break.
    LineBreak {
        /// Offset of the line break.
        offset: usize,
    },
}

/// The name is not one of [`Framing::NAMES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFraming(String);

impl Framing {
    /// Names for [`str::parse`] and command lines.
    pub const NAMES: [&str; 3] = ["raw", "line", "length"];

    /// Whether messages are delimited at all.
    #[must_use]
    pub fn is_framed(self) -> bool {
        self != Self::Raw
    }

    /// Bytes of framing before and after a message.
    pub(crate) fn overhead(self) -> (usize, usize) {
        match self {
            Self::Raw => (0, 0),
            Self::Line => (0, 1),
            Self::Length => (LENGTH_PREFIX, 0),
        }
    }
}

/// Appends `payload` to `wire` as one message.
///
/// ```
/// use echo_proto::{Framing, encode};
///
/// let mut wire = Vec::new();
/// encode(Framing::Length, b"hi", &mut wire)?;
/// encode(Framing::Line, b"hi", &mut wire)?;
/// assert_eq!(wire, b"\0\0\0\x02hihi\n");
/// # Ok::<(), echo_proto::FrameError>(())
/// ```
///
/// # Errors
///
/// The payload cannot be framed, and nothing was appended: [`FrameError::LineBreak`] for a line
/// that contains `\n`, [`FrameError::FrameTooLarge`] if the length does not fit into four bytes.
pub fn encode(framing: Framing, payload: &[u8], wire: &mut Vec<u8>) -> Result<(), FrameError> {
    match framing {
        Framing::Raw => wire.extend_from_slice(payload),
        Framing::Line => {
            if let Some(offset) = memchr(b'\n', payload) {
                return Err(FrameError::LineBreak { offset });
            }
            wire.extend_from_slice(payload);
            wire.push(b'\n');
        }
        Framing::Length => {
            let count = u32::try_from(payload.len()).map_err(|_| FrameError::FrameTooLarge {
                len: payload.len() as u64,
                max: u32::MAX.into(),
            })?;
            wire.extend_from_slice(&count.to_be_bytes());
            wire.extend_from_slice(payload);
        }
    }
    Ok(())
}

/// Finds the ends of messages in a stream without buffering it.
///
/// The [`Decoder`](crate::Decoder) builds on it; use it directly if only the boundaries matter.
///
/// ```
/// use echo_proto::{Boundaries, FrameError, Framing};
///
/// let mut boundaries = Boundaries::new(Framing::Line, 1024);
/// assert_eq!(boundaries.next_end(b"one\ntwo\nthr")?, Some(4));
/// assert_eq!(boundaries.next_end(b"two\nthr")?, Some(4));
/// assert_eq!(boundaries.next_end(b"thr")?, None); // more bytes needed
/// assert_eq!(boundaries.finish(), Err(FrameError::Truncated { received: 3, missing: 1 }));
/// # Ok::<(), FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Boundaries {
    framing: Framing,
    max_frame: u64,
    /// Bytes of the current message so far, its length prefix included.
    passed: u64,
    /// Value of the length prefix so far.
    count: u32,
}

impl Boundaries {
    /// Starts at the beginning of a stream whose messages have at most `max_frame` bytes each,
    /// without framing. [`Framing::Raw`] has no messages, so none can be too large.
    #[must_use]
    pub fn new(framing: Framing, max_frame: u64) -> Self {
        Self { framing, max_frame, passed: 0, count: 0 }
    }

    /// Advances to the end of the current message and returns how many bytes of `input` that took;
    /// `None` if the end lies beyond `input`.
    ///
    /// # Errors
    ///
    /// [`FrameError::FrameTooLarge`], as early as possible. Later results are meaningless.
    pub fn next_end(&mut self, input: &[u8]) -> Result<Option<usize>, FrameError> {
        let end = match self.framing {
            Framing::Raw => (!input.is_empty()).then_some(input.len()),
            Framing::Line => self.end_of_line(input)?,
            Framing::Length => self.end_of_count(input)?,
        };
        match end {
            Some(_) => (self.passed, self.count) = (0, 0),
            None => self.passed += input.len() as u64,
        }
        Ok(end)
    }

    fn end_of_line(&self, input: &[u8]) -> Result<Option<usize>, FrameError> {
        let end = memchr(b'\n', input);
        let len = self.passed + end.unwrap_or(input.len()) as u64;
        self.check(len)?;
        Ok(end.map(|end| end + 1))
    }

    fn end_of_count(&mut self, input: &[u8]) -> Result<Option<usize>, FrameError> {
        let digits =
            (LENGTH_PREFIX as u64).saturating_sub(self.passed).min(input.len() as u64) as usize;
        for &digit in &input[..digits] {
            self.count = self.count << 8 | u32::from(digit);
        }
        if self.passed + (digits as u64) < LENGTH_PREFIX as u64 {
            return Ok(None);
        }
        self.check(self.count.into())?;
        let left = LENGTH_PREFIX as u64 + u64::from(self.count) - self.passed;
        Ok(usize::try_from(left).ok().filter(|&left| left <= input.len()))
    }

    fn check(&self, len: u64) -> Result<(), FrameError> {
        let max = self.max_frame;
        if len > max { Err(FrameError::FrameTooLarge { len, max }) } else { Ok(()) }
    }

    /// Reports the end of the stream.
    ///
    /// # Errors
    ///
    /// [`FrameError::Truncated`] if it ended inside a message.
    pub fn finish(&self) -> Result<(), FrameError> {
        let received = self.passed;
        let missing = match self.framing {
            _ if received == 0 => return Ok(()),
            Framing::Raw => return Ok(()),
            Framing::Line => 1,
            Framing::Length if received < LENGTH_PREFIX as u64 => LENGTH_PREFIX as u64 - received,
            Framing::Length => LENGTH_PREFIX as u64 + u64::from(self.count) - received,
        };
        Err(FrameError::Truncated { received, missing })
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

impl FromStr for Framing {
    type Err = UnknownFraming;

    fn from_str(name: &str) -> Result<Self, UnknownFraming> {
        let framings = [Self::Raw, Self::Line, Self::Length];
        let named = framings.into_iter().find(|framing| Self::NAMES[*framing as usize] == name);
        named.ok_or_else(|| UnknownFraming(name.to_owned()))
    }
}

impl fmt::Display for UnknownFraming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown framing {:?}: expected one of {}", self.0, Framing::NAMES.join(", "))
    }
}

impl Error for UnknownFraming {}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrameTooLarge { len, max } => {
                write!(f, "a message of at least {len} bytes is over the limit of {max}")
            }
            Self::Truncated { received, missing } => write!(
                f,
                "the stream ended in the middle of a message: {received} of at least {} bytes received",
                received + missing
            ),
            Self::LineBreak { offset } => {
                write!(f, "a line cannot contain a line break: there is one at byte {offset}")
            }
        }
    }
}

impl Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_cannot_be_framed_is_not_appended() {
        let mut wire = b"before".to_vec();
        let error = encode(Framing::Line, b"two\nlines", &mut wire);
        assert_eq!(error, Err(FrameError::LineBreak { offset: 3 }));
        assert_eq!(wire, b"before");
    }

    #[test]
    fn every_framing_is_parsed_from_its_name() {
        for name in Framing::NAMES {
            assert_eq!(name.parse::<Framing>().unwrap().to_string(), name);
        }
        assert!("lines".parse::<Framing>().unwrap_err().to_string().contains("raw, line, length"));
    }

    #[test]
    fn raw_alone_has_no_messages() {
        let framed = [Framing::Raw, Framing::Line, Framing::Length].map(Framing::is_framed);
        assert_eq!(framed, [false, true, true]);
    }

    #[test]
    fn errors_have_lengths_and_offsets() {
        for (error, text) in [
            (
                FrameError::FrameTooLarge { len: 5, max: 4 },
                "a message of at least 5 bytes is over the limit of 4",
            ),
            (
                FrameError::Truncated { received: 3, missing: 2 },
                "the stream ended in the middle of a message: 3 of at least 5 bytes received",
            ),
            (
                FrameError::LineBreak { offset: 7 },
                "a line cannot contain a line break: there is one at byte 7",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn a_line_is_too_large_before_its_end_is_seen() {
        let mut boundaries = Boundaries::new(Framing::Line, 4);
        assert_eq!(boundaries.next_end(b"1234"), Ok(None));
        assert_eq!(boundaries.next_end(b"\n"), Ok(Some(1)), "exactly the limit is allowed");
        assert_eq!(
            boundaries.next_end(b"12345"),
            Err(FrameError::FrameTooLarge { len: 5, max: 4 })
        );
    }

    #[test]
    fn a_length_over_the_limit_is_an_error_with_its_last_byte() {
        let mut boundaries = Boundaries::new(Framing::Length, 4);
        assert_eq!(boundaries.next_end(b"\0\0\0\x04....\0\0\0\x05"), Ok(Some(8)));
        assert_eq!(boundaries.next_end(b"\0\0\0"), Ok(None));
        assert_eq!(boundaries.next_end(b"\x05"), Err(FrameError::FrameTooLarge { len: 5, max: 4 }));
    }

    #[test]
    fn a_truncated_message_is_reported_with_the_bytes_missing() {
        let truncated = |input: &[u8]| {
            let mut boundaries = Boundaries::new(Framing::Length, u64::MAX);
            assert_eq!(boundaries.next_end(input), Ok(None));
            boundaries.finish()
        };
        let missing = |received, missing| Err(FrameError::Truncated { received, missing });
        assert_eq!(truncated(b""), Ok(()));
        assert_eq!(truncated(b"\0"), missing(1, 3));
        assert_eq!(truncated(b"\0\0\x01"), missing(3, 1));
        assert_eq!(truncated(b"\0\0\0\x02"), missing(4, 2));
        assert_eq!(truncated(b"\0\0\0\x02x"), missing(5, 1));
        assert_eq!(truncated(b"\xff\xff\xff\xff"), missing(4, u32::MAX.into()));
    }
}
