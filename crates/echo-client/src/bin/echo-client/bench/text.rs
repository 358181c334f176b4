//! The report as text.

mod run;
mod runs;
mod search;

use echo_client::percentile::Percentile;
use echo_client::run::{Failure, GateResult, Interval, Metrics, Settings};
use echo_client::run_file::RunFile;
use echo_client::units::{time, wrap};

use crate::print::gate_line;

/// Columns of a label, and of a number in a table.
const LABEL: usize = 13;
const NUMBER: usize = 9;

/// The complete report, in lines of at most `width` columns.
pub(super) fn report(file: &RunFile, percentiles: &[Percentile], width: usize) -> String {
    let mut lines = vec![wrap(&headline(file), width, 0), String::new()];
    match (&file.search, file.runs.as_slice()) {
        (Some(search), _) => lines.extend(search::report(search, width)),
        (None, [run]) => {
            lines.extend(run::report(&file.settings, &run.result, percentiles, width));
        }
        (None, runs) => lines.extend(runs::report(runs, percentiles, width)),
    }
    lines.extend(gate_lines(&file.gates, width));
    lines.join("\n") + "\n"
}

/// A line with a label, and what does not fit below it.
fn field(label: &str, value: &str, width: usize) -> String {
    wrap(&format!("{label:<LABEL$}{}", value.trim_end()), width, LABEL)
}

fn gate_lines(gates: &[GateResult], width: usize) -> impl Iterator<Item = String> {
    gates.iter().map(move |result| field("gate", &gate_line(result), width))
}

fn failure(failure: &Failure, width: usize) -> String {
    let (connection, at) = (failure.connection, failure.at_us as f64 / 1e6);
    let place = format!("connection {connection} at {at:.3} s, offset {}", failure.offset);
    field("failure", &format!("{place}: {}", failure.text), width)
}

/// Rows of numbers below their names, in parts if they are wider than `width`.
fn table(names: &[String], rows: &[(String, Vec<String>)], width: usize) -> Vec<String> {
    const LABEL: usize = 8;
    let line = |label: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>NUMBER$}")).collect();
        format!("{label:LABEL$}{cells}").trim_end().to_owned()
    };
    let columns = (width.saturating_sub(LABEL) / NUMBER).max(1);
    let mut lines = Vec::new();
    for from in (0..names.len()).step_by(columns) {
        let to = (from + columns).min(names.len());
        lines.push(line("", &names[from..to]));
        lines.extend(rows.iter().map(|(label, cells)| line(label, &cells[from..to])));
    }
    lines
}

/// The line for one interval.
pub(super) fn interval(interval: &Interval, width: usize) -> String {
    let Interval { start_s, seconds, rate, .. } = interval;
    let times = [interval.p50_us, interval.p99_us, interval.max_us];
    let [p50, p99, max] = times.map(|us| us.map_or("-".to_owned(), time));
    let end = start_s + seconds;
    let line = format!(
        "{start_s:6.2}-{end:.2} s {rate:9.0} echoes/s  p50 {p50:>7}  p99 {p99:>7}  max {max:>7}"
    );
    wrap(&line, width, 7)
}

/// What was run, in one paragraph.
fn headline(RunFile { label, settings, search, .. }: &RunFile) -> String {
    let Settings { address, connections, size, depth, threads, engine, .. } = settings;
    let connections = counted(*connections, "connection");
    let name = label.as_ref().map(|label| format!("{label}, ")).unwrap_or_default();
    let mut parts = vec![format!("{name}{address}: {connections} x {size} bytes, depth {depth}")];
    if settings.framing != "raw" {
        parts.push(format!("framing {}", settings.framing));
    }
    match &settings.arrivals {
        Some(arrivals) => {
            let rate = settings.rate.map_or("arrivals".to_owned(), |rate| format!("{rate}/s"));
            parts.push(format!("{rate} {arrivals}"));
            parts.extend(settings.seed.map(|seed| format!("seed {seed}")));
        }
        None => parts.push("closed loop".to_owned()),
    }
    parts.push(counted(*threads, "thread"));
    parts.push(format!("engine {engine}"));
    if settings.busy_poll {
        parts.push("busy polling".to_owned());
    }
    if let Some(messages) = settings.reconnect_every {
        parts.push(format!("a new connection every {}", counted(messages as usize, "message")));
    }
    let mut limit = match (settings.duration_s, settings.messages) {
        (_, Some(messages)) => format!("{messages} messages"),
        (Some(seconds), _) if search.is_some() => format!("trials of at least {seconds} s"),
        (duration, _) => format!("{} s", duration.unwrap_or_default()),
    };
    if settings.warmup_s > 0.0 {
        limit += &format!(" after {} s of warm-up", settings.warmup_s);
    }
    parts.push(limit);
    if let Some(pause) = settings.pause_s {
        parts.push(format!("{} {pause} s apart", counted(settings.repeat as usize, "run")));
    }
    parts.join(", ")
}

fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// The failed connections by cause.
fn counted_failures(result: &Metrics) -> String {
    let causes = &result.causes;
    let named = [
        ("not connected", causes.connect),
        ("changed", causes.changed),
        ("sent too much", causes.surplus),
        ("closed by the server", causes.closed),
        ("lost", causes.lost),
        ("timed out", causes.timeout),
    ];
    let named = named.into_iter().filter(|(_, count)| *count > 0);
    let named: Vec<_> = named.map(|(name, count)| format!("{count} {name}")).collect();
    if named.is_empty() {
        return "no failure".to_owned();
    }
    let failures = counted(result.failed as usize, "failure");
    format!("{failures}: {}", named.join(", "))
}
