//! Anything in, its echo out.

use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

use echo_proto::{Boundaries, FrameError, Framing, ReplyError};

use crate::exchange::EndCondition;
use crate::{Connection, Error};

impl Connection {
    /// Sends `input` to its end, says so to the server (half-close), and writes what comes back to
    /// `output`, all at the same time, until the server ends the connection too. Every byte is
    /// compared with what was sent. Returns the number of bytes that went out and came back.
    ///
    /// `framing` says what the input consists of, so that an end in the middle of a message is
    /// called that: a server with the same framing does not echo such a rest. It is sent all the
    /// same, and nothing is changed on the way.
    ///
    /// # Errors
    ///
    /// As [`echo`](Self::echo), and [`Error::TruncatedInput`].
    pub fn pipe(
        mut self,
        input: impl Read + Send + 'static,
        output: impl Write,
        framing: Framing,
    ) -> Result<u64, Error> {
        let truncation = Arc::new(OnceLock::new());
        // A message may be of any length here: how long is for the server to say.
        let boundaries = Boundaries::new(framing, u64::MAX);
        let input = FramingMonitor { input, boundaries, truncation: Arc::clone(&truncation) };
        let result = self.exchange(input, output, EndCondition::HalfClose);
        match (truncation.get(), result) {
            (
                Some(&FrameError::Truncated { received, missing }),
                Ok(_) | Err(Error::Reply { fault: ReplyError::Short { .. }, .. }),
            ) => Err(Error::TruncatedInput { framing, received, missing }),
            (_, result) => result,
        }
    }
}

/// An input that notes how it ends.
struct FramingMonitor<R> {
    input: R,
    boundaries: Boundaries,
    truncation: Arc<OnceLock<FrameError>>,
}

impl<R: Read> Read for FramingMonitor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let mut rest = &buffer[..count];
        // No length is too large here, so there is no other error than the one at the end.
        while let Ok(Some(end)) = self.boundaries.next_end(rest) {
            rest = &rest[end..];
        }
        if count == 0
            && let Err(error) = self.boundaries.finish()
        {
            // Read once more after its end, it would say the same.
            let _ = self.truncation.set(error);
        }
        Ok(count)
    }
}
