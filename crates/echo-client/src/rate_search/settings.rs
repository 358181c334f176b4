//! What a search is asked for.

use std::fmt;
use std::time::Duration;

/// The range, precision and effort of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateSearchSettings {
    /// Messages per second that are tried at least.
    pub lowest_rate: f64,
    /// Messages per second that are tried at most.
    pub highest_rate: f64,
    /// The rate of the first trial.
    pub start_rate: f64,
    /// How far the bounds of the result may be apart, relative to the lower one: 0.02 is 2 %.
    pub width: f64,
    /// Trials at each bound of the result, unless fewer decide.
    pub trials_per_rate: u32,
    /// How many of them may be bad at a rate that holds. With half of an odd number, rounded down, the
    /// median trial decides.
    pub tolerated_bad: u32,
    /// How long a trial measures, at least.
    pub trial_duration: Duration,
    /// Messages of a trial, at least: it takes longer at low rates. A high percentile of few messages
    /// differs much from trial to trial.
    pub messages_per_trial: u64,
    /// How long a trial measures at most, even if that is not enough for its messages.
    pub longest_trial: Duration,
}

impl Default for RateSearchSettings {
    /// From 100 to 10 million messages per second in steps of 2 %, nine trials of a second per rate,
    /// and enough messages for a hundred to lie beyond a p99, unless that takes longer than 20 s.
    fn default() -> Self {
        Self {
            lowest_rate: 100.0,
            highest_rate: 10_000_000.0,
            start_rate: 1_000.0,
            width: 0.02,
            trials_per_rate: 9,
            tolerated_bad: 4,
            trial_duration: Duration::from_secs(1),
            messages_per_trial: 10_000,
            longest_trial: Duration::from_secs(20),
        }
    }
}

/// Why there is no search with these settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// The rates are not positive, or not in the order lowest, start, highest.
    Rates,
    /// The width is not between 0.001 and 1.
    Width,
    /// There is no trial or more than 1000, or as many are tolerated to be bad as there are.
    Trials,
    /// The duration of a trial is zero, or longer than that of the longest one.
    Duration,
}

impl RateSearchSettings {
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let rates = [self.lowest_rate, self.start_rate, self.highest_rate];
        // Comparisons that a NaN fails.
        if !(rates.is_sorted() && self.lowest_rate > 0.0 && self.highest_rate.is_finite()) {
            return Err(SettingsError::Rates);
        }
        if !(0.001..=1.0).contains(&self.width) {
            return Err(SettingsError::Width);
        }
        if !(1..=1000).contains(&self.trials_per_rate) || self.tolerated_bad >= self.trials_per_rate
        {
            return Err(SettingsError::Trials);
        }
        if self.trial_duration.is_zero() || self.trial_duration > self.longest_trial {
            return Err(SettingsError::Duration);
        }
        Ok(())
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rates => "the rates must be positive and in the order lowest, start, highest",
            Self::Width => "the width must be between 0.1 % and 100 %",
            Self::Trials => "there must be 1 to 1000 trials, and fewer that may be bad",
            Self::Duration => "a trial must take some time, and no more than the longest one",
        })
    }
}

impl std::error::Error for SettingsError {}
