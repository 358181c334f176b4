//! The sides of a comparison, each measured once or several times.

use super::{Error, LoadedRun};
use crate::compare::{Comparison, Median};
use crate::distribution::Distribution;
use crate::metric::Metric;
use crate::run::Metrics;

/// Repeated runs of the same thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// Name in tables and plots.
    pub name: String,
    /// At least one.
    pub runs: Vec<LoadedRun>,
    /// The metrics of each run.
    metrics: Vec<Metrics>,
}

impl Side {
    /// Runs of the same name form a side; in the order of the first run of each.
    ///
    /// # Errors
    ///
    /// A side has the same run twice, which would count as a repetition that never was.
    pub fn group(runs: Vec<LoadedRun>) -> Result<Vec<Self>, Error> {
        let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
        let mut sides: Vec<Self> = Vec::new();
        for (name, run) in names.into_iter().zip(numbered(runs)) {
            let metrics = metrics(&run);
            match sides.iter_mut().find(|side| side.name == name) {
                Some(side) => {
                    side.runs.push(run);
                    side.metrics.push(metrics);
                }
                None => sides.push(Self { name, runs: vec![run], metrics: vec![metrics] }),
            }
        }
        sides.iter().try_for_each(|side| refuse_duplicates(&side.runs))?;
        Ok(sides)
    }

    /// The value of each run. None if a run does not have the metric: the others do not stand for
    /// it, as it may have been too bad to have one.
    pub(super) fn values(&self, metric: Metric) -> Vec<f64> {
        let known = |run: &LoadedRun| run.run.is_some() || is_in_logs(metric, run);
        let runs = self.runs.iter().zip(&self.metrics);
        let values = runs.map(|(run, metrics)| metric.of(metrics).filter(|_| known(run)));
        values.collect::<Option<_>>().unwrap_or_default()
    }

    /// The metric of this side: the median run, or the sum of errors, as one error in six runs
    /// would be a median of 0.
    pub(super) fn value(&self, metric: Metric) -> Option<f64> {
        let values = self.values(metric);
        if metric.is_error_count() {
            return (!values.is_empty()).then(|| values.iter().sum());
        }
        Some(Median::of(&values).ok()?.value)
    }

    /// Compares this side with a baseline; `None` if one of them does not have the metric.
    pub(super) fn compared(&self, baseline: &Self, metric: Metric) -> Option<Comparison> {
        Comparison::new(&baseline.values(metric), &self.values(metric)).ok()
    }

    /// Reasons to doubt the metrics, each with the number of runs that have it.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut texts: Vec<(&str, usize)> = Vec::new();
        for text in self.metrics.iter().flat_map(|metrics| &metrics.warnings) {
            match texts.iter_mut().find(|(other, _)| other == text) {
                Some((_, runs)) => *runs += 1,
                None => texts.push((text, 1)),
            }
        }
        let (name, all) = (&self.name, self.runs.len());
        let shown = |(text, runs)| match all {
            1 => format!("{name}: {text}"),
            _ => format!("{name}, {runs} of {all} runs: {text}"),
        };
        texts.into_iter().map(shown).collect()
    }
}

/// Tells runs of the same name apart by a number in it.
#[must_use]
pub fn numbered(mut runs: Vec<LoadedRun>) -> Vec<LoadedRun> {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    let count = |names: &[String], name| names.iter().filter(|other| *other == name).count();
    for (index, (run, name)) in runs.iter_mut().zip(&names).enumerate() {
        if count(&names, name) > 1 {
            run.name += &format!(", run {}", count(&names[..=index], name));
        }
    }
    runs
}

/// Refuses to count a measurement twice.
pub(super) fn refuse_duplicates(runs: &[LoadedRun]) -> Result<(), Error> {
    for (index, run) in runs.iter().enumerate() {
        // Two idle logs may be equal without being the same.
        let is_same = |other: &&LoadedRun| {
            !run.latency.is_empty()
                && (&run.run, &run.latency, &run.intervals)
                    == (&other.run, &other.latency, &other.intervals)
        };
        if let Some(same) = runs[..index].iter().find(is_same) {
            return Err(Error::Duplicate(same.name.clone(), run.name.clone()));
        }
    }
    Ok(())
}

/// Whether an interval log has this metric.
fn is_in_logs(metric: Metric, log: &LoadedRun) -> bool {
    match metric.name().as_str() {
        "rate" => log.rate.is_some(),
        name => name.starts_with('p') || name == "max",
    }
}

/// The metrics of a run, or those of an interval log.
fn metrics(run: &LoadedRun) -> Metrics {
    match &run.run {
        Some(details) => details.run.result.clone(),
        None => Metrics {
            rate: run.rate.unwrap_or_default(),
            // Without a length there is no rate either.
            seconds: run.intervals.iter().map(|part| part.seconds).sum(),
            latency: Distribution::of(&run.latency),
            ..Metrics::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::{run, saved};
    use crate::run::Run;

    #[test]
    fn runs_of_one_name_form_a_side_and_are_numbered() {
        let runs = [("a", 1_000), ("b", 2_000), ("a", 3_000)].map(|(name, ns)| {
            let mut run = run(1, [ns]);
            (run.result.loss, run.result.warnings) = (1, vec!["short".to_owned()]);
            saved(name, run)
        });
        let sides = Side::group(runs.into()).unwrap();
        let names: Vec<_> = sides[0].runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!((names, &*sides[1].runs[0].name), (vec!["a, run 1", "a, run 2"], "b"));
        let value = |name: &str| sides[0].value(name.parse().unwrap());
        assert!((value("p50").unwrap() / 2.0 - 1.0).abs() < 1e-3, "the median of both");
        assert_eq!(value("loss"), Some(2.0), "the sum of both");
        assert_eq!(sides[0].warnings(), ["a, 2 of 2 runs: short"]);
        assert_eq!(sides[1].warnings(), ["b: short"]);
    }

    #[test]
    fn a_metric_that_one_run_does_not_have_is_not_that_of_the_others() {
        let lost = Run { result: Metrics::default(), ..run(1, []) };
        let runs = vec![saved("a", run(1, [1_000])), saved("a", lost)];
        let sides = Side::group(runs).unwrap();
        assert_eq!(sides[0].value("p50".parse().unwrap()), None);
        assert_eq!(sides[0].value("loss".parse().unwrap()), Some(0.0));
    }

    #[test]
    fn a_run_that_is_counted_twice_is_refused() {
        let twice = vec![saved("a", run(1, [1_000])), saved("a", run(1, [1_000]))];
        let error = Side::group(twice).unwrap_err().to_string();
        assert_eq!(error, "a, run 1 and a, run 2 are the same run");
        let idle = LoadedRun { run: None, ..saved("a", run(1, [])) };
        assert!(Side::group(vec![idle.clone(), idle]).is_ok());
    }
}
