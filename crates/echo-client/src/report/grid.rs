//! Aligned columns of values with their units and ratios.

use std::fmt;

use echo_proto::one_line;

/// Unit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    PerSecond,
    Microseconds,
    Count,
}

/// One row: a label and, for each run, a value and its ratio.
pub(super) struct Line {
    label: String,
    cells: Vec<(String, String)>,
}

impl Line {
    /// A row of values. Missing ones are shown as a dash.
    pub(super) fn of(
        label: impl Into<String>,
        values: impl IntoIterator<Item = Option<String>>,
    ) -> Self {
        let text =
            |value: Option<String>| value.map_or("-".to_owned(), |it| one_line(&it).to_string());
        let cell = |value| (text(value), String::new());
        Self { label: label.into(), cells: values.into_iter().map(cell).collect() }
    }

    /// Adds the ratios to the first value.
    pub(super) fn compare(&mut self, ratios: &[Option<f64>]) {
        for (cell, ratio) in self.cells.iter_mut().zip(ratios).skip(1) {
            cell.1 = ratio.map(|ratio| format!("({}x)", format_ratio(ratio))).unwrap_or_default();
        }
    }
}

/// Writes the rows with right-aligned values and ratios.
pub(super) fn align(f: &mut fmt::Formatter<'_>, lines: &[Line]) -> fmt::Result {
    let width = |text: &str| text.chars().count();
    let label = lines.iter().map(|line| width(&line.label)).max().unwrap_or_default();
    let columns = lines.first().map_or(0, |line| line.cells.len());
    let widths: Vec<(usize, usize)> = (0..columns)
        .map(|column| {
            let cells = || lines.iter().map(|line| &line.cells[column]);
            let values = cells().map(|(value, _)| width(value)).max().unwrap_or_default();
            (values, cells().map(|(_, ratio)| width(ratio)).max().unwrap_or_default())
        })
        .collect();
    for line in lines {
        let mut text = format!("{:label$}", line.label);
        for ((value, ratio), &(values, ratios)) in line.cells.iter().zip(&widths) {
            text += &format!("  {value:>values$}");
            if ratios > 0 {
                text += &format!(" {ratio:>ratios$}");
            }
        }
        writeln!(f, "{}", text.trim_end())?;
    }
    Ok(())
}

impl Unit {
    /// Three significant digits, or all digits before the point.
    pub(super) fn shown(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", digits(value)),
            Self::Count if value.fract() == 0.0 => format!("{value}"),
            Self::Count => digits(value),
            Self::Microseconds if value < 1e3 => format!("{} us", digits(value)),
            Self::Microseconds if value < 1e6 => format!("{} ms", digits(value / 1e3)),
            Self::Microseconds => format!("{} s", digits(value / 1e6)),
        }
    }
}

/// Three significant digits, or all digits before the point.
fn digits(value: f64) -> String {
    let decimals = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.decimals$}")
}

fn format_ratio(ratio: f64) -> String {
    if ratio < 100.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_a_suitable_unit() {
        let shown = |us| Unit::Microseconds.shown(us);
        assert_eq!([shown(0.5), shown(12.34), shown(999.4)], ["0.50 us", "12.3 us", "999 us"]);
        assert_eq!([shown(1_500.0), shown(2_000_000.0)], ["1.50 ms", "2.00 s"]);
    }
}
