//! The rates that a search may try: whole steps, evenly spaced on a logarithmic scale.
//!
//! On whole steps, halving an interval ends at neighbours, and their ratio is the width.

/// Rates from the lowest to the highest, by step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    lowest: f64,
    highest: f64,
    last: u32,
}

impl Grid {
    /// The grid with the fewest steps whose neighbours are at most `width` apart, relatively.
    pub(super) fn new(lowest: f64, highest: f64, width: f64) -> Self {
        let steps = (highest / lowest).ln() / width.ln_1p();
        Self { lowest, highest, last: steps.ceil() as u32 }
    }

    /// The last step, which is that of the highest rate. The first one is 0.
    pub(super) fn last(&self) -> u32 {
        self.last
    }

    /// The rate of a step.
    pub(super) fn rate(&self, step: u32) -> f64 {
        if step == self.last && step > 0 {
            // Not what the power below rounds to.
            return self.highest;
        }
        let share = f64::from(step) / f64::from(self.last.max(1));
        self.lowest * (self.highest / self.lowest).powf(share)
    }

    /// The step whose rate is nearest on a logarithmic scale.
    pub(super) fn nearest(&self, rate: f64) -> u32 {
        if self.last == 0 {
            return 0;
        }
        let share = (rate / self.lowest).ln() / (self.highest / self.lowest).ln();
        (share * f64::from(self.last)).round() as u32
    }

    /// How many steps at most double the rate; at least 1.
    pub(super) fn doubling(&self) -> u32 {
        let range = (self.highest / self.lowest).ln();
        let steps = std::f64::consts::LN_2 * f64::from(self.last) / range;
        // An empty range has no steps: 0 / 0.
        if steps.is_nan() { 1 } else { (steps as u32).clamp(1, self.last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_ends_at_both_rates_and_has_no_wider_step() {
        let grid = Grid::new(100.0, 10_000_000.0, 0.02);
        assert_eq!((grid.rate(0), grid.rate(grid.last())), (100.0, 10_000_000.0));
        for step in 0..grid.last() {
            let ratio = grid.rate(step + 1) / grid.rate(step);
            assert!(ratio > 1.019 && ratio < 1.02 + 1e-9, "{ratio} at {step}");
            assert_eq!(grid.nearest(grid.rate(step)), step);
        }
        let doubled = grid.rate(grid.doubling()) / grid.rate(0);
        assert!((1.95..=2.0).contains(&doubled), "{doubled}");
    }

    #[test]
    fn a_range_of_one_rate_is_one_step() {
        let grid = Grid::new(500.0, 500.0, 0.02);
        assert_eq!(
            (grid.last(), grid.rate(0), grid.nearest(500.0), grid.doubling()),
            (0, 500.0, 0, 1)
        );
    }
}
