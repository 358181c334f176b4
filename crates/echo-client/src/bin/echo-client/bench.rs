//! `echo-client bench`: generates a load and reports what was measured.

mod hdr_log;
mod lazy_truncate;
mod output;
mod progress_line;
mod repeats;
mod search;
mod text;

use std::io::ErrorKind;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use echo_client::bench::{self, Event, Stop, Workload};
use echo_client::gates::Gate;
use echo_client::metric::Metric;
use echo_client::run::{Metrics, Run};
use echo_client::run_file::RunFile;
use echo_client::{Config, Connection, Error};

use self::hdr_log::HdrLog;
use self::output::Output;
use self::progress_line::ProgressLine;
use crate::cli::BenchOptions;
use crate::descriptors::raise_limit;
use crate::print::{GATE_FAILED, print_error, print_gate, print_note};
use crate::server_wait::wait_for_server;
use crate::signals::{INTERRUPTED, SIGQUIT, on_each_signal};

/// Gates must not pass silently for a run that was ended early.
pub(crate) const PARTIAL_GATES: &str = "; its gates have judged only a part of it";
/// How often a pause looks whether it was interrupted.
const PAUSE_STEP: Duration = Duration::from_millis(50);

/// Runs the load: once, several times, or in search of the highest rate. The first Ctrl-C ends it
/// early and still reports; the second one exits at once.
pub(crate) fn run(
    config: &Config,
    wait: Option<Duration>,
    workload: &Workload,
    options: &BenchOptions,
) -> anyhow::Result<ExitCode> {
    raise_limit(workload.connections, workload.threads)?;
    let mut session = Session::open(config, wait, workload, options)?;
    let finished = match &options.find_rate {
        Some(condition) => search::find(&mut session, condition),
        None => repeats::run(&mut session),
    };
    session.progress.finish();
    Ok(session.report(finished?))
}

/// What there is to report.
struct Finished {
    file: RunFile,
    /// The exit code, gates apart.
    code: u8,
    /// What ended it before everything was measured.
    failure: Option<Error>,
    /// What an interruption left out, if there was one.
    partial: Option<String>,
}

/// Everything that lasts from the first run to the report.
struct Session<'a> {
    config: &'a Config,
    /// How long to wait for the server before the first run.
    wait: Option<Duration>,
    /// When the first run begins to send.
    start_at: Option<SystemTime>,
    workload: &'a Workload,
    options: &'a BenchOptions,
    output: Output,
    log: Option<HdrLog>,
    stop: Stop,
    progress: Arc<ProgressLine>,
    /// A full disk does not end a run: its final report is still worth having.
    write_error: Option<anyhow::Error>,
}

impl<'a> Session<'a> {
    fn open(
        config: &'a Config,
        wait: Option<Duration>,
        workload: &'a Workload,
        options: &'a BenchOptions,
    ) -> anyhow::Result<Self> {
        // Open the files first: a run whose results cannot be saved would be wasted.
        let output = Output::open(options)?;
        let log = options.hdr_log.as_deref().map(|path| HdrLog::open(path, options.repeat));
        let log = log.transpose()?;
        let (stop, progress) = (Stop::default(), Arc::new(ProgressLine::new()));
        handle_signals(stop.clone(), Arc::clone(&progress)).context("cannot wait for signals")?;
        let start_at = workload.start_at;
        Ok(Self {
            config,
            wait,
            start_at,
            workload,
            options,
            output,
            log,
            stop,
            progress,
            write_error: None,
        })
    }

    /// Runs a workload once. Its progress begins with `title`.
    fn measure(&mut self, workload: &Workload, title: &str) -> Result<Run, Error> {
        let (wait, start_at) = (self.wait.take(), self.start_at.take());
        let workload = Workload { start_at, ..workload.clone() };
        let Self { config, options, output, log, stop, progress, write_error, .. } = self;
        progress.begin(title, &workload);
        let mut observe = |event: Event<'_>| {
            let written = match event {
                Event::Started(run) => {
                    progress.start();
                    let begun = log.as_mut().map_or(Ok(()), |log| log.begin(config, &workload));
                    begun.and_then(|()| output.start(run, title))
                }
                Event::Interval(interval, latency) => {
                    progress.interval(interval, latency);
                    let logged = log.as_mut().map_or(Ok(()), |log| log.write(interval, latency));
                    logged.and_then(|()| output.interval(interval, progress))
                }
            };
            if let Err(error) = written {
                write_error.get_or_insert(error);
            }
        };
        let attempt = || {
            if wait.is_some() && workload.connections > 1 {
                // The server may begin to listen while they connect, which would fail some of them.
                Connection::open(config)?;
            }
            bench::run(config, &workload, stop, &mut observe)
        };
        let mut run = wait_for_server(wait, || stop.is_stopped(), attempt)?;
        let judged = options.fail_if.iter().map(Gate::metric);
        let judged = judged.chain(options.find_rate.iter().map(|condition| condition.metric()));
        let shown = options.percentiles.iter().map(|&percentile| Metric::from(percentile));
        let warnings = thin_percentiles(judged.chain(shown), &run.result);
        run.result.warnings.extend(warnings);
        Ok(run)
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_stopped()
    }

    /// Waits, unless interrupted.
    fn pause(&self, duration: Duration) {
        let end = Instant::now() + duration;
        while !self.is_stopped() && Instant::now() < end {
            thread::sleep(end.saturating_duration_since(Instant::now()).min(PAUSE_STEP));
        }
    }

    fn report(mut self, finished: Finished) -> ExitCode {
        let Finished { file, mut code, failure, partial } = finished;
        let written = self.output.end(&file);
        if !self.output.shows_gates() || written.is_err() {
            file.gates.iter().filter(|gate| gate.failed).for_each(print_gate);
        }
        if file.gates.iter().any(|gate| gate.failed) {
            // It takes precedence over losses.
            code = GATE_FAILED;
        }
        if let Some(partial) = partial {
            let judged = if file.gates.is_empty() { "" } else { PARTIAL_GATES };
            if !(partial.is_empty() && judged.is_empty()) {
                print_note(&format!("the run was interrupted{partial}{judged}"));
            }
            code = code.max(u8::from(!judged.is_empty()));
        }
        if let Some(failure) = failure {
            let hint = failure.hint();
            print_error(&failure.into(), hint);
            code = code.max(1);
        }
        match self.write_error.or(written.err()) {
            // A closed stdout does not change the result of the run.
            Some(error) if !is_broken_pipe(&error) => {
                print_error(&error, None);
                code.max(1).into()
            }
            _ => code.into(),
        }
    }
}

/// Warnings about percentiles that few samples lie beyond. Those of every run have theirs already.
fn thin_percentiles(metrics: impl Iterator<Item = Metric>, result: &Metrics) -> Vec<String> {
    let mut warnings: Vec<String> = metrics
        .filter(|metric| !echo_client::metric::PERCENTILES.contains(&metric.name().as_str()))
        .filter_map(|metric| metric.too_few_samples(result))
        .collect();
    warnings.sort();
    warnings.dedup();
    warnings
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let Some(Error::Output(source)) = error.downcast_ref() else { return false };
    source.kind() == ErrorKind::BrokenPipe
}

fn handle_signals(stop: Stop, progress: Arc<ProgressLine>) -> std::io::Result<()> {
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
