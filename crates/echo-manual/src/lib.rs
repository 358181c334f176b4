//! Man pages and shell completions of the two programs, from their clap commands.
//!
//! Both programs have the option `--generate`, which prints what [`generate`] returns. A page is complete: the
//! options of every subcommand are on it, so that a search in `man echo-client` finds them.
//!
//! # What the help at the end of a command becomes
//!
//! clap knows one text after the options (`after_long_help`). Its paragraphs tell a page's sections apart:
//!
//! ```text
//! Examples:                                       EXAMPLES
//!   echo-client          say hello                the command, and what it does
//!   echo-client ping -c 1000 --format json
//!                        the same on two lines
//!
//! Sizes: 64, 4k (4096), 1MiB.                     the end of DESCRIPTION
//!
//! Environment:                                    ENVIRONMENT, after the variables of options
//!   NOTIFY_SOCKET  where to report readiness
//!
//! Exit code:                                      EXIT STATUS
//!   0  everything came back
//! ```

mod completions;
mod help;
mod man;

use clap::{Command, ValueEnum};
use clap_complete::Shell;

/// What `--generate` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Document {
    /// A page for man(1).
    Man,
    /// Completions for bash.
    Bash,
    /// Completions for zsh.
    Zsh,
    /// Completions for fish.
    Fish,
    /// Completions for PowerShell.
    Powershell,
}

/// The man page or the completions of `command`.
pub fn generate(document: Document, command: Command) -> Vec<u8> {
    match document {
        Document::Man => man::page(command).into_bytes(),
        Document::Bash => completions::script(Shell::Bash, command),
        Document::Zsh => completions::script(Shell::Zsh, command),
        Document::Fish => completions::script(Shell::Fish, command),
        Document::Powershell => completions::script(Shell::PowerShell, command),
    }
}

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
