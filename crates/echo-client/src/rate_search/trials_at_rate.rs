//! What the trials at one rate have said so far.

use super::phase::Phase;
use super::{Limit, TrialOutcome};

/// How many trials at a rate were good and bad.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TrialsAtRate {
    good: u32,
    not_met: u32,
    not_offered: u32,
}

/// What they say under the rules of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RateVerdict {
    /// However the remaining trials end, no more than the tolerated number are bad.
    Holds,
    /// More than the tolerated number are bad.
    Fails,
    /// The remaining trials decide.
    Undecided,
}

impl TrialsAtRate {
    pub(super) fn add(&mut self, outcome: TrialOutcome) {
        match outcome {
            TrialOutcome::Met => self.good += 1,
            TrialOutcome::NotMet => self.not_met += 1,
            TrialOutcome::NotOffered => self.not_offered += 1,
        }
    }

    pub(super) fn verdict(&self, phase: &Phase) -> RateVerdict {
        if self.not_met + self.not_offered > phase.tolerated {
            RateVerdict::Fails
        } else if self.good + phase.tolerated >= phase.trials {
            RateVerdict::Holds
        } else {
            RateVerdict::Undecided
        }
    }

    /// What most of the bad trials were.
    pub(super) fn limit(&self) -> Limit {
        if self.not_offered > self.not_met { Limit::Generator } else { Limit::Condition }
    }
}
