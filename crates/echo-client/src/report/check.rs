//! Checks the numbers of a saved run, which may have been edited or damaged.

use serde_json::Value;

use super::Error;
use crate::run::Run;

/// Larger values are damage: nothing measured or added up comes near it, and sums of a few stay
/// within 64 bits.
const MAX: f64 = 1e15;

/// Refuses measured numbers that no run can have, by the name of their field.
pub(super) fn check(run: &Run) -> Result<(), Error> {
    let json = serde_json::json!({ "result": run.result, "intervals": run.intervals });
    check_numbers("", &json)
}

fn check_numbers(path: &str, json: &Value) -> Result<(), Error> {
    match json {
        Value::Number(number) => {
            let value = number.as_f64().unwrap_or(f64::NAN);
            if (0.0..=MAX).contains(&value) {
                return Ok(());
            }
            Err(Error::Number { field: path.trim_start_matches('.').to_owned(), value })
        }
        Value::Array(items) => (0..)
            .zip(items)
            .try_for_each(|(index, item)| check_numbers(&format!("{path}[{index}]"), item)),
        Value::Object(fields) => {
            fields.iter().try_for_each(|(name, it)| check_numbers(&format!("{path}.{name}"), it))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::run;

    #[test]
    fn numbers_that_no_run_has_are_named() {
        type Damage = fn(&mut Run);
        let damages: [(&str, Damage); 5] = [
            ("`result.causes.lost` is 2000000000000000", |run| {
                run.result.causes.lost = 2_000_000_000_000_000
            }),
            ("`result.loss` is 18446744073709552000", |run| run.result.loss = u64::MAX),
            ("`result.rate` is 1e308", |run| run.result.rate = 1e308),
            ("`result.latency.p99_us` is -1", |run| run.result.latency.p99_us = -1.0),
            ("`intervals[1].seconds` is -0.5", |run| run.intervals[1].seconds = -0.5),
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
