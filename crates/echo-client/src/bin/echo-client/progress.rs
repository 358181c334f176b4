//! A progress bar on stderr for long pipes.

use std::io::{self, Seek, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal::unbuffered;

/// How long a pipe runs before its progress is shown.
const SHOW_AFTER: Duration = Duration::from_secs(1);

/// A progress bar that appears after a while.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    /// Progress of stdin, with its length if known.
    pub(crate) fn of_stdin() -> Self {
        let (length, template) = match length_of_stdin() {
            Some(length) => (
                Some(length),
                "{binary_bytes} of {binary_total_bytes} ({percent} %), {binary_bytes_per_sec}, {eta} left",
            ),
            None => (None, "{binary_bytes}, {binary_bytes_per_sec}, {elapsed}"),
        };
        let style = ProgressStyle::with_template(template).expect("the template is well-formed");
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
        Self { bar: bar.with_style(style), started: Instant::now() }
    }

    fn advance(&self, bytes: usize) {
        self.bar.inc(bytes as u64);
        if self.bar.is_hidden() && self.started.elapsed() >= SHOW_AFTER {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Leaves the last state of the bar on the terminal.
    pub(crate) fn finish(&self) {
        self.bar.abandon();
    }
}

/// Bytes left in stdin, if it is a file.
fn length_of_stdin() -> Option<u64> {
    let mut file = unbuffered(io::stdin()).ok()?;
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some(metadata.len().saturating_sub(file.stream_position().ok()?))
}

/// A writer that advances the progress bar.
pub(crate) struct ProgressWriter<W> {
    output: W,
    progress: Progress,
}

impl<W: Write> ProgressWriter<W> {
    pub(crate) fn new(output: W, progress: Progress) -> Self {
        Self { output, progress }
    }
}

impl<W: Write> Write for ProgressWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes)?;
        self.progress.advance(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
