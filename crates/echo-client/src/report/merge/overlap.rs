//! Whether runs were measured at the same time.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::super::{Error, LoadedRun};
use crate::run::Run;
use crate::units::exact_time;

/// How long several runs were measured together. As accurate as the clocks of their machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// While all of them were measured.
    pub common: Duration,
    /// The longest run.
    pub longest: Duration,
}

impl Overlap {
    /// `None` if the times of a run are not known: an interval log has none.
    ///
    /// # Errors
    ///
    /// Two of the runs do not overlap, so that their rates do not add up to anything.
    pub fn of(parts: &[LoadedRun]) -> Result<Option<Self>, Error> {
        let window = |part: &LoadedRun| window(&part.run.as_ref()?.run);
        let Some(windows) = parts.iter().map(window).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let last = (0..parts.len()).max_by_key(|&part| windows[part].0);
        let first = (0..parts.len()).min_by_key(|&part| windows[part].1);
        let (Some(last), Some(first)) = (last, first) else { return Ok(None) };
        let (began, ended) = (windows[last].0, windows[first].1);
        let longest =
            windows.iter().filter_map(|(start, end)| end.duration_since(*start).ok()).max();
        match ended.duration_since(began) {
            Ok(common) => Ok(longest.map(|longest| Self { common, longest })),
            Err(_) => Err(Error::Apart(parts[first].name.clone(), parts[last].name.clone())),
        }
    }

    /// The share of the longest run.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.longest.is_zero() { 1.0 } else { self.common.div_duration_f64(self.longest) }
    }
}

/// When a run was measured. Files of version 1 say only when it started, which was before the warm-up.
pub(super) fn window(run: &Run) -> Option<(SystemTime, SystemTime)> {
    if let (Some(from), Some(until)) = (&run.measured_from, &run.measured_until) {
        let time = |text: &str| humantime::parse_rfc3339(text).ok();
        return Some((time(from)?, time(until)?));
    }
    let warmup = Duration::try_from_secs_f64(run.settings.warmup_s).ok()?;
    let start = humantime::parse_rfc3339(&run.started).ok()?.checked_add(warmup)?;
    let length = Duration::try_from_secs_f64(run.result.seconds).ok()?;
    Some((start, start.checked_add(length)?))
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: Duration| exact_time(Duration::from_millis(time.as_millis() as u64));
        let (common, longest) = (time(self.common), time(self.longest));
        // Rounded down: 100 % is nothing less.
        let percent = (self.share() * 1000.0).floor() / 10.0;
        write!(f, "the runs overlap for {common} of {longest}, {percent} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::{run, saved};

    fn overlap(times: &[&str]) -> Result<Option<Overlap>, Error> {
        let part = |time: &&str| {
            let mut run = run(1, 1..=9);
            run.started = format!("2026-01-02T03:04:{time}Z");
            saved(time, run)
        };
        Overlap::of(&times.iter().map(part).collect::<Vec<_>>())
    }

    #[test]
    fn the_common_time_ends_with_the_first_and_begins_with_the_last() {
        let found = overlap(&["06", "05", "05.001"]).unwrap().unwrap();
        assert_eq!(found.to_string(), "the runs overlap for 9 s of 10 s, 90 %");
        let exact = overlap(&["05", "05.001"]).unwrap().unwrap();
        assert_eq!(exact.to_string(), "the runs overlap for 9.999 s of 10 s, 99.9 %");
    }

    #[test]
    fn recorded_times_of_measuring_are_used_before_the_start_of_the_run() {
        let mut parts = ["05", "05"].map(|time| {
            let mut run = run(1, 1..=9);
            run.started = format!("2026-01-02T03:04:{time}Z");
            saved(time, run)
        });
        let waited = &mut parts[1].run.as_mut().unwrap().run;
        waited.measured_from = Some("2026-01-02T03:04:09.5Z".to_owned());
        waited.measured_until = Some("2026-01-02T03:04:19.5Z".to_owned());
        let found = Overlap::of(&parts).unwrap().unwrap();
        assert_eq!(found.common, Duration::from_millis(6_500));
    }

    #[test]
    fn runs_that_do_not_overlap_are_named() {
        let error = overlap(&["20", "05", "08"]).unwrap_err();
        assert!(error.to_string().starts_with("cannot merge 05 and 20: they were not"), "{error}");
    }

    #[test]
    fn without_times_nothing_is_known() {
        assert_eq!(overlap(&["05", "nonsense"]).unwrap(), None);
        let log = LoadedRun { run: None, ..saved("log", run(1, 1..=9)) };
        assert_eq!(Overlap::of(&[log]).unwrap(), None);
    }
}
