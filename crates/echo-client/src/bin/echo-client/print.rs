//! What people see: the reply, and errors with a way out.

use std::fmt;
use std::io::{self, Write};

use echo_proto::repr;

/// The longest reply that is shown whole, in bytes.
const WHOLE: usize = 4096;
/// How much is shown of a longer one.
const SHORTENED: usize = 64;

/// Takes a reply of any length and keeps as much of it as is going to be shown.
#[derive(Default)]
pub(crate) struct Excerpt {
    beginning: Vec<u8>,
    length: u64,
}

impl Write for Excerpt {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = WHOLE - self.beginning.len();
        self.beginning.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length <= WHOLE as u64 {
            return repr(&self.beginning).fmt(f);
        }
        write!(f, "{}... ({} bytes)", repr(&self.beginning[..SHORTENED]), self.length)
    }
}

pub(crate) fn print_line(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Tells a person on a terminal something that is not a result.
pub(crate) fn print_note(note: &str) {
    let _ = writeln!(io::stderr(), "echo-client: {note}");
}

/// Errors go to stderr. Where that is closed there is nobody left to tell.
pub(crate) fn print_error(error: &anyhow::Error, hint: Option<String>) {
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "echo-client: {error:#}");
    if let Some(hint) = hint {
        let _ = writeln!(stderr, "hint: {hint}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(reply: &[u8]) -> String {
        let mut excerpt = Excerpt::default();
        for piece in reply.chunks(1000) {
            excerpt.write_all(piece).unwrap();
        }
        excerpt.to_string()
    }

    #[test]
    fn a_reply_of_4_kib_is_shown_whole_and_a_longer_one_with_its_length() {
        assert_eq!(shown(b"Hello, world"), "b'Hello, world'");
        assert_eq!(shown(&[b'x'; 4096]), format!("b'{}'", "x".repeat(4096)));
        assert_eq!(shown(&[b'x'; 4097]), format!("b'{}'... (4097 bytes)", "x".repeat(64)));
    }
}
