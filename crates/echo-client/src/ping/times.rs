//! Statistics of round-trip times.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::distribution::{Distribution, histogram};

/// Times in nanoseconds. All statistics but the percentiles are exact.
#[derive(Clone, Debug)]
pub struct Times {
    /// All times, with three significant digits.
    histogram: Histogram<u64>,
    min_ns: u64,
    max_ns: u64,
    mean_ns: f64,
    /// Sum of the squared differences from the mean (Welford, 1962).
    squares: f64,
}

impl Default for Times {
    fn default() -> Self {
        Self { histogram: histogram(), min_ns: 0, max_ns: 0, mean_ns: 0.0, squares: 0.0 }
    }
}

impl Times {
    /// Adds a time.
    pub fn record(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.min_ns = if self.histogram.is_empty() { ns } else { self.min_ns.min(ns) };
        self.max_ns = self.max_ns.max(ns);
        self.histogram.saturating_record(ns);
        let difference = ns as f64 - self.mean_ns;
        self.mean_ns += difference / self.count() as f64;
        self.squares += difference * (ns as f64 - self.mean_ns);
    }

    /// Number of times.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Longest time; 0 without a time.
    #[must_use]
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// Arithmetic mean; 0 without a time. Rounding cannot move it beyond the shortest or longest.
    fn mean_ns(&self) -> f64 {
        self.mean_ns.clamp(self.min_ns as f64, self.max_ns as f64)
    }

    /// Standard deviation, which ping(8) calls mdev.
    fn stdev_ns(&self) -> f64 {
        (self.squares / self.count().max(1) as f64).sqrt()
    }

    /// The statistics. Percentiles have three significant digits, but are never beyond the shortest
    /// or longest time.
    #[must_use]
    pub fn distribution(&self) -> Distribution {
        let exact = [self.min_ns as f64, self.max_ns as f64, self.mean_ns(), self.stdev_ns()];
        let [min_us, max_us, mean_us, stdev_us] = exact.map(|ns| ns / 1e3);
        let rounded = Distribution::of(&self.histogram);
        let within = |us: f64| us.clamp(min_us, max_us);
        Distribution {
            min_us,
            mean_us,
            stdev_us,
            max_us,
            p50_us: within(rounded.p50_us),
            p90_us: within(rounded.p90_us),
            p99_us: within(rounded.p99_us),
            p99_9_us: within(rounded.p99_9_us),
            p99_99_us: within(rounded.p99_99_us),
            ..rounded
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statistics_of_one_time_are_that_time() {
        let mut times = Times::default();
        times.record(Duration::from_nanos(123_456_789));
        let Distribution { min_us, mean_us, p50_us, max_us, stdev_us, .. } = times.distribution();
        assert_eq!(
            [min_us, mean_us, max_us, stdev_us],
            [123_456.789, 123_456.789, 123_456.789, 0.0]
        );
        assert_eq!(p50_us, 123_456.789, "its bucket reaches further");
    }

    #[test]
    fn the_mean_and_the_deviation_are_exact() {
        let mut times = Times::default();
        // Large times that differ little: sums of squares would lose the difference.
        for offset in [4, 7, 13, 16] {
            times.record(Duration::from_nanos(1_000_000_000_000 + offset));
        }
        assert_eq!(times.mean_ns(), 1_000_000_000_010.0);
        assert!((times.stdev_ns() - 22.5_f64.sqrt()).abs() < 1e-6, "{}", times.stdev_ns());
    }

    #[test]
    fn without_a_time_all_statistics_are_zero() {
        assert_eq!(Times::default().distribution(), Distribution::default());
        assert_eq!(Times::default().max_ns(), 0);
    }
}
