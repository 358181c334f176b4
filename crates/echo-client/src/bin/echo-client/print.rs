//! What the user sees: replies, errors and hints.

use std::fmt;
use std::io::{self, Write};

use echo_client::run::GateResult;
use echo_proto::{one_line, repr};

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
    let _ = writeln!(io::stderr(), "echo-client: {note}");
}

/// Prints an error to stderr; if that is closed, there is nowhere to report it. The text may
/// contain file names and file contents, which must not reach the terminal unescaped.
pub(crate) fn print_error(error: &anyhow::Error, hint: Option<String>) {
    let mut stderr = io::stderr().lock();
    let error = format!("{error:#}");
    let _ = writeln!(stderr, "echo-client: {}", one_line(&error));
    if let Some(hint) = hint {
        let _ = writeln!(stderr, "hint: {hint}");
    }
}

/// The result of a gate, and by how much.
pub(crate) fn gate_line(result: &GateResult) -> String {
    let GateResult { gate, value, limit, failed, is_time } = result;
    let result = if *failed { "failed" } else { "passed" };
    let Some(value) = value else { return format!("{gate} {result}: it was not measured") };
    let shown = match value {
        us if *is_time => time(*us),
        count if count.fract() == 0.0 || *count >= 1000.0 => format!("{count:.0}"),
        ratio => format!("{ratio:.4}"),
    };
    if *limit == 0.0 {
        return format!("{gate} {result}: it is {shown}");
    }
    format!("{gate} {result}: it is {shown}, {:.2} of the limit", value / limit)
}

/// Three digits and a unit.
pub(crate) fn time(us: f64) -> String {
    let (value, unit) = match us {
        us if us >= 999_500.0 => (us / 1e6, "s"),
        us if us >= 999.5 => (us / 1e3, "ms"),
        us => (us, "us"),
    };
    let decimals = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}{unit}")
}

/// A failed gate, if the report does not show it on the terminal.
pub(crate) fn print_gate(result: &GateResult) {
    let _ = writeln!(io::stderr(), "echo-client: gate {}", gate_line(result));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (us, shown) in [
            (0.0, "0.00us"),
            (9.994, "9.99us"),
            (9.996, "10.0us"),
            (99.96, "100us"),
            (999.4, "999us"),
            (999.6, "1.00ms"),
            (45_678.0, "45.7ms"),
            (999_600.0, "1.00s"),
            (12_345_678.0, "12.3s"),
        ] {
            assert_eq!(time(us), shown, "{us}");
        }
    }

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
