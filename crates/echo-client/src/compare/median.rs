//! The median of a few runs, with an interval by order statistics.
//!
//! Each run lies below the true median with probability one half, whatever the distribution, so the
//! number of runs below it is binomial. The interval from the k-th smallest to the k-th largest of n
//! values misses the true median with probability 2 P(B(n, 1/2) < k). With five runs even the
//! interval from the smallest to the largest misses it in 6 % of all cases: there is no 95 % interval.
//!
//! Source: H. A. David and H. N. Nagaraja, *Order Statistics*, chapter 7.1.

use super::{CompareError, ConfidenceInterval, MAX_RUNS, SIGNIFICANCE};

/// The median of one value per run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Median {
    /// How many runs there are.
    pub runs: usize,
    /// Their median: the middle value, or the mean of the two in the middle.
    pub value: f64,
    /// Where the median of all possible runs lies, with a confidence of at least 95 %. `None` with
    /// fewer than [`Median::RUNS_FOR_INTERVAL`] runs: no interval reaches 95 % then.
    pub interval: Option<ConfidenceInterval>,
}

impl Median {
    /// The fewest runs with a 95 % interval: 1 - 2 / 2^6 is 96.9 %, 1 - 2 / 2^5 only 93.8 %.
    pub const RUNS_FOR_INTERVAL: usize = 6;

    /// The median of `values`, which hold one value per run in any order.
    ///
    /// # Errors
    ///
    /// Fails without a run, with more than [`MAX_RUNS`], or if a value is not finite.
    pub fn of(values: &[f64]) -> Result<Self, CompareError> {
        if values.is_empty() {
            return Err(CompareError::NoRuns);
        }
        if values.len() > MAX_RUNS {
            return Err(CompareError::TooManyRuns { runs: values.len() });
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(CompareError::NotFinite);
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let runs = sorted.len();
        let rank = interval_rank(runs);
        let interval = (rank > 0)
            .then(|| ConfidenceInterval { lower: sorted[rank - 1], upper: sorted[runs - rank] });
        Ok(Self { runs, value: middle(&sorted), interval })
    }
}

/// The median of sorted values, of which there is at least one.
pub(super) fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) }
}

/// The largest k for which the interval from the k-th smallest to the k-th largest value has the
/// confidence, or 0 if there is none.
fn interval_rank(runs: usize) -> usize {
    // P(B = i), from i = 0. With at most MAX_RUNS runs it does not underflow.
    let mut probability = 0.5_f64.powi(runs as i32);
    let mut below = 0.0;
    for i in 0..runs {
        below += probability;
        if 2.0 * below > SIGNIFICANCE {
            return i;
        }
        probability *= (runs - i) as f64 / (i + 1) as f64;
    }
    unreachable!("more than half of a binomial distribution lies below its last value")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From scipy 1.17: the largest k with `2 * binom.cdf(k - 1, n, 0.5) <= 0.05`. The same ranks are
    /// in table 7.1 of Conover's and other textbooks.
    const RANKS: [(usize, usize); 18] = [
        (1, 0),
        (5, 0),
        (6, 1),
        (7, 1),
        (8, 1),
        (9, 2),
        (10, 2),
        (11, 2),
        (12, 3),
        (15, 4),
        (16, 4),
        (17, 5),
        (18, 5),
        (20, 6),
        (25, 8),
        (50, 18),
        (100, 40),
        (1000, 469),
    ];

    #[test]
    fn the_ranks_of_the_interval_are_those_of_the_binomial_distribution() {
        for (runs, rank) in RANKS {
            assert_eq!(interval_rank(runs), rank, "{runs} runs");
        }
    }

    #[test]
    fn six_runs_have_an_interval_and_five_have_none() {
        let values = [3.0, 1.0, 2.0, 6.0, 5.0, 4.0];
        let six = Median::of(&values).unwrap();
        assert_eq!((six.runs, six.value), (Median::RUNS_FOR_INTERVAL, 3.5));
        assert_eq!(six.interval, Some(ConfidenceInterval { lower: 1.0, upper: 6.0 }));
        let five = Median::of(&values[..5]).unwrap();
        assert_eq!((five.value, five.interval), (3.0, None));
    }

    #[test]
    fn the_interval_leaves_out_what_it_can() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        let interval = Median::of(&values).unwrap().interval;
        assert_eq!(interval, Some(ConfidenceInterval { lower: 6.0, upper: 15.0 }));
    }
}
