//! The results as a Markdown table, aligned so that it is readable as text.

use echo_client::run::Run;

use super::ScenarioRuns;
use super::repetitions::{median, median_ratio};

/// A column of the table.
struct Column {
    heading: &'static str,
    of: fn(&Run) -> Option<f64>,
    /// Whether the ratio to the first server is shown.
    compared: bool,
}

const COLUMNS: [Column; 5] = [
    Column { heading: "echoes/s", of: |run| Some(run.result.rate), compared: true },
    Column {
        heading: "server CPU µs/echo",
        of: |run| run.result.server_cpu_us_per_echo,
        compared: true,
    },
    Column { heading: "p50 µs", of: |run| Some(run.result.latency.p50_us), compared: true },
    Column { heading: "p99 µs", of: |run| Some(run.result.latency.p99_us), compared: true },
    // A saturated load generator measures itself.
    Column {
        heading: "client busy %",
        of: |run| run.result.busy.map(|share| share * 100.0),
        compared: false,
    },
];

/// Renders one line per server and load.
pub(super) fn render(measured: &[ScenarioRuns]) -> String {
    let headings = ["load", "server"].into_iter().chain(COLUMNS.iter().map(|it| it.heading));
    let mut lines = vec![headings.map(str::to_owned).collect()];
    lines.extend(measured.iter().flat_map(lines_of));
    align(&lines)
}

fn lines_of(measured: &ScenarioRuns) -> impl Iterator<Item = Vec<String>> {
    let first = measured.servers.first().map_or(&[][..], |(_, runs)| runs);
    measured.servers.iter().enumerate().map(move |(index, (target, runs))| {
        // Shown only in the first line, so that the next load is easy to find.
        let load = if index == 0 { measured.scenario.title } else { "" };
        let mut line = vec![load.to_owned(), target.name.clone()];
        line.extend(COLUMNS.iter().map(|column| cell(column, runs, first)));
        line
    })
}

/// The median, and its ratio to the first server's.
fn cell(column: &Column, runs: &[Run], first: &[Run]) -> String {
    let of = |runs: &[Run]| runs.iter().map(column.of).collect::<Vec<_>>();
    let own = of(runs);
    let Some(value) = median(own.iter().copied().flatten()) else {
        return "–".to_owned();
    };
    match median_ratio(&own, &of(first)).filter(|_| column.compared) {
        Some(ratio) => format!("{} ×{ratio:.2}", number(value)),
        None => number(value),
    }
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
