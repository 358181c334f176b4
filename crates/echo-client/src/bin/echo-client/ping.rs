//! `echo-client ping`: round trips on one thread, their report on another.

mod json;
mod report;
mod text;

use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use echo_client::ping::{self, Event, Ping};
use echo_client::{Config, Error};

use self::report::Report;
use crate::bench::PARTIAL_GATES;
use crate::cli::{Format, PingOptions};
use crate::print::{GATE_FAILED, print_error, print_gate, print_note};
use crate::server_wait::wait_for_server;
use crate::signals::{INTERRUPTED, SIGQUIT, on_each_signal};

/// Events that may wait to be printed.
const EVENT_QUEUE_LEN: usize = 1024;

/// What the printing thread waits for.
enum UiEvent {
    Event(Event),
    /// SIGQUIT: print a status line.
    Status,
    /// SIGINT or SIGTERM. Also a flag, because it must not wait for room in the queue.
    Interrupted,
    End(Result<(), Error>),
}

/// How a run ended.
enum RunEnd {
    Complete,
    Interrupted,
    /// Its output cannot be written.
    Unwritable(io::Error),
}

/// Pings until the count or the deadline is reached or Ctrl-C is pressed. Succeeds if every message
/// came back unchanged and no gate failed.
pub(crate) fn run(
    config: Config,
    wait: Option<Duration>,
    ping: Ping,
    options: &PingOptions,
) -> anyhow::Result<ExitCode> {
    let mut report = Report::new(&config, &ping, options);
    let (current, interrupted) =
        (Arc::new(CurrentProbe::default()), Arc::new(AtomicBool::new(false)));
    let over = Arc::new(AtomicBool::new(false));
    let flags = [&interrupted, &over].map(Arc::clone);
    let events = start(config, wait, ping, flags, Arc::clone(&current))?;
    let deadline = options.deadline().map(|deadline| Instant::now() + deadline);
    let mut end = report_events(&mut report, &events, deadline, &interrupted)?;
    // Results that had come by now are part of the run, even if its output was blocked.
    over.store(true, Ordering::Relaxed);
    for event in events.try_iter() {
        if let (UiEvent::Event(event), RunEnd::Complete | RunEnd::Interrupted) = (event, &end)
            && let Err(error) = report.event(&event)
        {
            end = RunEnd::Unwritable(error);
        }
    }
    let run = report.finish(current.message(), &options.fail_if);
    let is_partial = !matches!(end, RunEnd::Complete) && !run.gates.is_empty();
    let written = match end {
        RunEnd::Unwritable(error) => Err(error),
        _ => report.end(&run),
    };
    if options.format != Format::Text || written.is_err() {
        run.gates.iter().filter(|gate| gate.failed).for_each(print_gate);
    }
    if is_partial {
        print_note(&format!("the run was interrupted{PARTIAL_GATES}"));
    }
    let is_lossy = run.result.echoes == 0 || run.result.loss > 0;
    let code = if run.gates.iter().any(|gate| gate.failed) { GATE_FAILED } else { 0 };
    let code = code.max(u8::from(is_lossy || is_partial));
    match written {
        // A closed stdout is not a failure of the echo.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            print_error(&anyhow::Error::new(error).context("cannot write to stdout"), None);
            Ok(code.max(1).into())
        }
        _ => Ok(code.into()),
    }
}

/// Reports events until the run ends.
fn report_events(
    report: &mut Report,
    events: &Receiver<UiEvent>,
    deadline: Option<Instant>,
    interrupted: &AtomicBool,
) -> Result<RunEnd, Error> {
    // Checked before each event: there may be more events than can be printed.
    while !interrupted.load(Ordering::Relaxed) {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let next = match left {
            Some(Duration::ZERO) => break,
            Some(left) => events.recv_timeout(left),
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(UiEvent::Event(event)) => {
                if let Err(error) = report.event(&event) {
                    return Ok(RunEnd::Unwritable(error));
                }
            }
            Ok(UiEvent::Status) => report.print_status(),
            // Without a first connection there is nothing to summarise.
            Ok(UiEvent::End(Err(error))) => return Err(error),
            Ok(UiEvent::Interrupted | UiEvent::End(Ok(()))) | Err(_) => break,
        }
    }
    let is_interrupted = interrupted.load(Ordering::Relaxed);
    Ok(if is_interrupted { RunEnd::Interrupted } else { RunEnd::Complete })
}

/// Pings on a separate thread, so that a signal need not wait for a connection or an echo. The flags
/// say that there was an interrupt, and that the run is over.
fn start(
    config: Config,
    wait: Option<Duration>,
    ping: Ping,
    [interrupted, over]: [Arc<AtomicBool>; 2],
    current: Arc<CurrentProbe>,
) -> anyhow::Result<Receiver<UiEvent>> {
    // If lines cannot be printed as fast as echoes arrive, the next message waits, as in ping(8).
    let (sender, events) = mpsc::sync_channel(EVENT_QUEUE_LEN);
    let signals = sender.clone();
    let on_signal = move |signal| {
        let event = if signal == SIGQUIT {
            UiEvent::Status
        } else if interrupted.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED)
        } else {
            UiEvent::Interrupted
        };
        // If the queue is full, the receiver is awake and will see the flag.
        let _ = signals.try_send(event);
    };
    on_each_signal(on_signal).context("cannot wait for signals")?;
    let pinging = move || {
        let mut observe = |event| {
            if let Event::Sending { seq, due } = event {
                current.set(seq, due);
                return ControlFlow::Continue(());
            }
            match sender.send(UiEvent::Event(event)) {
                Ok(()) if !over.load(Ordering::Relaxed) => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        };
        // It fails only if the first connection does.
        let run = || ping::run(&config, &ping, &mut observe);
        let result = wait_for_server(wait, || over.load(Ordering::Relaxed), run);
        // Fails only if the program is about to exit.
        let _ = sender.send(UiEvent::End(result));
    };
    thread::Builder::new().name("ping".to_owned()).spawn(pinging).map_err(Error::Setup)?;
    Ok(events)
}

/// The latest message and when it was due. Not reported through the channel: that would wake the
/// printing thread just as the echo is being timed.
#[derive(Default)]
struct CurrentProbe(Mutex<Option<(u64, Instant)>>);

impl CurrentProbe {
    fn set(&self, seq: u64, due: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((seq, due));
    }

    fn message(&self) -> Option<(u64, Instant)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
