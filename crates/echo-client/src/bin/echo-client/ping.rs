//! `echo-client ping`: one line per round trip, and a summary.

use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use echo_client::ping::{self, Event, Outage, Ping, Summary, Times};
use echo_client::{Config, Error};
use echo_proto::one_line;

use crate::cli::PingOptions;
use crate::print::{fit_stderr, print_line};
use crate::server_wait::wait_for_server;
use crate::signals::{INTERRUPTED, SIGQUIT, on_each_signal};

/// Percentiles are shown from this many replies on.
const MIN_FOR_PERCENTILES: u64 = 100;
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

/// Pings until the count or the deadline is reached or Ctrl-C is pressed. Succeeds if every message
/// came back unchanged.
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
    // Checked before each event: there may be more events than can be printed.
    while !interrupted.load(Ordering::Relaxed)
        && deadline.is_none_or(|deadline| Instant::now() < deadline)
    {
        let next = match deadline {
            Some(deadline) => {
                events.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            }
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(UiEvent::Event(event)) => {
                if let Err(error) = report.print(&event) {
                    return report.output_error(error);
                }
            }
            Ok(UiEvent::Status) => report.status(),
            // Without a first connection there is nothing to summarise.
            Ok(UiEvent::End(Err(error))) => return Err(error.into()),
            Ok(UiEvent::Interrupted | UiEvent::End(Ok(()))) | Err(_) => break,
        }
    }
    // Results that had come by now are part of the run, even if its output was blocked.
    over.store(true, Ordering::Relaxed);
    for event in events.try_iter() {
        if let UiEvent::Event(event) = event
            && let Err(error) = report.print(&event)
        {
            return report.output_error(error);
        }
    }
    report.count_pending(current.message());
    match report.print_summary() {
        Ok(()) => Ok(report.exit_code()),
        Err(error) => report.output_error(error),
    }
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

/// What has happened, and how to print it.
struct Report {
    summary: Summary,
    started: Instant,
    /// Wall-clock time at `started`.
    started_at: SystemTime,
    /// The host, if it was given by name.
    name: Option<String>,
    peer: Option<SocketAddr>,
    size: u32,
    interval: Duration,
    count: Option<u64>,
    quiet: bool,
    timestamps: bool,
    has_hinted: bool,
}

impl Report {
    fn new(config: &Config, ping: &Ping, options: &PingOptions) -> Self {
        let host = &config.host;
        let is_name = !host.is_empty() && host.parse::<IpAddr>().is_err();
        Self {
            summary: Summary::default(),
            started: Instant::now(),
            started_at: SystemTime::now(),
            name: is_name.then(|| one_line(host).to_string()),
            peer: None,
            size: ping.size,
            interval: ping.interval,
            count: ping.count,
            quiet: options.quiet,
            timestamps: options.timestamps,
            has_hinted: false,
        }
    }

    fn print(&mut self, event: &Event) -> io::Result<()> {
        self.summary.record(event);
        match event {
            // A reopened connection is reported once it echoes.
            Event::Connected { peer, .. } if self.peer.replace(*peer).is_some() => Ok(()),
            Event::Connected { peer, took } => {
                let (server, size, took) = (self.server(*peer), self.size, ms(*took));
                self.line(&format!("PING {server}: {size} bytes, connected in {took} ms"))
            }
            Event::Recovered { outage } => {
                let Outage { duration, first, last, .. } = outage;
                let (duration, lost) = (duration.as_secs_f64(), last + 1 - first);
                let peer = self.peer.expect("an echo comes on a connection");
                self.line(&format!("{peer} echoes again after {duration:.3} s, {lost} lost"))
            }
            Event::Reply { .. } if self.quiet => Ok(()),
            Event::Reply { seq, time } => {
                let peer = self.peer.expect("a reply comes on a connection");
                let size = self.size;
                self.line(&format!("{size} bytes from {peer}: seq={seq} time={} ms", ms(*time)))
            }
            Event::Sending { .. } => Ok(()),
            Event::Failed { .. } if self.quiet => Ok(()),
            Event::Failed { seq, error, .. } => {
                let Some(error) = error else {
                    return self.line(&format!("seq={seq} lost: not sent, there was no echo"));
                };
                self.line(&format!("seq={seq} lost: {error}"))?;
                self.print_hint(error);
                Ok(())
            }
        }
    }

    /// The name, if it has one, and the address.
    fn server(&self, peer: SocketAddr) -> String {
        self.name.as_ref().map_or_else(|| peer.to_string(), |name| format!("{name} ({peer})"))
    }

    /// Prints a hint with the first failure, unless there has been an echo: then the settings are
    /// right and it is an outage.
    fn print_hint(&mut self, error: &Error) {
        if self.summary.received == 0
            && let Some(hint) = error.hint()
            && !std::mem::replace(&mut self.has_hinted, true)
        {
            let _ = writeln!(io::stderr(), "{}", fit_stderr(&format!("hint: {hint}")));
        }
    }

