//! Merges simultaneous runs from several machines.

mod metrics;
mod overlap;

use std::slice;
use std::time::SystemTime;

use hdrhistogram::Histogram;

use self::metrics::metrics;
pub use self::overlap::Overlap;
use self::overlap::window;
use super::settings::{Setting, difference, distinct, settings};
use super::side::refuse_duplicates;
use super::{Error, LoadedRun, RunDetails};
use crate::distribution::histogram;
use crate::run::{Builds, Interval, Machine, Run, Settings};

/// Share of the longest run during which all runs must overlap to count as one load.
const MIN_OVERLAP: f64 = 0.9;
/// Settings that affect the meaning of a latency.
const COMPARABILITY_KEYS: [&str; 4] = ["size", "depth", "framing", "loop"];

/// Merges runs from several machines. Rates, counts and histograms are added; percentiles are those
/// of the merged histogram, and Jain's index is that of all connections. For an interval only the
/// maximum is known: percentiles cannot be computed from percentiles.
///
/// # Errors
///
/// The runs differ in size, depth, framing or loop, a run is mixed with an interval log, or two
/// runs are the same, or were not measured at the same time.
///
/// # Panics
///
/// `parts` is empty.
pub fn merge(parts: &[LoadedRun]) -> Result<LoadedRun, Error> {
    let [first, others @ ..] = parts else { panic!("there is nothing to add") };
    refuse_duplicates(parts)?;
    if others.is_empty() {
        return Ok(first.clone());
    }
    let runs: Vec<(&str, &RunDetails)> =
        parts.iter().filter_map(|part| Some((part.name.as_str(), part.run.as_deref()?))).collect();
    let log = parts.iter().find(|part| part.run.is_none());
    let mut whole = LoadedRun {
        name: parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join(" + "),
        rate: parts.iter().map(|part| part.rate).sum(),
        latency: sum(parts.iter().map(|part| &part.latency))?,
        intervals: sum_of_intervals(parts).unwrap_or_default(),
        run: None,
    };
    match (runs.first(), log) {
        (Some((run, _)), Some(log)) => {
            return Err(Error::Mixed((*run).to_owned(), log.name.clone()));
        }
        (Some(_), None) => {
            let settings = settings(parts.iter().map(slice::from_ref));
            let all: Vec<usize> = (0..parts.len()).collect();
            let must_agree =
                settings.iter().filter(|row| COMPARABILITY_KEYS.contains(&row.setting));
            if let Some(difference) = difference(must_agree, parts, &all) {
                return Err(Error::Differ(difference));
            }
            let overlap = Overlap::of(parts)?;
            whole.run = Some(Box::new(sum_of_runs(&runs, &whole, overlap, &settings)?));
        }
        (None, _) => {}
    }
    Ok(whole)
}

fn sum<'a>(parts: impl IntoIterator<Item = &'a Histogram<u64>>) -> Result<Histogram<u64>, Error> {
    let mut sum = histogram();
    // Histograms of other programs may have longer times.
    sum.auto(true);
    for part in parts {
        sum.add(part).map_err(|_| Error::Overflow)?;
    }
    Ok(sum)
}

/// The sums of corresponding intervals; `None` if they do not line up.
fn sum_of_intervals(parts: &[LoadedRun]) -> Option<Vec<Interval>> {
    let began = began_after_first(parts);
    let count = parts.iter().map(|part| part.intervals.len()).max()?;
    (0..count)
        .map(|index| {
            let same_index = parts.iter().zip(&began);
            let (same_time, starts): (Vec<&Interval>, Vec<f64>) = same_index
                .filter_map(|(part, began)| Some((part.intervals.get(index)?, began)))
                .map(|(interval, began)| (interval, began + interval.start_s))
                .unzip();
            let seconds = same_time.iter().map(|part| part.seconds).fold(0.0, f64::max);
            let start_s = same_time[0].start_s;
            if starts.iter().any(|start| (start - starts[0]).abs() > seconds / 2.0) {
                return None;
            }
            Some(Interval {
                start_s,
                seconds,
                echoes: same_time.iter().map(|part| part.echoes).sum(),
                rate: same_time.iter().map(|part| part.rate).sum(),
                p50_us: None,
                p99_us: None,
                max_us: same_time.iter().filter_map(|part| part.max_us).reduce(f64::max),
            })
        })
        .collect()
}

/// How many seconds after the first part each began to measure; 0 where the times are not known.
fn began_after_first(parts: &[LoadedRun]) -> Vec<f64> {
    let start = |part: &LoadedRun| Some(window(&part.run.as_ref()?.run)?.0);
    let after = |start: SystemTime, first| match start.duration_since(first) {
        Ok(later) => later.as_secs_f64(),
        Err(earlier) => -earlier.duration().as_secs_f64(),
    };
    let first = start(&parts[0]);
    let began = parts.iter().map(|part| Some(after(start(part)?, first?)));
    began.map(Option::unwrap_or_default).collect()
}

