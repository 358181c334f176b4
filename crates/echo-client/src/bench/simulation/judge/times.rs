//! Whether the times are those of what happened, and the echoes those of the measuring window.

use hdrhistogram::Histogram;

use super::{Run, assert_count};
use crate::bench::simulation::truth::{CLOCK, Count, Link};
use crate::bench::workload::RunLimit;

/// How late the loop is at most in an exact history, where it does nothing but what was timed.
const LATE: u64 = 3_000_000;

/// Times that are known, each between two bounds.
#[derive(Default)]
struct Times {
    least: Vec<u64>,
    most: Vec<u64>,
}

impl Times {
    fn add(&mut self, least: u64, most: u64) {
        self.least.push(least);
        self.most.push(most);
    }

    /// Panics unless the histogram has these times, up to its resolution: of both in order, each time is between its
    /// bounds.
    fn assert_in(mut self, histogram: &Histogram<u64>, what: &str) {
        self.least.sort_unstable();
        self.most.sort_unstable();
        assert_eq!(histogram.len(), self.least.len() as u64, "samples of {what}");
        let mut index = 0;
        for value in histogram.iter_recorded() {
            let at = value.value_iterated_to();
            let (low, high) = (histogram.lowest_equivalent(at), histogram.highest_equivalent(at));
            for _ in 0..value.count_at_value() {
                let (least, most) = (self.least[index], self.most[index]);
                assert!(
                    least <= high && low <= most,
                    "sample {index} of {what} is {low} to {high} ns, and not {least} to {most}"
                );
                index += 1;
            }
        }
    }
}

