//! The phases of a search, from coarse to final.

use super::RateSearchSettings;

/// What a phase asks of each bound, and when it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    /// Trials per rate, unless fewer decide.
    pub(super) trials: u32,
    /// How many of them may be bad at a rate that holds.
    pub(super) tolerated: u32,
    /// The bounds are close enough at this many steps of the grid.
    pub(super) width: u32,
}

/// Trials per rate and width of the phases before the final one. The widths are 17 % and 4 % where a
/// step of the grid is 2 %.
const EARLIER: [(u32, u32); 2] = [(1, 8), (3, 2)];

impl Phase {
    /// The phases for these settings: each tolerates the same share of bad trials, rounded down, and
    /// the final one is that of the settings.
    pub(super) fn all(settings: &RateSearchSettings) -> Vec<Self> {
        let last =
            Self { trials: settings.trials_per_rate, tolerated: settings.tolerated_bad, width: 1 };
        let earlier = EARLIER.into_iter().filter(|&(trials, _)| trials < last.trials);
        let mut phases: Vec<_> = earlier
            .map(|(trials, width)| {
                let tolerated = trials * last.tolerated / last.trials;
                Self { trials, tolerated, width }
            })
            .collect();
        phases.push(last);
        phases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(trials_per_rate: u32, tolerated_bad: u32) -> Vec<(u32, u32, u32)> {
        let settings =
            RateSearchSettings { trials_per_rate, tolerated_bad, ..RateSearchSettings::default() };
        let phases = Phase::all(&settings).into_iter();
        phases.map(|phase| (phase.trials, phase.tolerated, phase.width)).collect()
    }

    #[test]
    fn early_phases_have_fewer_trials_and_tolerate_the_same_share() {
        assert_eq!(phases(9, 4), [(1, 0, 8), (3, 1, 2), (9, 4, 1)]);
        assert_eq!(phases(9, 0), [(1, 0, 8), (3, 0, 2), (9, 0, 1)]);
        assert_eq!(phases(3, 1), [(1, 0, 8), (3, 1, 1)]);
        assert_eq!(phases(1, 0), [(1, 0, 1)]);
    }
}
