//! The Mann–Whitney test: do the values of one side tend to be larger than those of the other?
//!
//! All values are ranked together; tied values share the mean of their ranks. If the sides are equal,
//! every choice of m of the m + n ranks is equally likely to be the first side's, so the distribution
//! of its rank sum follows by counting. That also holds with ties, because it is the observed ranks
//! that are counted. Times come from histograms with three digits, so ties are common.
//!
//! Ranks that may be shared are doubled, which makes them whole numbers.

use super::SIGNIFICANCE;

/// Up to this many runs of both sides together the distribution is counted; above that it is close
/// enough to normal.
pub const EXACT_RUNS: usize = 60;

/// The two-sided p-value: twice the probability of the smaller tail, at most 1.
pub(super) fn p_value(a: &[f64], b: &[f64]) -> f64 {
    let ranks = DoubledRanks::of(a, b);
    let tail = if a.len() + b.len() <= EXACT_RUNS {
        let distribution = SumDistribution::of(&ranks.all, a.len());
        distribution.at_most(ranks.sum_a).min(distribution.at_least(ranks.sum_a))
    } else {
        ranks.normal_tail(a.len(), b.len())
    };
    (2.0 * tail).min(1.0)
}

/// The p-value if all values of one side are larger than those of the other: none is smaller.
pub(super) fn smallest_p_value(m: usize, n: usize) -> f64 {
    // 2 / (m + n choose m)
    let (all, chosen) = (m + n, m.min(n));
    (0..chosen).fold(2.0, |p, i| p * (i + 1) as f64 / (all - i) as f64)
}

/// The largest k with P(U < k) of at most half the significance level, for sides without ties; 0 if
/// there is none. U is the number of pairs in which the first side's value is the larger one.
pub(super) fn critical_rank(m: usize, n: usize) -> usize {
    if m + n > EXACT_RUNS {
        let (mean, sigma) = mean_and_sigma(m, n, 0.0);
        return (mean + 0.5 - TWO_SIDED_5_PERCENT * sigma).floor() as usize;
    }
    let ranks: Vec<usize> = (1..=m + n).collect();
    let distribution = SumDistribution::of(&ranks, m);
    let mut below = 0.0;
    (0..)
        .find(|k| {
            // U is the rank sum less the smallest possible, m (m + 1) / 2.
            below += distribution.probability[m * (m + 1) / 2 + k];
            below > SIGNIFICANCE / 2.0
        })
        .expect("the probabilities add up to 1")
}

/// The ranks of all values, doubled.
struct DoubledRanks {
    /// Those of both sides, ascending.
    all: Vec<usize>,
    /// The sum of the first side's.
    sum_a: usize,
    /// The sum of t^3 - t over all groups of t tied values.
    ties: f64,
}

impl DoubledRanks {
    fn of(a: &[f64], b: &[f64]) -> Self {
        let mut values: Vec<(f64, bool)> = a.iter().map(|&value| (value, true)).collect();
        values.extend(b.iter().map(|&value| (value, false)));
        values.sort_by(|x, y| x.0.total_cmp(&y.0));
        let (mut all, mut sum_a, mut ties) = (Vec::with_capacity(values.len()), 0, 0.0);
        for group in values.chunk_by(|x, y| x.0 == y.0) {
            // The mean of the ranks from first to last, twice.
            let (first, last) = (all.len() + 1, all.len() + group.len());
            let of_a = group.iter().filter(|(_, is_a)| *is_a).count();
            all.extend(std::iter::repeat_n(first + last, group.len()));
            sum_a += (first + last) * of_a;
            let size = group.len() as f64;
            ties += size.powi(3) - size;
        }
        Self { all, sum_a, ties }
    }

    /// The probability of the smaller tail by the normal approximation, with the variance corrected
    /// for ties and half a unit for continuity.
    fn normal_tail(&self, m: usize, n: usize) -> f64 {
        let u = (self.sum_a as f64) / 2.0 - (m * (m + 1)) as f64 / 2.0;
        let (mean, sigma) = mean_and_sigma(m, n, self.ties);
        if sigma == 0.0 {
            return 0.5;
        }
        upper_tail(((u - mean).abs() - 0.5).max(0.0) / sigma)
    }
}

/// Mean and standard deviation of U for equal sides (Hollander and Wolfe, 4.1).
fn mean_and_sigma(m: usize, n: usize, ties: f64) -> (f64, f64) {
    let (pairs, all) = ((m * n) as f64, (m + n) as f64);
    let variance = pairs / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    (pairs / 2.0, variance.max(0.0).sqrt())
}

/// How the sum of `chosen` ranks is distributed if every choice is equally likely.
struct SumDistribution {
    /// By the sum.
    probability: Vec<f64>,
}

impl SumDistribution {
    fn of(ranks: &[usize], chosen: usize) -> Self {
        // The largest sum is that of the largest ranks.
        let width = ranks.iter().rev().take(chosen).sum::<usize>() + 1;
        // ways[j][s]: how many choices of j of the ranks seen so far have the sum s. There are at
        // most 60 over 30, or 1.2e17, of them, which an f64 holds to 16 digits.
        let mut ways = vec![vec![0.0; width]; chosen + 1];
        ways[0][0] = 1.0;
        for (seen, &rank) in ranks.iter().enumerate() {
            // Downwards, so that no rank is chosen twice.
            for j in (1..=chosen.min(seen + 1)).rev() {
                let (fewer, more) = ways.split_at_mut(j);
                let (from, to) = (&fewer[j - 1], &mut more[0]);
                for (to, from) in to.iter_mut().skip(rank).zip(from) {
                    *to += from;
                }
            }
        }
        let mut probability = ways.swap_remove(chosen);
        let total: f64 = probability.iter().sum();
        probability.iter_mut().for_each(|ways| *ways /= total);
        Self { probability }
    }

