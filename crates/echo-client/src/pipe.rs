//! Copies an input to the server and its echo to an output.

use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

use echo_proto::{Boundaries, FrameError, Framing, ReplyError};

use crate::exchange::EndCondition;
use crate::{Connection, Error};

impl Connection {
    /// Sends `input` to its end and half-closes the connection, while writing what comes back to
    /// `output`, until the server closes the connection too. Every byte is compared with what was
    /// sent. Returns the number of bytes echoed.
    ///
    /// `framing` says how messages are delimited in the input, so that an input that ends inside a
    /// message is reported as such: a server with the same framing does not echo an incomplete
    /// message. Nothing is added to the input or removed from it.
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
        // The limit on the length of a message is up to the server.
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

/// A reader that tracks message boundaries to notice a truncated end.
struct FramingMonitor<R> {
    input: R,
    boundaries: Boundaries,
    truncation: Arc<OnceLock<FrameError>>,
}

impl<R: Read> Read for FramingMonitor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let mut rest = &buffer[..count];
        // Without a length limit the only possible error is at the end.
        while let Ok(Some(end)) = self.boundaries.next_end(rest) {
            rest = &rest[end..];
        }
        if count == 0
            && let Err(error) = self.boundaries.finish()
        {
            // A second read at the end would report the same.
            let _ = self.truncation.set(error);
        }
        Ok(count)
    }
}