impl Run<'_> {
    /// When the measuring window ended; when the run began, if there was none.
    pub(super) fn window_end(&self) -> u64 {
        self.window().map_or(self.began, |(_, end)| end)
    }

    /// The measuring window.
    pub(super) fn window(&self) -> Option<(u64, u64)> {
        let total = &self.facts.collector.total;
        let zero = self.began + self.case.workload.warmup.as_nanos() as u64;
        // Its time may have stood still.
        let is_any = !self.totals().window.is_zero() || self.totals().echoes > 0;
        is_any.then(|| (zero + total.span.start, zero + total.span.end))
    }

    pub(super) fn judge_times(&self) {
        self.judge_connects();
        if self.case.is_exact() {
            self.links.iter().for_each(|link| self.judge_lateness(link));
        }
        let Some((from, to)) = self.window() else {
            assert_eq!(self.totals().echoes, 0, "echoes without a window");
            return;
        };
        self.judge_window(from, to);
        self.judge_backlog(from, to);
        self.judge_samples(from);
    }

    fn judge_connects(&self) {
        let mut times = Times::default();
        for active in self.links.iter().map(|link| link.active) {
            if let Some(up_at) = active.up_at {
                let took = up_at - active.started_at;
                times.add(took, took + 3 * CLOCK);
            }
        }
        times.assert_in(&self.totals().connect, "the time to connect");
    }

    /// What arrives is received at once.
    fn judge_lateness(&self, link: &Link<'_>) {
        for (end, at) in &link.active.receipts {
            let arrived = link.active.arrivals.iter().find(|(arrived, _)| arrived >= end);
            // Nothing is received between connecting and the beginning.
            let late =
                arrived.map_or(0, |(_, arrived)| at.saturating_sub(self.began.max(*arrived)));
            assert!(late < LATE, "connection {}: bytes wait for {late} ns", link.index);
        }
    }

    fn judge_window(&self, from: u64, to: u64) {
        let (workload, totals) = (self.case.workload, self.totals());
        let zero = self.began + workload.warmup.as_nanos() as u64;
        assert!(from >= zero, "measuring begins in the warm-up");
        if self.case.is_exact() {
            assert!(from - zero < LATE, "measuring begins late");
        }
        if let RunLimit::Duration(duration) = workload.limit
            && !totals.is_interrupted
        {
            let end = zero + duration.as_nanos() as u64;
            assert!(to >= end, "measuring ends early");
            assert!(!self.case.is_exact() || to - end < LATE, "measuring ends late");
        }
        let echoes = |number: usize| self.links_of(number).flat_map(|it| it.completed.clone());
        for (number, share) in totals.shares.iter().enumerate() {
            assert_count(Count::between(echoes(number), from, to), *share, "echoes of one");
        }
        assert_eq!(totals.echoes, totals.shares.iter().sum::<u64>(), "echoes in the window");
        let mut last = from;
        for (span, found, _) in &self.facts.intervals {
            let (start, end) = (zero + span.start, zero + span.end);
            assert_eq!(start, last, "an interval begins where the last one has ended");
            last = end;
            let all = (0..workload.connections).flat_map(echoes);
            assert_count(Count::between(all, start, end), *found, "echoes in an interval");
        }
        assert_eq!(last, to, "the last interval ends with the window");
        let sum: u64 = self.facts.intervals.iter().map(|(_, echoes, _)| echoes).sum();
        assert_eq!(sum, totals.echoes, "echoes in all intervals");
    }

    /// Messages due in the window, and those that were due by its end and had not been sent.
    fn judge_backlog(&self, from: u64, to: u64) {
        let (workload, totals) = (self.case.workload, self.totals());
        let mut end = to - self.began;
        if let RunLimit::Duration(duration) = workload.limit {
            end = end.min((workload.warmup + duration).as_nanos() as u64);
        }
        let from = (from - self.began).min(end);
        let (mut due, mut backlog) = (0, Count::default());
        for number in 0..workload.connections {
            if workload.rate.is_none() {
                break;
            }
            let until = self.due_before(number, end);
            due += until - self.due_before(number, from);
            let started = || self.links_of(number).flat_map(|link| link.started.iter());
            let surely = started().filter(|at| **at < to).count() as u64;
            let perhaps = started().filter(|at| **at <= to).count() as u64;
            backlog.least += until.saturating_sub(perhaps);
            backlog.most += until.saturating_sub(surely);
        }
        assert_eq!(totals.due, due, "messages due in the window");
        assert_count(backlog, totals.backlog, "messages of backlog");
    }

    /// Latency, service time and send lag of every message that came back since measuring began.
    fn judge_samples(&self, from: u64) {
        let (mut latency, mut service, mut lag) =
            (Times::default(), Times::default(), Times::default());
        let is_open_loop = self.case.workload.rate.is_some();
        let suspended = self.world.suspended;
        for number in 0..self.case.workload.connections {
            let mut due = self.due(number);
            for link in self.links_of(number) {
                for (nth, started) in link.started.iter().copied().enumerate() {
                    let due = due.next().map(|due| due + self.began);
                    assert!(due.is_none_or(|due| started >= due), "a message is sent early");
                    let Some(completed) = link.completed.get(nth).copied() else { continue };
                    if completed == from {
                        // Received before measuring began, or after it: only the worker knows.
                        return;
                    }
                    if completed < from {
                        continue;
                    }
                    let took = completed - started;
                    let (least, most) = (took, took + 3 * CLOCK + suspended);
                    match due {
                        None => latency.add(least, most),
                        Some(due) => {
                            latency.add(completed - due, completed - due + CLOCK);
                            service.add(least, most);
                            let (least, most) = self.send_lag(link, nth, started, due);
                            lag.add(least, most);
                        }
                    }
                }
            }
        }
        let total = &self.facts.collector.total;
        latency.assert_in(&total.latency, "latency");
        assert_eq!(total.open.is_some(), is_open_loop);
        if let Some(open) = &total.open {
            service.assert_in(&open.service, "service time");
            lag.assert_in(&open.send_lag, "send lag");
        }
    }

    /// How much later than a punctual client it sent a message.
    fn send_lag(&self, link: &Link<'_>, nth: usize, started: u64, due: u64) -> (u64, u64) {
        let most = started - due;
        if nth >= self.case.workload.depth {
            // Echoes had to make room for it.
            return (0, most);
        }
        let up_at = link.active.up_at.unwrap_or(due);
        let least = started - due.max(up_at);
        (
            least.saturating_sub(3 * CLOCK + self.world.suspended),
            most.min(least + 3 * CLOCK + self.world.suspended),
        )
    }
}
