//! The metrics of a run of `ping` by name, for conditions.

use std::str::FromStr;

use super::record::{OutageMetrics, PingMetrics};
use crate::distribution::{Distribution, ns_to_us};
use crate::gates::{Gate, GateMetric};
use crate::metric::{MetricError, percentile};
use crate::percentile::Percentile;
use crate::run::GateResult;

/// A metric of a run: any number of its JSON, or any percentile.
///
/// Its name is that of the JSON without the unit of a time. `avg` and `mdev` stand for `mean` and
/// `stdev`, as ping(8) calls them; `outage` for `outage.max`.
#[derive(Clone, Copy, Debug)]
pub enum PingMetric {
    /// A number that is not a time.
    Number(fn(&PingMetrics) -> f64),
    /// The share of messages that were lost.
    LossShare,
    /// A time without an echo.
    Outage(fn(&OutageMetrics) -> f64),
    /// A statistic of times.
    Statistic(Times, fn(&Distribution) -> f64),
    /// A percentile of times.
    Percentile(Times, Percentile),
}

/// One of the distributions of a run.
type Times = fn(&PingMetrics) -> &Distribution;

impl PingMetric {
    /// Its value in a run; `None` if it was not measured.
    #[must_use]
    pub fn of(self, run: &PingMetrics) -> Option<f64> {
        match self {
            Self::Number(value) => Some(value(run)),
            Self::LossShare => run.loss_share,
            Self::Outage(value) => (run.transmitted > 0).then(|| value(&run.outage)),
            Self::Statistic(times, value) => times(run).known(value(times(run))),
            Self::Percentile(times, percentile) => {
                let times = times(run);
                let us = ns_to_us(percentile.value_in(&times.decode()?)?);
                // Unlike the histogram, these two are exact.
                Some(us.clamp(times.min_us, times.max_us))
            }
        }
    }
}

impl GateMetric for PingMetric {
    fn is_time(self) -> bool {
        matches!(self, Self::Outage(_) | Self::Statistic(..) | Self::Percentile(..))
    }
}

impl Gate<PingMetric> {
    /// Checks the condition. A metric that was not measured fails it.
    #[must_use]
    pub fn check(&self, run: &PingMetrics) -> GateResult {
        let value = self.metric().of(run);
        self.judge(value, vec![value])
    }
}

impl FromStr for PingMetric {
    type Err = MetricError;

    fn from_str(text: &str) -> Result<Self, MetricError> {
        let name = text.strip_suffix("_us").unwrap_or(text);
        let (times, statistic): (Times, _) = match name.split_once('.') {
            Some(("connect", statistic)) => (|run| &run.connect, statistic),
            Some(("latency", statistic)) => (|run| &run.latency, statistic),
            _ => (|run| &run.latency, name),
        };
        if let Some(percentile) = percentile(statistic)? {
            return Ok(Self::Percentile(times, percentile));
        }
        Ok(match (name, statistic) {
            ("seconds", _) => Self::Number(|run| run.seconds),
            ("transmitted", _) => Self::Number(|run| run.transmitted as f64),
            ("echoes", _) => Self::Number(|run| run.echoes as f64),
            ("loss", _) => Self::Number(|run| run.loss as f64),
            ("loss_share", _) => Self::LossShare,
            ("latency.count", _) => Self::Number(|run| run.latency.count as f64),
            ("connect.count", _) => Self::Number(|run| run.connect.count as f64),
            ("outage.count", _) => Self::Number(|run| run.outage.count as f64),
            ("outage" | "outage.max", _) => Self::Outage(|outage| outage.max_us),
            ("outage.total", _) => Self::Outage(|outage| outage.total_us),
            (_, "min") => Self::Statistic(times, |it| it.min_us),
            (_, "mean" | "avg") => Self::Statistic(times, |it| it.mean_us),
            (_, "stdev" | "mdev") => Self::Statistic(times, |it| it.stdev_us),
            (_, "max") => Self::Statistic(times, |it| it.max_us),
            _ => return Err(MetricError::UnknownToPing(text.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::metric::numbers;
    use crate::ping::{Event, Outage, Summary};

    /// 100 replies of 1 to 100 ms, a connect of 5 ms, and an outage of 2 s with 2 messages.
    fn run() -> PingMetrics {
        let mut summary = Summary::default();
        let peer = "127.0.0.1:7".parse().unwrap();
        summary.record(&Event::Connected { peer, took: Duration::from_millis(5) });
        for ms in 1..=100 {
            summary.record(&Event::Reply { seq: ms, time: Duration::from_millis(ms) });
        }
        let since = Instant::now();
        let outage = Outage { since, duration: Duration::from_secs(2), first: 101, last: 102 };
        for seq in [101, 102] {
            summary.record(&Event::Failed { seq, error: None, outage });
        }
        summary.record(&Event::Recovered { outage });
        PingMetrics::of(&summary, Duration::from_secs(9))
    }

    #[test]
    fn every_number_of_the_json_is_a_metric_of_the_same_value() {
        let run = run();
        let numbers = numbers("", &serde_json::to_value(&run).unwrap());
        assert_eq!(numbers.len(), 5 + 2 * 10 + 3);
        for (path, value) in numbers {
            assert_eq!(path.parse::<PingMetric>().unwrap().of(&run), Some(value), "{path}");
        }
    }

    #[test]
    fn gates_have_the_names_of_ping_too() {
        let fails = |gate: &str| gate.parse::<Gate<PingMetric>>().unwrap().check(&run()).failed;
        assert!(fails("avg>50ms") && !fails("avg>51ms") && fails("mean>50ms"));
        assert!(fails("mdev>28ms") && !fails("mdev>30ms"));
        assert!(fails("outage>1999ms") && !fails("outage>2s") && fails("outage.count>0"));
        assert!(fails("loss>1") && !fails("loss>2") && fails("loss_share>0.0196"));
        assert!(fails("p95>=95ms") && !fails("p95>96ms") && !fails("max>100ms"));
        assert!(fails("connect.max>4ms") && !fails("connect.p50>5ms"));
    }

    #[test]
    fn a_metric_that_was_not_measured_fails() {
        for gate in ["p99>1h", "max>1h", "connect.avg>1h", "loss_share>0.99", "outage>1h"] {
            let result = gate.parse::<Gate<PingMetric>>().unwrap().check(&PingMetrics::default());
            assert_eq!((result.failed, result.value), (true, None), "{gate}");
        }
    }

    #[test]
    fn an_unknown_metric_names_those_of_ping() {
        for gate in ["rate>1", "outage.p50>1s", "avg.max>1s", "connect>1s"] {
            let error = gate.parse::<Gate<PingMetric>>().unwrap_err().to_string();
            assert!(error.contains("use loss, loss_share, min, avg"), "{gate}: {error}");
        }
    }
}
