//! Percentiles by name, such as `p50`, `p95` or `p99.99`.
//!
//! A percentile is held as a whole number of millionths, so that `p99.9` means exactly 999 of 1000
//! samples: as a binary fraction, 0.999 times 1000 may round up to the 1000th sample. The ends of a
//! distribution are `min` and `max`; they are not percentiles and have no rank of their own here.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use hdrhistogram::Histogram;

/// A whole, in millionths.
const WHOLE: u32 = 1_000_000;
/// Digits after the point that a millionth can tell apart.
const MAX_DECIMALS: usize = 4;

/// A percentile between `p0.0001` and `p99.9999`.
///
/// It is displayed as it was written. `p99` and `p99.0` are equal.
///
/// ```
/// use echo_client::percentile::Percentile;
///
/// let percentile: Percentile = "p99.9".parse()?;
/// assert_eq!(percentile.to_string(), "p99.9");
/// assert_eq!(percentile.rank(1000), 999);
/// # Ok::<(), echo_client::percentile::PercentileError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Percentile {
    /// The share of the samples at or below it: 1 to 999 999.
    millionths: u32,
    /// Digits after the point as written, for display.
    decimals: usize,
}

/// Why a text is not a percentile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PercentileError {
    /// It is not `p` and a decimal number without leading zeros.
    Syntax {
        /// The text as given.
        text: String,
    },
    /// The number is not above 0 and below 100.
    OutOfRange {
        /// The text as given.
        text: String,
    },
    /// The number has more than four digits after the point.
    TooPrecise {
        /// The text as given.
        text: String,
    },
}

impl Percentile {
    /// The rank of this percentile among `count` sorted samples, from 1: the smallest one that has
    /// at least this share of the samples at or below it (nearest rank). 0 without a sample.
    #[must_use]
    pub fn rank(self, count: u64) -> u64 {
        let rank = (u128::from(count) * u128::from(self.millionths)).div_ceil(u128::from(WHOLE));
        u64::try_from(rank).expect("a share of a u64 is at most that")
    }

    /// The percentile of the values in a histogram, to its precision; `None` if it is empty.
    #[must_use]
    pub fn value_in(self, histogram: &Histogram<u64>) -> Option<u64> {
        let rank = self.rank(histogram.len());
        let mut seen = 0;
        histogram.iter_recorded().find_map(|bucket| {
            seen += bucket.count_since_last_iteration();
            (seen >= rank).then(|| bucket.value_iterated_to())
        })
    }

    /// How many samples it takes for `beyond` of them to lie beyond this percentile.
    ///
    /// A percentile with only one or two samples beyond it is little more than the maximum.
    #[must_use]
    pub fn samples_for(self, beyond: u32) -> u64 {
        (u64::from(beyond) * u64::from(WHOLE)).div_ceil(u64::from(WHOLE - self.millionths))
    }

    /// Its key in JSON, without a unit: `p99_9` for `p99.9`, `p99.90` and so on.
    #[must_use]
    pub fn key(self) -> String {
        let (whole, fraction) = (self.millionths / 10_000, self.millionths % 10_000);
        let fraction = format!("{fraction:04}");
        match fraction.trim_end_matches('0') {
            "" => format!("p{whole}"),
            digits => format!("p{whole}_{digits}"),
        }
    }
}

impl PartialEq for Percentile {
    fn eq(&self, other: &Self) -> bool {
        self.millionths == other.millionths
    }
}

impl Eq for Percentile {}

impl PartialOrd for Percentile {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Percentile {
    fn cmp(&self, other: &Self) -> Ordering {
        self.millionths.cmp(&other.millionths)
    }
}

impl FromStr for Percentile {
    type Err = PercentileError;

    fn from_str(text: &str) -> Result<Self, PercentileError> {
        let syntax = || PercentileError::Syntax { text: text.to_owned() };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let number = text.strip_prefix('p').ok_or_else(syntax)?;
        let (whole, fraction) = match number.split_once('.') {
            Some((whole, fraction)) if digits(fraction) => (whole, fraction),
            Some(_) => return Err(syntax()),
            None => (number, ""),
        };
        if !digits(whole) || (whole.len() > 1 && whole.starts_with('0')) {
            return Err(syntax());
        }
        if whole.len() > 2 {
            return Err(PercentileError::OutOfRange { text: text.to_owned() });
        }
        if fraction.len() > MAX_DECIMALS {
            return Err(PercentileError::TooPrecise { text: text.to_owned() });
        }
        let padded = format!("{whole}{fraction:0<MAX_DECIMALS$}");
        let millionths = padded.parse().expect("at most six digits");
        if millionths == 0 {
            return Err(PercentileError::OutOfRange { text: text.to_owned() });
        }
        Ok(Self { millionths, decimals: fraction.len() })
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.millionths / 10_000, self.millionths % 10_000);
        let mut text = format!("p{whole}");
        if self.decimals > 0 {
            text.push('.');
            text.push_str(&format!("{fraction:04}")[..self.decimals]);
        }
        f.pad(&text)
    }
}

