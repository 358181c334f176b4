//! `echo-client bench`: generates a load and reports what was measured.

mod progress_line;
mod text;

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use echo_client::bench::{self, Event, Stop, Workload};
use echo_client::hdr_log::LogWriter;
use echo_client::run::{Interval, Run};
use echo_client::run_file::RunFile;
use echo_client::{Config, Error};
use hdrhistogram::Histogram;
use serde::Serialize;

use self::progress_line::ProgressLine;
use crate::cli::{BenchOptions, Format};
use crate::descriptors::raise_limit;
use crate::print::{print_error, print_gate, print_note};
use crate::signals::{INTERRUPTED, SIGQUIT, on_each_signal};
use crate::terminal::width;

/// Exit code if a gate failed.
const GATE_FAILED: u8 = 3;

/// Runs the load. The first Ctrl-C ends it early and still reports; the second one exits at once.
pub(crate) fn run(
    config: &Config,
    workload: &Workload,
    options: &BenchOptions,
) -> anyhow::Result<ExitCode> {
    raise_limit(workload.connections, workload.threads)?;
    // Open the files first: a run whose results cannot be saved would be wasted.
    let mut report = Report::open(options)?;
    let mut log = options.hdr_log.as_deref().map(HdrLog::create).transpose()?;
    let stop = Stop::default();
    let progress = Arc::new(ProgressLine::new(workload));
    handle_signals(stop.clone(), Arc::clone(&progress)).context("cannot wait for signals")?;
    // A full disk does not end the run: its final report is still worth having.
    let mut write_error = None;
    let run = bench::run(config, workload, &stop, |event| {
        let result = match event {
            Event::Started(run) => {
                progress.start();
                let begun = log.as_mut().map_or(Ok(()), |log| log.begin(config, workload));
                begun.and_then(|()| report.start(run))
            }
            Event::Interval(interval, latency) => {
                progress.interval(interval, latency);
                let logged = log.as_mut().map_or(Ok(()), |log| log.write(interval, latency));
                logged.and_then(|()| report.interval(interval, &progress))
            }
        };
        if let Err(error) = result {
            write_error.get_or_insert(error);
        }
    });
    progress.finish();
    let mut run = run?;
    run.gates = options.fail_if.iter().map(|gate| gate.check(&[&run.result])).collect();
    let written = report.end(&run);
    if !report.shows_gates() || written.is_err() {
        run.gates.iter().filter(|gate| gate.failed).for_each(print_gate);
    }
    let is_partial = stop.is_stopped() && !run.gates.is_empty();
    if is_partial {
        print_note("the run was interrupted: its gates have judged only a part of it");
    }
    let code = exit_code(&run).max(is_partial.into());
    match write_error.or(written.err()) {
        // A closed stdout does not change the result of the run.
        Some(error) if !is_broken_pipe(&error) => {
            print_error(&error, None);
            Ok(code.max(1).into())
        }
        _ => Ok(code.into()),
    }
}

/// The exit code. A failed gate takes precedence over losses.
fn exit_code(run: &Run) -> u8 {
    let result = &run.result;
    if run.gates.iter().any(|gate| gate.failed) {
        return GATE_FAILED;
    }
    let is_short = run.settings.messages.is_some() && result.unsent > 0;
    // What was not measured is not known to be good.
    let is_empty = result.latency.count == 0;
    u8::from(result.loss > 0 || result.failed > 0 || is_empty || is_short)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let Some(Error::Output(source)) = error.downcast_ref() else { return false };
    source.kind() == ErrorKind::BrokenPipe
}

fn handle_signals(stop: Stop, progress: Arc<ProgressLine>) -> io::Result<()> {
    let mut signalled = false;
    on_each_signal(move |signal| {
        if signal == SIGQUIT {
            return progress.print_interim();
        }
        if std::mem::replace(&mut signalled, true) {
            std::process::exit(INTERRUPTED);
        }
        stop.stop();
    })
}

/// Where the report goes, and its format.
struct Report {
    format: Format,
    output: Box<dyn Write>,
    /// Name of the output in errors.
    name: String,
    is_stdout: bool,
    /// Whether the text report has a line per interval.
    has_intervals: bool,
}

/// One line of `jsonl`, in the layout of iperf3.
#[derive(Serialize)]
struct Line<'a, T> {
    event: &'static str,
    data: &'a T,
}

