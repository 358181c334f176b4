//! Where the report goes, and its format.

use std::io::{self, Write};

use anyhow::{Context, bail};
use echo_client::Error;
use echo_client::percentile::Percentile;
use echo_client::run::{Interval, Run};
use echo_client::run_file::{RunFile, SavedTrial};
use serde::Serialize;

use super::lazy_truncate::LazyTruncate;
use super::progress_line::ProgressLine;
use super::text;
use crate::cli::{BenchOptions, Format};
use crate::terminal::width;

/// The report, in its parts as they become known.
pub(super) struct Output {
    format: Format,
    writer: Box<dyn Write>,
    /// Name of the output in errors.
    name: String,
    is_stdout: bool,
    /// Whether the text report has a line per interval.
    has_intervals: bool,
    /// What the text shows of a distribution.
    percentiles: Vec<Percentile>,
}

/// One line of `jsonl`, in the layout of iperf3.
#[derive(Serialize)]
struct Line<'a, T> {
    event: &'static str,
    data: &'a T,
}

impl Output {
    pub(super) fn open(options: &BenchOptions) -> anyhow::Result<Self> {
        if options.output.is_some() && options.output == options.hdr_log {
            bail!("--output and --hdr-log cannot be the same file");
        }
        let (writer, name): (Box<dyn Write>, _) = match &options.output {
            None => (Box::new(io::stdout()), "the report".to_owned()),
            Some(path) => (Box::new(LazyTruncate::open(path)?), path.display().to_string()),
        };
        Ok(Self {
            format: options.format,
            writer,
            name,
            is_stdout: options.output.is_none(),
            has_intervals: options.interval.is_some(),
            percentiles: options.percentiles.clone(),
        })
    }

    /// Whether the gates are shown in the report on the terminal.
    pub(super) fn shows_gates(&self) -> bool {
        self.format == Format::Text && self.is_stdout
    }

    /// A run starts.
    pub(super) fn start(&mut self, run: &Run, title: &str) -> anyhow::Result<()> {
        match self.format {
            Format::Text if self.has_intervals && !title.is_empty() => self.write(title),
            Format::Jsonl => {
                let mut data = serde_json::to_value(RunFile::header(run))?;
                if let Some(fields) = data.as_object_mut() {
                    // Not known yet.
                    let unknown = ["runs", "summary", "search", "gates"];
                    fields.retain(|name, _| !unknown.contains(&name.as_str()));
                    fields.insert("started".to_owned(), run.started.clone().into());
                }
                self.line("start", &data)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn interval(
        &mut self,
        interval: &Interval,
        progress: &ProgressLine,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Jsonl => self.line("interval", interval),
            Format::Text if self.has_intervals => {
                progress.above(|| self.write(&text::interval(interval, width(io::stdout()))))
            }
            _ => Ok(()),
        }
    }

    /// A trial of a search has ended.
    pub(super) fn trial(&mut self, trial: &SavedTrial) -> anyhow::Result<()> {
        if self.format == Format::Jsonl { self.line("trial", trial) } else { Ok(()) }
    }

    fn line(&mut self, event: &'static str, data: &impl Serialize) -> anyhow::Result<()> {
        let line = serde_json::to_string(&Line { event, data })?;
        self.write(&line)
    }

    /// Writes the final report. If its file cannot be written, the report goes to stdout, so that
    /// the run was not in vain.
    pub(super) fn end(&mut self, file: &RunFile) -> anyhow::Result<()> {
        let written = self.whole(file);
        if written.is_err() && !self.is_stdout {
            (self.writer, self.is_stdout) = (Box::new(io::stdout()), true);
            // The error to report is that of the file.
            let _ = self.whole(file);
        }
        written
    }

    fn whole(&mut self, file: &RunFile) -> anyhow::Result<()> {
        match self.format {
            Format::Text => {
                let text = text::report(file, &self.percentiles, width(io::stdout()));
                self.write(text.trim_end())
            }
            Format::Json => self.write(&serde_json::to_string_pretty(file)?),
            Format::Jsonl => self.line("end", file),
        }
    }

    fn write(&mut self, text: &str) -> anyhow::Result<()> {
        let result = writeln!(self.writer, "{text}").and_then(|()| self.writer.flush());
        match result {
            Ok(()) => Ok(()),
            // `main` handles a closed stdout.
            Err(error) if self.is_stdout => Err(Error::Output(error).into()),
            Err(error) => Err(error).with_context(|| format!("cannot write {}", self.name)),
        }
    }
}
