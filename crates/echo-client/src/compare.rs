//! Comparing repeated runs of two systems by one metric.
//!
//! Runs of the same program differ from each other, often by more than the programs that are to be
//! told apart. So each side is measured several times, and what counts is one value per run: the
//! p99 of each run, say. Samples of different runs are never pooled: ten thousand samples of one
//! slow run say nothing about the next run.
//!
//! The methods rest on ranks, not on means, because run-to-run noise is skewed and has outliers:
//!
//! - The centre of a side is its median, with an interval by order statistics.
//! - Whether the sides differ is decided by the Mann–Whitney test (Wilcoxon's rank-sum test), which
//!   is what Go's benchstat uses. Up to [`EXACT_RUNS`] runs in all its p-value is exact, ties
//!   included; above that it is the normal approximation.
//! - By how much is the Hodges–Lehmann estimate on logarithms: the median of all ratios of a run of
//!   one side to a run of the other. Its interval belongs to the same test.
//!
//! All intervals and decisions are at the 5 % level, for one metric. Of twenty metrics of two equal
//! systems about one differs by chance.
//!
//! The test assumes that runs are independent. Runs that share a cause, such as a machine that gets
//! slower during the measurement, are not: take the sides in turns.
//!
//! Sources: H. B. Mann and D. R. Whitney, "On a test of whether one of two random variables is
//! stochastically larger than the other", Annals of Mathematical Statistics 18 (1947); M. Hollander
//! and D. A. Wolfe, *Nonparametric Statistical Methods*, chapters 3.6, 4.1 to 4.3.

mod median;
mod rank_sum;
mod ratio;
mod ratio_gate;
#[cfg(test)]
mod simulation;

use std::fmt;

pub use median::Median;
pub use rank_sum::EXACT_RUNS;
pub use ratio::Ratio;
pub use ratio_gate::{RatioGate, RatioGateError, RatioGateResult};

/// The share of equal systems that may be called different.
pub const SIGNIFICANCE: f64 = 0.05;

/// Runs of one side, at most.
pub const MAX_RUNS: usize = 1000;

/// An interval that contains the true value in at least 95 % of all experiments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfidenceInterval {
    /// Its lower end.
    pub lower: f64,
    /// Its upper end.
    pub upper: f64,
}

/// Two sides held against each other by one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The centre of the side that is compared with.
    pub baseline: Median,
    /// The centre of the other side.
    pub candidate: Median,
    /// Candidate divided by baseline; `None` if a value is zero or negative, as a ratio says nothing
    /// then.
    pub ratio: Option<Ratio>,
    /// The probability that equal systems differ by at least this much (two-sided).
    pub p_value: f64,
    /// What the test says.
    pub verdict: Verdict,
}

/// What the test says about two sides. Which direction is better depends on the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The sides differ at the 5 % level.
    Different,
    /// No difference is seen: there is none, or it is too small for this noise and so few runs.
    NoDifference,
    /// No outcome of so few runs could be significant. It takes eight in all, such as four on each
    /// side or three against five.
    TooFewRuns,
}

/// Why two sides cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CompareError {
    /// A side has no run.
    NoRuns,
    /// A side has more than [`MAX_RUNS`] runs.
    TooManyRuns {
        /// How many it has.
        runs: usize,
    },
    /// A value is infinite or not a number.
    NotFinite,
}

impl Comparison {
    /// Compares `candidate` with `baseline`. Each slice holds one value per run, in any order.
    ///
    /// # Errors
    ///
    /// Fails if a side has no run or more than [`MAX_RUNS`], or if a value is not finite.
    pub fn new(baseline: &[f64], candidate: &[f64]) -> Result<Self, CompareError> {
        let (baseline_median, candidate_median) = (Median::of(baseline)?, Median::of(candidate)?);
        let p_value = rank_sum::p_value(baseline, candidate);
        let verdict = if rank_sum::smallest_p_value(baseline.len(), candidate.len()) > SIGNIFICANCE
        {
            Verdict::TooFewRuns
        } else if p_value <= SIGNIFICANCE {
            Verdict::Different
        } else {
            Verdict::NoDifference
        };
        Ok(Self {
            baseline: baseline_median,
            candidate: candidate_median,
            ratio: Ratio::of(baseline, candidate),
            p_value,
            verdict,
        })
    }
}

