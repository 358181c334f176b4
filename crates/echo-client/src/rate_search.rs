//! The highest rate at which a condition holds, such as a p99 below 2 ms.
//!
//! Whether a condition holds at a rate is a noisy answer: near the limit it differs from trial to
//! trial, and far below it a trial may fail because something else used the machine. Bisection
//! believes each answer, so that one bad trial sends it to a wrong place for good. This search is
//! MLRsearch (RFC 9971, draft-ietf-bmwg-mlrsearch), reduced to one goal:
//!
//! - A rate is tried several times. It holds if no more than a tolerated number of its trials are
//!   bad (the goal exceed ratio), and trials at it end as soon as the answer is certain.
//! - The search goes through phases. The first believes single trials and only finds the region,
//!   doubling the rate until a trial is bad and then narrowing. Each later phase asks for more trials and
//!   a smaller width, tries the bounds of the phase before again, and moves away from those that do
//!   not hold, in growing steps.
//! - It ends with a lower bound, which holds, and an upper bound, which does not, that lie one
//!   relative width apart; or at an end of the range.
//!
//! With the default of 4 bad trials tolerated out of 9, the condition holds for the median trial. An
//! exceed ratio of one half is also what the RFC recommends.
//!
//! This module neither sends anything nor reads a clock. The caller runs the trials:
//!
//! ```
//! use echo_client::rate_search::{RateSearch, RateSearchSettings, SearchResult, TrialOutcome};
//!
//! let mut search = RateSearch::new(RateSearchSettings::default())?;
//! while let Some(trial) = search.next_trial() {
//!     let met = trial.rate <= 47_000.0; // a trial of trial.duration at trial.rate
//!     search.record(if met { TrialOutcome::Met } else { TrialOutcome::NotMet });
//! }
//! let Some(SearchResult::Between { lower, upper, .. }) = search.result() else { panic!() };
//! assert!(lower <= 47_000.0 && upper > 47_000.0 && upper / lower < 1.021);
//! # Ok::<(), echo_client::rate_search::SettingsError>(())
//! ```

mod grid;
mod phase;
mod settings;
#[cfg(test)]
mod tests;
mod trials_at_rate;

use std::collections::BTreeMap;
use std::time::Duration;

use grid::Grid;
use phase::Phase;
pub use settings::{RateSearchSettings, SettingsError};
use trials_at_rate::{RateVerdict, TrialsAtRate};

/// A search for the highest rate at which a condition holds.
#[derive(Clone, Debug)]
pub struct RateSearch {
    settings: RateSearchSettings,
    grid: Grid,
    phases: Vec<Phase>,
    /// The index of the phase that is under way.
    current: usize,
    /// What the trials of all phases said, by step of the grid.
    trials_by_rate: BTreeMap<u32, TrialsAtRate>,
    /// The bounds of the phase before; at first, where to begin.
    previous: Bounds,
    /// How many steps to move away from a bound in search of the other one.
    expansion: u32,
    /// The step that was tried last. It is tried again until the phase has decided on it.
    trying: Option<u32>,
    /// The step whose trial is under way.
    pending: Option<u32>,
    trials: Vec<FinishedTrial>,
    result: Option<SearchResult>,
}

/// A load to be tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Messages per second.
    pub rate: f64,
    /// How long to measure, without any warm-up.
    pub duration: Duration,
}

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialOutcome {
    /// The rate was offered and the condition held.
    Met,
    /// The condition did not hold.
    NotMet,
    /// The condition held, but the load generator did not send at the rate, so nothing is known about
    /// the server at that rate. The trial is bad.
    NotOffered,
}

/// A trial with its outcome.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FinishedTrial {
    /// What was tried.
    pub trial: Trial,
    /// What came of it.
    pub outcome: TrialOutcome,
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SearchResult {
    /// The highest rate lies between two bounds that are one width apart.
    Between {
        /// The highest rate at which the condition held.
        lower: f64,
        /// The lowest rate above it at which it did not.
        upper: f64,
        /// What most of the bad trials at the upper bound were.
        limit: Limit,
    },
    /// The condition does not even hold at the lowest rate.
    FailsAtLowest {
        /// The lowest rate.
        rate: f64,
        /// What most of its bad trials were.
        limit: Limit,
    },
    /// The condition holds at the highest rate of the range: the limit was not found.
    HoldsAtHighest {
        /// The highest rate.
        rate: f64,
    },
}

