//! Checks the method on simulated servers whose difference is known.
//!
//! How often equal servers are called different, and how often the difference of servers whose p99 is
//! 10 % apart is not seen, stands in `docs/measuring.md`. These are the same figures.

use super::{Comparison, Verdict};

/// How runs of the same server differ from each other.
#[derive(Clone, Copy, Debug)]
struct Noise {
    /// The standard deviation of the logarithm of a run's p99: about its relative deviation.
    sigma: f64,
    /// The share of runs that something else disturbs; their p99 is twice as high.
    disturbed: f64,
}

const QUIET: Noise = Noise { sigma: 0.03, disturbed: 0.0 };
const QUIET_DISTURBED: Noise = Noise { sigma: 0.03, disturbed: 0.1 };
const NOISY: Noise = Noise { sigma: 0.1, disturbed: 0.0 };
const NOISY_DISTURBED: Noise = Noise { sigma: 0.1, disturbed: 0.1 };

impl Noise {
    /// The p99 of a run, in microseconds, to three digits as a histogram has it.
    fn run(self, p99: f64, rng: &mut fastrand::Rng) -> f64 {
        // Box and Muller; 1 - u is never 0.
        let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * rng.f64()).cos();
        let disturbance = if rng.f64() < self.disturbed { 2.0 } else { 1.0 };
        (p99 * (self.sigma * normal).exp() * disturbance).round()
    }

    fn runs(self, p99: f64, count: usize, rng: &mut fastrand::Rng) -> Vec<f64> {
        (0..count).map(|_| self.run(p99, rng)).collect()
    }
}

/// Of `pairs` pairs, the shares that are called different and whose interval misses the ratio.
fn simulate(noise: Noise, runs: usize, pairs: u32, ratio: f64, seed: u64) -> (f64, f64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut different, mut outside) = (0, 0);
    for _ in 0..pairs {
        let baseline = noise.runs(250.0, runs, &mut rng);
        let candidate = noise.runs(250.0 * ratio, runs, &mut rng);
        let comparison = Comparison::new(&baseline, &candidate).unwrap();
        different += u32::from(comparison.verdict == Verdict::Different);
        let interval = comparison.ratio.unwrap().interval.unwrap();
        outside += u32::from(!interval.contains(ratio));
    }
    (f64::from(different) / f64::from(pairs), f64::from(outside) / f64::from(pairs))
}

#[test]
fn equal_servers_are_seldom_called_different_and_documented_differences_are_seen() {
    // Noise, runs per side, pairs here, and the documented shares of false and of missed differences,
    // which were counted with 4000 pairs each.
    let table = [
        (QUIET, 6, 1000, 0.040, 0.003),
        (QUIET_DISTURBED, 6, 1000, 0.040, 0.327),
        (NOISY, 6, 1000, 0.039, 0.715),
        (NOISY_DISTURBED, 6, 1000, 0.038, 0.801),
        (NOISY, 10, 500, 0.049, 0.520),
        (NOISY_DISTURBED, 10, 500, 0.050, 0.671),
        (NOISY, 20, 50, 0.047, 0.185),
        (NOISY_DISTURBED, 20, 50, 0.056, 0.378),
    ];
    for (noise, runs, pairs, false_share, missed_share) in table {
        let (different, outside_equal) = simulate(noise, runs, pairs, 1.0, 15);
        let (seen, outside_apart) = simulate(noise, runs, pairs, 1.1, 16);
        let context = format!("{noise:?}, {runs} runs");
        assert_near(different, false_share, pairs, &context);
        assert_near(1.0 - seen, missed_share, pairs, &context);
        for outside in [outside_equal, outside_apart] {
            assert!(outside <= 0.05 + 3.0 * deviation(0.05, pairs), "{outside}: {context}");
        }
    }
}

/// Asserts that a share that was counted among `pairs` may be an expected one.
#[track_caller]
fn assert_near(found: f64, expected: f64, pairs: u32, context: &str) {
    let tolerance = 4.0 * deviation(expected, pairs);
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected}: {context}");
}

/// The standard deviation of a share of `pairs`, by the binomial distribution.
fn deviation(share: f64, pairs: u32) -> f64 {
    (share * (1.0 - share) / f64::from(pairs)).sqrt()
}
