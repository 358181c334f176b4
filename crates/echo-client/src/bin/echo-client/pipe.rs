//! `echo-client pipe`: stdin to the server, its echo to stdout.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use echo_client::{Config, Connection, Framing};

use crate::cli::PipeOptions;
use crate::print::print_note;
use crate::progress::{Progress, ProgressWriter};
use crate::server_wait::wait_for_server;
use crate::terminal::{EscapeWriter, unbuffered};

/// Runs the pipe. On a terminal the default framing is lines.
pub(crate) fn run(
    config: &Config,
    wait: Option<Duration>,
    options: &PipeOptions,
    framing: Option<Framing>,
) -> anyhow::Result<ExitCode> {
    let connection = wait_for_server(wait, || false, || Connection::open(config))?;
    let conversation = io::stdin().is_terminal();
    let default = if conversation { Framing::Line } else { Framing::Raw };
    if conversation {
        let peer = connection.peer();
        print_note(&format!("connected to {peer}; type a line, or Ctrl-D to end"));
    }
    // The line buffer of `std` would split each chunk in two.
    let mut output: Box<dyn Write> = Box::new(unbuffered(io::stdout())?);
    if io::stdout().is_terminal() && !options.raw_output {
        output = Box::new(EscapeWriter::new(output));
    }
    let in_line = Arc::new(AtomicBool::new(false));
    output = Box::new(LineTracker { output, in_line: Arc::clone(&in_line) });
    let mut progress = None;
    if io::stderr().is_terminal() && !conversation {
        let progress = progress.insert(Progress::of_stdin());
        output = Box::new(ProgressWriter::new(output, progress.clone()));
    }
    let result = connection.pipe(io::stdin(), output, framing.unwrap_or(default));
    if let Some(progress) = progress {
        progress.finish();
    }
    if result.is_err() && in_line.load(Ordering::Relaxed) && io::stdout().is_terminal() {
        // The error starts on a new line.
        let _ = writeln!(io::stderr());
    }
    result?;
    Ok(ExitCode::SUCCESS)
}

/// A writer that notes whether its last line is unfinished.
struct LineTracker {
    output: Box<dyn Write>,
    in_line: Arc<AtomicBool>,
}

impl Write for LineTracker {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes)?;
        if let Some(last) = bytes[..written].last() {
            self.in_line.store(*last != b'\n', Ordering::Relaxed);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
