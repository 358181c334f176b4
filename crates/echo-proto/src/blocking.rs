//! Messages over any `Read` and `Write`, such as a blocking socket.

use std::io::{self, ErrorKind, Read, Write};

use crate::{Decoder, FrameError, Framing, encode};

/// Bytes per read.
const READ_SIZE: usize = 16 * 1024;

/// Writes `payload` as one message, in a single `write_all`.
///
/// ```
/// use echo_proto::{Framing, blocking};
///
/// let mut wire = Vec::new(); // or a TcpStream
/// blocking::write_message(&mut wire, Framing::Line, b"hi")?;
/// assert_eq!(wire, b"hi\n");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// Returns the error of the writer, or [`ErrorKind::InvalidInput`] with a [`FrameError`] if the
/// payload cannot be framed; nothing was written then.
pub fn write_message(mut writer: impl Write, framing: Framing, payload: &[u8]) -> io::Result<()> {
    // One buffer, so that the length and the message are sent in one segment.
    let mut wire = Vec::with_capacity(payload.len() + 4);
    encode(framing, payload, &mut wire)
        .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
    writer.write_all(&wire)
}

/// Reads messages one at a time.
///
/// ```
/// use echo_proto::Framing;
/// use echo_proto::blocking::MessageReader;
///
/// let stream = &b"one\ntwo\n"[..]; // or a TcpStream
/// let mut reader = MessageReader::new(stream, Framing::Line, 1024);
/// let mut message = Vec::new();
/// while reader.read_message(&mut message)? {
///     println!("{} bytes", message.len());
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct MessageReader<R> {
    reader: R,
    decoder: Decoder,
    buffer: Vec<u8>,
    /// The range of the buffer that has not been decoded yet.
    start: usize,
    end: usize,
}

impl<R: Read> MessageReader<R> {
    /// Creates a reader of messages of at most `max_frame` bytes each. It reads ahead: data after a
    /// message may already be buffered.
    #[must_use]
    pub fn new(reader: R, framing: Framing, max_frame: u64) -> Self {
        let decoder = Decoder::new(framing, max_frame);
        Self { reader, decoder, buffer: vec![0; READ_SIZE], start: 0, end: 0 }
    }

    /// Reads the next message into `payload`, replacing its contents. Returns `false` at the end of
    /// the stream.
    ///
    /// # Errors
    ///
    /// Returns the error of the reader, or a [`FrameError`] as [`ErrorKind::InvalidData`] if a
    /// message is too large, as [`ErrorKind::UnexpectedEof`] if the stream ends inside a message.
    pub fn read_message(&mut self, payload: &mut Vec<u8>) -> io::Result<bool> {
        payload.clear();
        loop {
            let mut input = &self.buffer[self.start..self.end];
            let frame = self.decoder.decode(&mut input);
            self.start = self.end - input.len();
            if let Some(frame) = frame.map_err(frame_error)? {
                payload.extend_from_slice(frame.payload());
                return Ok(true);
            }
            let count = loop {
                match self.reader.read(&mut self.buffer) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    result => break result?,
                }
            };
            if count == 0 {
                return self.decoder.finish().map(|()| false).map_err(frame_error);
            }
            (self.start, self.end) = (0, count);
        }
    }

    /// The underlying reader, to close it or to set its timeouts.
    pub fn get_ref(&self) -> &R {
        &self.reader
    }
}

fn frame_error(error: FrameError) -> io::Error {
    let kind = match error {
        FrameError::Truncated { .. } => ErrorKind::UnexpectedEof,
        _ => ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(wire: &[u8], framing: Framing, max_frame: u64) -> (Vec<Vec<u8>>, io::Result<()>) {
        let mut reader = MessageReader::new(wire, framing, max_frame);
        let (mut messages, mut message) = (Vec::new(), Vec::new());
        loop {
            match reader.read_message(&mut message) {
                Ok(true) => messages.push(message.clone()),
                Ok(false) => return (messages, Ok(())),
                Err(error) => return (messages, Err(error)),
            }
        }
    }

    #[test]
    fn messages_larger_than_the_buffer_are_read_whole() {
        let messages = vec![vec![1; 3 * READ_SIZE], vec![], vec![2; READ_SIZE - 4], vec![3]];
        let mut wire = Vec::new();
        for message in &messages {
            write_message(&mut wire, Framing::Length, message).unwrap();
        }
        let (read, end) = read_all(&wire, Framing::Length, u64::MAX);
        assert_eq!(read, messages);
        end.unwrap();
    }

    #[test]
    fn whole_messages_before_a_truncated_one_are_read() {
        let (read, end) = read_all(b"one\ntw", Framing::Line, 10);
        assert_eq!(read, [b"one"]);
        let error = end.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        let source = error.get_ref().unwrap().downcast_ref::<FrameError>();
        assert_eq!(source, Some(&FrameError::Truncated { received: 2, missing: 1 }));
    }

    /// Returns its errors, then a message.
    struct Failing(Vec<ErrorKind>);

    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.pop() {
                Some(kind) => Err(kind.into()),
                None => b"one\n".as_slice().read(buffer),
            }
        }
    }

    #[test]
    fn an_interrupted_read_is_retried_and_other_errors_are_returned() {
        let mut message = Vec::new();
        let interrupted = Failing(vec![ErrorKind::Interrupted; 2]);
        let mut reader = MessageReader::new(interrupted, Framing::Line, 10);
        assert!(reader.read_message(&mut message).unwrap());
        assert_eq!(message, b"one");
        let mut reader =
            MessageReader::new(Failing(vec![ErrorKind::ConnectionReset]), Framing::Line, 10);
        let error = reader.read_message(&mut message).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_message_over_the_limit_is_invalid_data() {
        let (_, end) = read_all(b"\x01\0\0\0", Framing::Length, 10);
        assert_eq!(end.unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
