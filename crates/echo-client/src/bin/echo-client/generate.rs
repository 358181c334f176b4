//! `--generate`: the man page and the completions.

use std::io::{self, Write};
use std::process::ExitCode;

use echo_client::Error;
use echo_manual::Document;

use crate::cli::Cli;

pub(crate) fn run(document: Document) -> anyhow::Result<ExitCode> {
    let text = echo_manual::generate(document, Cli::shown());
    io::stdout().write_all(&text).map_err(Error::Output)?;
    Ok(ExitCode::SUCCESS)
}
