//! The metrics of a run by name, such as `p99`.

use std::fmt;
use std::str::FromStr;

use crate::distribution::{Distribution, ns_to_us};
use crate::percentile::{Percentile, PercentileError};
use crate::run::Metrics;
use crate::units::Unit;

/// A metric of a run: any number of its JSON, or any percentile.
///
/// Its name is that of the JSON without the unit of a time: `connect.p50`, `rate`. For latencies
/// `p99.9` stands for `latency.p99_9_us`.
#[derive(Clone, Copy)]
pub struct Metric(Source);

/// Where its value is found.
#[derive(Clone, Copy)]
enum Source {
    Field(&'static Entry),
    Percentile(Times, Percentile),
}

/// The distributions of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Times {
    Latency,
    Service,
    SendLag,
    Connect,
}

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

/// Why a text is not the name of a metric.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    /// There is no metric of this name.
    #[error(
        "there is no metric {0:?}; use rate, loss, failed, min, max, a percentile such as p50 or \
         p99.9, or another number of the saved JSON"
    )]
    Unknown(String),
    /// There is no metric of this name in a run of ping.
    #[error(
        "there is no metric {0:?}; use loss, loss_share, min, avg, mdev, max, a percentile such as \
         p99, outage, or another number of ping's JSON"
    )]
    UnknownToPing(String),
    /// It begins like a percentile.
    #[error(transparent)]
    Percentile(#[from] PercentileError),
}

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
            concat!($prefix, "max"), Microseconds, Lower, |it| it.$times.known(it.$times.max_us);
        }
    };
}

static LATENCY: &[Entry] = statistics!("", latency);
static ENTRIES: [&[Entry]; 5] = [
    LATENCY,
    statistics!("service.", service),
    statistics!("send_lag.", send_lag),
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

/// The percentiles that a [`Distribution`] has as fields.
pub const PERCENTILES: [&str; 5] = ["p50", "p90", "p99", "p99.9", "p99.99"];

impl Metric {
    /// Every number of the JSON.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let fields = ENTRIES.into_iter().flatten().map(|entry| Self(Source::Field(entry)));
        let percentiles = Times::ALL.into_iter().flat_map(|times| {
            let of = move |name: &str| Self(Source::Percentile(times, known_percentile(name)));
            PERCENTILES.into_iter().map(of)
        });
        fields.chain(percentiles)
    }

    /// The shortest form of its name.
    #[must_use]
    pub fn name(self) -> String {
        match self.0 {
            Source::Field(entry) => entry.name.to_owned(),
            Source::Percentile(Times::Latency, percentile) => percentile.to_string(),
            Source::Percentile(times, percentile) => format!("{}.{percentile}", times.name()),
        }
    }

    /// Its path in the JSON of a result, where the five percentiles of [`PERCENTILES`] are found and
    /// all others could be.
    #[must_use]
    pub fn json_path(self) -> String {
        let path = match self.0 {
            Source::Percentile(times, percentile) => {
                format!("{}.{}", times.name(), percentile.key())
            }
            Source::Field(entry) if LATENCY.iter().any(|it| it.name == entry.name) => {
                format!("latency.{}", entry.name)
            }
            Source::Field(entry) => entry.name.to_owned(),
        };
        if self.is_time() { path + "_us" } else { path }
    }

    /// The percentile that it is, if any.
    #[must_use]
    pub fn percentile(self) -> Option<Percentile> {
        match self.0 {
            Source::Percentile(_, percentile) => Some(percentile),
            Source::Field(_) => None,
        }
    }

    /// A warning if it is a percentile that too few samples lie beyond.
    #[must_use]
    pub fn too_few_samples(self, metrics: &Metrics) -> Option<String> {
        let Source::Percentile(times, percentile) = self.0 else { return None };
        let count = times.of(metrics).count;
        let is_thin = count > 0 && count < percentile.samples_for(SAMPLES_BEYOND);
        is_thin.then(|| too_few_samples(&self.name(), count))
    }

    /// The unit of its values.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self.0 {
            Source::Field(entry) => entry.unit,
            Source::Percentile(..) => Unit::Microseconds,
        }
    }

    /// Which of its values are better.
    #[must_use]
    pub fn better(self) -> Better {
        match self.0 {
            Source::Field(entry) => entry.better,
            Source::Percentile(..) => Better::Lower,
        }
    }

    /// Whether it counts errors. Several runs have as many as all of them together: one error in one
    /// of six runs would be a median of 0.
    #[must_use]
    pub fn is_error_count(self) -> bool {
        let Source::Field(Entry { name, .. }) = self.0 else { return false };
        ["loss", "missing_bytes", "unsent", "failed"].contains(name) || name.starts_with("causes.")
    }

    /// Whether limits for it are times with a unit. Otherwise its name says the unit.
    #[must_use]
    pub fn is_time(self) -> bool {
        self.unit() == Unit::Microseconds && !self.name().contains("_us")
    }

    /// Its value in a run; `None` if it was not measured.
    #[must_use]
    pub fn of(self, metrics: &Metrics) -> Option<f64> {
        match self.0 {
            Source::Field(entry) => (entry.value)(metrics),
            Source::Percentile(times, percentile) => {
                percentile.value_in(&times.of(metrics).decode()?).map(ns_to_us)
            }
        }
    }
}