/// What keeps a rate from holding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The condition: the limit is the server's, or the path's.
    Condition,
    /// The load generator does not reach the rate: the server may be able to do more.
    Generator,
}

/// A lower bound that holds and an upper bound that does not, as steps of the grid.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    lower: Option<u32>,
    upper: Option<u32>,
}

impl RateSearch {
    /// Begins a search.
    ///
    /// # Errors
    ///
    /// Fails if the settings contradict each other.
    pub fn new(settings: RateSearchSettings) -> Result<Self, SettingsError> {
        settings.check()?;
        let grid = Grid::new(settings.lowest_rate, settings.highest_rate, settings.width);
        let phases = Phase::all(&settings);
        let start = grid.nearest(settings.start_rate);
        Ok(Self {
            expansion: grid.doubling(),
            current: 0,
            trials_by_rate: BTreeMap::new(),
            previous: Bounds { lower: Some(start), upper: None },
            trying: None,
            pending: None,
            trials: Vec::new(),
            result: None,
            settings,
            grid,
            phases,
        })
    }

    /// The next trial to run; `None` when the search is over. It stays the same until its outcome is
    /// recorded.
    pub fn next_trial(&mut self) -> Option<Trial> {
        if self.pending.is_none() && self.result.is_none() {
            self.pending = self.next_step();
            self.trying = self.pending;
        }
        self.pending.map(|step| self.trial(step))
    }

    /// Records the outcome of the trial that [`Self::next_trial`] returned last.
    ///
    /// # Panics
    ///
    /// Panics if no trial is under way.
    pub fn record(&mut self, outcome: TrialOutcome) {
        let step = self.pending.take().expect("an outcome belongs to a trial");
        self.trials_by_rate.entry(step).or_default().add(outcome);
        self.trials.push(FinishedTrial { trial: self.trial(step), outcome });
    }

    /// What was found; `None` until [`Self::next_trial`] has returned `None`.
    #[must_use]
    pub fn result(&self) -> Option<SearchResult> {
        self.result
    }

    /// The bounds as far as they are known: the highest rate that holds and the lowest that does not.
    /// For showing progress; bounds of early phases rest on single trials.
    #[must_use]
    pub fn bounds(&self) -> (Option<f64>, Option<f64>) {
        let Bounds { lower, upper } = self.bounds_in_phase();
        // In the first phase there is only a place to begin. Later, what this phase has refuted is
        // no bound any more.
        let previous = if self.current > 0 { self.previous } else { Bounds::NONE };
        let previous_lower = previous.lower.filter(|&step| upper.is_none_or(|upper| step < upper));
        let previous_upper = previous.upper.filter(|&step| lower.is_none_or(|lower| step > lower));
        let rate = |step| self.grid.rate(step);
        (lower.or(previous_lower).map(rate), upper.or(previous_upper).map(rate))
    }

    /// The lowest rate with a bad trial and the highest one with a good trial, if good trials were seen
    /// above bad ones.
    ///
    /// If this range is much wider than the bounds, they are less certain than they are close: the
    /// condition hardly depends on the rate there, or trials fail for another reason.
    #[must_use]
    pub fn mixed_range(&self) -> Option<(f64, f64)> {
        let good = |finished: &&FinishedTrial| finished.outcome == TrialOutcome::Met;
        let rate = |finished: &FinishedTrial| finished.trial.rate;
        let highest_good = self.trials.iter().filter(good).map(rate).reduce(f64::max)?;
        let bad = self.trials.iter().filter(|finished| !good(finished));
        let lowest_bad = bad.map(rate).reduce(f64::min)?;
        (lowest_bad < highest_good).then_some((lowest_bad, highest_good))
    }

    /// All trials so far, in the order in which they were run.
    #[must_use]
    pub fn trials(&self) -> &[FinishedTrial] {
        &self.trials
    }

    /// A bound on the number of trials, whatever their outcomes. A search usually takes far fewer.
    ///
    /// In each phase the bounds of the phase before are tried again. From there the other bound is
    /// approached in steps that double until they double the rate, and the interval that was stepped
    /// over is halved until it has the phase's width.
    #[must_use]
    pub fn max_trials(&self) -> u32 {
        let doubling = self.grid.doubling();
        let halvings = doubling.ilog2() + 1;
        let expansions = halvings + self.grid.last().div_ceil(doubling) + 1;
        self.phases.iter().map(|phase| (2 + expansions + halvings) * phase.trials).sum()
    }

