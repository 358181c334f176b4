//! `--generate`: the man page and the completions.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use echo_manual::Document;

use crate::cli::Cli;

/// Prints what was asked for. That the reader has seen enough, as with `| head`, is not an error.
pub(crate) fn run(document: Document) -> ExitCode {
    let text = echo_manual::generate(document, Cli::command());
    match io::stdout().write_all(&text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            // If stderr is closed too, there is nowhere to report it.
            let _ = writeln!(io::stderr(), "echo-server: cannot write to stdout: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
