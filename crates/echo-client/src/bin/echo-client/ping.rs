//! `echo-client ping`: a line for each round trip, and a summary.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
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

use crate::cli::PingOptions;
use crate::print::print_line;
use crate::signals::{INTERRUPTED, SIGQUIT, on_each_signal};

/// Replies from which on percentiles are shown.
const ENOUGH: u64 = 100;
/// Events that may wait to be printed.
const EVENTS: usize = 1024;

/// What the terminal hears of.
enum News {
    Event(Event),
    /// SIGQUIT.
    Status,
    /// Ctrl-C or SIGTERM. There is a flag for it too, because it must not wait for a place here.
    Interrupted,
    End(Result<(), Error>),
}

/// Pings until the count or the deadline is reached or Ctrl-C is pressed. Succeeds if every message came
/// back right.
pub(crate) fn run(config: Config, ping: Ping, options: &PingOptions) -> anyhow::Result<ExitCode> {
    let mut report = Report::new(&ping, options);
    let (under_way, interrupted) = (Arc::new(UnderWay::default()), Arc::default());
    let news = start(config, ping, Arc::clone(&under_way), Arc::clone(&interrupted))?;
    let deadline = options.deadline().map(|deadline| Instant::now() + deadline);
    // Both are looked at before each event, of which there may be more than can be printed.
    while !interrupted.load(Ordering::Relaxed)
        && deadline.is_none_or(|deadline| Instant::now() < deadline)
    {
        let next = match deadline {
            Some(deadline) => news.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(News::Event(event)) => {
                if let Err(error) = report.tell(&event) {
                    return report.without_reader(error);
                }
            }
            Ok(News::Status) => report.status(),
            // Without a connection to begin with there is nothing to sum up.
            Ok(News::End(Err(error))) => return Err(error.into()),
            Ok(News::Interrupted | News::End(Ok(()))) | Err(_) => break,
        }
    }
    report.give_up(under_way.message());
    match report.conclude() {
        Ok(()) => Ok(report.verdict()),
        Err(error) => report.without_reader(error),
    }
}

