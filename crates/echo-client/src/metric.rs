//! The metrics of a run by name, such as `p99`.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::run::Metrics;

/// A metric of a run.
///
/// Its name is that of the JSON without the unit of a time: `connect.p50`, `rate`. For latencies
/// `p99.9` stands for `latency.p99_9_us`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    name: String,
    /// Its path in the JSON of [`Metrics`].
    path: Vec<String>,
}

/// There is no metric of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMetric {
    /// The name as given.
    pub name: String,
    /// All names.
    pub known: Vec<String>,
}

impl Metric {
    /// The shortest form of its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a time in microseconds.
    #[must_use]
    pub fn is_time(&self) -> bool {
        self.path.last().is_some_and(|key| key.ends_with("_us"))
    }

    /// Its value in a run; `None` if it was not measured.
    #[must_use]
    pub fn of(&self, metrics: &Metrics) -> Option<f64> {
        let json = serde_json::to_value(metrics).expect("figures are plain data");
        let mut value = &json;
        for key in &self.path {
            let empty = value.get("count").is_some_and(|count| count == 0) && key != "count";
            value = value.get(key).filter(|_| !empty)?;
        }
        value.as_f64()
    }
}

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(name: &str) -> Result<Self, UnknownMetric> {
        let plain = name.strip_prefix("latency.").unwrap_or(name);
        let plain = plain.strip_suffix("_us").unwrap_or(plain).replacen("9_9", "9.9", 1);
        let mut all = all();
        match all.iter().position(|metric| metric.name == plain || metric.name == name) {
            Some(index) => Ok(all.swap_remove(index)),
            None => {
                let known = all.into_iter().map(|metric| metric.name).collect();
                Err(UnknownMetric { name: name.to_owned(), known })
            }
        }
    }
}

/// Every numeric metric.
fn all() -> Vec<Metric> {
    let json = serde_json::to_value(Metrics::default()).expect("figures are plain data");
    let mut all = Vec::new();
    for (key, value) in json.as_object().into_iter().flatten() {
        match value {
            Value::Object(fields) => {
                for field in fields.keys().filter(|field| *field != "histogram") {
                    let prefix = if key == "latency" { "" } else { &format!("{key}.") };
                    let plain =
                        field.strip_suffix("_us").unwrap_or(field).replacen("9_9", "9.9", 1);
                    let (name, path) =
                        (format!("{prefix}{plain}"), vec![key.clone(), field.clone()]);
                    all.push(Metric { name, path });
                }
            }
            // An unknown value is null.
            Value::Number(_) | Value::Null => {
                all.push(Metric { name: key.clone(), path: vec![key.clone()] });
            }
            _ => {}
        }
    }
    all
}

impl fmt::Display for UnknownMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no figure {:?}; there are {}", self.name, self.known.join(", "))
    }
}

impl std::error::Error for UnknownMetric {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_numeric_metric_has_a_name() {
        let names: Vec<_> = all().into_iter().map(|metric| metric.name).collect();
        for name in [
            "rate",
            "p50",
            "p99.99",
            "service.p99.9",
            "connect.max",
            "cpu_us_per_echo",
            "server_cpu_us_per_echo",
        ] {
            assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
        }
    }

    #[test]
    fn metrics_are_also_known_by_their_json_path() {
        let metric = |name: &str| name.parse::<Metric>().unwrap();
        assert_eq!(metric("latency.p99_9_us"), metric("p99.9"));
        assert!(metric("connect.p50").is_time() && !metric("server_cpu_us_per_echo").is_time());
    }
}