    fn at_most(&self, sum: usize) -> f64 {
        self.probability[..=sum].iter().sum()
    }

    fn at_least(&self, sum: usize) -> f64 {
        self.probability[sum..].iter().sum()
    }
}

/// The deviation that a normal variable exceeds in 5 % of all cases, in both directions together.
const TWO_SIDED_5_PERCENT: f64 = 1.959_963_984_540_054;

/// The probability that a standard normal variable exceeds `z`, which is not negative, to 7.5e-8
/// (Abramowitz and Stegun, *Handbook of Mathematical Functions*, 26.2.17).
fn upper_tail(z: f64) -> f64 {
    const COEFFICIENTS: [f64; 5] =
        [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let polynomial = COEFFICIENTS.iter().rev().fold(0.0, |sum, c| (sum + c) * t);
    let density = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt();
    density * polynomial
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
    }

    /// Permeability constants of the placenta at term and in early pregnancy (Hollander and Wolfe, table
    /// 4.1), and the example of R's `wilcox.test`: W = 35, p = 0.2544.
    #[test]
    fn a_textbook_example_has_its_published_p_value() {
        let term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let early = [1.15, 0.88, 0.90, 0.74, 1.21];
        close(p_value(&term, &early), 0.254_412_254_412_254_4, 1e-12);
    }

    /// From scipy 1.17: `permutation_test` over all permutations of the `mannwhitneyu` statistic.
    #[test]
    fn small_sides_with_ties_have_the_p_value_of_all_permutations() {
        let cases: [(&[f64], &[f64], f64); 5] = [
            (&[1., 2., 3., 4., 5., 6.], &[7., 8., 9., 10., 11., 12.], 0.002_164_502_164_502_164_5),
            (
                &[142., 142., 143., 143., 144., 145.],
                &[144., 145., 145., 146., 146., 147.],
                0.015_151_515_151_515_152,
            ),
            (&[1., 1., 1., 2., 2.], &[1., 2., 2., 3., 3., 3., 3.], 0.080_808_080_808_080_81),
            (&[5., 5., 5., 5., 6.], &[5., 5., 6.], 1.0),
            (&[1., 2., 2., 3.], &[2., 2., 4., 4., 4., 5., 5.], 0.066_666_666_666_666_67),
        ];
        for (a, b, expected) in cases {
            close(p_value(a, b), expected, 1e-12);
            close(p_value(b, a), expected, 1e-12);
        }
        assert_eq!(p_value(&[7.0; 6], &[7.0; 6]), 1.0);
    }

    /// From scipy 1.17: `mannwhitneyu(a, b, method="asymptotic")`, which corrects for ties and
    /// continuity as well.
    #[test]
    fn large_sides_have_the_p_value_of_the_normal_approximation() {
        let values = |count: u32, factor: u32, modulus: u32, shift: f64, scale: f64| -> Vec<f64> {
            (0..count).map(|i| f64::from(i * factor % modulus) / scale + shift).collect()
        };
        let (a, b) = (values(40, 7919, 101, 0.0, 10.0), values(45, 7919, 97, 1.0, 10.0));
        close(p_value(&a, &b), 0.265_340_336_981_966_7, 1e-6);
        let (a, b) = (values(40, 7, 13, 0.0, 1.0), values(40, 5, 13, 2.0, 1.0));
        close(p_value(&a, &b), 0.031_080_202_128_046_56, 1e-6);
        close(p_value(&[1.0; 40], &[1.0; 40]), 1.0, 1e-6);
    }

    #[test]
    fn both_methods_agree_where_they_meet() {
        let a: Vec<f64> = (0..30).map(f64::from).collect();
        let b: Vec<f64> = (0..30).map(|i| f64::from(i) + 7.5).collect();
        let exact = p_value(&a, &b);
        let normal = 2.0 * DoubledRanks::of(&a, &b).normal_tail(30, 30);
        close(normal, exact, 0.001);
    }

    /// The tables of critical values in Siegel, *Nonparametric Statistics*, table K, for a two-sided
    /// test at 0.05: U is significant up to the value given, which is one less than our rank.
    #[test]
    fn critical_ranks_are_those_of_published_tables() {
        let table = [
            (4, 4, 0),
            (5, 5, 2),
            (6, 6, 5),
            (7, 7, 8),
            (8, 8, 13),
            (6, 8, 8),
            (10, 10, 23),
            (5, 10, 8),
            (15, 15, 64),
            (20, 20, 127),
        ];
        for (m, n, critical) in table {
            assert_eq!(critical_rank(m, n), critical + 1, "{m} and {n} runs");
        }
        assert_eq!((critical_rank(3, 3), critical_rank(1, 30)), (0, 0));
    }

    #[test]
    fn the_smallest_p_value_is_that_of_sides_apart() {
        close(smallest_p_value(3, 3), 0.1, 1e-15);
        close(smallest_p_value(4, 4), 2.0 / 70.0, 1e-15);
        close(smallest_p_value(6, 6), 2.0 / 924.0, 1e-15);
        close(smallest_p_value(1, 30), 2.0 / 31.0, 1e-15);
    }
}