/// Pings on a thread of its own, so that a signal need not wait for a connection or an echo.
fn start(
    config: Config,
    ping: Ping,
    under_way: Arc<UnderWay>,
    interrupted: Arc<AtomicBool>,
) -> anyhow::Result<Receiver<News>> {
    // Where lines cannot be printed as fast as echoes come, the next message waits, as with ping(8).
    let (sender, news) = mpsc::sync_channel(EVENTS);
    let signals = sender.clone();
    let on_signal = move |signal| {
        let told = if signal == SIGQUIT {
            News::Status
        } else if interrupted.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED)
        } else {
            News::Interrupted
        };
        // Where there is no place for it, whoever takes the events away is awake.
        let _ = signals.try_send(told);
    };
    on_each_signal(on_signal).context("cannot wait for signals")?;
    let pinging = move || {
        let result = ping::run(&config, &ping, |event| {
            if let Event::Sending { seq } = event {
                under_way.set(seq);
                return ControlFlow::Continue(());
            }
            match sender.send(News::Event(event)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        // If nobody listens any more, the program is at its end.
        let _ = sender.send(News::End(result));
    };
    thread::Builder::new().name("ping".to_owned()).spawn(pinging).map_err(Error::Setup)?;
    Ok(news)
}

/// The latest message and when it was sent. It is not told through the channel, which would wake the
/// terminal's thread just when the echo is to be timed.
#[derive(Default)]
struct UnderWay(Mutex<Option<(u64, Instant)>>);

impl UnderWay {
    fn set(&self, seq: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((seq, Instant::now()));
    }

    fn message(&self) -> Option<(u64, Instant)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was seen, and how to tell it.
struct Report {
    summary: Summary,
    started: Instant,
    /// The wall clock at `started`.
    started_at: SystemTime,
    peer: Option<SocketAddr>,
    size: u32,
    quiet: bool,
    timestamps: bool,
}

impl Report {
    fn new(ping: &Ping, options: &PingOptions) -> Self {
        Self {
            summary: Summary::default(),
            started: Instant::now(),
            started_at: SystemTime::now(),
            peer: None,
            size: ping.size,
            quiet: options.quiet,
            timestamps: options.timestamps,
        }
    }

    fn tell(&mut self, event: &Event) -> io::Result<()> {
        self.summary.note(event);
        match event {
            // One that is made again is told of when it echoes.
            Event::Connected { peer, .. } if self.peer.replace(*peer).is_some() => Ok(()),
            Event::Connected { peer, took } => {
                let (size, took) = (self.size, ms(*took));
                self.line(&format!("PING {peer}: {size} bytes, connected in {took} ms"))
            }
            Event::Recovered { outage } => {
                let Outage { away, first, last, .. } = outage;
                let (away, lost) = (away.as_secs_f64(), last + 1 - first);
                let peer = self.peer.expect("an echo comes on a connection");
                self.line(&format!("{peer} echoes again, {away:.3} s away, {lost} lost"))
            }
            Event::Reply { .. } if self.quiet => Ok(()),
            Event::Reply { seq, time } => {
                let peer = self.peer.expect("a reply comes on a connection");
                let size = self.size;
                self.line(&format!("{size} bytes from {peer}: seq={seq} time={} ms", ms(*time)))
            }
            Event::Sending { .. } => Ok(()),
            Event::Failed { .. } if self.quiet => Ok(()),
            Event::Failed { seq, error, .. } => self.line(&format!("seq={seq} lost: {error}")),
        }
    }

    fn line(&self, line: &str) -> io::Result<()> {
        if !self.timestamps {
            return print_line(line);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        print_line(&format!("[{}.{:06}] {line}", now.as_secs(), now.subsec_micros()))
    }

    /// At the end, counts a message as lost that is under way for longer than any echo took.
    fn give_up(&mut self, latest: Option<(u64, Instant)>) {
        let Some((seq, sent_at)) = latest else { return };
        let longest = Duration::from_nanos(self.summary.times.max_ns);
        if seq > self.summary.transmitted && sent_at.elapsed() > longest {
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
        // Where stderr is closed, nobody wants to know.
        let _ = writeln!(io::stderr(), "{line}");
    }

    fn conclude(&self) -> io::Result<()> {
        let Summary { transmitted, received, times, connects, .. } = &self.summary;
        if let Some(peer) = self.peer {
            print_line("")?;
            print_line(&format!("--- {peer} ping statistics ---"))?;
        }
        let (loss, time) = (self.loss(), self.started.elapsed().as_millis());
        print_line(&format!(
            "{transmitted} messages transmitted, {received} received, {loss} loss, time {time}ms"
        ))?;
        if *received > 0 {
            let (figures, mdev) = (min_avg_max(times), ms_of_ns(times.histogram.stdev()));
            print_line(&format!("rtt min/avg/max/mdev = {figures}/{mdev} ms"))?;
        }
        if *received >= ENOUGH {
            let at = |quantile| ms_of_ns(times.histogram.value_at_quantile(quantile) as f64);
            let figures = [0.5, 0.99].map(at);
            print_line(&format!("rtt p50/p99 = {} ms", figures.join("/")))?;
        }
        match connects.histogram.len() {
            0 => {}
            1 => print_line(&format!("connect = {} ms", ms_of_ns(connects.max_ns as f64)))?,
            count => {
                let times = min_avg_max(connects);
                print_line(&format!("connect min/avg/max = {times} ms, {count} connections"))?;
            }
        }
        self.conclude_outages()
    }

    fn conclude_outages(&self) -> io::Result<()> {
        let Summary { outages, outages_in_all, outage, .. } = &self.summary;
        for outage in outages {
            print_line(&self.outage(outage))?;
        }
        let untold = outages_in_all - outages.len() as u64;
        if untold > 0 {
            print_line(&format!("and {untold} more"))?;
        }
        if let Some(outage) = outage {
            let so_far = Outage { away: outage.since.elapsed(), ..*outage };
            print_line(&format!("{}, and not at its end", self.outage(&so_far)))?;
        }
        Ok(())
    }

    /// What the exit code says.
    fn verdict(&self) -> ExitCode {
        let all_came = self.summary.received > 0 && self.summary.lost() == 0;
        ExitCode::from(u8::from(!all_came))
    }

    /// The end of a run of which nobody can be told. That the reader of stdout has left is no failure of
    /// the echo.
    fn without_reader(&self, error: io::Error) -> anyhow::Result<ExitCode> {
        match error.kind() {
            ErrorKind::BrokenPipe => Ok(self.verdict()),
            _ => Err(error).context("cannot write to stdout"),
        }
    }

    fn outage(&self, outage: &Outage) -> String {
        let since = self.started_at + outage.since.saturating_duration_since(self.started);
        let since = humantime::format_rfc3339_millis(since);
        let Outage { first, last, away, .. } = outage;
        format!("outage {:.3} s from {since}, seq {first} to {last}", away.as_secs_f64())
    }

    fn loss(&self) -> String {
        let Summary { transmitted, .. } = self.summary;
        let percent = 100.0 * self.summary.lost() as f64 / transmitted.max(1) as f64;
        // As many digits as it takes not to call a small loss none.
        if percent.fract() == 0.0 { format!("{percent}%") } else { format!("{percent:.3}%") }
    }
}

fn min_avg_max(times: &Times) -> String {
    let Times { histogram, min_ns, max_ns } = times;
    [*min_ns as f64, histogram.mean(), *max_ns as f64].map(ms_of_ns).join("/")
}

fn ms(time: Duration) -> String {
    ms_of_ns(time.as_nanos() as f64)
}

/// Three digits after the point, as ping(8) does it.
fn ms_of_ns(ns: f64) -> String {
    format!("{:.3}", ns / 1e6)
}
