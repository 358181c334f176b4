//! What the user sees: replies, errors and hints.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use echo_client::run::GateResult;
use echo_client::units::{time, wrap};
use echo_proto::{one_line, repr};

use crate::terminal;

/// Exit code if a gate failed.
pub(crate) const GATE_FAILED: u8 = 3;
/// Longest reply shown in full, in bytes.
const MAX_SHOWN: usize = 4096;
/// Bytes shown of a longer one.
const EXCERPT_LEN: usize = 64;

/// Accepts a reply of any length and keeps what will be shown of it.
#[derive(Default)]
pub(crate) struct Excerpt {
    beginning: Vec<u8>,
    length: u64,
}

impl Write for Excerpt {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MAX_SHOWN - self.beginning.len();
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
        if self.length <= MAX_SHOWN as u64 {
            return repr(&self.beginning).fmt(f);
        }
        write!(f, "{}... ({} bytes)", repr(&self.beginning[..EXCERPT_LEN]), self.length)
    }
}

pub(crate) fn print_line(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Prints a note that is not part of the output.
pub(crate) fn print_note(note: &str) {
    let _ = writeln!(io::stderr(), "{}", fit_stderr(&format!("echo-client: {note}")));
}

/// Prints an error to stderr; if that is closed, there is nowhere to report it. The text may contain
/// file names and file contents, which must not reach the terminal unescaped.
pub(crate) fn print_error(error: &anyhow::Error, hint: Option<String>) {
    let error = format!("{error:#}");
    let mut text = fit_stderr(&format!("echo-client: {}", one_line(&error))) + "\n";
    if let Some(hint) = hint {
        text += &(fit_stderr(&format!("hint: {hint}")) + "\n");
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Wraps a line for a terminal. Elsewhere an error or a hint stays on one line.
pub(crate) fn fit_stderr(line: &str) -> String {
    let width = if io::stderr().is_terminal() { terminal::width(io::stderr()) } else { usize::MAX };
    wrap(line, width, 6)
}

/// The same for a line on stdout.
pub(crate) fn fit_stdout(line: &str) -> String {
    let width = if io::stdout().is_terminal() { terminal::width(io::stdout()) } else { usize::MAX };
    wrap(line, width, 6)
}

/// The result of a gate, and by how much.
pub(crate) fn gate_line(result: &GateResult) -> String {
    let GateResult { gate, value, values, limit, is_time, failed } = result;
    let result = if *failed { "failed" } else { "passed" };
    let Some(value) = value else { return format!("{gate} {result}: it was not measured") };
    let shown = match value {
        0.0 => "0".to_owned(),
        us if *is_time => time(*us),
        count if count.fract() == 0.0 || *count >= 1000.0 => format!("{count:.0}"),
        ratio => format!("{ratio:.4}"),
    };
    let over =
        if values.len() > 1 { format!(" over {} runs", values.len()) } else { String::new() };
    if !failed || *limit == 0.0 || *value == 0.0 {
        return format!("{gate} {result}: it is {shown}{over}");
    }
    format!("{gate} {result}: it is {shown}{over}, {:.2} times the limit", value / limit)
}

/// A failed gate, if the report does not show it on the terminal.
pub(crate) fn print_gate(result: &GateResult) {
    print_note(&format!("gate {}", gate_line(result)));
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
    fn replies_up_to_4_kib_are_shown_in_full() {
        assert_eq!(shown(b"Hello, world"), "b'Hello, world'");
        assert_eq!(shown(&[b'x'; 4096]), format!("b'{}'", "x".repeat(4096)));
        assert_eq!(shown(&[b'x'; 4097]), format!("b'{}'... (4097 bytes)", "x".repeat(64)));
    }
}
