//! Conditions on the ratios of sides.

use std::fmt;

use serde::Serialize;

use super::grid::times;
use super::{Error, Side};
use crate::compare::{RatioGate, RatioGateResult};

/// What a condition says about one side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RatioCheck {
    /// The condition as given.
    pub gate: String,
    /// The side that was compared with the first.
    pub side: String,
    /// The ratio; `None` if there is none.
    pub ratio: Option<f64>,
    /// Its 95 % interval; `None` if there are too few runs.
    pub interval: Option<[f64; 2]>,
    /// What the condition says.
    pub result: RatioGateResult,
    /// Why it says nothing, if so.
    pub reason: Option<String>,
}

/// Judges each side but the first.
pub(super) fn check(gate: &RatioGate, sides: &[Side]) -> Vec<RatioCheck> {
    let Some((baseline, others)) = sides.split_first() else { return Vec::new() };
    let judge = |side: &Side| {
        let comparison = side.compared(baseline, gate.metric());
        let ratio = comparison.as_ref().and_then(|comparison| comparison.ratio);
        let result = gate.judge(ratio.as_ref());
        let reason = || match &comparison {
            None => "it was not measured in every run".to_owned(),
            Some(_) if ratio.is_none() => {
                let is_zero = baseline.values(gate.metric()).iter().any(|&value| value <= 0.0);
                let zero = if is_zero { &baseline.name } else { &side.name };
                format!("it is 0 in a run of {zero}, which has no ratio")
            }
            Some(comparison) => {
                format!("{} against {}", runs(comparison.candidate.runs), comparison.baseline.runs)
            }
        };
        let interval = ratio.and_then(|ratio| ratio.interval);
        RatioCheck {
            gate: gate.to_string(),
            side: side.name.clone(),
            ratio: ratio.map(|ratio| ratio.estimate),
            interval: interval.map(|interval| [interval.lower, interval.upper]),
            result,
            reason: (result == RatioGateResult::Undecided).then(reason),
        }
    };
    others.iter().map(judge).collect()
}

fn runs(count: usize) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("{count} runs") }
}

impl RatioCheck {
    /// The error for a condition that could not be judged: what is unknown must not pass.
    #[must_use]
    pub fn undecided(&self) -> Option<Error> {
        let reason = self.reason.clone()?;
        let (gate, too_few_runs) = (self.gate.clone(), self.ratio.is_some());
        Some(Error::Undecided { gate, side: self.side.clone(), reason, too_few_runs })
    }
}

impl fmt::Display for RatioCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gate, side, .. } = self;
        if let Some(reason) = &self.reason {
            return write!(f, "{gate} cannot be judged for {side}: {reason}");
        }
        let result = if self.result == RatioGateResult::Failed { "failed" } else { "passed" };
        write!(f, "{gate} {result}: {side} is at {}", self.ratio.map(times).unwrap_or_default())?;
        let Some([lower, upper]) = self.interval else { return Ok(()) };
        write!(f, " ({} to {})", times(lower), times(upper))
    }
}