impl fmt::Display for PercentileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { text } => {
                write!(f, "{text:?} is not a percentile; write p50, p95 or p99.9")
            }
            Self::OutOfRange { text } => write!(
                f,
                "{text:?} is not a percentile: it must be above p0 and below p100; the ends are \
                 min and max"
            ),
            Self::TooPrecise { text } => write!(
                f,
                "{text:?} is not a percentile: at most {MAX_DECIMALS} digits after the point, as \
                 in p99.9999"
            ),
        }
    }
}

impl std::error::Error for PercentileError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::histogram;

    fn percentile(text: &str) -> Percentile {
        text.parse().unwrap()
    }

    #[test]
    fn a_percentile_is_displayed_as_it_was_written() {
        for text in ["p1", "p50", "p95", "p99.9", "p99.90", "p99.9999", "p0.5", "p0.0001", "p9.05"]
        {
            assert_eq!(percentile(text).to_string(), text);
        }
        assert_eq!(format!("[{:>6}]", percentile("p95")), "[   p95]", "widths are honoured");
    }

    #[test]
    fn percentiles_compare_by_value() {
        assert_eq!(percentile("p99"), percentile("p99.00"));
        assert!(percentile("p99.9") < percentile("p99.99"));
        assert!(percentile("p9.5") < percentile("p50"));
    }

    #[test]
    fn equal_percentiles_have_one_key() {
        let keys = ["p50", "p99.9", "p99.90", "p99.99", "p0.05"].map(|text| percentile(text).key());
        assert_eq!(keys, ["p50", "p99_9", "p99_9", "p99_99", "p0_05"]);
    }

    #[test]
    fn what_is_not_a_percentile_is_refused_in_one_line() {
        let syntax =
            ["p", "", "50", "P50", "p9x", "p-1", "p+5", "p5.", "p.5", "p05", "p5e1", "p 5", "p٥"];
        for text in syntax {
            let error = text.parse::<Percentile>().unwrap_err();
            assert!(matches!(error, PercentileError::Syntax { .. }), "{text:?}: {error}");
            assert!(error.to_string().contains("write p50"), "{error}");
        }
        for text in ["p0", "p0.0", "p0.0000", "p100", "p100.0", "p101", "p99999999999999999999"] {
            let error = text.parse::<Percentile>().unwrap_err();
            assert!(matches!(error, PercentileError::OutOfRange { .. }), "{text:?}: {error}");
            assert!(error.to_string().contains("min and max"), "{error}");
        }
        let error = "p99.99999".parse::<Percentile>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"p99.99999\" is not a percentile: at most 4 digits after the point, as in p99.9999"
        );
    }

    #[test]
    fn ranks_are_exact_where_binary_fractions_are_not() {
        assert_eq!(percentile("p50").rank(3), 2);
        assert_eq!(percentile("p99.9").rank(1000), 999);
        assert_eq!(percentile("p55").rank(100), 55, "0.55 * 100.0 is 55.00000000000001");
        assert_eq!(percentile("p0.0001").rank(1), 1);
        assert_eq!(percentile("p99.9999").rank(u64::MAX), 18_446_725_626_965_477_906);
        assert_eq!(percentile("p50").rank(0), 0);
    }

    #[test]
    fn the_value_in_a_histogram_is_that_of_its_rank() {
        let mut times = histogram();
        assert_eq!(percentile("p50").value_in(&times), None);
        for value in 1..=1000 {
            times.record(value).unwrap();
        }
        for (text, value) in [("p0.1", 1), ("p50", 500), ("p55", 550), ("p99.9", 999)] {
            assert_eq!(percentile(text).value_in(&times), Some(value), "{text}");
        }
        times.record_n(3_000_000, 2000).unwrap();
        let value = percentile("p99").value_in(&times).unwrap();
        assert_eq!(value, times.value_at_quantile(0.99), "the same bucket as HdrHistogram's");
    }

    #[test]
    fn extreme_percentiles_need_many_samples() {
        assert_eq!(percentile("p99").samples_for(10), 1_000);
        assert_eq!(percentile("p99.99").samples_for(10), 100_000);
        assert_eq!(percentile("p50").samples_for(10), 20);
    }
}