fn sum_of_runs(
    parts: &[(&str, &RunDetails)],
    whole: &LoadedRun,
    overlap: Option<Overlap>,
    settings: &[Setting],
) -> Result<RunDetails, Error> {
    let runs: Vec<&Run> = parts.iter().map(|(_, part)| &part.run).collect();
    let service = sum(parts.iter().map(|(_, part)| &part.service))?;
    let send_lag = sum(parts.iter().map(|(_, part)| &part.send_lag))?;
    let connect = sum(parts.iter().map(|(_, part)| &part.connect))?;
    let warnings = warnings(parts, whole, overlap, settings);
    let started = runs.iter().map(|run| run.started.as_str()).min().unwrap_or_default();
    let all = |text: fn(&Run) -> &String| {
        distinct(runs.iter().map(|run| text(run).clone())).unwrap_or_default()
    };
    let run = Run {
        program: format!("echo-client {} ({} runs merged)", env!("CARGO_PKG_VERSION"), parts.len()),
        label: common(&runs, |run| run.label.clone()),
        started: started.to_owned(),
        measured_from: runs.iter().filter_map(|run| run.measured_from.clone()).min(),
        measured_until: runs.iter().filter_map(|run| run.measured_until.clone()).max(),
        machine: Machine {
            os: all(|run| &run.machine.os),
            kernel: all(|run| &run.machine.kernel),
            cpu: all(|run| &run.machine.cpu),
            cpus: runs.iter().map(|run| run.machine.cpus).sum(),
            is_virtual: common(&runs, |run| run.machine.is_virtual),
            congestion_control: common(&runs, |run| run.machine.congestion_control.clone()),
            somaxconn: common(&runs, |run| run.machine.somaxconn),
        },
        builds: Builds {
            client: common(&runs, |run| run.builds.client.clone()),
            server: common(&runs, |run| run.builds.server.clone()),
        },
        settings: merged_settings(&runs),
        result: metrics(&runs, [&whole.latency, &service, &send_lag, &connect], warnings),
        intervals: whole.intervals.clone(),
        // Each gate judged one part. The failed ones are among the warnings.
        gates: Vec::new(),
    };
    Ok(RunDetails { run, service, send_lag, connect })
}

/// What all runs have in common; `None` if they differ.
fn common<T: PartialEq>(runs: &[&Run], of: impl Fn(&Run) -> Option<T>) -> Option<T> {
    let first = of(runs[0]);
    first.filter(|first| runs.iter().all(|run| of(run).as_ref() == Some(first)))
}

fn merged_settings(runs: &[&Run]) -> Settings {
    let all = || runs.iter().map(|run| &run.settings);
    let first = &runs[0].settings;
    let texts = |text: fn(&Settings) -> &String| {
        distinct(all().map(|settings| text(settings).clone())).unwrap_or_default()
    };
    Settings {
        host: texts(|settings| &settings.host),
        address: texts(|settings| &settings.address),
        connections: all().map(|settings| settings.connections).sum(),
        rate: all().map(|settings| settings.rate).sum(),
        arrivals: distinct(all().filter_map(|settings| settings.arrivals.clone())),
        seed: None,
        duration_s: all().filter_map(|settings| settings.duration_s).reduce(f64::max),
        messages: all().map(|settings| settings.messages).sum(),
        warmup_s: all().map(|settings| settings.warmup_s).fold(0.0, f64::max),
        engine: texts(|settings| &settings.engine),
        threads: all().map(|settings| settings.threads).sum(),
        busy_poll: all().any(|settings| settings.busy_poll),
        reconnect_every: all().filter_map(|settings| settings.reconnect_every).min(),
        timeout_s: all().map(|settings| settings.timeout_s).fold(0.0, f64::max),
        ..first.clone()
    }
}

