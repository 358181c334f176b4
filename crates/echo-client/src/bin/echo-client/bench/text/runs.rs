//! The report of several runs: a row for each, then medians with their intervals.

use echo_client::compare::Median;
use echo_client::metric::Metric;
use echo_client::percentile::Percentile;
use echo_client::run::{Causes, Metrics};
use echo_client::run_file::{MetricSummary, SavedRun};
use echo_client::units::{Unit, wrap};

use super::{counted_failures, failure, field, table};

/// Failures and warnings of each kind that are shown.
const MAX_SHOWN: usize = 10;

/// Everything below the headline, except gates.
pub(super) fn report(runs: &[SavedRun], percentiles: &[Percentile], width: usize) -> Vec<String> {
    let results: Vec<&Metrics> = runs.iter().map(|run| &run.result).collect();
    let named = |name: &str| name.parse::<Metric>().expect("it is a metric");
    let mut metrics = vec![named("rate")];
    metrics.extend(percentiles.iter().map(|&percentile| Metric::from(percentile)));
    metrics.extend(["max", "loss"].map(named));
    let columns: Vec<Column> = metrics.iter().map(|&it| Column::of(it, &results)).collect();
    let names: Vec<String> = metrics.iter().map(|metric| metric.name()).collect();
    let row = |label: String, cell: &dyn Fn(&Column) -> String| {
        (label, columns.iter().map(cell).collect::<Vec<_>>())
    };
    let mut rows: Vec<_> =
        (0..runs.len()).map(|run| row(format!("run {}", run + 1), &|it| it.value(run))).collect();
    let has_interval = runs.len() >= Median::RUNS_FOR_INTERVAL;
    let interval = if has_interval { "95 %" } else { "range" };
    rows.push(row("median".to_owned(), &Column::median));
    rows.push(row(interval.to_owned(), &|it| it.relative(|bounds| bounds.0)));
    rows.push(row(String::new(), &|it| it.relative(|bounds| bounds.1)));
    let mut lines = table(&names, &rows, width);
    let note = match has_interval {
        true => "95 %: where the true median is, relative to this one",
        false => "range: the lowest and the highest run; a 95 % interval needs 6 runs",
    };
    lines.extend([wrap(note, width, 0), String::new()]);
    lines.extend(totals(&results, width));
    lines.extend(failures(&results, width));
    lines.extend(warnings(&results, width));
    lines
}

/// One metric of all runs.
struct Column {
    unit: Unit,
    values: Vec<Option<f64>>,
    /// `None` if a run does not have the metric, and for errors, whose sum is shown below the table.
    summary: Option<MetricSummary>,
}

impl Column {
    fn of(metric: Metric, results: &[&Metrics]) -> Self {
        let values: Vec<_> = results.iter().map(|result| metric.of(result)).collect();
        let known: Option<Vec<f64>> = values.iter().copied().collect();
        let summary = known.filter(|_| !metric.is_error_count());
        let summary = summary.and_then(|known| MetricSummary::of(metric, &known).ok());
        Self { unit: metric.unit(), values, summary }
    }

    fn show(&self, value: Option<f64>) -> String {
        match value {
            None => "-".to_owned(),
            // With all its digits it would be wider than a column.
            Some(rate) if self.unit == Unit::PerSecond && rate >= 1e6 => {
                format!("{:.2}M/s", rate / 1e6)
            }
            Some(value) => self.unit.show(value),
        }
    }

    fn value(&self, run: usize) -> String {
        self.show(self.values[run])
    }

    fn median(&self) -> String {
        self.summary.map_or_else(String::new, |summary| self.show(Some(summary.median)))
    }

    /// An end of the interval, or of the range if there is none, relative to the median.
    fn relative(&self, end: fn((f64, f64)) -> f64) -> String {
        let Some(MetricSummary { median, lower, upper, .. }) = self.summary else {
            return String::new();
        };
        let known = || self.values.iter().copied().flatten();
        let (lowest, highest) =
            (known().fold(f64::INFINITY, f64::min), known().fold(0.0, f64::max));
        let end = end((lower.unwrap_or(lowest), upper.unwrap_or(highest)));
        match (end / median - 1.0) * 100.0 {
            percent if percent.abs() < 99.95 => format!("{percent:+.1} %"),
            percent if percent.is_finite() => format!("{percent:+.0} %"),
            _ => "-".to_owned(),
        }
    }
}

/// What is counted over all runs.
fn totals(results: &[&Metrics], width: usize) -> Vec<String> {
    let sum = |of: fn(&Metrics) -> u64| results.iter().map(|result| of(result)).sum::<u64>();
    let total = Metrics {
        failed: sum(|it| it.failed),
        causes: results.iter().map(|it| it.causes).fold(Causes::default(), Causes::plus),
        ..Metrics::default()
    };
    let (loss, sent, missing) = (sum(|it| it.loss), sum(|it| it.sent), sum(|it| it.missing_bytes));
    let opened = sum(|it| it.connect.count);
    let loss = format!("{loss} of {sent} messages in all runs, {missing} bytes");
    let connections = format!("{opened} opened, {}", counted_failures(&total));
    let mut lines = vec![field("loss", &loss, width), field("connections", &connections, width)];
    let unsent = sum(|it| it.unsent);
    if unsent > 0 {
        lines.push(field("unsent", &format!("{unsent} messages"), width));
    }
    lines
}

