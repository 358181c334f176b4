//! Searches against simulated systems whose answer is known.

use super::*;

/// Runs a search to its end. Asserts what must hold for every search, whatever the outcomes.
fn run(settings: RateSearchSettings, mut system: impl FnMut(Trial) -> TrialOutcome) -> RateSearch {
    let mut search = RateSearch::new(settings).unwrap();
    while let Some(trial) = search.next_trial() {
        assert_eq!(search.next_trial(), Some(trial), "it stays the same until it is recorded");
        assert!((settings.lowest_rate..=settings.highest_rate).contains(&trial.rate));
        let outcome = system(trial);
        search.record(outcome);
        assert_eq!(search.trials().last(), Some(&FinishedTrial { trial, outcome }));
        assert!(search.trials().len() <= search.max_trials() as usize, "the bound is broken");
        if let (Some(lower), Some(upper)) = search.bounds() {
            assert!(lower < upper, "{lower} {upper}");
        }
    }
    let total: Duration = search.trials().iter().map(|finished| finished.trial.duration).sum();
    assert!(total <= search.max_duration());
    search
}

fn met(condition: bool) -> TrialOutcome {
    if condition { TrialOutcome::Met } else { TrialOutcome::NotMet }
}

#[track_caller]
fn between(search: &RateSearch) -> (f64, f64, Limit) {
    match search.result() {
        Some(SearchResult::Between { lower, upper, limit }) => (lower, upper, limit),
        other => panic!("{other:?}"),
    }
}

/// A queue with one server, Poisson arrivals and exponential service times.
struct MM1 {
    /// Messages that it serves per second.
    service_rate: f64,
    rng: fastrand::Rng,
}

impl MM1 {
    /// The rate at which the p99 of the time in the system is `limit_s`. That time is exponential with
    /// the rate `service_rate - rate` (L. Kleinrock, *Queueing Systems*, volume 1, 3.2).
    fn highest_rate(service_rate: f64, limit_s: f64) -> f64 {
        service_rate + 0.01_f64.ln() / limit_s
    }

    fn exponential(&mut self, rate: f64) -> f64 {
        -(1.0 - self.rng.f64()).ln() / rate
    }

    /// The p99 of the times in the system in a trial, after a warm-up of a tenth of its messages.
    fn p99(&mut self, trial: Trial) -> f64 {
        let messages = (trial.rate * trial.duration.as_secs_f64()) as usize;
        let warm_up = messages / 10;
        let mut times = Vec::with_capacity(messages);
        let mut waiting: f64 = 0.0;
        for message in 0..warm_up + messages {
            let time = waiting + self.exponential(self.service_rate);
            if message >= warm_up {
                times.push(time);
            }
            // Lindley's recursion: the next message finds what is left of this one.
            waiting = (time - self.exponential(trial.rate)).max(0.0);
        }
        let rank = (messages * 99).div_ceil(100);
        *times.select_nth_unstable_by(rank - 1, f64::total_cmp).1
    }
}

/// How many of 100 searches find the rate that theory gives to 5 %.
fn mm1_within_5_percent(service_rate: f64, limit_s: f64) -> usize {
    let expected = MM1::highest_rate(service_rate, limit_s);
    let is_right = |seed: &u64| {
        let mut queue = MM1 { service_rate, rng: fastrand::Rng::with_seed(*seed) };
        let search = run(RateSearchSettings::default(), |trial| met(queue.p99(trial) < limit_s));
        let (lower, upper, limit) = between(&search);
        assert!(upper / lower <= 1.02 + 1e-9 && limit == Limit::Condition, "{lower} {upper}");
        (lower / expected - 1.0).abs() <= 0.05
    };
    (0..100).filter(is_right).count()
}

#[test]
fn the_rate_of_a_simulated_queue_is_that_of_theory_in_95_of_100_searches() {
    // At 54 % and at 95 % of what the queue can serve.
    for limit_s in [0.002, 0.02] {
        let right = mm1_within_5_percent(5_000.0, limit_s);
        assert!(right >= 95, "{right} of 100 are right with a limit of {limit_s} s");
    }
}

