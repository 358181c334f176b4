//! The search for the highest rate at which a condition holds.

use std::time::Duration;

use echo_client::bench::{RunLimit, Workload};
use echo_client::gates::Condition;
use echo_client::rate_search::{
    Limit, RateSearch, RateSearchSettings, SearchResult, Trial, TrialOutcome,
};
use echo_client::run::{Metrics, Run};
use echo_client::run_file::{
    LimitedBy, RunFile, SavedOutcome, SavedSearch, SavedTrial, SearchOutcome,
};
use echo_client::units::Unit;

use super::{Finished, Session};
use crate::print::GATE_FAILED;

/// Rates that are tried, unless the first trial lies outside.
const LOWEST_RATE: f64 = 10.0;
const HIGHEST_RATE: f64 = 10_000_000.0;
/// Rate of the first trial.
const START_RATE: f64 = 1_000.0;
/// How long a trial measures at most to get its messages.
const LONGEST_TRIAL: Duration = Duration::from_secs(20);
/// Messages that should lie beyond a percentile, and messages of a trial for other metrics.
const MESSAGES_BEYOND: u32 = 100;
const MESSAGES: u64 = 1_000;
/// The connections of a trial are closed before those of the next one are opened.
const PAUSE: Duration = Duration::from_millis(100);

