//! The stages of a run, and what is measured in them.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::bench::stats::{IntervalStats, Totals};
use crate::bench::workload::{RunLimit, Workload};
use crate::system::{process_cpu_time, thread_cpu_time};

/// Stage of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Opening the first connections.
    Connecting,
    /// Sending without measuring.
    WarmUp,
    /// Sending and measuring.
    Measuring,
    /// Sending only what was due before the end. Echoes still count as samples.
    Draining,
    /// Finishing a run that measured nothing.
    Closing,
}

/// Measures one worker's part of a run. Times are nanoseconds since the start of the run.
pub(super) struct Meter {
    pub(super) stage: Stage,
    pub(super) totals: Totals,
    stats: IntervalStats,
    /// Empty statistics, returned by the collecting thread.
    spares: Receiver<IntervalStats>,
    server_pid: Option<u32>,
    warmup: u64,
    interval: u64,
    /// When sending ends.
    end: u64,
    /// End of the warm-up, then of each interval.
    next_mark: u64,
    /// When measuring began, and the CPU time of this thread and of the server by then.
    started_at: u64,
    cpu_before: Option<Duration>,
    server_cpu_before: Option<Duration>,
}

impl Meter {
    pub(super) fn new(workload: &Workload, spares: Receiver<IntervalStats>) -> Self {
        let warmup = workload.warmup.as_nanos() as u64;
        Self {
            stage: Stage::Connecting,
            totals: Totals::default(),
            stats: IntervalStats::new(workload.rate.is_some()),
            spares,
            server_pid: workload.server_pid,
            warmup,
            interval: (workload.interval.as_nanos() as u64).max(1),
            end: match workload.limit {
                RunLimit::Duration(duration) => warmup + duration.as_nanos() as u64,
                RunLimit::Messages(_) => u64::MAX,
            },
            next_mark: warmup,
            started_at: 0,
            cpu_before: None,
            server_cpu_before: None,
        }
    }

    /// When the time to send is over.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The measuring window.
    pub(super) fn window(&self) -> (u64, u64) {
        (self.started_at.min(self.end), self.end)
    }

    /// When the stage or the interval has to be checked next.
    pub(super) fn next_check(&self) -> u64 {
        self.next_mark.min(self.end)
    }

    /// Enters the next stage or interval when its time has come. Returns what was measured in an
    /// interval that has ended, and the number of its end: the ends of all workers' intervals have
    /// the same times, numbered from 1.
    ///
    /// To be called after each wait and before any event is handled: what arrived while the thread
    /// was delayed does not belong to the earlier interval, which lasts until now.
    pub(super) fn update(&mut self, now: u64) -> Option<(u64, IntervalStats)> {
        if !matches!(self.stage, Stage::WarmUp | Stage::Measuring) || now < self.next_check() {
            return None;
        }
        // Of several ends that passed while the thread was delayed, this is the last one.
        let passed = now.saturating_sub(self.next_mark) / self.interval;
        let mark = self.next_mark + self.interval * passed;
        self.next_mark = mark + self.interval;
        if self.stage == Stage::WarmUp {
            self.stage = Stage::Measuring;
            (self.started_at, self.cpu_before) = (now, thread_cpu_time());
            self.server_cpu_before = self.server_cpu_time();
            self.stats.span.start = now - self.warmup;
            return None;
        }
        if now >= self.end {
            return None;
        }
        // Without a spare, the interval goes on: allocating a histogram here would disturb the
        // measurement.
        let mut spare = self.spares.try_recv().ok()?;
        self.stats.span.end = now - self.warmup;
        spare.span.start = self.stats.span.end;
        let number = (mark - self.warmup) / self.interval;
        Some((number, std::mem::replace(&mut self.stats, spare)))
    }

    /// Statistics for the echoes of now, if they are samples.
    pub(super) fn samples(&mut self) -> Option<&mut IntervalStats> {
        matches!(self.stage, Stage::Measuring | Stage::Draining).then_some(&mut self.stats)
    }

    /// Counts echoes. Returns whether they are in the measuring window.
    pub(super) fn count(&mut self, echoes: u64) -> bool {
        self.totals.received += echoes;
        let is_measuring = self.stage == Stage::Measuring;
        self.stats.echoes += if is_measuring { echoes } else { 0 };
        is_measuring
    }

    /// What was measured in all and in the last interval, and the number at which that would have
    /// ended.
    pub(super) fn finish(self) -> (u64, IntervalStats, Totals) {
        ((self.next_mark - self.warmup) / self.interval, self.stats, self.totals)
    }

    /// Ends the measuring window, with so many echoes in it.
    pub(super) fn close(&mut self, now: u64, echoes: u64) {
        self.end = self.end.min(now);
        if self.stage != Stage::Measuring {
            // Without a window no later echo is a sample.
            self.stage = Stage::Closing;
            return;
        }
        self.stage = Stage::Draining;
        self.stats.span.end = now - self.warmup;
        let window = Duration::from_nanos(now - self.started_at);
        (self.totals.window, self.totals.echoes) = (window, echoes);
        let cpu = thread_cpu_time().zip(self.cpu_before).map(|(now, before)| now - before);
        self.totals.cpu = cpu;
        self.totals.busy = cpu.map(|cpu| cpu.as_secs_f64() / window.as_secs_f64().max(1e-9));
        let server_cpu = self.server_cpu_before.zip(self.server_cpu_time());
        self.totals.server_cpu = server_cpu.map(|(before, now)| before..now);
    }

    fn server_cpu_time(&self) -> Option<Duration> {
        process_cpu_time(self.server_pid?).ok()
    }
}
