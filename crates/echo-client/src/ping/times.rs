//! Statistics of round-trip times.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::distribution::histogram;

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

    /// Shortest time; 0 without a time.
    #[must_use]
    pub fn min_ns(&self) -> u64 {
        self.min_ns
    }

    /// Longest time; 0 without a time.
    #[must_use]
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// Arithmetic mean; 0 without a time. Rounding cannot move it beyond the shortest or longest.
    #[must_use]
    pub fn mean_ns(&self) -> f64 {
        self.mean_ns.clamp(self.min_ns as f64, self.max_ns as f64)
    }

    /// Standard deviation, which ping(8) calls mdev.
    #[must_use]
    pub fn stdev_ns(&self) -> f64 {
        (self.squares / self.count().max(1) as f64).sqrt()
    }

    /// The time that this share of the times does not exceed, with three significant digits, but
    /// never beyond the shortest or longest.
    #[must_use]
    pub fn quantile_ns(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile).clamp(self.min_ns, self.max_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statistics_of_one_time_are_that_time() {
        let mut times = Times::default();
        times.record(Duration::from_nanos(123_456_789));
        assert_eq!((times.min_ns(), times.max_ns()), (123_456_789, 123_456_789));
        assert_eq!((times.mean_ns(), times.stdev_ns()), (123_456_789.0, 0.0));
        assert_eq!(times.quantile_ns(0.5), 123_456_789, "its bucket reaches further");
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
        let times = Times::default();
        assert_eq!((times.count(), times.max_ns(), times.quantile_ns(0.99)), (0, 0, 0));
        assert_eq!((times.mean_ns(), times.stdev_ns()), (0.0, 0.0));
    }
}
