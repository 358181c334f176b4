//! Checks the numbers of a saved run, which may have been edited or damaged.

use super::Error;
use crate::distribution::Distribution;
use crate::run::{Causes, Interval, Metrics, Run};

/// Larger values are damage: nothing measured or added up comes near it, and sums of a few stay
/// within 64 bits.
const MAX: f64 = 1e15;

/// Refuses numbers that no run can have, by the name of their field.
pub(super) fn check(run: &Run) -> Result<(), Error> {
    let Metrics { latency, service, connect, causes, .. } = &run.result;
    check_metrics(&run.result)?;
    check_causes(causes)?;
    for (name, times) in [("latency", latency), ("service", service), ("connect", connect)] {
        check_distribution(name, times)?;
    }
    run.intervals.iter().enumerate().try_for_each(|(index, it)| check_interval(index, it))
}

fn check_metrics(result: &Metrics) -> Result<(), Error> {
    let counts = [
        ("echoes", result.echoes),
        ("sent", result.sent),
        ("loss", result.loss),
        ("missing_bytes", result.missing_bytes),
        ("unsent", result.unsent),
        ("failed", result.failed),
        ("retransmits", result.retransmits.unwrap_or_default()),
    ];
    for (name, value) in counts {
        number(|| format!("result.{name}"), value as f64)?;
    }
    let optional = |value: Option<f64>| value.unwrap_or_default();
    let numbers = [
        ("seconds", result.seconds),
        ("rate", result.rate),
        ("bytes_per_second", result.bytes_per_second),
        ("cpu_us_per_echo", optional(result.cpu_us_per_echo)),
        ("busy", optional(result.busy)),
        ("server_cpu_s", optional(result.server_cpu_s)),
        ("server_cpu_us_per_echo", optional(result.server_cpu_us_per_echo)),
        ("fairness.jain", optional(result.fairness.jain)),
    ];
    numbers.into_iter().try_for_each(|(name, value)| number(|| format!("result.{name}"), value))
}

fn check_causes(causes: &Causes) -> Result<(), Error> {
    let Causes { connect, changed, surplus, closed, lost, timeout } = *causes;
    let sum = [connect, changed, surplus, closed, lost, timeout].map(|count| count as f64);
    number(|| "result.causes".to_owned(), sum.iter().sum())
}

fn check_distribution(name: &str, times: &Distribution) -> Result<(), Error> {
    let fields = [
        ("count", times.count as f64),
        ("min_us", times.min_us),
        ("mean_us", times.mean_us),
        ("stdev_us", times.stdev_us),
        ("p50_us", times.p50_us),
        ("p90_us", times.p90_us),
        ("p99_us", times.p99_us),
        ("p99_9_us", times.p99_9_us),
        ("p99_99_us", times.p99_99_us),
        ("max_us", times.max_us),
    ];
    for (field, value) in fields {
        number(|| format!("result.{name}.{field}"), value)?;
    }
    Ok(())
}

fn check_interval(index: usize, interval: &Interval) -> Result<(), Error> {
    let fields = [
        ("start_s", interval.start_s),
        ("seconds", interval.seconds),
        ("echoes", interval.echoes as f64),
        ("rate", interval.rate),
        ("p50_us", interval.p50_us.unwrap_or_default()),
        ("p99_us", interval.p99_us.unwrap_or_default()),
        ("max_us", interval.max_us.unwrap_or_default()),
    ];
    for (field, value) in fields {
        number(|| format!("intervals[{index}].{field}"), value)?;
    }
    Ok(())
}

fn number(field: impl FnOnce() -> String, value: f64) -> Result<(), Error> {
    if (0.0..=MAX).contains(&value) { Ok(()) } else { Err(Error::Number { field: field(), value }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::run;

    #[test]
    fn numbers_that_no_run_has_are_named() {
        type Damage = fn(&mut Run);
        let damages: [(&str, Damage); 5] = [
            ("`result.loss` is 18446744073709552000", |run| run.result.loss = u64::MAX),
            ("`result.rate` is 1e308", |run| run.result.rate = 1e308),
            ("`result.latency.p99_us` is -1", |run| run.result.latency.p99_us = -1.0),
            ("`intervals[1].seconds` is NaN", |run| run.intervals[1].seconds = f64::NAN),
            ("`intervals[0].start_s` is inf", |run| run.intervals[0].start_s = f64::INFINITY),
        ];
        for (words, damage) in damages {
            let mut run = run(1, 1..=9);
            assert!(check(&run).is_ok());
            damage(&mut run);
            let error = check(&run).unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
        }
    }
}
