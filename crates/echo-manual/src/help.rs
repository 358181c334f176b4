//! The sections of the text after a command's options.

use clap::Command;

/// The text of `after_long_help`, by what its paragraphs say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AfterHelp {
    /// Commands, and what they do.
    pub(crate) examples: Vec<(String, String)>,
    /// Exit codes, and what they mean.
    pub(crate) exit_codes: Vec<(String, String)>,
    /// Environment variables that are not those of options.
    pub(crate) variables: Vec<(String, String)>,
    /// All other paragraphs.
    pub(crate) notes: Vec<String>,
}

impl AfterHelp {
    pub(crate) fn of(command: &Command) -> Self {
        let text = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        let mut sections = Self::default();
        for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
            if let Some(list) = paragraph.strip_prefix("Examples:\n") {
                sections.examples = entries(list);
            } else if let Some(list) = paragraph.strip_prefix("Exit code:\n") {
                sections.exit_codes = entries(list);
            } else if let Some(list) = paragraph.strip_prefix("Environment:\n") {
                sections.variables = entries(list);
            } else {
                sections.notes.push(paragraph.to_owned());
            }
        }
        sections
    }
}

/// Splits indented lines into terms and descriptions. Two spaces end a term; a line that is indented further
/// continues the description.
fn entries(list: &str) -> Vec<(String, String)> {
    const INDENT: usize = 2;
    let mut entries: Vec<(String, String)> = Vec::new();
    for line in list.lines() {
        let text = line.trim_start();
        match entries.last_mut() {
            Some((_, description)) if line.len() - text.len() > INDENT => {
                if !description.is_empty() {
                    description.push(' ');
                }
                description.push_str(text);
            }
            _ => {
                let (term, description) = text.split_once("  ").unwrap_or((text, ""));
                entries.push((term.to_owned(), description.trim_start().to_owned()));
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_told_apart() {
        let command = Command::new("x").after_long_help(
            "Examples:\n  x          short\n  x --long option\n             on two\n             lines\n\n\
             A note.\nIt goes on.\n\nEnvironment:\n  HOME  a folder\n\nExit code:\n  0    good\n  130  interrupted",
        );
        let pair = |term: &str, text: &str| (term.to_owned(), text.to_owned());
        assert_eq!(
            AfterHelp::of(&command),
            AfterHelp {
                examples: vec![pair("x", "short"), pair("x --long option", "on two lines")],
                exit_codes: vec![pair("0", "good"), pair("130", "interrupted")],
                variables: vec![pair("HOME", "a folder")],
                notes: vec!["A note.\nIt goes on.".to_owned()],
            }
        );
        assert_eq!(AfterHelp::of(&Command::new("x")), AfterHelp::default());
    }
}