/// Searches until the bounds are close, or interrupted.
pub(super) fn find(session: &mut Session<'_>, condition: &Condition) -> anyhow::Result<Finished> {
    let settings = settings(session.workload, condition);
    let mut search = RateSearch::new(settings)?;
    let (mut trials, mut header, mut failure) = (Vec::new(), None, None);
    while let Some(trial) = search.next_trial() {
        if !trials.is_empty() {
            session.pause(PAUSE);
        }
        let run = match session.measure(&workload(session.workload, trial), &title(&search)) {
            Ok(run) => run,
            Err(error) if trials.is_empty() => return Err(error.into()),
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        header.get_or_insert_with(|| RunFile::header(&run));
        // A trial that was cut short says nothing.
        if session.is_stopped() {
            break;
        }
        let outcome = outcome(condition, &run.result);
        search.record(outcome);
        let trial = saved(condition, trial, outcome, run);
        if let Err(error) = session.output.trial(&trial) {
            session.write_error.get_or_insert(error);
        }
        trials.push(trial);
    }
    let found = found(condition, &settings, &search, trials);
    let code = match found.result {
        SearchOutcome::FailsAtLowest => GATE_FAILED,
        SearchOutcome::Between | SearchOutcome::HoldsAtHighest => 0,
        // There is no answer.
        SearchOutcome::Interrupted => 1,
    };
    let lower = found.lower_rate.map(|rate| Metrics { seconds: 1.0, rate, ..Metrics::default() });
    let lower = lower.unwrap_or_default();
    let gates = session.options.fail_if.iter().map(|gate| gate.check(&[&lower])).collect();
    let mut file = header.expect("a search begins with a trial");
    (file.search, file.gates) = (Some(found), gates);
    file.settings.rate = None;
    file.settings.duration_s = Some(settings.trial_duration.as_secs_f64());
    let partial = session.is_stopped().then(|| "; the rates are those known until then".to_owned());
    Ok(Finished { file, code, failure, partial })
}

fn settings(workload: &Workload, condition: &Condition) -> RateSearchSettings {
    let start_rate = workload.rate.unwrap_or(START_RATE);
    let RunLimit::Duration(trial_duration) = workload.limit else {
        unreachable!("a search conflicts with a number of messages")
    };
    let percentile = condition.metric().percentile();
    RateSearchSettings {
        lowest_rate: LOWEST_RATE.min(start_rate),
        highest_rate: HIGHEST_RATE.max(start_rate),
        start_rate,
        trial_duration,
        messages_per_trial: percentile.map_or(MESSAGES, |it| it.samples_for(MESSAGES_BEYOND)),
        longest_trial: LONGEST_TRIAL.max(trial_duration),
        ..RateSearchSettings::default()
    }
}

fn workload(workload: &Workload, trial: Trial) -> Workload {
    let limit = RunLimit::Duration(trial.duration);
    Workload { rate: Some(trial.rate), limit, ..workload.clone() }
}

/// What the progress line says first.
fn title(search: &RateSearch) -> String {
    let number = search.trials().len() + 1;
    let show = |rate| Unit::PerSecond.show(rate);
    match search.bounds() {
        (Some(lower), Some(upper)) => {
            format!("trial {number}, between {} and {}", show(lower), show(upper))
        }
        (Some(lower), None) => format!("trial {number}, above {}", show(lower)),
        (None, Some(upper)) => format!("trial {number}, below {}", show(upper)),
        (None, None) => format!("trial {number}"),
    }
}

/// A backlog at the server shows in the latency, which counts from when a message was due. If it
/// does not matter for the condition, a rate that was not sent is the server's limit too, unless
/// the client had no time left.
fn outcome(condition: &Condition, result: &Metrics) -> TrialOutcome {
    let is_whole = result.loss == 0 && result.failed == 0;
    let is_tolerant = condition.metric().is_error_count();
    let holds = condition.metric().of(result).is_some_and(|value| condition.holds(value));
    if !holds || !(is_whole || is_tolerant) {
        TrialOutcome::NotMet
    } else if result.rate_reached != Some(false) {
        TrialOutcome::Met
    } else if result.is_client_busy() {
        TrialOutcome::NotOffered
    } else {
        TrialOutcome::NotMet
    }
}

fn saved(condition: &Condition, trial: Trial, outcome: TrialOutcome, run: Run) -> SavedTrial {
    SavedTrial {
        rate: trial.rate,
        duration_s: trial.duration.as_secs_f64(),
        outcome: match outcome {
            TrialOutcome::Met => SavedOutcome::Met,
            TrialOutcome::NotMet => SavedOutcome::NotMet,
            TrialOutcome::NotOffered => SavedOutcome::NotOffered,
        },
        value: condition.metric().of(&run.result),
        result: run.result,
    }
}

fn found(
    condition: &Condition,
    settings: &RateSearchSettings,
    search: &RateSearch,
    trials: Vec<SavedTrial>,
) -> SavedSearch {
    let (result, limit) = match search.result() {
        Some(SearchResult::Between { limit, .. }) => (SearchOutcome::Between, Some(limit)),
        Some(SearchResult::FailsAtLowest { limit, .. }) => {
            (SearchOutcome::FailsAtLowest, Some(limit))
        }
        Some(SearchResult::HoldsAtHighest { .. }) => (SearchOutcome::HoldsAtHighest, None),
        None => (SearchOutcome::Interrupted, None),
    };
    let (lower_rate, upper_rate) = search.bounds();
    SavedSearch {
        condition: condition.to_string(),
        result,
        lower_rate,
        upper_rate,
        limited_by: limit.map(|limit| match limit {
            Limit::Condition => LimitedBy::Condition,
            Limit::Generator => LimitedBy::Generator,
        }),
        width: settings.width,
        trials_per_rate: settings.trials_per_rate,
        tolerated_bad: settings.tolerated_bad,
        mixed_rates: search.mixed_range().map(Into::into),
        trials,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_holds_if_its_condition_does_and_the_rate_was_sent() {
        use TrialOutcome::{Met, NotMet, NotOffered};
        let judge = |condition: &str, result: &Metrics| {
            outcome(&condition.parse::<Condition>().unwrap(), result)
        };
        let good = Metrics {
            seconds: 1.0,
            rate: 100.0,
            rate_reached: Some(true),
            busy: Some(0.5),
            ..Metrics::default()
        };
        assert_eq!([judge("rate>50", &good), judge("rate>500", &good)], [Met, NotMet]);
        assert_eq!(judge("p99<1h", &good), NotMet, "it was not measured");
        let lossy = Metrics { loss: 2, failed: 1, ..good.clone() };
        assert_eq!([judge("rate>50", &lossy), judge("loss<3", &lossy)], [NotMet, Met]);
        let behind = Metrics { rate_reached: Some(false), ..good };
        assert_eq!(judge("loss<1", &behind), NotMet, "its messages waited for echoes");
        let busy = Metrics { busy: Some(0.99), ..behind };
        assert_eq!([judge("loss<1", &busy), judge("rate>500", &busy)], [NotOffered, NotMet]);
    }
}
