//! The report of a search for the highest rate.

use std::collections::BTreeMap;

use echo_client::compare::Median;
use echo_client::gates::Condition;
use echo_client::run_file::{LimitedBy, SavedOutcome, SavedSearch, SavedTrial, SearchOutcome};
use echo_client::units::{Unit, wrap};

use super::{counted, field};

/// Everything below the headline, except gates.
pub(super) fn report(search: &SavedSearch, width: usize) -> Vec<String> {
    let mut lines = vec![wrap(&answer(search), width, 0), String::new()];
    lines.extend(rates(search));
    let seconds: f64 = search.trials.iter().map(|trial| trial.duration_s).sum();
    lines.push(format!("{}, {seconds:.0} s in all", counted(search.trials.len(), "trial")));
    lines.extend(notes(search).iter().map(|(label, note)| field(label, note, width)));
    lines
}

fn show(rate: Option<f64>) -> String {
    rate.map_or("-".to_owned(), |rate| Unit::PerSecond.show(rate))
}

fn answer(search: &SavedSearch) -> String {
    let SavedSearch { condition, .. } = search;
    let (lower, upper) = (show(search.lower_rate), show(search.upper_rate));
    match search.result {
        SearchOutcome::Between if search.limited_by == Some(LimitedBy::Generator) => {
            format!(
                "Highest rate with {condition}: at least {lower}, and this client sends no more"
            )
        }
        SearchOutcome::Between => {
            format!("Highest rate with {condition}: {lower} (it does not hold at {upper})")
        }
        SearchOutcome::FailsAtLowest => {
            format!("{condition} does not hold at {upper}, the lowest rate tried")
        }
        SearchOutcome::HoldsAtHighest => {
            format!("{condition} holds at {lower}, the highest rate tried")
        }
        SearchOutcome::Interrupted => {
            format!("No answer yet: highest rate with {condition} between {lower} and {upper}")
        }
    }
}

/// A row for each rate, with the median of the metric over its trials.
fn rates(search: &SavedSearch) -> Vec<String> {
    // Rates are positive: their bits are in the same order.
    let mut by_rate: BTreeMap<u64, Vec<&SavedTrial>> = BTreeMap::new();
    for trial in &search.trials {
        by_rate.entry(trial.rate.to_bits()).or_default().push(trial);
    }
    let metric = search.condition.parse::<Condition>().map(|condition| condition.metric());
    let (name, unit) = metric.map_or((String::new(), Unit::Count), |it| (it.name(), it.unit()));
    let heading = format!("{name} (median)");
    let mut lines = vec![
        format!("{:>12} {:>7} {:>7} {heading:>18}", "rate", "trials", "met").trim_end().to_owned(),
    ];
    for (bits, trials) in by_rate {
        let met = trials.iter().filter(|trial| trial.outcome == SavedOutcome::Met).count();
        let values: Vec<f64> = trials.iter().filter_map(|trial| trial.value).collect();
        let median = Median::of(&values).map_or("-".to_owned(), |median| unit.show(median.value));
        let rate = show(Some(f64::from_bits(bits)));
        lines.push(format!("{rate:>12} {:>7} {met:>7} {median:>18}", trials.len()));
    }
    lines
}

/// Reasons to doubt the answer, and what to do.
fn notes(search: &SavedSearch) -> Vec<(&'static str, String)> {
    let mut notes = Vec::new();
    if let Some([lowest_bad, highest_good]) = search.mixed_rates {
        let (low, high) = (show(Some(lowest_bad)), show(Some(highest_good)));
        notes.push((
            "note",
            format!(
                "trials between {low} and {high} had mixed results: the bounds are less certain \
                     than they are close"
            ),
        ));
    }
    if search.limited_by == Some(LimitedBy::Generator) {
        notes.push((
            "hint",
            "use more --threads, or several machines and report --merge".to_owned(),
        ));
    }
    if let Ok(condition) = search.condition.parse::<Condition>() {
        let bounds = [search.lower_rate, search.upper_rate];
        let decisive = search.trials.iter().filter(|trial| bounds.contains(&Some(trial.rate)));
        let mut thin =
            decisive.filter_map(|trial| condition.metric().too_few_samples(&trial.result));
        notes.extend(thin.next().map(|warning| ("warning", warning)));
    }
    let warned = search.trials.iter().flat_map(|trial| &trial.result.warnings);
    if let Some(warning) = warned.clone().find(|text| text.contains("unoptimised")) {
        notes.push(("warning", warning.clone()));
    }
    notes
}

