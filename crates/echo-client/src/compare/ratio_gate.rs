//! Conditions on the ratio of two sides, such as `p99>1.10x`: a guard against a baseline.
//!
//! A gate fails only if the whole interval of the ratio lies beyond the bound. An estimate beyond it
//! may be chance; a job that fails by chance is soon ignored.

use std::fmt;
use std::str::FromStr;

use super::Ratio;
use crate::metric::{Metric, MetricError};

/// A condition under which a comparison has failed.
#[derive(Clone, Debug, PartialEq)]
pub struct RatioGate {
    text: String,
    metric: Metric,
    side: Side,
    bound: f64,
}

/// On which side of the bound a ratio fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Above,
    Below,
}

/// What a gate says about a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RatioGateResult {
    /// The interval does not lie beyond the bound.
    Passed,
    /// The whole interval lies beyond the bound.
    Failed,
    /// There is no ratio or no interval, so nothing is known. A caller must not take it for passed.
    Undecided,
}

/// Why a text is not a condition on a ratio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RatioGateError {
    /// It is not a metric, `>` or `<`, and a bound.
    Syntax,
    /// There is no such metric.
    Metric(MetricError),
    /// The bound is not a positive number with an `x` behind it.
    Bound {
        /// The bound as given.
        text: String,
    },
}

impl RatioGate {
    /// The metric whose ratio is judged.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The bound, as a ratio to the baseline.
    #[must_use]
    pub fn bound(&self) -> f64 {
        self.bound
    }

    /// Judges a ratio, which is `None` if the metric has none.
    #[must_use]
    pub fn judge(&self, ratio: Option<&Ratio>) -> RatioGateResult {
        let Some(interval) = ratio.and_then(|ratio| ratio.interval) else {
            return RatioGateResult::Undecided;
        };
        let beyond = match self.side {
            Side::Above => interval.lower > self.bound,
            Side::Below => interval.upper < self.bound,
        };
        if beyond { RatioGateResult::Failed } else { RatioGateResult::Passed }
    }
}

impl FromStr for RatioGate {
    type Err = RatioGateError;

    fn from_str(text: &str) -> Result<Self, RatioGateError> {
        let (side, (metric, bound)) = match (text.split_once('>'), text.split_once('<')) {
            (Some(parts), None) => (Side::Above, parts),
            (None, Some(parts)) => (Side::Below, parts),
            _ => return Err(RatioGateError::Syntax),
        };
        let (metric, bound) = (metric.trim(), bound.trim());
        if metric.is_empty() || bound.is_empty() || bound.starts_with('=') {
            return Err(RatioGateError::Syntax);
        }
        let number = bound.strip_suffix('x').and_then(|number| number.parse().ok());
        let number = number.filter(|number: &f64| number.is_finite() && *number > 0.0);
        let number = number.ok_or_else(|| RatioGateError::Bound { text: bound.to_owned() })?;
        let metric = metric.parse().map_err(RatioGateError::Metric)?;
        Ok(Self { text: text.to_owned(), metric, side, bound: number })
    }
}

impl fmt::Display for RatioGate {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for RatioGateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str(
                "write a metric, > or <, and a ratio to the baseline, such as p99>1.10x",
            ),
            Self::Metric(error) => error.fmt(f),
            Self::Bound { text } => {
                write!(f, "{text:?} is not a ratio to the baseline; write 1.10x or 0.95x")
            }
        }
    }
}

impl std::error::Error for RatioGateError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::ConfidenceInterval;

    fn judge(gate: &str, interval: Option<(f64, f64)>) -> RatioGateResult {
        let interval = interval.map(|(lower, upper)| ConfidenceInterval { lower, upper });
        gate.parse::<RatioGate>().unwrap().judge(Some(&Ratio { estimate: 1.0, interval }))
    }

    #[test]
    fn a_gate_fails_only_if_the_whole_interval_is_beyond_the_bound() {
        use RatioGateResult::{Failed, Passed};
        assert_eq!(judge("p99>1.10x", Some((1.11, 1.30))), Failed);
        assert_eq!(judge("p99>1.10x", Some((1.09, 1.30))), Passed, "it may be chance");
        assert_eq!(judge("p99>1.10x", Some((1.10, 1.30))), Passed, "the bound itself is allowed");
        assert_eq!(judge("p99>1.10x", Some((0.50, 0.60))), Passed, "better is not worse");
        assert_eq!(judge("rate<0.95x", Some((0.90, 0.94))), Failed);
        assert_eq!(judge("rate < 0.95x", Some((0.90, 0.96))), Passed);
    }

    #[test]
    fn what_was_not_measured_does_not_pass() {
        assert_eq!(judge("p99>1.10x", None), RatioGateResult::Undecided);
        let gate: RatioGate = "loss>2x".parse().unwrap();
        assert_eq!(gate.judge(None), RatioGateResult::Undecided);
    }

    #[test]
    fn a_gate_tells_its_parts_and_is_displayed_as_written() {
        let gate: RatioGate = "service.p99.9 > 1.10x".parse().unwrap();
        assert_eq!((gate.metric().name(), gate.bound()), ("service.p99.9".to_owned(), 1.10));
        assert_eq!(gate.to_string(), "service.p99.9 > 1.10x");
    }

    #[test]
    fn what_is_not_a_gate_is_refused_with_an_example() {
        for text in ["", "p99", ">1.1x", "p99>", "p99>=1.1x", "p99=1.1x", "p99>1<2x"] {
            let error = text.parse::<RatioGate>().unwrap_err();
            assert_eq!(error, RatioGateError::Syntax, "{text:?}");
        }
        for text in ["p99>1.1", "p99>2ms", "p99>x", "p99>0x", "p99>-1x", "p99>NaNx", "p99>infx"] {
            let error = text.parse::<RatioGate>().unwrap_err();
            assert!(matches!(error, RatioGateError::Bound { .. }), "{text:?}");
            assert!(error.to_string().contains("write 1.10x"), "{error}");
        }
        let error = "p100>1.1x".parse::<RatioGate>().unwrap_err();
        assert!(matches!(error, RatioGateError::Metric(_)), "{error}");
    }
}