/// At 8 % of what the queue can serve, 5 % more load raise the p99 by less than half a percent, while
/// it differs by several percent from trial to trial.
#[test]
fn mixed_trials_tell_that_the_condition_hardly_depends_on_the_rate() {
    let limit_s = 0.001;
    let is_wide = |seed: &u64| {
        let mut queue = MM1 { service_rate: 5_000.0, rng: fastrand::Rng::with_seed(*seed) };
        let search = run(RateSearchSettings::default(), |trial| met(queue.p99(trial) < limit_s));
        search
            .mixed_range()
            .is_some_and(|(lowest_bad, highest_good)| highest_good / lowest_bad > 1.1)
    };
    let wide = (0..20).filter(is_wide).count();
    assert!(wide >= 12, "{wide} of 20 searches have a wide range of mixed trials");
    let steep = run(RateSearchSettings::default(), |trial| met(trial.rate <= 5_000.0));
    assert_eq!(steep.mixed_range(), None);
}

#[test]
fn one_bad_trial_in_ten_does_not_mislead_the_search() {
    let capacity = 61_234.0;
    for share in [0.05, 0.1] {
        let right = (0..1000).filter(|&seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let search = run(RateSearchSettings::default(), |trial| {
                met(trial.rate <= capacity && rng.f64() >= share)
            });
            matches!(search.result(), Some(SearchResult::Between { lower, upper, .. })
                if lower <= capacity && capacity < upper)
        });
        let right = right.count();
        assert!(right >= 990, "{right} of 1000 are right with {share} of all trials bad");
    }
}

#[test]
fn the_bounds_enclose_a_hard_limit_and_are_one_width_apart() {
    for capacity in [100.0, 101.0, 999.0, 1_000.0, 12_345.6, 5e6, 9_999_999.0] {
        let search = run(RateSearchSettings::default(), |trial| met(trial.rate <= capacity));
        let (lower, upper, limit) = between(&search);
        assert!(lower <= capacity && capacity < upper, "{lower} {capacity} {upper}");
        assert!(upper / lower <= 1.02 + 1e-9, "{lower} {upper}");
        assert_eq!(limit, Limit::Condition);
        assert!(search.trials().len() <= 50, "{} trials", search.trials().len());
        assert_eq!(search.bounds(), (Some(lower), Some(upper)));
    }
}

#[test]
fn a_condition_that_never_holds_ends_at_the_lowest_rate() {
    let search = run(RateSearchSettings::default(), |_| TrialOutcome::NotMet);
    let expected = SearchResult::FailsAtLowest { rate: 100.0, limit: Limit::Condition };
    assert_eq!(search.result(), Some(expected));
    assert_eq!(search.bounds(), (None, Some(100.0)));
}

#[test]
fn a_condition_that_always_holds_ends_at_the_highest_rate() {
    let search = run(RateSearchSettings::default(), |_| TrialOutcome::Met);
    assert_eq!(search.result(), Some(SearchResult::HoldsAtHighest { rate: 10_000_000.0 }));
    assert_eq!(search.bounds(), (Some(10_000_000.0), None));
}

#[test]
fn what_the_generator_cannot_send_is_its_limit_and_not_the_servers() {
    let search = run(RateSearchSettings::default(), |trial| {
        if trial.rate <= 80_000.0 { TrialOutcome::Met } else { TrialOutcome::NotOffered }
    });
    let (lower, upper, limit) = between(&search);
    assert!(lower <= 80_000.0 && upper > 80_000.0);
    assert_eq!(limit, Limit::Generator);
    let search = run(RateSearchSettings::default(), |_| TrialOutcome::NotOffered);
    let expected = SearchResult::FailsAtLowest { rate: 100.0, limit: Limit::Generator };
    assert_eq!(search.result(), Some(expected));
}

#[test]
fn a_first_trial_that_lies_does_not_decide() {
    let mut trials = 0;
    let search = run(RateSearchSettings::default(), |trial| {
        trials += 1;
        met(trials > 1 && trial.rate <= 40_000.0)
    });
    let (lower, upper, _) = between(&search);
    assert!(lower <= 40_000.0 && upper > 40_000.0, "{lower} {upper}");
}

#[test]
fn what_most_bad_trials_were_is_the_limit() {
    let mut trials = 0;
    let search = run(RateSearchSettings::default(), |trial| {
        trials += 1;
        match trial.rate <= 20_000.0 {
            true => TrialOutcome::Met,
            false if trials % 3 == 0 => TrialOutcome::NotOffered,
            false => TrialOutcome::NotMet,
        }
    });
    assert_eq!(between(&search).2, Limit::Condition);
}

