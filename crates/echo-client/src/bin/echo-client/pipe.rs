//! `echo-client pipe`: stdin to the server, its echo to stdout.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use echo_client::{Config, Connection, Framing};

use crate::cli::PipeOptions;
use crate::print::print_note;
use crate::progress::{Progress, ProgressWriter};
use crate::terminal::{EscapeWriter, unbuffered_stdout};

/// Runs the pipe. On a terminal the default framing is lines.
pub(crate) fn run(
    config: &Config,
    options: &PipeOptions,
    framing: Option<Framing>,
) -> anyhow::Result<ExitCode> {
    let connection = Connection::open(config)?;
    let conversation = io::stdin().is_terminal();
    let default = if conversation { Framing::Line } else { Framing::Raw };
    if conversation {
        let peer = connection.peer();
        print_note(&format!("connected to {peer}; type a line to see its echo, Ctrl-D to end"));
    }
    let mut output: Box<dyn Write> = Box::new(unbuffered_stdout()?);
    if io::stdout().is_terminal() && !options.raw_output {
        output = Box::new(EscapeWriter::new(output));
    }
    let mut progress = None;
    if io::stderr().is_terminal() && !conversation {
        let progress = progress.insert(Progress::of_stdin());
        output = Box::new(ProgressWriter::new(output, progress.clone()));
    }
    let result = connection.pipe(io::stdin(), output, framing.unwrap_or(default));
    if let Some(progress) = progress {
        progress.finish();
    }
    result?;
    Ok(ExitCode::SUCCESS)
}
