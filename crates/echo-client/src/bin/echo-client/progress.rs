//! A sign of life on stderr, for a person who watches a long run.

use std::fs::File;
use std::io::{self, Seek, Write};
#[cfg(unix)]
use std::os::fd::AsFd;
#[cfg(windows)]
use std::os::windows::io::AsHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long a run goes on before its progress is shown.
const SHOW_AFTER: Duration = Duration::from_secs(1);

/// A line that says how far a run is, once it is a long one.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    /// Of what comes in on stdin; with its length where that is known.
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

    /// Leaves the last line as it is, if there was one.
    pub(crate) fn finish(&self) {
        self.bar.abandon();
    }
}

/// The length of what is left of stdin, if it is a file.
fn length_of_stdin() -> Option<u64> {
    #[cfg(unix)]
    let stdin = io::stdin().as_fd().try_clone_to_owned().ok()?;
    #[cfg(windows)]
    let stdin = io::stdin().as_handle().try_clone_to_owned().ok()?;
    let mut file = File::from(stdin);
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some(metadata.len().saturating_sub(file.stream_position().ok()?))
}

/// An output whose bytes count as progress.
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