#[test]
fn there_are_no_bounds_before_the_first_trial() {
    let search = RateSearch::new(RateSearchSettings::default()).unwrap();
    assert_eq!((search.bounds(), search.result()), ((None, None), None));
}

#[test]
fn random_outcomes_and_settings_stay_within_the_bound_of_trials() {
    for seed in 0..2_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let trials_per_rate = rng.u32(1..=12);
        let lowest_rate = 1.0 + rng.f64() * 1000.0;
        let start_rate = lowest_rate * (1.0 + rng.f64() * 100.0);
        let settings = RateSearchSettings {
            lowest_rate,
            start_rate,
            highest_rate: start_rate * (1.0 + rng.f64() * 1000.0),
            width: 0.001 + rng.f64() * 0.999,
            trials_per_rate,
            tolerated_bad: rng.u32(0..trials_per_rate),
            ..RateSearchSettings::default()
        };
        let share = rng.f64();
        let search = run(settings, |_| met(rng.f64() < share));
        assert!(search.result().is_some());
    }
}

#[test]
fn a_range_of_one_rate_is_a_check_of_that_rate() {
    let settings = RateSearchSettings {
        lowest_rate: 500.0,
        start_rate: 500.0,
        highest_rate: 500.0,
        ..RateSearchSettings::default()
    };
    let holds = run(settings, |_| TrialOutcome::Met).result();
    assert_eq!(holds, Some(SearchResult::HoldsAtHighest { rate: 500.0 }));
    let fails = run(settings, |_| TrialOutcome::NotMet).result();
    assert!(matches!(fails, Some(SearchResult::FailsAtLowest { .. })), "{fails:?}");
}

#[test]
fn trials_at_low_rates_take_longer_for_their_messages_up_to_the_limit() {
    let settings = RateSearchSettings {
        lowest_rate: 1.0,
        start_rate: 1_000.0,
        messages_per_trial: 5_000,
        ..RateSearchSettings::default()
    };
    let search = run(settings, |_| TrialOutcome::NotMet);
    for FinishedTrial { trial, .. } in search.trials() {
        let expected = (5_000.0 / trial.rate).clamp(1.0, 20.0);
        assert!((trial.duration.as_secs_f64() - expected).abs() < 1e-6, "{trial:?}");
    }
    let rates: Vec<f64> = search.trials().iter().map(|finished| finished.trial.rate).collect();
    assert!(rates.iter().any(|&rate| rate > 900.0) && rates.contains(&1.0), "{rates:?}");
    let fast = run(settings, |_| TrialOutcome::Met);
    assert_eq!(fast.trials().last().unwrap().trial.duration, Duration::from_secs(1));
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let default = RateSearchSettings::default();
    let wrong = [
        (RateSearchSettings { lowest_rate: 0.0, ..default }, SettingsError::Rates),
        (RateSearchSettings { lowest_rate: 2_000.0, ..default }, SettingsError::Rates),
        (RateSearchSettings { start_rate: f64::NAN, ..default }, SettingsError::Rates),
        (RateSearchSettings { highest_rate: f64::INFINITY, ..default }, SettingsError::Rates),
        (RateSearchSettings { width: 0.0, ..default }, SettingsError::Width),
        (
            RateSearchSettings { trials_per_rate: 0, tolerated_bad: 0, ..default },
            SettingsError::Trials,
        ),
        (RateSearchSettings { tolerated_bad: 9, ..default }, SettingsError::Trials),
        (RateSearchSettings { trial_duration: Duration::ZERO, ..default }, SettingsError::Duration),
        (
            RateSearchSettings { longest_trial: Duration::from_millis(999), ..default },
            SettingsError::Duration,
        ),
    ];
    for (settings, error) in wrong {
        assert_eq!(RateSearch::new(settings).err(), Some(error), "{settings:?}");
    }
}

#[test]
fn a_rate_is_tried_until_it_is_decided_before_the_next_one() {
    let mut trials = 0;
    let search = run(RateSearchSettings::default(), |trial| {
        trials += 1;
        // The first trial, at 1000, lies, so that later phases search above its rate again.
        met(trials > 1 && trial.rate <= 1_050.0)
    });
    let rates: Vec<f64> = search.trials().iter().map(|finished| finished.trial.rate).collect();
    assert!(rates.iter().all(|&rate| rate < 1_300.0), "far above the limit: {rates:?}");
}
