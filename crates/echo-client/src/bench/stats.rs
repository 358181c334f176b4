//! What the workers measure: per interval, and in total at the end.

use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::connection::SentMessage;
use crate::Error;
use crate::distribution::histogram;
use crate::run::{Causes, Failure};

/// Failures kept with their message. Further ones are only counted.
const MAX_FAILURES: usize = 10;

/// What was measured in one interval. Times are nanoseconds.
#[derive(Debug)]
pub(super) struct IntervalStats {
    /// When the interval began and ended, from the end of the warm-up. It is longer than requested
    /// if the thread was delayed, or if nothing was there to hand it over to.
    pub(super) span: Range<u64>,
    /// From the time the message was due. In a closed loop that is when it was sent.
    pub(super) latency: Histogram<u64>,
    /// In an open loop.
    pub(super) open: Option<OpenLoopStats>,
    /// Echoes that arrived in the interval. The last interval has more samples than echoes: those
    /// of messages still in flight at its end.
    pub(super) echoes: u64,
}

/// Times that a closed loop does not have: there a message is due when it is sent.
#[derive(Debug)]
pub(super) struct OpenLoopStats {
    /// From the time the message was sent until its echo had arrived.
    pub(super) service: Histogram<u64>,
    /// From the time at which a punctual client would have sent the message until it was sent.
    pub(super) send_lag: Histogram<u64>,
}

impl IntervalStats {
    pub(super) fn new(is_open_loop: bool) -> Self {
        let open = || OpenLoopStats { service: histogram(), send_lag: histogram() };
        Self { span: 0..0, latency: histogram(), open: is_open_loop.then(open), echoes: 0 }
    }

    /// Records an echo that arrived at `now`.
    pub(super) fn sample(&mut self, message: SentMessage, now: u64) {
        let SentMessage { due, sent, punctual } = message;
        self.latency.saturating_record(now.saturating_sub(due));
        if let Some(OpenLoopStats { service, send_lag }) = &mut self.open {
            service.saturating_record(now.saturating_sub(sent));
            send_lag.saturating_record(sent.saturating_sub(punctual));
        }
    }

    /// Forgets everything, but keeps its memory.
    pub(super) fn reset(&mut self) {
        self.latency.reset();
        if let Some(OpenLoopStats { service, send_lag }) = &mut self.open {
            service.reset();
            send_lag.reset();
        }
        (self.span, self.echoes) = (0..0, 0);
    }

    /// Adds what another worker measured at the same time, or the same one next.
    pub(super) fn add(&mut self, other: &Self) {
        let same_bounds = "all histograms have the same bounds";
        self.latency.add(&other.latency).expect(same_bounds);
        if let (Some(open), Some(other)) = (&mut self.open, &other.open) {
            open.service.add(&other.service).expect(same_bounds);
            open.send_lag.add(&other.send_lag).expect(same_bounds);
        }
        self.echoes += other.echoes;
        self.span = if self.span.is_empty() {
            other.span.clone()
        } else {
            self.span.start.min(other.span.start)..self.span.end.max(other.span.end)
        };
    }
}

/// Totals of one worker, or of all.
#[derive(Debug)]
pub(super) struct Totals {
    /// Length of the measuring window. Workers leave it at slightly different times.
    pub(super) window: Duration,
    /// Whether the run was stopped before the end of the window.
    pub(super) is_interrupted: bool,
    /// Echoes in the window.
    pub(super) echoes: u64,
    /// Messages sent, and messages that came back unchanged.
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
    pub(super) unsent: u64,
    /// Messages due in the window, and those of them or before that were not sent at its end.
    pub(super) due: u64,
    pub(super) backlog: u64,
    /// Times to connect, in nanoseconds.
    pub(super) connect: Histogram<u64>,
    pub(super) failed: u64,
    pub(super) causes: Causes,
    pub(super) incidents: Vec<Failure>,
    /// Echoes in the window, per connection.
    pub(super) shares: Vec<u64>,
    /// CPU time in the window, and the utilisation of the busiest thread.
    pub(super) cpu: Option<Duration>,
    pub(super) busy: Option<f64>,
    /// CPU time of the server's process at the start and the end of the window.
    pub(super) server_cpu: Option<Range<Duration>>,
    pub(super) retransmits: Option<u64>,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            window: Duration::ZERO,
            is_interrupted: false,
            echoes: 0,
            sent: 0,
            received: 0,
            sent_bytes: 0,
            received_bytes: 0,
            unsent: 0,
            due: 0,
            backlog: 0,
            connect: histogram(),
            failed: 0,
            causes: Causes::default(),
            incidents: Vec::new(),
            shares: Vec::new(),
            cpu: None,
            busy: None,
            server_cpu: None,
            retransmits: None,
        }
    }
}

impl Totals {
    /// Counts a failed connection: `at` microseconds into the run, after `offset` correct bytes.
    pub(super) fn failure(&mut self, connection: usize, at: u64, offset: u64, error: &Error) {
        self.failed += 1;
        let (cause, count) = self.causes.counter(error);
        *count += 1;
        if self.incidents.len() < MAX_FAILURES {
            let (cause, text, hint) = (cause.to_owned(), error.to_string(), error.hint());
            let connection = connection + 1;
            self.incidents.push(Failure { connection, at_us: at, offset, cause, text, hint });
        }
    }

    /// CPU time that the server's process used in the window.
    pub(super) fn server_cpu_used(&self) -> Option<Duration> {
        self.server_cpu.as_ref().map(|window| window.end.saturating_sub(window.start))
    }

    /// Adds the totals of another worker.
    pub(super) fn add(&mut self, other: Self) {
        self.window = self.window.max(other.window);
        self.is_interrupted |= other.is_interrupted;
        self.echoes += other.echoes;
        self.sent += other.sent;
        self.received += other.received;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.unsent += other.unsent;
        self.due += other.due;
        self.backlog += other.backlog;
        self.connect.add(&other.connect).expect("all histograms have the same bounds");
        self.failed += other.failed;
        self.causes = self.causes.plus(other.causes);
        self.incidents.extend(other.incidents);
        self.incidents.sort_by_key(|failure| failure.at_us);
        self.incidents.truncate(MAX_FAILURES);
        self.shares.extend(other.shares);
        self.cpu = sum(self.cpu, other.cpu);
        self.busy = self.busy.into_iter().chain(other.busy).reduce(f64::max);
        // Each worker has read the clock of the same process: take the first start and the last
        // end.
        let windows = self.server_cpu.take().into_iter().chain(other.server_cpu);
        self.server_cpu =
            windows.reduce(|one, other| one.start.min(other.start)..one.end.max(other.end));
        self.retransmits = sum(self.retransmits, other.retransmits);
    }
}

/// The sum of the known values.
pub(super) fn sum<T: std::ops::Add<Output = T>>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).reduce(|one, other| one + other)
}
