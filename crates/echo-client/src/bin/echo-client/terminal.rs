//! Stdout for a pipe: unbuffered, and escaped on a terminal.

use std::fs::File;
use std::io::{self, Write};
#[cfg(unix)]
use std::os::fd::AsFd;
#[cfg(windows)]
use std::os::windows::io::AsHandle;

/// Columns where the size is unknown.
const DEFAULT_WIDTH: usize = 80;

/// Columns of a terminal.
#[cfg(unix)]
pub(crate) fn width(output: impl AsFd) -> usize {
    let size = rustix::termios::tcgetwinsize(output);
    let columns = size.ok().map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0);
    columns.unwrap_or(DEFAULT_WIDTH)
}

/// Not implemented for this system.
#[cfg(not(unix))]
pub(crate) fn width<T>(_: T) -> usize {
    DEFAULT_WIDTH
}

/// The file behind a standard stream, without the buffer of `std`.
#[cfg(unix)]
pub(crate) fn unbuffered(stream: impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

/// The file behind a standard stream, without the buffer of `std`.
#[cfg(windows)]
pub(crate) fn unbuffered(stream: impl AsHandle) -> io::Result<File> {
    stream.as_handle().try_clone_to_owned().map(File::from)
}

/// Escapes control characters, which a terminal would execute: an echo must not move the cursor or
/// inject input. Line breaks and tabs pass.
pub(crate) struct EscapeWriter<W: Write> {
    output: W,
    /// The start of a character whose remaining bytes have not arrived: at most 3 bytes.
    pending: Vec<u8>,
}

impl<W: Write> EscapeWriter<W> {
    pub(crate) fn new(output: W) -> Self {
        Self { output, pending: Vec::new() }
    }
}

impl<W: Write> Write for EscapeWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = std::mem::take(&mut self.pending);
        text.extend_from_slice(bytes);
        let mut shown = String::with_capacity(text.len());
        let mut chunks = text.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            for character in chunk.valid().chars() {
                if character.is_control() && !matches!(character, '\n' | '\t') {
                    escape(character.encode_utf8(&mut [0; 4]).as_bytes(), &mut shown);
                } else {
                    shown.push(character);
                }
            }
            if chunks.peek().is_none() && is_unfinished(chunk.invalid()) {
                self.pending = chunk.invalid().to_owned();
            } else {
                escape(chunk.invalid(), &mut shown);
            }
        }
        self.output.write_all(shown.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Writes a character that was cut off for good.
impl<W: Write> Drop for EscapeWriter<W> {
    fn drop(&mut self) {
        let mut shown = String::new();
        escape(&self.pending, &mut shown);
        // An error can no longer be returned from here.
        let _ = self.output.write_all(shown.as_bytes());
    }
}

/// Whether the bytes are the start of a character rather than invalid.
fn is_unfinished(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// Escapes as Python's `repr`: `\x1b`.
fn escape(bytes: &[u8], shown: &mut String) {
    let repr = echo_proto::repr(bytes).to_string();
    shown.push_str(&repr["b'".len()..repr.len() - "'".len()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&[u8]]) -> String {
        let mut output = Vec::new();
        let mut escaped = EscapeWriter::new(&mut output);
        for piece in pieces {
            escaped.write_all(piece).unwrap();
        }
        drop(escaped);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(shown(&[b"\x1b[2Jred\x07\r\n\t"]), "\\x1b[2Jred\\x07\\r\n\t");
        assert_eq!(shown(&["\u{9b}31m\u{7f}".as_bytes()]), r"\xc2\x9b31m\x7f");
        assert_eq!(shown(&[b"\x9b31m\xff"]), r"\x9b31m\xff");
    }

    #[test]
    fn split_characters_are_joined() {
        let text = "Grüß Gott, 世界 🦀";
        for cut in 0..text.len() {
            let (first, second) = text.as_bytes().split_at(cut);
            assert_eq!(shown(&[first, second]), text);
        }
        assert_eq!(shown(&[&text.as_bytes()[..3]]), r"Gr\xc3");
    }
}
