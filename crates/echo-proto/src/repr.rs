//! Printable forms of bytes and of untrusted text.

use std::fmt::{self, Display, Write};

/// Shows `bytes` exactly as Python's `repr(bytes)` does: `b'Hello, world'`.
///
/// Printable ASCII stands for itself; `\t`, `\n`, `\r`, `\\` and the quote are escaped with a
/// backslash, everything else as `\xNN`. The quote is `'`, or `"` if the bytes contain a `'` and no
/// `"`. (`PyBytes_Repr` in CPython's `Objects/bytesobject.c`.) The result contains no control
/// character, so it is safe to print to a terminal.
///
/// ```
/// use echo_proto::repr;
///
/// assert_eq!(repr(b"Hello, world").to_string(), "b'Hello, world'");
/// assert_eq!(repr(b"it's \x00\xff\n").to_string(), r#"b"it's \x00\xff\n""#);
/// ```
pub fn repr(bytes: &[u8]) -> impl Display + '_ {
    Repr(bytes)
}

struct Repr<'a>(&'a [u8]);

impl Display for Repr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |quote| self.0.contains(&quote);
        let quote = if has(b'\'') && !has(b'"') { b'"' } else { b'\'' };
        f.write_char('b')?;
        f.write_char(quote.into())?;
        for &byte in self.0 {
            match byte {
                b'\\' => f.write_str(r"\\")?,
                _ if byte == quote => write!(f, "\\{}", char::from(quote))?,
                b' '..=b'~' => f.write_char(byte.into())?,
                _ => escape(byte, f)?,
            }
        }
        f.write_char(quote.into())
    }
}

/// Shows untrusted text, such as a file name, on one line and safe for a terminal: control
/// characters are escaped as in [`repr`], everything else is unchanged.
///
/// ```
/// use echo_proto::one_line;
///
/// assert_eq!(one_line("Grüße\n\x1b[2J").to_string(), r"Grüße\n\x1b[2J");
/// ```
pub fn one_line(text: &str) -> impl Display + '_ {
    OneLine(text)
}

struct OneLine<'a>(&'a str);

impl Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if character.is_control() {
                character.encode_utf8(&mut [0; 4]).bytes().try_for_each(|byte| escape(byte, f))?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

fn escape(byte: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match byte {
        b'\t' => f.write_str(r"\t"),
        b'\n' => f.write_str(r"\n"),
        b'\r' => f.write_str(r"\r"),
        _ => write!(f, r"\x{byte:02x}"),
    }
}

/// Breaks a text into lines of at most `width` columns, if its words allow it. All lines but the
/// first are indented.
#[must_use]
pub fn wrap(text: &str, width: usize, indent: usize) -> String {
    let (mut wrapped, mut column) = (String::new(), 0);
    for (index, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > width {
            wrapped += &format!("\n{:indent$}", "");
            column = indent;
        } else if index > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped += word;
        column += length;
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn shows(bytes: &[u8], text: &str) {
        assert_eq!(repr(bytes).to_string(), text);
    }

    #[test]
    fn quotes_are_chosen_as_python_chooses_them() {
        shows(b"", "b''");
        shows(b"it's", r#"b"it's""#);
        shows(br#"say "hi""#, r#"b'say "hi"'"#);
        shows(br#"it's "hi""#, r#"b'it\'s "hi"'"#);
    }

    #[test]
    fn control_and_high_bytes_are_escaped() {
        shows(b"\t\n\r\\", r"b'\t\n\r\\'");
        shows(b"\x00\x07\x08\x0b\x0c\x1b\x1f", r"b'\x00\x07\x08\x0b\x0c\x1b\x1f'");
        shows(b" ~\x7f\x80\xff", r"b' ~\x7f\x80\xff'");
        shows("é".as_bytes(), r"b'\xc3\xa9'");
    }

    #[test]
    fn only_control_characters_of_a_text_are_escaped() {
        let text = "it's \"ü\" \\ 世界\t\r\n\x1b[2J\u{7f}\u{9b}";
        let shown = r#"it's "ü" \ 世界\t\r\n\x1b[2J\x7f\xc2\x9b"#;
        assert_eq!(one_line(text).to_string(), shown);
    }

    #[test]
    fn long_texts_are_wrapped_with_an_indent() {
        assert_eq!(wrap("one two three", 8, 2), "one two\n  three");
        assert_eq!(wrap("unbreakable words", 4, 0), "unbreakable\nwords");
        assert_eq!(wrap("  0.00 short", 60, 2), "  0.00 short");
    }
}