    fn line(&self, line: &str) -> io::Result<()> {
        if !self.timestamps {
            return print_line(line);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        print_line(&format!("[{}.{:06}] {line}", now.as_secs(), now.subsec_micros()))
    }

    /// At the end, counts what is still undecided: during an outage each message that is due by now
    /// is lost; otherwise the one in flight is, if it has taken longer than any echo did.
    fn count_pending(&mut self, latest: Option<(u64, Instant)>) {
        let Some((seq, due)) = latest.filter(|(seq, _)| *seq > self.summary.transmitted) else {
            return;
        };
        let Some(waited) = Instant::now().checked_duration_since(due) else { return };
        if self.summary.outage.is_some() {
            let intervals = waited.as_nanos().checked_div(self.interval.as_nanos()).unwrap_or(0);
            let last = seq.saturating_add(u64::try_from(intervals).unwrap_or(u64::MAX));
            self.summary.transmitted = last.min(self.count.unwrap_or(u64::MAX));
        } else if waited > Duration::from_nanos(self.summary.times.max_ns()) {
            self.summary.transmitted += 1;
        }
    }

    /// One line on stderr, as ping(8) answers SIGQUIT.
    fn status(&self) {
        let Summary { transmitted, received, times, .. } = &self.summary;
        let mut line = format!("{received}/{transmitted} messages, {} loss", self.loss());
        if *received > 0 {
            line += &format!(", min/avg/max = {} ms", min_avg_max(times));
        }
        // If stderr is closed, there is nowhere to report to.
        let _ = writeln!(io::stderr(), "{line}");
    }

    fn print_summary(&self) -> io::Result<()> {
        let Summary { transmitted, received, times, connects, .. } = &self.summary;
        if let Some(peer) = self.peer {
            print_line("")?;
            print_line(&format!("--- {} ping statistics ---", self.server(peer)))?;
        }
        let (loss, time) = (self.loss(), self.started.elapsed().as_millis());
        print_line(&format!(
            "{transmitted} messages transmitted, {received} received, {loss} loss, time {time} ms"
        ))?;
        if *received > 0 {
            let (figures, mdev) = (min_avg_max(times), ms_of_ns(times.stdev_ns()));
            print_line(&format!("rtt min/avg/max/mdev = {figures}/{mdev} ms"))?;
        }
        if *received >= MIN_FOR_PERCENTILES {
            let at = |quantile| ms_of_ns(times.quantile_ns(quantile) as f64);
            let figures = [0.5, 0.99].map(at);
            print_line(&format!("rtt p50/p99 = {} ms", figures.join("/")))?;
        }
        match connects.count() {
            0 => {}
            1 => print_line(&format!("connect = {} ms", ms_of_ns(connects.max_ns() as f64)))?,
            count => {
                let times = min_avg_max(connects);
                print_line(&format!("connect min/avg/max = {times} ms, {count} connections"))?;
            }
        }
        self.print_outages()
    }

    fn print_outages(&self) -> io::Result<()> {
        let Summary { outages, outage_count, outage, .. } = &self.summary;
        for outage in outages {
            print_line(&self.outage(outage))?;
        }
        let omitted = outage_count - outages.len() as u64;
        if omitted > 0 {
            print_line(&format!("and {omitted} more"))?;
        }
        if let Some(outage) = outage {
            let so_far = Outage { duration: outage.since.elapsed(), ..*outage };
            print_line(&format!("{}, not over yet", self.outage(&so_far)))?;
        }
        Ok(())
    }

    /// The exit code of the run.
    fn exit_code(&self) -> ExitCode {
        let all_came = self.summary.received > 0 && self.summary.lost() == 0;
        ExitCode::from(u8::from(!all_came))
    }

    /// Ends a run whose output cannot be written. A closed stdout is not a failure of the echo.
    fn output_error(&self, error: io::Error) -> anyhow::Result<ExitCode> {
        match error.kind() {
            ErrorKind::BrokenPipe => Ok(self.exit_code()),
            _ => Err(error).context("cannot write to stdout"),
        }
    }

    fn outage(&self, outage: &Outage) -> String {
        let since = self.started_at + outage.since.saturating_duration_since(self.started);
        let since = humantime::format_rfc3339_millis(since);
        let Outage { first, last, duration, .. } = outage;
        format!("outage {:.3} s from {since}, seq {first} to {last}", duration.as_secs_f64())
    }

    fn loss(&self) -> String {
        loss(self.summary.lost(), self.summary.transmitted)
    }
}

/// The share of messages that were lost. However many there were, a loss is not shown as none, and
/// an echo is not shown as no echo.
fn loss(lost: u64, transmitted: u64) -> String {
    let (lost, transmitted) = (u128::from(lost), u128::from(transmitted.max(1)));
    if lost * 100 % transmitted == 0 {
        return format!("{}%", lost * 100 / transmitted);
    }
    let thousandths = (lost * 100_000 + transmitted / 2) / transmitted;
    format!("{:.3}%", thousandths.clamp(1, 99_999) as f64 / 1e3)
}

fn min_avg_max(times: &Times) -> String {
    [times.min_ns() as f64, times.mean_ns(), times.max_ns() as f64].map(ms_of_ns).join("/")
}

fn ms(time: Duration) -> String {
    ms_of_ns(time.as_nanos() as f64)
}

/// Three decimals, as in ping(8).
fn ms_of_ns(ns: f64) -> String {
    format!("{:.3}", ns / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_loss_is_shown_as_none_and_no_echo_as_a_total_loss() {
        assert_eq!(loss(1, 300_000), "0.001%");
        assert_eq!(loss(299_999, 300_000), "99.999%");
        assert_eq!([loss(0, 0), loss(0, 7), loss(7, 7), loss(1, 2)], ["0%", "0%", "100%", "50%"]);
        assert_eq!([loss(1, 6), loss(2, 3)], ["16.667%", "66.667%"]);
    }
}
