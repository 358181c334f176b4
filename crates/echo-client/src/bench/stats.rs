//! What the workers measure: per interval, and in total at the end.

use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::Error;
use crate::distribution::histogram;
use crate::run::{Causes, Failure};

/// Failures kept with their message. Further ones are only counted.
const MAX_FAILURES: usize = 10;

/// Latencies of one interval, in nanoseconds.
#[derive(Debug)]
pub(super) struct IntervalStats {
    /// From the time the message was due. In a closed loop that is when it was sent.
    pub(super) latency: Histogram<u64>,
    /// From the time the message was sent, if that may differ.
    pub(super) service: Option<Histogram<u64>>,
    /// Echoes that arrived in the interval. The last interval has more samples than echoes: those
    /// of messages still in flight at its end.
    pub(super) echoes: u64,
}

impl IntervalStats {
    pub(super) fn new(is_open_loop: bool) -> Self {
        Self { latency: histogram(), service: is_open_loop.then(histogram), echoes: 0 }
    }

    /// Records an echo that arrived at `now`.
    pub(super) fn sample(&mut self, due: u64, sent: u64, now: u64) {
        self.latency.saturating_record(now.saturating_sub(due));
        if let Some(service) = &mut self.service {
            service.saturating_record(now.saturating_sub(sent));
        }
    }

    /// Forgets everything, but keeps its memory.
    pub(super) fn reset(&mut self) {
        self.latency.reset();
        self.service.iter_mut().for_each(Histogram::reset);
        self.echoes = 0;
    }

    pub(super) fn add(&mut self, other: &Self) {
        let same_bounds = "all histograms have the same bounds";
        self.latency.add(&other.latency).expect(same_bounds);
        if let (Some(service), Some(other)) = (&mut self.service, &other.service) {
            service.add(other).expect(same_bounds);
        }
        self.echoes += other.echoes;
    }
}

/// Totals of one worker, or of all.
#[derive(Debug)]
pub(super) struct Totals {
    /// Length of the measuring window. Workers leave it at slightly different times.
    pub(super) window: Duration,
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
