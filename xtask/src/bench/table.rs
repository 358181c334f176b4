//! The results as a Markdown table, aligned so that it is readable as text.

use echo_client::run::{Metrics, Run};

use super::ScenarioRuns;
use super::repetitions::{median, median_ratio};

/// A column of the table.
pub(super) struct Column {
    heading: &'static str,
    of: fn(&Metrics) -> Option<f64>,
    /// Whether the ratio to the first server is shown.
    compared: bool,
    /// Whether it is a rate, which may not have been reached.
    is_rate: bool,
}

impl Column {
    const fn new(heading: &'static str, of: fn(&Metrics) -> Option<f64>) -> Self {
        Self { heading, of, compared: true, is_rate: false }
    }

    const fn not_compared(self) -> Self {
        Self { compared: false, ..self }
    }
}

const RATE: Column =
    Column { is_rate: true, ..Column::new("echoes/s", |metrics| Some(metrics.rate)) };
const SERVER_CPU: Column =
    Column::new("server CPU µs/echo", |metrics| metrics.server_cpu_us_per_echo);
const P50: Column = Column::new("p50 µs", |metrics| Some(metrics.latency.p50_us));
const P99: Column = Column::new("p99 µs", |metrics| Some(metrics.latency.p99_us));
const P99_9: Column = Column::new("p99.9 µs", |metrics| Some(metrics.latency.p99_9_us));
// A saturated load generator measures itself.
const CLIENT_BUSY: Column =
    Column::new("client busy %", |metrics| Some(metrics.busy? * 100.0)).not_compared();

/// What is compared on separate processors: how much a server does, and at what cost.
pub(super) static CAPACITY: [Column; 5] = [RATE, SERVER_CPU, P50, P99, CLIENT_BUSY];
/// What is compared beside the load, where the rate is the same for all servers.
pub(super) static TAIL: [Column; 5] = [RATE.not_compared(), P50, P99, P99_9, SERVER_CPU];

/// Renders one line per server and load.
pub(super) fn render(measured: &[ScenarioRuns], columns: &[Column]) -> String {
    let headings = ["load", "server"].into_iter().chain(columns.iter().map(|it| it.heading));
    let mut lines = vec![headings.map(str::to_owned).collect()];
    lines.extend(measured.iter().flat_map(|measured| lines_of(measured, columns)));
    align(&lines)
}

fn lines_of(measured: &ScenarioRuns, columns: &[Column]) -> impl Iterator<Item = Vec<String>> {
    let metrics = |runs: &'_ [Run]| runs.iter().map(|run| run.result.clone()).collect::<Vec<_>>();
    let first = measured.servers.first().map_or(Vec::new(), |(_, runs)| metrics(runs));
    measured.servers.iter().enumerate().map(move |(index, (target, runs))| {
        // Shown only in the first line, so that the next load is easy to find.
        let load = if index == 0 { measured.scenario.title } else { "" };
        let mut line = vec![load.to_owned(), target.name.clone()];
        let runs = metrics(runs);
        line.extend(columns.iter().map(|column| cell(column, &runs, &first)));
        line
    })
}

/// The median, and its ratio to the first server's. A rate that was not reached in every run is marked.
fn cell(column: &Column, runs: &[Metrics], first: &[Metrics]) -> String {
    let of = |runs: &[Metrics]| runs.iter().map(column.of).collect::<Vec<_>>();
    let own = of(runs);
    let Some(value) = median(own.iter().copied().flatten()) else {
        return "–".to_owned();
    };
    let is_missed = column.is_rate && runs.iter().any(is_missed);
    let value = number(value) + if is_missed { MISSED } else { "" };
    match median_ratio(&own, &of(first)).filter(|_| column.compared) {
        Some(ratio) => format!("{value} ×{ratio:.2}"),
        None => value,
    }
}

/// Marks a rate that was not reached.
pub(super) const MISSED: &str = "*";

/// Whether messages were not sent at the requested rate.
pub(super) fn is_missed(run: &Metrics) -> bool {
    run.rate_reached == Some(false)
}

/// Formats a number with at least three significant digits.
fn number(value: f64) -> String {
    let decimals = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// Formats a table whose first line is the heading. Names are aligned left, numbers right.
fn align(lines: &[Vec<String>]) -> String {
    const NAMES: usize = 2;
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();

    let cells = |line: &[String]| {
        let cell = |(column, text): (usize, &String)| match widths[column] {
            width if column < NAMES => format!(" {text:<width$} |"),
            width => format!(" {text:>width$} |"),
        };
        format!("|{}\n", line.iter().enumerate().map(cell).collect::<String>())
    };
    let rule = |(column, width): (usize, &usize)| match "-".repeat(*width) {
        dashes if column < NAMES => format!(" {dashes} |"),
        dashes => format!(" {dashes}:|"),
    };
    let rule: String = widths.iter().enumerate().map(rule).collect();
    let mut table: Vec<_> = lines.iter().map(|line| cells(line)).collect();
    table.insert(1, format!("|{rule}\n"));
    table.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was measured in runs with these p99.9 in microseconds.
    fn runs(p99_9: [f64; 3]) -> [Metrics; 3] {
        p99_9.map(|p99_9_us| {
            let mut metrics = Metrics { rate: 60_000.0, ..Metrics::default() };
            metrics.latency.p99_9_us = p99_9_us;
            metrics.rate_reached = Some(true);
            metrics
        })
    }

    #[test]
    fn tails_are_compared_at_a_rate_that_is_marked_if_it_was_missed() {
        let (first, mut other) = (runs([200.0, 400.0, 800.0]), runs([100.0, 600.0, 400.0]));
        let line =
            |runs: &[Metrics]| TAIL.iter().map(|it| cell(it, runs, &first)).collect::<Vec<_>>();
        assert_eq!(line(&first), ["60000", "0.00", "0.00", "400 ×1.00", "–"]);
        assert_eq!(line(&other), ["60000", "0.00", "0.00", "400 ×0.50", "–"]);
        other[1].rate_reached = Some(false);
        assert_eq!(line(&other)[..2], ["60000*", "0.00"]);
        let closed = Metrics { rate: 7.0, ..Metrics::default() };
        assert_eq!(cell(&RATE, std::slice::from_ref(&closed), &first), "7.00 ×0.00");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let lines = [["load", "server", "µs"], ["1 × 64", "a", "12345"], ["", "b", "–"]];
        let lines = lines.map(|line| line.map(str::to_owned).to_vec());
        let expected = "\
            | load   | server |    µs |\n\
            | ------ | ------ | -----:|\n\
            | 1 × 64 | a      | 12345 |\n\
            |        | b      |     – |\n";
        assert_eq!(align(&lines), expected);
    }

    #[test]
    fn numbers_have_three_digits_or_more() {
        let numbers = [0.5, 9.876, 12.34, 123.4, 123_456.7].map(number);
        assert_eq!(numbers, ["0.50", "9.88", "12.3", "123", "123457"]);
    }
}
