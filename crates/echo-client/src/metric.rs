//! The metrics of a run by name, such as `p99`.

use std::fmt;
use std::str::FromStr;

use crate::run::Metrics;
use crate::units::Unit;

/// A metric of a run.
///
/// Its name is that of the JSON without the unit of a time: `connect.p50`, `rate`. For latencies
/// `p99.9` stands for `latency.p99_9_us`.
#[derive(Clone, Copy)]
pub struct Metric(&'static Entry);

struct Entry {
    name: &'static str,
    unit: Unit,
    better: Better,
    value: fn(&Metrics) -> Option<f64>,
}

/// Which values of a metric are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Low ones, such as latencies.
    Lower,
    /// High ones, such as rates.
    Higher,
    /// Neither.
    Neither,
}

/// There is no metric of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no metric {0:?}; use p50, p90, p99, p99.9, p99.99, max, rate, loss, failed or \
     another number of the saved JSON"
)]
pub struct UnknownMetric(pub String);

macro_rules! entries {
    ($($name:expr, $unit:ident, $better:ident, $value:expr;)*) => {
        &[$(Entry { name: $name, unit: Unit::$unit, better: Better::$better, value: $value }),*]
    };
}

/// The statistics of a distribution of times. Without a sample only their count is known.
macro_rules! statistics {
    ($prefix:literal, $times:ident) => {
        entries! {
            concat!($prefix, "count"), Count, Neither, |it| Some(it.$times.count as f64);
            concat!($prefix, "min"), Microseconds, Lower, |it| it.$times.known(it.$times.min_us);
            concat!($prefix, "mean"), Microseconds, Lower, |it| it.$times.known(it.$times.mean_us);
            concat!($prefix, "stdev"), Microseconds, Lower, |it| it.$times.known(it.$times.stdev_us);
            concat!($prefix, "p50"), Microseconds, Lower, |it| it.$times.known(it.$times.p50_us);
            concat!($prefix, "p90"), Microseconds, Lower, |it| it.$times.known(it.$times.p90_us);
            concat!($prefix, "p99"), Microseconds, Lower, |it| it.$times.known(it.$times.p99_us);
            concat!($prefix, "p99.9"), Microseconds, Lower, |it| it.$times.known(it.$times.p99_9_us);
            concat!($prefix, "p99.99"), Microseconds, Lower, |it| it.$times.known(it.$times.p99_99_us);
            concat!($prefix, "max"), Microseconds, Lower, |it| it.$times.known(it.$times.max_us);
        }
    };
}

static ENTRIES: [&[Entry]; 4] = [
    statistics!("", latency),
    statistics!("service.", service),
    statistics!("connect.", connect),
    entries! {
        "seconds", Count, Neither, |it| Some(it.seconds);
        "echoes", Count, Higher, |it| Some(it.echoes as f64);
        "rate", PerSecond, Higher, |it| (it.seconds > 0.0).then_some(it.rate);
        "bytes_per_second", PerSecond, Higher, |it| (it.seconds > 0.0).then_some(it.bytes_per_second);
        "sent", Count, Higher, |it| Some(it.sent as f64);
        "loss", Count, Lower, |it| Some(it.loss as f64);
        "missing_bytes", Count, Lower, |it| Some(it.missing_bytes as f64);
        "unsent", Count, Lower, |it| Some(it.unsent as f64);
        "failed", Count, Lower, |it| Some(it.failed as f64);
        "causes.connect", Count, Lower, |it| Some(it.causes.connect as f64);
        "causes.changed", Count, Lower, |it| Some(it.causes.changed as f64);
        "causes.surplus", Count, Lower, |it| Some(it.causes.surplus as f64);
        "causes.closed", Count, Lower, |it| Some(it.causes.closed as f64);
        "causes.lost", Count, Lower, |it| Some(it.causes.lost as f64);
        "causes.timeout", Count, Lower, |it| Some(it.causes.timeout as f64);
        "fairness.min", Count, Higher, |it| Some(it.fairness.min as f64);
        "fairness.max", Count, Neither, |it| Some(it.fairness.max as f64);
        "fairness.jain", Count, Higher, |it| it.fairness.jain;
        "cpu_us_per_echo", Microseconds, Lower, |it| it.cpu_us_per_echo;
        "busy", Count, Lower, |it| it.busy;
        "server_cpu_s", Count, Lower, |it| it.server_cpu_s;
        "server_cpu_us_per_echo", Microseconds, Lower, |it| it.server_cpu_us_per_echo;
        "retransmits", Count, Lower, |it| it.retransmits.map(|count| count as f64);
    },
];

