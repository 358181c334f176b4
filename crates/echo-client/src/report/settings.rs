//! The settings of runs, as rows of a report.

use echo_proto::one_line;
use serde::Serialize;

use super::LoadedRun;
use super::error::Difference;
use crate::run::{Loop, Machine, Run};

/// One row of settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name.
    pub setting: &'static str,
    /// One per side; if its runs differ, all of theirs.
    pub values: Vec<Option<String>>,
}

type Row = (&'static str, fn(&Run) -> Option<String>);

const ROWS: [Row; 20] = [
    ("host", |it| Some(it.settings.host.clone())),
    ("address", |it| Some(it.settings.address.clone())),
    ("connections", |it| Some(it.settings.connections.to_string())),
    ("size", |it| Some(it.settings.size.to_string())),
    ("depth", |it| Some(it.settings.depth.to_string())),
    ("framing", |it| Some(it.settings.framing.clone())),
    ("loop", |it| {
        Some(if it.settings.pacing == Loop::Closed { "closed" } else { "open" }.to_owned())
    }),
    ("rate asked", |it| it.settings.rate.map(|rate| format!("{rate}/s"))),
    ("arrivals", |it| it.settings.arrivals.clone()),
    ("duration", |it| it.settings.duration_s.map(|seconds| format!("{seconds} s"))),
    ("messages", |it| it.settings.messages.map(|messages| messages.to_string())),
    ("warmup", |it| Some(format!("{} s", it.settings.warmup_s))),
    ("threads", |it| Some(it.settings.threads.to_string())),
    ("engine", |it| Some(it.settings.engine.clone())),
    ("busy poll", |it| Some(if it.settings.busy_poll { "yes" } else { "no" }.to_owned())),
    ("reconnect every", |it| it.settings.reconnect_every.map(|messages| messages.to_string())),
    ("timeout", |it| Some(format!("{} s", it.settings.timeout_s))),
    ("congestion control", |it| it.machine.congestion_control.clone()),
    ("kernel", |it| Some(format!("{} {}", it.machine.os, it.machine.kernel))),
    ("cpu", |it| {
        let Machine { cpu, cpus, is_virtual, .. } = &it.machine;
        let kind = if *is_virtual == Some(true) { ", virtual" } else { "" };
        Some(format!("{cpus} x {cpu}{kind}"))
    }),
];

/// Settings that move the metrics whatever server is measured.
pub(super) const LOAD_SETTINGS: [&str; 8] = [
    "connections",
    "size",
    "depth",
    "framing",
    "loop",
    "rate asked",
    "arrivals",
    "reconnect every",
];

/// What else a ratio may come from than the servers.
pub(super) const EXPLANATIONS: [&str; 4] = ["engine", "congestion control", "kernel", "cpu"];

/// The load that all have in common, as text.
pub(super) fn common_load(settings: &[Setting]) -> Vec<String> {
    let load = settings.iter().filter(|row| LOAD_SETTINGS.contains(&row.setting));
    load.filter(|row| row.is_common()).filter_map(Setting::description).collect()
}

/// The settings that any run has, for each of these groups of runs.
pub(super) fn settings<'a>(groups: impl IntoIterator<Item = &'a [LoadedRun]>) -> Vec<Setting> {
    let mut settings = ROWS.map(|(setting, _)| Setting { setting, values: Vec::new() });
    for group in groups {
        for (row, (_, value)) in settings.iter_mut().zip(ROWS) {
            let runs = group.iter().filter_map(|run| value(&run.run.as_ref()?.run));
            row.values.push(distinct(runs));
        }
    }
    settings.into_iter().filter(|row| row.values.iter().any(Option::is_some)).collect()
}

/// The distinct texts, in order; `None` without one.
pub(super) fn distinct(texts: impl IntoIterator<Item = String>) -> Option<String> {
    let mut found: Vec<String> = Vec::new();
    for text in texts {
        if !found.contains(&text) {
            found.push(text);
        }
    }
    (!found.is_empty()).then(|| found.join(", "))
}

/// The first of these settings in which some of the runs differ; `selected` are their indices.
pub(super) fn difference<'a>(
    settings: impl IntoIterator<Item = &'a Setting>,
    runs: &[LoadedRun],
    selected: &[usize],
) -> Option<Difference> {
    let (&first, others) = selected.split_first()?;
    settings.into_iter().find_map(|Setting { setting, values }| {
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