impl Verdict {
    /// As in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Different => "different",
            Self::NoDifference => "no_difference",
            Self::TooFewRuns => "too_few_runs",
        }
    }
}

impl ConfidenceInterval {
    /// Whether a value lies in it. The ends belong to it.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.lower..=self.upper).contains(&value)
    }
}

impl fmt::Display for CompareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRuns => f.write_str("there is no run to compare"),
            Self::TooManyRuns { runs } => {
                write!(f, "there are {runs} runs to compare; at most {MAX_RUNS} are possible")
            }
            Self::NotFinite => f.write_str("a value is infinite or not a number"),
        }
    }
}

impl std::error::Error for CompareError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(baseline: &[f64], candidate: &[f64]) -> Comparison {
        Comparison::new(baseline, candidate).unwrap()
    }

    #[test]
    fn ten_percent_between_quiet_runs_is_a_difference() {
        let baseline = [100.0, 102.0, 98.0, 101.0, 99.0, 103.0];
        let candidate = [110.0, 112.0, 108.0, 111.0, 109.0, 113.0];
        let comparison = compare(&baseline, &candidate);
        assert_eq!(comparison.verdict, Verdict::Different);
        assert_eq!((comparison.baseline.value, comparison.candidate.value), (100.5, 110.5));
        let ratio = comparison.ratio.unwrap();
        assert!((ratio.estimate - 1.0995).abs() < 1e-4, "{ratio:?}");
        let back = compare(&candidate, &baseline);
        assert_eq!((back.verdict, back.p_value), (Verdict::Different, comparison.p_value));
    }

    #[test]
    fn runs_that_overlap_are_no_difference() {
        let comparison = compare(
            &[100.0, 109.0, 98.0, 107.0, 99.0, 103.0],
            &[101.0, 104.0, 97.0, 111.0, 96.0, 110.0],
        );
        assert_eq!(comparison.verdict, Verdict::NoDifference);
        assert!(comparison.ratio.unwrap().interval.unwrap().contains(1.0));
    }

    #[test]
    fn three_runs_a_side_are_too_few_whatever_they_say() {
        let comparison = compare(&[1.0, 2.0, 3.0], &[100.0, 200.0, 300.0]);
        assert_eq!(comparison.verdict, Verdict::TooFewRuns);
        assert_eq!(comparison.ratio.unwrap().interval, None);
        let four = compare(&[1.0, 2.0, 3.0, 4.0], &[100.0, 200.0, 300.0, 400.0]);
        assert_eq!(four.verdict, Verdict::Different);
    }

    #[test]
    fn counts_that_may_be_zero_are_compared_without_a_ratio() {
        let comparison = compare(&[0.0; 6], &[3.0, 4.0, 0.0, 5.0, 2.0, 7.0]);
        assert_eq!((comparison.verdict, comparison.ratio), (Verdict::Different, None));
        assert_eq!(compare(&[0.0; 6], &[0.0; 6]).verdict, Verdict::NoDifference);
    }

    #[test]
    fn without_ties_the_interval_contains_1_exactly_if_no_difference_is_seen() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut seen = 0;
        for _ in 0..500 {
            // Above 55 runs or so in all, the normal approximation.
            let (few, shift) = (rng.bool(), rng.f64());
            let mut runs = |shift: f64| -> Vec<f64> {
                let count = if few { rng.usize(4..10) } else { rng.usize(27..45) };
                (0..count).map(|_| 10.0 + shift + rng.f64()).collect()
            };
            let comparison = compare(&runs(0.0), &runs(shift));
            let different = comparison.verdict == Verdict::Different;
            let contains_1 = comparison.ratio.unwrap().interval.unwrap().contains(1.0);
            assert_eq!(different, !contains_1, "{comparison:?}");
            seen += u32::from(different);
        }
        assert!((100..400).contains(&seen), "both verdicts are met: {seen} of 500");
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        assert_eq!(Comparison::new(&[], &[1.0]), Err(CompareError::NoRuns));
        assert_eq!(Comparison::new(&[1.0], &[f64::NAN]), Err(CompareError::NotFinite));
        let many = vec![1.0; MAX_RUNS + 1];
        assert_eq!(Comparison::new(&many, &[1.0]), Err(CompareError::TooManyRuns { runs: 1001 }));
    }
}
