//! By how much two sides differ, as a ratio with its interval.
//!
//! On logarithms a ratio is a shift. The Hodges–Lehmann estimate of a shift is the median of the
//! differences of all pairs of values, one of each side. The interval holds every shift that the
//! Mann–Whitney test would not reject: with k from the distribution of its statistic, it runs from
//! the k-th smallest to the k-th largest of these differences. With ties it is somewhat too wide,
//! never too narrow.
//!
//! Sources: J. L. Hodges and E. L. Lehmann, "Estimates of location based on rank tests", Annals of
//! Mathematical Statistics 34 (1963); D. F. Bauer, "Constructing confidence sets using rank
//! statistics", Journal of the American Statistical Association 67 (1972).

use super::ConfidenceInterval;
use super::median::middle;
use super::rank_sum::critical_rank;

/// A candidate divided by its baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The median of the ratios of all pairs of runs, one of each side. It need not be the ratio of
    /// the medians, but uses more of what was measured.
    pub estimate: f64,
    /// Where the true ratio lies, with a confidence of at least 95 %. `None` if there are too few
    /// runs for that, such as three on each side.
    ///
    /// Without ties the interval contains 1 exactly if the test sees no difference.
    pub interval: Option<ConfidenceInterval>,
}

impl Ratio {
    /// The ratio of two sides that have at least one value each; `None` if a value is not positive.
    pub(super) fn of(baseline: &[f64], candidate: &[f64]) -> Option<Self> {
        if baseline.iter().chain(candidate).any(|&value| value <= 0.0) {
            return None;
        }
        // The order of ratios is that of the differences of their logarithms.
        let mut ratios: Vec<f64> =
            candidate.iter().flat_map(|b| baseline.iter().map(move |a| b / a)).collect();
        ratios.sort_by(f64::total_cmp);
        let rank = critical_rank(baseline.len(), candidate.len());
        let interval = (rank > 0).then(|| ConfidenceInterval {
            lower: ratios[rank - 1],
            upper: ratios[ratios.len() - rank],
        });
        Some(Self { estimate: geometric_middle(&ratios), interval })
    }
}

/// The median of sorted ratios, on logarithms: with an even number, the geometric mean of the two in
/// the middle, so that the ratio of the sides exchanged is the reciprocal.
fn geometric_middle(sorted: &[f64]) -> f64 {
    let logarithms: Vec<f64> = sorted.iter().map(|ratio| ratio.ln()).collect();
    middle(&logarithms).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(a: &[f64], b: &[f64], expected: [f64; 3]) {
        let close = |found: f64, expected: f64| {
            assert!((found / expected - 1.0).abs() < 1e-12, "{found} is not {expected}");
        };
        let [estimate, lower, upper] = expected;
        let ratio = Ratio::of(a, b).unwrap();
        let interval = ratio.interval.unwrap();
        close(ratio.estimate, estimate);
        close(interval.lower, lower);
        close(interval.upper, upper);
        let back = Ratio::of(b, a).unwrap();
        let interval = back.interval.unwrap();
        close(back.estimate, 1.0 / estimate);
        close(interval.lower, 1.0 / upper);
        close(interval.upper, 1.0 / lower);
    }

    /// Made with numpy: the sorted differences of logarithms, at the ranks that R's `wilcox.test` uses
    /// for `conf.int = TRUE`. The second data are its example.
    #[test]
    fn ratio_and_interval_are_those_of_hodges_and_lehmann() {
        check(
            &[100.0, 102.0, 98.0, 101.0, 99.0, 103.0],
            &[110.0, 112.0, 108.0, 111.0, 109.0, 113.0],
            [1.099_504_839_047_608_8, 1.069_306_930_693_069_4, 1.129_999_999_999_999_7],
        );
        check(
            &[0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46],
            &[1.15, 0.88, 0.90, 0.74, 1.21],
            [0.762_330_425_678_481_9, 0.510_344_827_586_206_9, 1.163_461_538_461_538_3],
        );
        check(
            &[142.0, 142.0, 143.0, 143.0, 144.0, 145.0],
            &[144.0, 145.0, 145.0, 146.0, 146.0, 147.0],
            [1.014_084_507_042_253_5, 1.006_896_551_724_138, 1.028_169_014_084_507],
        );
    }

    #[test]
    fn one_run_on_each_side_has_a_ratio_and_no_interval() {
        assert_eq!(Ratio::of(&[2.0], &[3.0]).unwrap().interval, None);
        assert!((Ratio::of(&[2.0], &[3.0]).unwrap().estimate - 1.5).abs() < 1e-15);
    }

    #[test]
    fn there_is_no_ratio_to_nothing() {
        assert_eq!(Ratio::of(&[0.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(Ratio::of(&[1.0, 1.0], &[-1.0, 2.0]), None);
    }
}