#[cfg(test)]
mod tests {
    use echo_client::run::Metrics;

    use super::*;

    fn search(result: SearchOutcome, bounds: [Option<f64>; 2]) -> SavedSearch {
        let trial = |rate, outcome, us| SavedTrial {
            rate,
            duration_s: 1.0,
            outcome,
            value: us,
            result: Metrics::default(),
        };
        SavedSearch {
            condition: "p99<2ms".to_owned(),
            result,
            lower_rate: bounds[0],
            upper_rate: bounds[1],
            limited_by: bounds[1].map(|_| LimitedBy::Condition),
            width: 0.02,
            trials_per_rate: 9,
            tolerated_bad: 4,
            mixed_rates: None,
            trials: vec![
                trial(1200.0, SavedOutcome::NotMet, Some(2_500.0)),
                trial(1000.0, SavedOutcome::Met, Some(1_000.0)),
                trial(1000.0, SavedOutcome::NotMet, None),
            ],
        }
    }

    const BETWEEN: &str = "\
Highest rate with p99<2ms: 1000/s (it does not hold at 1200/s)

        rate  trials     met       p99 (median)
      1000/s       2       1            1.00 ms
      1200/s       1       0            2.50 ms
3 trials, 3 s in all";

    #[test]
    fn the_answer_is_followed_by_the_rates_in_order() {
        let search = search(SearchOutcome::Between, [Some(1000.0), Some(1200.0)]);
        assert_eq!(report(&search, 80).join("\n"), BETWEEN);
    }

    #[test]
    fn every_ending_says_what_is_known() {
        let first = |search: &SavedSearch| report(search, 80).swap_remove(0);
        let lowest = search(SearchOutcome::FailsAtLowest, [None, Some(10.0)]);
        assert_eq!(first(&lowest), "p99<2ms does not hold at 10.0/s, the lowest rate tried");
        let highest = search(SearchOutcome::HoldsAtHighest, [Some(1e7), None]);
        assert_eq!(first(&highest), "p99<2ms holds at 10000000/s, the highest rate tried");
        let early = search(SearchOutcome::Interrupted, [Some(500.0), None]);
        assert!(first(&early).ends_with("p99<2ms between 500/s and -"), "{}", first(&early));
        let mut client = search(SearchOutcome::Between, [Some(1000.0), Some(1200.0)]);
        client.limited_by = Some(LimitedBy::Generator);
        client.mixed_rates = Some([900.0, 1300.0]);
        let text = report(&client, 80).join("\n");
        assert!(text.starts_with("Highest rate with p99<2ms: at least 1000/s, and"), "{text}");
        assert!(text.contains("hint         use more --threads"), "{text}");
        assert!(text.contains("between 900/s and 1300/s had mixed results"), "{text}");
    }

    #[test]
    fn an_answer_from_too_few_samples_has_a_warning() {
        let mut search = search(SearchOutcome::Between, [Some(1000.0), Some(1200.0)]);
        assert!(!report(&search, 80).join("\n").contains("warning"));
        search.trials[1].result.latency.count = 999;
        let text = report(&search, 80).join("\n");
        assert!(
            text.contains("warning      too few samples for p99: fewer than 10 of 999"),
            "{text}"
        );
    }
}