impl Report {
    fn open(options: &BenchOptions) -> anyhow::Result<Self> {
        if options.output.is_some() && options.output == options.hdr_log {
            bail!("--output and --hdr-log cannot be the same file");
        }
        let (output, name): (Box<dyn Write>, _) = match &options.output {
            None => (Box::new(io::stdout()), "the report".to_owned()),
            Some(path) => (Box::new(LazyTruncate::open(path)?), path.display().to_string()),
        };
        let (format, has_intervals) = (options.format, options.interval.is_some());
        Ok(Self { format, output, name, is_stdout: options.output.is_none(), has_intervals })
    }

    /// Whether the gates are shown in the report on the terminal.
    fn shows_gates(&self) -> bool {
        self.format == Format::Text && self.is_stdout
    }

    fn start(&mut self, run: &Run) -> anyhow::Result<()> {
        if self.format != Format::Jsonl {
            return Ok(());
        }
        let mut data = serde_json::to_value(RunFile::header(run))?;
        if let Some(fields) = data.as_object_mut() {
            let is_known = |name: &str| !["runs", "summary", "search", "gates"].contains(&name);
            fields.retain(|name, _| is_known(name));
            fields.insert("started".to_owned(), run.started.clone().into());
        }
        self.line("start", &data)
    }

    fn interval(&mut self, interval: &Interval, progress: &ProgressLine) -> anyhow::Result<()> {
        match self.format {
            Format::Jsonl => self.line("interval", interval),
            Format::Text if self.has_intervals => {
                progress.above(|| self.write(&text::interval(interval, width(io::stdout()))))
            }
            _ => Ok(()),
        }
    }

    fn line(&mut self, event: &'static str, data: &impl Serialize) -> anyhow::Result<()> {
        let line = serde_json::to_string(&Line { event, data })?;
        self.write(&line)
    }

    /// Writes the final report. If its file cannot be written, the report goes to stdout, so that
    /// the run was not in vain.
    fn end(&mut self, run: &Run) -> anyhow::Result<()> {
        let written = self.metrics(run);
        if written.is_err() && !self.is_stdout {
            (self.output, self.is_stdout) = (Box::new(io::stdout()), true);
            // The error to report is that of the file.
            let _ = self.metrics(run);
        }
        written
    }

    fn metrics(&mut self, run: &Run) -> anyhow::Result<()> {
        match self.format {
            Format::Text => self.write(text::report(run, width(io::stdout())).trim_end()),
            Format::Json => {
                self.write(&serde_json::to_string_pretty(&RunFile::of(vec![run.clone()]))?)
            }
            Format::Jsonl => self.line("end", &RunFile::of(vec![run.clone()])),
        }
    }

    fn write(&mut self, text: &str) -> anyhow::Result<()> {
        let result = writeln!(self.output, "{text}").and_then(|()| self.output.flush());
        match result {
            Ok(()) => Ok(()),
            // `main` handles a closed stdout.
            Err(error) if self.is_stdout => Err(Error::Output(error).into()),
            Err(error) => Err(error).with_context(|| format!("cannot write {}", self.name)),
        }
    }
}

/// An HdrHistogram interval log.
struct HdrLog {
    /// Until the log is started.
    file: Option<LazyTruncate>,
    log: Option<LogWriter<BufWriter<LazyTruncate>>>,
    name: String,
}

impl HdrLog {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let file = Some(LazyTruncate::open(path)?);
        Ok(Self { file, log: None, name: path.display().to_string() })
    }

    /// Starts the log. Its times count from the end of the warm-up.
    fn begin(&mut self, config: &Config, workload: &Workload) -> anyhow::Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let comment =
            format!("echo-client bench, {} port {}, nanoseconds", config.host, config.port);
        let log =
            LogWriter::new(BufWriter::new(file), SystemTime::now() + workload.warmup, &comment);
        self.log = Some(log.with_context(|| format!("cannot write {}", self.name))?);
        Ok(())
    }

    fn write(&mut self, interval: &Interval, latency: &Histogram<u64>) -> anyhow::Result<()> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let start = Duration::from_secs_f64(interval.start_s);
        let length = Duration::from_secs_f64(interval.seconds);
        let result = log.write(latency, start, length, None);
        result.with_context(|| format!("cannot write {}", self.name))
    }
}

/// A file that is truncated on the first write: a run that fails to start leaves the results of the
/// previous one.
struct LazyTruncate {
    file: File,
    is_old: bool,
}

impl LazyTruncate {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).write(true).truncate(false).open(path);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { file, is_old: true })
    }
}

impl Write for LazyTruncate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.is_old) && self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
