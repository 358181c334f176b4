//! The settings of runs, as rows of a report.

use echo_proto::one_line;
use serde::Serialize;

use super::LoadedRun;
use super::error::Difference;
use crate::run::{Loop, Settings};

/// One row of settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name.
    pub setting: &'static str,
    /// One per run.
    pub values: Vec<Option<String>>,
}

type Row = (&'static str, fn(&Settings) -> Option<String>);

const ROWS: [Row; 17] = [
    ("host", |it| Some(it.host.clone())),
    ("address", |it| Some(it.address.clone())),
    ("connections", |it| Some(it.connections.to_string())),
    ("size", |it| Some(it.size.to_string())),
    ("depth", |it| Some(it.depth.to_string())),
    ("framing", |it| Some(it.framing.clone())),
    ("loop", |it| Some(if it.pacing == Loop::Closed { "closed" } else { "open" }.to_owned())),
    ("rate asked", |it| it.rate.map(|rate| format!("{rate}/s"))),
    ("arrivals", |it| it.arrivals.clone()),
    ("duration", |it| it.duration_s.map(|seconds| format!("{seconds} s"))),
    ("messages", |it| it.messages.map(|messages| messages.to_string())),
    ("warmup", |it| Some(format!("{} s", it.warmup_s))),
    ("threads", |it| Some(it.threads.to_string())),
    ("engine", |it| Some(it.engine.clone())),
    ("busy poll", |it| Some(if it.busy_poll { "yes" } else { "no" }.to_owned())),
    ("reconnect every", |it| it.reconnect_every.map(|messages| messages.to_string())),
    ("timeout", |it| Some(format!("{} s", it.timeout_s))),
];

/// The settings that any run has.
pub(super) fn settings(runs: &[LoadedRun]) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (setting, value) in ROWS {
        let values = runs.iter().map(|run| value(&run.run.as_ref()?.run.settings)).collect();
        settings.push(Setting { setting, values });
    }
    settings.retain(|row| row.values.iter().any(Option::is_some));
    settings
}

/// The first of these settings in which some of the runs differ; `selected` are their indices.
pub(super) fn difference(
    settings: &[Setting],
    runs: &[LoadedRun],
    selected: &[usize],
) -> Option<Difference> {
    let (&first, others) = selected.split_first()?;
    settings.iter().find_map(|Setting { setting, values }| {
        let other = *others.iter().find(|&&run| values[run] != values[first])?;
        let value = |run: usize| values[run].as_deref().unwrap_or("not set").to_owned();
        Some(Difference {
            setting,
            runs: [first, other].map(|run| (runs[run].name.clone(), value(run))),
        })
    })
}

impl Setting {
    /// Whether all runs have the same value.
    pub(super) fn is_common(&self) -> bool {
        self.values.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// Whether all runs with settings have the same value; interval logs have none.
    pub(super) fn is_common_where_known(&self) -> bool {
        let mut known = self.values.iter().flatten();
        let first = known.next();
        known.all(|value| Some(value) == first)
    }

    /// The setting of the first run as text.
    pub(super) fn description(&self) -> Option<String> {
        Some(format!("{} {}", self.setting, one_line(self.values.first()?.as_ref()?)))
    }
}