impl From<Percentile> for Metric {
    /// That of latency.
    fn from(percentile: Percentile) -> Self {
        Self(Source::Percentile(Times::Latency, percentile))
    }
}

/// Samples that must lie beyond a percentile for it to be meaningful.
pub(crate) const SAMPLES_BEYOND: u32 = 10;

pub(crate) fn too_few_samples(names: &str, count: u64) -> String {
    format!("too few samples for {names}: fewer than {SAMPLES_BEYOND} of {count} lie beyond")
}

fn known_percentile(name: &str) -> Percentile {
    name.parse().expect("it is a percentile")
}

impl Times {
    const ALL: [Self; 4] = [Self::Latency, Self::Service, Self::SendLag, Self::Connect];

    fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Service => "service",
            Self::SendLag => "send_lag",
            Self::Connect => "connect",
        }
    }

    fn of(self, metrics: &Metrics) -> &Distribution {
        match self {
            Self::Latency => &metrics.latency,
            Self::Service => &metrics.service,
            Self::SendLag => &metrics.send_lag,
            Self::Connect => &metrics.connect,
        }
    }
}

impl FromStr for Metric {
    type Err = MetricError;

    fn from_str(name: &str) -> Result<Self, MetricError> {
        let short = name.strip_suffix("_us").unwrap_or(name);
        let of = |times: Times| Some((times, short.strip_prefix(times.name())?.strip_prefix('.')?));
        let (times, statistic) =
            Times::ALL.into_iter().find_map(of).unwrap_or((Times::Latency, short));
        if let Some(percentile) = percentile(statistic)? {
            return Ok(Self(Source::Percentile(times, percentile)));
        }
        let short = if times == Times::Latency { statistic } else { short };
        let entry = ENTRIES.into_iter().flatten().find(|entry| entry.name == short);
        entry
            .map(|entry| Self(Source::Field(entry)))
            .ok_or_else(|| MetricError::Unknown(name.to_owned()))
    }
}

/// Parses a percentile, `p99.9` or as in the JSON `p99_9`; `None` if it does not begin like one.
pub(crate) fn percentile(name: &str) -> Result<Option<Percentile>, PercentileError> {
    let digits =
        name.strip_prefix('p').filter(|rest| rest.starts_with(|it: char| it.is_ascii_digit()));
    digits.map(|_| name.replacen('_', ".", 1).parse()).transpose()
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Source::Field(one), Source::Field(other)) => one.name == other.name,
            (Source::Percentile(times, one), Source::Percentile(other_times, other)) => {
                (times, one) == (other_times, other)
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// The numbers in an object of the JSON, by their paths.
#[cfg(test)]
pub(crate) fn numbers(prefix: &str, json: &serde_json::Value) -> Vec<(String, f64)> {
    let fields = json.as_object().into_iter().flatten();
    let of_field = |(key, value): (&String, &serde_json::Value)| match value.as_f64() {
        Some(number) => vec![(format!("{prefix}{key}"), number)],
        None => numbers(&format!("{prefix}{key}."), value),
    };
    fields.flat_map(of_field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::{Distribution, histogram};

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
        metrics.send_lag = metrics.latency.clone();
        let numbers = numbers("", &serde_json::to_value(&metrics).unwrap());
        for (path, value) in &numbers {
            let metric: Metric = path.parse().unwrap();
            assert_eq!(metric.of(&metrics), Some(*value), "{path}");
            assert_eq!(metric.json_path(), *path);
        }
        assert_eq!(numbers.len(), Metric::all().count());
    }

    #[test]
    fn metrics_are_also_known_by_their_json_path() {
        let metric = |name: &str| name.parse::<Metric>().unwrap();
        assert_eq!(metric("latency.p99_9_us"), metric("p99.9"));
        assert_eq!(metric("service.p99_5_us"), metric("service.p99.50"));
        assert_ne!(metric("service.p99"), metric("p99"));
        assert_eq!(metric("connect.p95").name(), "connect.p95");
        assert!(metric("connect.p50").is_time() && !metric("server_cpu_us_per_echo").is_time());
        assert_eq!(
            (metric("p99").better(), metric("rate").better()),
            (Better::Lower, Better::Higher)
        );
        assert_eq!(metric("p99").of(&Metrics::default()), None, "there is no sample");
    }
    #[test]
    fn every_percentile_is_a_metric_with_its_exact_rank() {
        let mut times = histogram();
        (1..=1000).for_each(|us| times.record(us * 1000).unwrap());
        let latency = Distribution::of(&times);
        let metrics = Metrics { latency, ..Metrics::default() };
        for (name, us) in [("p95", 950.0), ("latency.p99_5_us", 995.0), ("p99.95", 1000.0)] {
            let value = name.parse::<Metric>().unwrap().of(&metrics).unwrap();
            assert!((value / us - 1.0).abs() < 1e-3, "{name}: {value}");
        }
        for (wrong, words) in [("p100", "above p0 and below p100"), ("p", "no metric \"p\"")] {
            let error = wrong.parse::<Metric>().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
