//! Conditions on the metrics of a run, such as `p99>2ms`. Metrics have their JSON names.

use std::fmt;
use std::str::FromStr;

use crate::metric::{Metric, UnknownMetric};
use crate::run::{GateResult, Metrics};

/// A condition that makes a run fail.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// As given.
    text: String,
    metric: Metric,
    comparison: Comparison,
    /// In the unit of the metric.
    limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// Why a text is not a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateError {
    /// Not a name, a comparison and a value.
    Syntax,
    /// There is no such metric.
    Metric(UnknownMetric),
    /// The value does not fit the metric.
    Value {
        /// The value as given.
        value: String,
        /// Whether the metric is a time.
        is_time: bool,
    },
}

impl Gate {
    /// Checks the condition. A metric that was not measured fails it: a missing value must not pass
    /// for a good one.
    #[must_use]
    pub fn check(&self, metrics: &Metrics) -> GateResult {
        let value = self.metric.of(metrics);
        let failed = value.is_none_or(|value| match self.comparison {
            Comparison::Above => value > self.limit,
            Comparison::AtLeast => value >= self.limit,
            Comparison::Below => value < self.limit,
            Comparison::AtMost => value <= self.limit,
        });
        let (gate, limit) = (self.text.clone(), self.limit);
        GateResult { gate, value, limit, is_time: self.metric.is_time(), failed }
    }
}

impl FromStr for Gate {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Self, GateError> {
        let at = text.find(['<', '>']).ok_or(GateError::Syntax)?;
        let (name, rest) = text.split_at(at);
        let (comparison, value) = match rest.as_bytes() {
            [b'>', b'=', ..] => (Comparison::AtLeast, &rest[2..]),
            [b'<', b'=', ..] => (Comparison::AtMost, &rest[2..]),
            [b'>', ..] => (Comparison::Above, &rest[1..]),
            _ => (Comparison::Below, &rest[1..]),
        };
        let (name, value) = (name.trim(), value.trim());
        let metric: Metric = name.parse().map_err(GateError::Metric)?;
        let is_time = metric.is_time();
        let limit = if is_time { microseconds(value) } else { number(value) };
        let limit = limit.ok_or_else(|| GateError::Value { value: value.to_owned(), is_time })?;
        Ok(Self { text: text.to_owned(), metric, comparison, limit })
    }
}

/// `2ms`, `50us`, `1.5s`.
fn microseconds(text: &str) -> Option<f64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let factor = match unit {
        "ns" => 1e-3,
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" | "min" => 60e6,
        _ => return None,
    };
    finite(number).map(|number| number * factor)
}

/// `50000`, `50k`, `1.5M`. In counts, `k` is 1000.
fn number(text: &str) -> Option<f64> {
    for (unit, factor) in [("k", 1e3), ("M", 1e6), ("G", 1e9)] {
        if let Some(number) = text.strip_suffix(unit) {
            return finite(number).map(|number| number * factor);
        }
    }
    finite(text)
}

fn finite(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

impl fmt::Display for GateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => {
                f.write_str("write a figure, a comparison and a value, such as p99>2ms")
            }
            Self::Metric(unknown) => unknown.fmt(f),
            Self::Value { value, is_time: true } => {
                write!(f, "{value:?} is no time; write 50us, 2ms or 1.5s")
            }
            Self::Value { value, is_time: false } => {
                write!(f, "{value:?} is no number; write 50000, 50k or 1.5M")
            }
        }
    }
}

impl std::error::Error for GateError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::{Distribution, histogram};

    fn metrics() -> Metrics {
        let mut times = histogram();
        times.record_n(3_000_000, 1000).unwrap();
        let latency = Distribution::of(&times);
        Metrics { latency, loss: 2, rate: 40_000.0, ..Metrics::default() }
    }

    fn fails(gate: &str) -> bool {
        gate.parse::<Gate>().unwrap().check(&metrics()).failed
    }

    #[test]
    fn a_gate_fails_if_its_condition_holds() {
        assert!(fails("p99>2ms") && fails("p99 > 2999us") && fails("p99.9>0.002s"));
        assert!(!fails("p99>4ms") && !fails("max > 1s"));
        assert!(fails("latency.p99>2ms") && fails("latency.p99_9_us>2ms"), "as the JSON has them");
        assert!(fails("loss>0") && fails("loss>=2") && !fails("loss>2"));
        assert!(fails("rate<50k") && !fails("rate<40000") && fails("rate<=40k"));
        assert!(fails("fairness.jain<2") && !fails("causes.timeout>0"));
    }

    #[test]
    fn a_metric_that_was_not_measured_fails() {
        assert!(fails("connect.p99>1h".replace("1h", "60m").as_str()), "no connection was timed");
        assert!(fails("busy>0.9") && fails("retransmits>0"), "the system did not tell");
    }

    #[test]
    fn invalid_gates_are_refused_with_an_explanation() {
        assert_eq!("p99".parse::<Gate>(), Err(GateError::Syntax));
        let error = "p98>1ms".parse::<Gate>().unwrap_err().to_string();
        assert!(error.contains("\"p98\"") && error.contains("p99.99, "), "{error}");
        for wrong in ["p99>2", "p99>2parsecs", "rate<50ms", "loss>", "loss>-1", "p99>NaNms"] {
            assert!(matches!(wrong.parse::<Gate>(), Err(GateError::Value { .. })), "{wrong}");
        }
    }
}