/// Reasons to doubt the merged run: the warnings of its parts, and where they do not fit together.
fn warnings(
    parts: &[(&str, &RunDetails)],
    whole: &LoadedRun,
    overlap: Option<Overlap>,
    settings: &[Setting],
) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, part) in parts {
        let failed = part.run.gates.iter().filter(|result| result.failed);
        warnings.extend(failed.map(|result| format!("{name}: it failed {}", result.gate)));
        warnings.extend(part.run.result.warnings.iter().map(|text| format!("{name}: {text}")));
    }
    if let Some(overlap) = overlap.filter(|overlap| overlap.share() < MIN_OVERLAP) {
        warnings.push(format!("{overlap}: the sum of their rates was not the load all the time"));
    }
    if whole.intervals.is_empty() && parts.iter().any(|(_, part)| !part.run.intervals.is_empty()) {
        warnings.push("the intervals do not line up, so they are omitted".to_owned());
    }
    let differ = settings.iter().filter(|row| !row.is_common());
    for row in differ.filter(|row| ["busy poll", "reconnect every"].contains(&row.setting)) {
        warnings.push(format!("the runs differ in {}", row.setting));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::{run, saved};
    use crate::run::{GateResult, Loop};

    fn merged(runs: [Run; 2]) -> Result<LoadedRun, Error> {
        let [first, second] = runs;
        merge(&[saved("a", first), saved("b", second)])
    }

    fn warnings_of(runs: [Run; 2]) -> Vec<String> {
        merged(runs).unwrap().run.unwrap().run.result.warnings
    }

    #[test]
    fn a_merged_run_has_the_percentiles_of_all_samples() {
        let whole = merged([run(2, 1_000..=2_000), run(3, 500..=9_000)]).unwrap();
        let all = run(5, (1_000..=2_000).chain(500..=9_000));
        let sum = whole.run.unwrap().run;
        assert_eq!(sum.result.latency, all.result.latency);
        assert_eq!(sum.result.service, all.result.service);
        assert_eq!((sum.result.echoes, sum.result.sent), (9_502, 9_502));
        assert_eq!((sum.result.rate, sum.settings.connections), (950.2, 5));
        assert!(sum.program.ends_with("(2 runs merged)"), "{}", sum.program);
        assert_eq!(sum.intervals[1].rate, 950.2);
        assert_eq!((sum.intervals[1].p50_us, sum.intervals[1].max_us), (None, Some(9.007)));
        assert!(sum.result.warnings.is_empty(), "{:?}", sum.result.warnings);
    }

    #[test]
    fn settings_that_affect_the_meaning_of_a_latency_must_agree() {
        type Change = fn(&mut Settings);
        let changes: [(&str, Change); 4] = [
            ("(size is 64 and 65)", |settings| settings.size = 65),
            ("(depth is 1 and 2)", |settings| settings.depth = 2),
            ("(framing is raw and line)", |settings| settings.framing = "line".to_owned()),
            ("(loop is closed and open)", |settings| settings.pacing = Loop::Open),
        ];
        for (words, change) in changes {
            let mut other = run(1, 5..=9);
            change(&mut other.settings);
            let error = merged([run(1, 1..=9), other]).err().unwrap().to_string();
            assert!(error.starts_with("cannot merge a and b ") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_same_run_twice_and_a_run_with_a_log_are_refused() {
        let twice = merged([run(1, 1..=9), run(1, 1..=9)]);
        assert!(matches!(twice, Err(Error::Duplicate(..))));
        let log = LoadedRun { run: None, ..saved("log", run(1, 5..=9)) };
        let mixed = merge(&[log.clone(), saved("run", run(1, 1..=9))]).err().unwrap();
        assert!(mixed.to_string().starts_with("cannot merge run and log: "), "{mixed}");
        let other = LoadedRun { run: None, ..saved("other", run(1, 6..=9)) };
        let logs = merge(&[log, other]).unwrap();
        assert_eq!((logs.name.as_str(), logs.latency.len()), ("log + other", 9));
        assert_eq!(logs.rate, Some(0.9));
    }

    #[test]
    fn runs_that_do_not_overlap_have_a_warning() {
        let mut late = run(1, 5..=9);
        late.started = "2026-01-02T03:04:11Z".to_owned();
        let found = warnings_of([run(1, 1..=9), late]);
        assert!(
            found[0].starts_with("the runs overlap for 4 s of 10 s, 40 %: the sum"),
            "{found:?}"
        );
        let mut in_time = run(1, 5..=9);
        in_time.started = "2026-01-02T03:04:05.9Z".to_owned();
        assert_eq!(warnings_of([run(1, 1..=9), in_time]), [""; 0]);
    }

    #[test]
    fn intervals_that_do_not_line_up_are_omitted() {
        let mut other = run(1, 5..=9);
        other.intervals[1].start_s = 1.0;
        let whole = merged([run(1, 1..=9), other]).unwrap();
        assert!(whole.intervals.is_empty());
        assert!(whole.run.unwrap().run.result.warnings[0].contains("do not line up"));
    }

    #[test]
    fn intervals_of_different_times_of_day_do_not_line_up() {
        let at = |second: u32| {
            let mut part = run(1, (1..=9).map(|ns| ns * u64::from(second)));
            part.measured_from = Some(format!("2026-01-02T03:04:{second:02}Z"));
            part.measured_until = Some(format!("2026-01-02T03:04:{:02}Z", second + 10));
            part
        };
        assert_eq!(merged([at(10), at(12)]).unwrap().intervals.len(), 2);
        let apart = merged([at(10), at(13)]).unwrap();
        assert!(apart.intervals.is_empty(), "3 s are more than half of an interval");
    }

    #[test]
    fn warnings_and_failed_gates_of_the_parts_are_kept() {
        let mut other = run(1, 5..=9);
        other.result.warnings = vec!["short".to_owned()];
        let gate = |gate: &str, failed| GateResult {
            gate: gate.to_owned(),
            value: None,
            values: Vec::new(),
            limit: 0.0,
            is_time: false,
            failed,
        };
        other.gates = vec![gate("p99>1ms", true), gate("loss>0", false)];
        assert_eq!(warnings_of([run(1, 1..=9), other]), ["b: it failed p99>1ms", "b: short"]);
    }
}
