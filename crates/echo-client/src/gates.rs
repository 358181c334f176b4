//! Conditions on the metrics of a run, such as `p99>2ms`. Metrics have their JSON names.

use std::fmt;
use std::str::FromStr;

use crate::metric::{Metric, MetricError};
use crate::run::{GateResult, Metrics};
use crate::run_file::MetricSummary;
use crate::units;

/// A condition on a metric, such as `p99<2ms`.
#[derive(Clone, Debug)]
pub struct Condition<M = Metric> {
    /// As given.
    text: String,
    metric: M,
    comparison: Comparison,
    /// In the unit of the metric.
    limit: f64,
}

/// A condition that makes a run fail.
#[derive(Clone, Debug)]
pub struct Gate<M = Metric>(Condition<M>);

/// What a condition can be about.
pub trait GateMetric: Copy + FromStr<Err = MetricError> {
    /// Whether limits for it are times with a unit.
    fn is_time(self) -> bool;
}

impl GateMetric for Metric {
    fn is_time(self) -> bool {
        Metric::is_time(self)
    }
}

/// Why a text is not a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// Not a metric, a comparison and a value.
    #[error("expected a metric, a comparison and a value, such as p99>2ms")]
    Syntax,
    /// There is no such metric.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// The value is not a time.
    #[error("{0:?} is not a time such as 50us, 2ms or 1.5s")]
    Time(String),
    /// The value is not a number.
    #[error("{0:?} is not a number such as 50000 or 50k")]
    Number(String),
}

type Comparison = fn(&f64, &f64) -> bool;

/// Comparisons, each before its own prefixes.
const COMPARISONS: [(&str, Comparison); 4] =
    [(">=", f64::ge), ("<=", f64::le), (">", f64::gt), ("<", f64::lt)];

impl<M: GateMetric> Condition<M> {
    /// What it is about.
    #[must_use]
    pub fn metric(&self) -> M {
        self.metric
    }

    /// Whether it holds for a value of the metric.
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        (self.comparison)(&value, &self.limit)
    }
}

impl<M> fmt::Display for Condition<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Gate {
    /// Checks the condition for the median of these runs, or the sum of a count of errors. A metric
    /// that a run did not measure fails it: a missing value must not pass for a good one.
    #[must_use]
    pub fn check(&self, runs: &[&Metrics]) -> GateResult {
        let metric = self.metric();
        let values: Vec<_> = runs.iter().map(|run| metric.of(run)).collect();
        let known: Option<Vec<f64>> = values.iter().copied().collect();
        let value = known.and_then(|known| MetricSummary::of(metric, &known).ok());
        self.judge(value.map(|summary| summary.judged()), values)
    }
}

impl<M: GateMetric> Gate<M> {
    /// What it is about.
    #[must_use]
    pub fn metric(&self) -> M {
        self.0.metric
    }

    /// Checks the condition for this value, which stands for those of several runs.
    pub(crate) fn judge(&self, value: Option<f64>, values: Vec<Option<f64>>) -> GateResult {
        let Condition { text, metric, limit, .. } = &self.0;
        GateResult {
            gate: text.clone(),
            value,
            values,
            limit: *limit,
            is_time: metric.is_time(),
            failed: value.is_none_or(|value| self.0.holds(value)),
        }
    }
}

impl<M: GateMetric> FromStr for Gate<M> {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Self, GateError> {
        text.parse().map(Self)
    }
}

impl<M> fmt::Display for Gate<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<M: GateMetric> FromStr for Condition<M> {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Self, GateError> {
        let (name, rest) = text.split_at(text.find(['<', '>']).ok_or(GateError::Syntax)?);
        let mut comparisons = COMPARISONS.into_iter();
        let (value, comparison) = comparisons
            .find_map(|(sign, compare)| Some((rest.strip_prefix(sign)?.trim(), compare)))
            .ok_or(GateError::Syntax)?;
        let metric: M = name.trim().parse()?;
        let limit = if metric.is_time() {
            // Without a unit it would be unclear which one is meant.
            let has_unit = value.ends_with(char::is_alphabetic);
            let time = units::duration(value).ok().filter(|_| has_unit);
            time.ok_or_else(|| GateError::Time(value.to_owned()))?.as_nanos() as f64 / 1e3
        } else {
            units::count(value).map_err(|_| GateError::Number(value.to_owned()))?
        };
        Ok(Self { text: text.to_owned(), metric, comparison, limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::{Distribution, histogram};

    fn metrics() -> Metrics {
        let mut times = histogram();
        times.record_n(3_000_000, 1000).unwrap();
        let latency = Distribution::of(&times);
        Metrics { seconds: 1.0, latency, loss: 2, rate: 40_000.0, ..Metrics::default() }
    }

    fn fails(gate: &str) -> bool {
        gate.parse::<Gate>().unwrap().check(&[&metrics()]).failed
    }

    #[test]
    fn a_gate_fails_if_its_condition_holds() {
        assert!(fails("p99>2ms") && fails("p99 > 2999us") && fails("p99.9>0.002s"));
        assert!(fails("p95>2999us") && fails("p99.5 > 2ms") && !fails("p98>4ms"));
        assert!(!fails("p99>4ms") && !fails("max > 1s"));
        assert!(fails("latency.p99>2ms") && fails("latency.p99_9_us>2ms"), "as the JSON has them");
        assert!(fails("loss>0") && fails("loss>=2") && !fails("loss>2"));
        assert!(fails("rate<50k") && !fails("rate<40000") && fails("rate<=40k"));
        assert!(fails("fairness.jain<2") && !fails("causes.timeout>0"));
    }

    #[test]
    fn a_metric_that_was_not_measured_fails() {
        let gate: Gate = "rate>1M".parse().unwrap();
        assert!(gate.check(&[&Metrics::default()]).failed, "the run ended before measuring began");
        assert!(fails("connect.p99>1h"), "no connection was timed");
        assert!(fails("busy>0.9") && fails("retransmits>0"), "the system did not report it");
    }

    #[test]
    fn invalid_gates_are_refused_with_an_explanation() {
        assert_eq!("p99".parse::<Gate>().unwrap_err(), GateError::Syntax);
        let error = "p99us>1ms".parse::<Gate>().unwrap_err().to_string();
        assert!(error.contains("\"p99us\" is not a percentile; write p50, p95"), "{error}");
        for wrong in ["p99>2", "p99>2parsecs", "p99>NaNms", "p99>"] {
            assert!(matches!(wrong.parse::<Gate>(), Err(GateError::Time(_))), "{wrong}");
        }
        for wrong in ["rate<50ms", "loss>", "loss>-1"] {
            assert!(matches!(wrong.parse::<Gate>(), Err(GateError::Number(_))), "{wrong}");
        }
    }

    #[test]
    fn several_runs_are_judged_by_their_median_and_errors_by_their_sum() {
        let runs = [0, 0, 1].map(|loss| Metrics { loss, rate: loss as f64, ..metrics() });
        let [one, other, last] = &runs;
        let check = |gate: &str| gate.parse::<Gate>().unwrap().check(&[one, other, last]);
        let loss = check("loss>0");
        assert_eq!((loss.failed, loss.value), (true, Some(1.0)));
        assert_eq!(loss.values, [Some(0.0), Some(0.0), Some(1.0)]);
        let rate = check("rate>0");
        assert_eq!((rate.failed, rate.value), (false, Some(0.0)));
        let unmeasured = Metrics::default();
        let gate: Gate = "p99>1h".parse().unwrap();
        assert!(gate.check(&[one, &unmeasured]).failed, "one run has no p99");
    }
}
