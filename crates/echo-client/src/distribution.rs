//! How a quantity is distributed, and the histogram behind it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// The longest time that is told from longer ones: an hour, in nanoseconds.
const MAX_NS: u64 = 3_600_000_000_000;
/// Significant decimal digits that are kept of each value.
const DIGITS: u8 = 3;

/// A histogram for times in nanoseconds, to three digits.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_NS, DIGITS).expect("the bounds are in order")
}

/// How times are distributed, in microseconds. Without a sample all is zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Distribution {
    /// Samples.
    pub count: u64,
    /// Shortest.
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
    /// Longest.
    pub max_us: f64,
    /// All of it: an HdrHistogram of nanoseconds (format V2, deflated, base64).
    pub histogram: String,
}

impl Default for Distribution {
    /// Without a sample.
    fn default() -> Self {
        Self::of(&histogram())
    }
}

impl Distribution {
    /// The figures of a histogram of nanoseconds.
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

    /// The histogram that was saved; `None` if the text is none.
    #[must_use]
    pub fn decode(&self) -> Option<Histogram<u64>> {
        let bytes = STANDARD.decode(&self.histogram).ok()?;
        Deserializer::new().deserialize(&mut bytes.as_slice()).ok()
    }
}

/// Nanoseconds in microseconds.
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
    fn figures_are_those_of_the_samples_to_three_digits() {
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
    fn without_a_sample_all_is_zero() {
        let empty = Distribution::of(&histogram());
        assert_eq!((empty.count, empty.p99_us, empty.mean_us, empty.stdev_us), (0, 0.0, 0.0, 0.0));
    }
}
