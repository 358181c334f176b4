//! The distribution of a set of times, and the histogram behind it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// Longest time that is distinguished: one hour, in nanoseconds.
const MAX_NS: u64 = 3_600_000_000_000;
/// Significant decimal digits of each value. Simulated runs are so short that most of their time would be spent on
/// clearing histograms.
const DIGITS: u8 = if cfg!(simulation) { 2 } else { 3 };

/// A histogram of nanoseconds with three significant digits.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_NS, DIGITS).expect("the bounds are in order")
}

/// A distribution of times, in microseconds. All zero without a sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Distribution {
    /// Number of samples.
    pub count: u64,
    /// Shortest time.
    pub min_us: f64,
    /// Arithmetic mean.
    pub mean_us: f64,
    /// Standard deviation.
    pub stdev_us: f64,
    /// Median.
    pub p50_us: f64,
    /// 90th percentile.
    pub p90_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p99_9_us: f64,
    /// 99.99th percentile.
    pub p99_99_us: f64,
    /// Longest time.
    pub max_us: f64,
    /// The whole distribution: an HdrHistogram of nanoseconds (format V2, deflated, base64).
    pub histogram: String,
}

impl Default for Distribution {
    /// No samples.
    fn default() -> Self {
        Self::of(&histogram())
    }
}

impl Distribution {
    /// Summarises a histogram of nanoseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| ns_to_us(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            min_us: ns_to_us(histogram.min()),
            mean_us: histogram.mean() / 1e3,
            stdev_us: histogram.stdev() / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            p99_99_us: at(0.9999),
            max_us: ns_to_us(histogram.max()),
            histogram: encode(histogram),
        }
    }

    /// A statistic of this distribution, if there is a sample to compute it from.
    pub(crate) fn known(&self, value: f64) -> Option<f64> {
        (self.count > 0).then_some(value)
    }

    /// The saved histogram; `None` if the text is not one.
    #[must_use]
    pub fn decode(&self) -> Option<Histogram<u64>> {
        let bytes = STANDARD.decode(&self.histogram).ok()?;
        Deserializer::new().deserialize(&mut bytes.as_slice()).ok()
    }
}

/// Converts nanoseconds to microseconds.
pub(crate) fn ns_to_us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    let result = V2DeflateSerializer::new().serialize(histogram, &mut bytes);
    result.expect("memory takes what is written to it");
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_has_three_significant_digits() {
        let mut histogram = histogram();
        for us in 1..=10_000 {
            histogram.record(us * 1_000).unwrap();
        }
        let distribution = Distribution::of(&histogram);
        let near =
            |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 2e-3, "{found}");
        near(distribution.min_us, 1.0);
        near(distribution.p50_us, 5_000.0);
        near(distribution.p99_us, 9_900.0);
        near(distribution.p99_99_us, 9_999.0);
        near(distribution.max_us, 10_000.0);
        near(distribution.mean_us, 5_000.5);
        near(distribution.stdev_us, 2_886.75);
        assert_eq!(distribution.decode().as_ref(), Some(&histogram));
    }

    #[test]
    fn without_a_sample_a_distribution_is_zero() {
        let empty = Distribution::of(&histogram());
        assert_eq!((empty.count, empty.p99_us, empty.mean_us, empty.stdev_us), (0, 0.0, 0.0, 0.0));
    }
}