impl Metric {
    /// The shortest form of its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The unit of its values.
    #[must_use]
    pub fn unit(self) -> Unit {
        self.0.unit
    }

    /// Which of its values are better.
    #[must_use]
    pub fn better(self) -> Better {
        self.0.better
    }

    /// Whether limits for it are times with a unit. Otherwise its name says the unit.
    #[must_use]
    pub fn is_time(self) -> bool {
        self.unit() == Unit::Microseconds && !self.name().contains("_us")
    }

    /// Its value in a run; `None` if it was not measured.
    #[must_use]
    pub fn of(self, metrics: &Metrics) -> Option<f64> {
        (self.0.value)(metrics)
    }
}

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(name: &str) -> Result<Self, UnknownMetric> {
        let short = name.strip_prefix("latency.").unwrap_or(name);
        let short = short.strip_suffix("_us").unwrap_or(short).replacen("9_9", "9.9", 1);
        let entry = ENTRIES.into_iter().flatten().find(|entry| entry.name == short);
        entry.map(Self).ok_or_else(|| UnknownMetric(name.to_owned()))
    }
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::distribution::{Distribution, histogram};

    /// The numbers in an object of the JSON, by their paths.
    fn numbers(prefix: &str, json: &Value) -> Vec<(String, f64)> {
        let fields = json.as_object().into_iter().flatten();
        let of_field = |(key, value): (&String, &Value)| match value.as_f64() {
            Some(number) => vec![(format!("{prefix}{key}"), number)],
            None => numbers(&format!("{prefix}{key}."), value),
        };
        fields.flat_map(of_field).collect()
    }

    #[test]
    fn every_number_of_the_json_is_a_metric_of_the_same_value() {
        let mut times = histogram();
        (1..=1000).for_each(|us| times.record(us * 1000).unwrap());
        let mut metrics = Metrics { seconds: 1.0, rate: 5.0, loss: 7, ..Metrics::default() };
        (metrics.cpu_us_per_echo, metrics.server_cpu_s) = (Some(1.5), Some(2.5));
        (metrics.server_cpu_us_per_echo, metrics.retransmits) = (Some(3.5), Some(4));
        (metrics.busy, metrics.fairness.jain) = (Some(0.5), Some(0.25));
        metrics.latency = Distribution::of(&times);
        (metrics.service, metrics.connect) = (metrics.latency.clone(), metrics.latency.clone());
        let numbers = numbers("", &serde_json::to_value(&metrics).unwrap());
        for (path, value) in &numbers {
            let metric: Metric = path.parse().unwrap();
            assert_eq!(metric.of(&metrics), Some(*value), "{path}");
        }
        assert_eq!(numbers.len(), ENTRIES.into_iter().flatten().count());
    }

    #[test]
    fn metrics_are_also_known_by_their_json_path() {
        let metric = |name: &str| name.parse::<Metric>().unwrap();
        assert_eq!(metric("latency.p99_9_us"), metric("p99.9"));
        assert!(metric("connect.p50").is_time() && !metric("server_cpu_us_per_echo").is_time());
        assert_eq!(
            (metric("p99").better(), metric("rate").better()),
            (Better::Lower, Better::Higher)
        );
        assert_eq!(metric("p99").of(&Metrics::default()), None, "there is no sample");
    }
}
