//! What the workers measure: by interval what is shown as it goes, and once what is known at the end.

use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::Error;
use crate::distribution::histogram;
use crate::run::{Causes, Failure};

/// Failures that are told in words; more are only counted.
const MAX_FAILURES: usize = 10;

/// The latencies of a time span, in nanoseconds.
#[derive(Debug)]
pub(super) struct IntervalStats {
    /// From when a message was due. In a closed loop that is when it was sent.
    pub(super) latency: Histogram<u64>,
    /// From when it was sent, where that is something else.
    pub(super) service: Option<Histogram<u64>>,
    /// Echoes that came in the span. At the end there are more samples than that: of messages that
    /// were still in flight.
    pub(super) echoes: u64,
}

impl IntervalStats {
    pub(super) fn new(is_open_loop: bool) -> Self {
        Self { latency: histogram(), service: is_open_loop.then(histogram), echoes: 0 }
    }

    /// An echo came at `now` of a message that was due and sent then.
    pub(super) fn sample(&mut self, due: u64, sent: u64, now: u64) {
        self.latency.saturating_record(now.saturating_sub(due));
        if let Some(service) = &mut self.service {
            service.saturating_record(now.saturating_sub(sent));
        }
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

/// What is known at the end of a run: of one worker, or of all.
#[derive(Debug)]
pub(super) struct Totals {
    /// How long was measured. Workers differ by what they were at when the time was over.
    pub(super) window: Duration,
    /// Echoes in it.
    pub(super) echoes: u64,
    /// Messages that were begun to be sent, and those that came back right.
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
    pub(super) unsent: u64,
    /// The time it took to connect, in nanoseconds.
    pub(super) connect: Histogram<u64>,
    pub(super) failed: u64,
    pub(super) causes: Causes,
    pub(super) incidents: Vec<Failure>,
    /// Echoes in the window, by connection.
    pub(super) shares: Vec<u64>,
    /// Processor time in the window, and the highest share of one thread's time.
    pub(super) cpu: Option<Duration>,
    pub(super) busy: Option<f64>,
    /// The server's processor time at the beginning and at the end of the window.
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
    /// A connection failed, `at` microseconds into the run, after `offset` bytes that came back right.
    pub(super) fn failure(&mut self, connection: usize, at: u64, offset: u64, error: &Error) {
        self.failed += 1;
        let (cause, count) = self.causes.counter(error);
        *count += 1;
        if self.incidents.len() < MAX_FAILURES {
            let (cause, text) = (cause.to_owned(), error.to_string());
            let connection = connection + 1;
            self.incidents.push(Failure { connection, at_us: at, offset, cause, text });
        }
    }

    /// The server's processor time in the window.
    pub(super) fn server_cpu_used(&self) -> Option<Duration> {
        self.server_cpu.as_ref().map(|window| window.end.saturating_sub(window.start))
    }

    /// Adds what another worker has.
    pub(super) fn add(&mut self, other: Self) {
        self.window = self.window.max(other.window);
        self.echoes += other.echoes;
        self.sent += other.sent;
        self.received += other.received;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.unsent += other.unsent;
        self.connect.add(&other.connect).expect("all histograms have the same bounds");
        self.failed += other.failed;
        self.causes = self.causes.plus(other.causes);
        self.incidents.extend(other.incidents);
        self.incidents.sort_by_key(|failure| failure.at_us);
        self.incidents.truncate(MAX_FAILURES);
        self.shares.extend(other.shares);
        self.cpu = sum(self.cpu, other.cpu);
        self.busy = self.busy.into_iter().chain(other.busy).reduce(f64::max);
        // Each has measured all of the server: it counts from the first beginning to the last end.
        let windows = self.server_cpu.take().into_iter().chain(other.server_cpu);
        self.server_cpu =
            windows.reduce(|one, other| one.start.min(other.start)..one.end.max(other.end));
        self.retransmits = sum(self.retransmits, other.retransmits);
    }
}

/// The sum of what is known.
pub(super) fn sum<T: std::ops::Add<Output = T>>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).reduce(|one, other| one + other)
}
