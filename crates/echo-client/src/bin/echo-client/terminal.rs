//! Stdout for a pipe, and what it must not do to a terminal.

use std::fs::File;
use std::io::{self, Write};
#[cfg(unix)]
use std::os::fd::AsFd;
#[cfg(windows)]
use std::os::windows::io::AsHandle;

/// Stdout without the line buffer that `std` puts before it, which would cut each piece in two.
pub(crate) fn unbuffered_stdout() -> io::Result<File> {
    #[cfg(unix)]
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    #[cfg(windows)]
    let stdout = io::stdout().as_handle().try_clone_to_owned()?;
    Ok(File::from(stdout))
}

/// Shows control characters instead of sending them to the terminal, which would obey them: an echo
/// must not be able to move the cursor, or to type. Line breaks and tabs are left.
pub(crate) struct EscapeWriter<W: Write> {
    output: W,
    /// The start of a character whose rest has not come yet: 3 bytes at most.
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

/// Shows a character that was cut off for good.
impl<W: Write> Drop for EscapeWriter<W> {
    fn drop(&mut self) {
        let mut shown = String::new();
        escape(&self.pending, &mut shown);
        // Nobody is left to be told that it failed.
        let _ = self.output.write_all(shown.as_bytes());
    }
}

/// Whether the bytes are the start of a character, as opposed to bytes of none.
fn is_unfinished(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// As Python's `repr` does: `\x1b`.
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
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(shown(&[b"\x1b[2Jred\x07\r\n\t"]), "\\x1b[2Jred\\x07\\r\n\t");
        assert_eq!(shown(&["\u{9b}31m\u{7f}".as_bytes()]), r"\xc2\x9b31m\x7f");
        assert_eq!(shown(&[b"\x9b31m\xff"]), r"\x9b31m\xff");
    }

    #[test]
    fn characters_cut_in_two_are_put_together() {
        let text = "Grüß Gott, 世界 🦀";
        for cut in 0..text.len() {
            let (first, second) = text.as_bytes().split_at(cut);
            assert_eq!(shown(&[first, second]), text);
        }
        assert_eq!(shown(&[&text.as_bytes()[..3]]), r"Gr\xc3");
    }
}