    /// A bound on the sum of the durations of all trials: [`Self::max_trials`] of the longest one.
    #[must_use]
    pub fn max_duration(&self) -> Duration {
        self.trial(0).duration.saturating_mul(self.max_trials())
    }

    fn trial(&self, step: u32) -> Trial {
        let RateSearchSettings { trial_duration, messages_per_trial, longest_trial, .. } =
            self.settings;
        let rate = self.grid.rate(step);
        // Too long for a Duration is too long for a trial.
        let for_messages = Duration::try_from_secs_f64(messages_per_trial as f64 / rate);
        let duration = for_messages.unwrap_or(longest_trial).clamp(trial_duration, longest_trial);
        Trial { rate, duration }
    }

    /// The step to try next; `None`, and the result is set, when the last phase is complete.
    fn next_step(&mut self) -> Option<u32> {
        loop {
            if let Some(step) = self.trying
                && self.trials_by_rate[&step].verdict(self.phase()) == RateVerdict::Undecided
            {
                return Some(step);
            }
            let bounds = self.bounds_in_phase();
            let step = match (bounds.lower, bounds.upper) {
                (Some(lower), Some(upper)) => {
                    (upper - lower > self.phase().width).then(|| lower.midpoint(upper))
                }
                (Some(lower), None) => (lower < self.grid.last()).then(|| self.above(lower)),
                (None, Some(upper)) => (upper > 0).then(|| self.below(upper)),
                (None, None) => Some(self.previous.lower.or(self.previous.upper).unwrap_or(0)),
            };
            if step.is_some() {
                return step;
            }
            if self.current + 1 == self.phases.len() {
                self.result = Some(self.conclude(bounds));
                return None;
            }
            self.current += 1;
            self.previous = bounds;
            self.expansion = self.phase().width.min(self.grid.doubling());
            self.trying = None;
        }
    }

    fn phase(&self) -> &Phase {
        &self.phases[self.current]
    }

    /// The relevant bounds of RFC 9971: the lowest rate that fails, and the highest below it that holds.
    /// A rate above them that seems to hold is taken for chance (loss inversion).
    fn bounds_in_phase(&self) -> Bounds {
        let phase = self.phase();
        let mut bounds = Bounds::NONE;
        for (&step, trials) in &self.trials_by_rate {
            match trials.verdict(phase) {
                RateVerdict::Holds => bounds.lower = Some(step),
                RateVerdict::Fails => {
                    bounds.upper = Some(step);
                    break;
                }
                RateVerdict::Undecided => {}
            }
        }
        bounds
    }

    /// A step above one that holds: the upper bound of the phase before, or farther than the last.
    fn above(&mut self, lower: u32) -> u32 {
        match self.previous.upper {
            Some(upper) if upper > lower => upper,
            _ => lower.saturating_add(self.next_expansion()).min(self.grid.last()),
        }
    }

    /// A step below one that fails: the lower bound of the phase before, or farther than the last.
    fn below(&mut self, upper: u32) -> u32 {
        match self.previous.lower {
            Some(lower) if lower < upper => lower,
            _ => upper.saturating_sub(self.next_expansion()),
        }
    }

    fn next_expansion(&mut self) -> u32 {
        let steps = self.expansion;
        self.expansion = steps.saturating_mul(2).min(self.grid.doubling());
        steps
    }

    /// The result, when the last phase ends with these bounds.
    fn conclude(&self, bounds: Bounds) -> SearchResult {
        let rate = |step| self.grid.rate(step);
        let limit = |step| self.trials_by_rate[&step].limit();
        match (bounds.lower, bounds.upper) {
            (Some(lower), Some(upper)) => SearchResult::Between {
                lower: rate(lower),
                upper: rate(upper),
                limit: limit(upper),
            },
            (None, Some(lowest)) => {
                SearchResult::FailsAtLowest { rate: rate(lowest), limit: limit(lowest) }
            }
            (_, None) => SearchResult::HoldsAtHighest { rate: rate(self.grid.last()) },
        }
    }
}

impl Bounds {
    const NONE: Self = Self { lower: None, upper: None };
}