/// The first failures, each with the number of its run.
fn failures(results: &[&Metrics], width: usize) -> Vec<String> {
    let all = results.iter().zip(1..).flat_map(|(result, run)| {
        result.incidents.iter().map(move |incident| {
            let mut incident = incident.clone();
            incident.text = format!("run {run}: {}", incident.text);
            incident
        })
    });
    let shown: Vec<_> = all.take(MAX_SHOWN).collect();
    let mut lines: Vec<_> = shown.iter().map(|it| failure(it, width)).collect();
    let omitted = results.iter().map(|it| it.failed).sum::<u64>() - shown.len() as u64;
    if omitted > 0 {
        lines.push(field("", &format!("and {omitted} more"), width));
    }
    let mut hints: Vec<&String> = shown.iter().filter_map(|it| it.hint.as_ref()).collect();
    hints.dedup();
    lines.extend(hints.into_iter().map(|hint| field("hint", hint, width)));
    lines
}

/// The warnings of each kind once, with the runs that have it.
fn warnings(results: &[&Metrics], width: usize) -> Vec<String> {
    let mut found: Vec<(&str, Vec<usize>)> = Vec::new();
    for (result, run) in results.iter().zip(1..) {
        for warning in &result.warnings {
            match found.iter_mut().find(|(text, _)| kind(text) == kind(warning)) {
                Some((_, runs)) => runs.push(run),
                None => found.push((warning, vec![run])),
            }
        }
    }
    let line = |(text, runs): &(&str, Vec<usize>)| {
        let text = match runs.as_slice() {
            all if all.len() == results.len() => format!("every run: {text}"),
            [run] => format!("run {run}: {text}"),
            several => format!("{} runs, such as run {}: {text}", several.len(), several[0]),
        };
        field("warning", &text, width)
    };
    let mut lines: Vec<_> = found.iter().take(MAX_SHOWN).map(line).collect();
    if found.len() > MAX_SHOWN {
        lines.push(field("", &format!("and {} more", found.len() - MAX_SHOWN), width));
    }
    lines
}

/// A warning without its numbers, which differ from run to run. What precedes a colon is its subject
/// and may have a number of its own, as `p99.9` does.
fn kind(warning: &str) -> String {
    let (subject, numbers) = warning.split_once(':').unwrap_or(("", warning));
    format!("{subject}:{}", numbers.replace(|letter: char| letter.is_ascii_digit(), ""))
}

#[cfg(test)]
mod tests {
    use echo_client::distribution::{Distribution, histogram};
    use echo_client::run::Failure;

    use super::*;

    /// A run with these latencies in microseconds.
    fn run(rate: f64, us: std::ops::RangeInclusive<u64>) -> SavedRun {
        let mut times = histogram();
        us.for_each(|us| times.record(us * 1_000).unwrap());
        let latency = Distribution::of(&times);
        let (seconds, sent, warnings) = (1.0, 1_000, vec![format!("slow: {rate}")]);
        let result = Metrics { seconds, rate, sent, latency, warnings, ..Metrics::default() };
        SavedRun {
            started: String::new(),
            measured_from: None,
            measured_until: None,
            result,
            intervals: Vec::new(),
        }
    }

    fn runs() -> Vec<SavedRun> {
        (0..6).map(|it| run(1e6 + 1e4 * f64::from(it), 101..=200 + u64::from(it as u32))).collect()
    }

    fn shown(runs: &[SavedRun]) -> String {
        report(runs, &["p50", "p99.5"].map(|name| name.parse().unwrap()), 80).join("\n")
    }

    const SIX: &str = "             rate      p50    p99.5      max     loss
run 1     1.00M/s   150 µs   200 µs   200 µs        0
run 2     1.01M/s   151 µs   201 µs   201 µs        0
run 3     1.02M/s   151 µs   202 µs   202 µs        2
run 4     1.03M/s   152 µs   203 µs   203 µs        0
run 5     1.04M/s   152 µs   204 µs   204 µs        0
run 6     1.05M/s   153 µs   205 µs   205 µs        0
median    1.02M/s   152 µs   203 µs   203 µs
95 %       -2.4 %   -1.0 %   -1.2 %   -1.2 %
           +2.4 %   +1.0 %   +1.2 %   +1.2 %
95 %: where the true median is, relative to this one

loss         2 of 6000 messages in all runs, 128 bytes
connections  0 opened, 1 failure: 1 lost
failure      connection 2 at 1.000 s, offset 64: run 3: reset
hint         look there
warning      every run: slow: 1000000";

    #[test]
    fn several_runs_are_a_table_with_medians_and_intervals() {
        let mut six = runs();
        let result = &mut six[2].result;
        (result.loss, result.missing_bytes, result.failed, result.causes.lost) = (2, 128, 1, 1);
        result.incidents = vec![Failure {
            connection: 2,
            at_us: 1_000_000,
            offset: 64,
            cause: "lost".to_owned(),
            text: "reset".to_owned(),
            hint: Some("look there".to_owned()),
        }];
        assert_eq!(shown(&six), SIX);
    }

    #[test]
    fn fewer_than_six_runs_have_a_range_and_not_every_metric_has_a_median() {
        let mut five = runs()[..5].to_vec();
        five[4].result.latency = Distribution::default();
        five[4].result.warnings.clear();
        let text = shown(&five);
        assert!(text.contains("\nrange      -2.0 %\n           +2.0 %\nrange: the"), "{text}");
        assert!(text.contains("a 95 % interval needs 6 runs"), "{text}");
        assert!(text.ends_with("\nwarning      4 runs, such as run 1: slow: 1000000"), "{text}");
        let range = run(10.0, 1..=5_000);
        let text = shown(&[range.clone(), range, run(10.0, 999_999..=999_999)]);
        assert!(
            text.contains(" % +199") && text.lines().all(|it| it.chars().count() <= 80),
            "{text}"
        );
    }
}
