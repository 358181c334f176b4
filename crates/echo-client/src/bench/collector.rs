//! Adds up what the workers report.

use std::collections::BTreeMap;

use super::metrics::interval;
use super::stats::{IntervalStats, Totals};
use crate::run::Interval;

/// The results of all workers.
///
/// The intervals of a worker end at common times, which have numbers. A worker that was delayed, or
/// had to wait for the collecting thread, leaves some out: its interval is longer then. An interval
/// of the run ends where one of each worker does.
pub(super) struct Collector {
    is_open_loop: bool,
    /// The last end that each worker has reported, and whether it is done.
    workers: Vec<(u64, bool)>,
    /// What was measured up to each end, and how many workers have reported it.
    parts: BTreeMap<u64, (usize, IntervalStats)>,
    /// What was measured since the end of the last interval of the run.
    current: IntervalStats,
    /// When that was.
    end: Option<u64>,
    pub(super) intervals: Vec<Interval>,
    pub(super) total: IntervalStats,
    pub(super) totals: Totals,
}

impl Collector {
    pub(super) fn new(is_open_loop: bool, workers: usize) -> Self {
        let stats = || IntervalStats::new(is_open_loop);
        Self {
            is_open_loop,
            workers: vec![(0, false); workers],
            parts: BTreeMap::new(),
            current: stats(),
            end: None,
            intervals: Vec::new(),
            total: stats(),
            totals: Totals::default(),
        }
    }

    /// Adds what a worker measured until the end with this number.
    pub(super) fn add(&mut self, worker: usize, number: u64, stats: &IntervalStats) {
        self.workers[worker].0 = number;
        self.total.add(stats);
        let empty = || (0, IntervalStats::new(self.is_open_loop));
        let (reports, part) = self.parts.entry(number).or_insert_with(empty);
        *reports += 1;
        part.add(stats);
    }

    /// Adds the totals of a worker that has reported its last interval.
    pub(super) fn finish(&mut self, worker: usize, totals: Totals) {
        self.workers[worker].1 = true;
        self.totals.add(totals);
    }

    /// Takes the next interval that is complete, and shows it to `observe`. Returns whether there
    /// was one.
    pub(super) fn next(&mut self, observe: impl FnOnce(&Interval, &IntervalStats)) -> bool {
        let reached = |&(number, is_done): &(u64, bool)| if is_done { u64::MAX } else { number };
        let reached = self.workers.iter().map(reached).min().unwrap_or(u64::MAX);
        while let Some((&number, _)) = self.parts.first_key_value()
            && number <= reached
            && let Some((reports, part)) = self.parts.remove(&number)
        {
            self.current.add(&part);
            let is_over = |&&(last, is_done): &&(u64, bool)| is_done && last < number;
            if reports + self.workers.iter().filter(is_over).count() < self.workers.len() {
                continue;
            }
            // The workers are microseconds apart: an interval begins where the last one has ended.
            let start = self.end.unwrap_or(self.current.span.start);
            self.end = Some(self.current.span.end);
            self.current.span.start = start;
            let interval = interval(&self.current);
            // The last interval may end as soon as it has begun.
            let is_any = self.current.echoes > 0 || interval.seconds > 0.0;
            if is_any {
                observe(&interval, &self.current);
                self.intervals.push(interval);
            }
            self.current.reset();
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Statistics with an echo for each millisecond of the span, which is in milliseconds.
    fn stats(span: std::ops::Range<u64>) -> IntervalStats {
        let mut stats = IntervalStats::new(false);
        stats.echoes = span.end - span.start;
        stats.latency.record_n(1000, stats.echoes).unwrap();
        stats.span = span.start * SECOND / 1000..span.end * SECOND / 1000;
        stats
    }

    /// Start, length and rate of the intervals that are complete.
    fn complete(collector: &mut Collector) -> Vec<(f64, f64, f64)> {
        let mut found = Vec::new();
        while collector.next(|it, _| found.push((it.start_s, it.seconds, it.rate))) {}
        found
    }

    #[test]
    fn an_interval_that_a_worker_was_late_for_is_as_long_as_it_took() {
        let mut collector = Collector::new(false, 1);
        collector.add(0, 1, &stats(0..1000));
        assert_eq!(complete(&mut collector), [(0.0, 1.0, 1000.0)]);
        // Ends 2 and 3 passed without a report.
        collector.add(0, 4, &stats(1000..4250));
        assert_eq!(complete(&mut collector), [(1.0, 3.25, 1000.0)]);
        collector.add(0, 5, &stats(4250..4500));
        collector.finish(0, Totals::default());
        assert_eq!(complete(&mut collector), [(4.25, 0.25, 1000.0)]);
        assert_eq!(collector.total.echoes, 4500);
    }

    #[test]
    fn an_interval_ends_where_one_of_each_worker_does() {
        let mut collector = Collector::new(false, 2);
        collector.add(0, 1, &stats(0..1000));
        assert_eq!(complete(&mut collector), [], "of one worker nothing is known");
        collector.add(0, 2, &stats(1000..2000));
        collector.add(1, 2, &stats(0..2000));
        assert_eq!(complete(&mut collector), [(0.0, 2.0, 2000.0)]);
        collector.add(1, 3, &stats(2000..3000));
        collector.add(0, 3, &stats(2000..3000));
        assert_eq!(complete(&mut collector), [(2.0, 1.0, 2000.0)]);
    }

    #[test]
    fn the_others_go_on_when_a_worker_is_done() {
        let mut collector = Collector::new(false, 2);
        collector.add(0, 1, &stats(0..500));
        collector.finish(0, Totals::default());
        for number in 1..=3 {
            collector.add(1, number, &stats((number - 1) * 1000..number * 1000));
            assert_eq!(complete(&mut collector).len(), 1, "interval {number}");
        }
        collector.add(1, 4, &stats(3000..3000));
        collector.finish(1, Totals::default());
        assert_eq!(complete(&mut collector), [], "it ended as soon as it began");
        let echoes: Vec<_> = collector.intervals.iter().map(|it| it.echoes).collect();
        assert_eq!(echoes, [1500, 1000, 1000]);
    }
}
