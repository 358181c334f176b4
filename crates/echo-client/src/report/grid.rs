//! Aligned columns of values with their ratios.

use std::iter;

use echo_proto::one_line;

use crate::units::Unit;

/// One row: a label and, for each run, a value and its ratio.
pub(super) struct Row {
    label: String,
    cells: Vec<(String, String)>,
}

impl Row {
    /// A row of texts. Missing ones are shown as a dash.
    pub(super) fn of(
        label: impl Into<String>,
        values: impl IntoIterator<Item = Option<String>>,
    ) -> Self {
        let text =
            |value: Option<String>| value.map_or("-".to_owned(), |it| one_line(&it).to_string());
        let cells = values.into_iter().map(|value| (text(value), String::new())).collect();
        Self { label: label.into(), cells }
    }

    /// A row of values, with the ratios to the first.
    pub(super) fn compared(label: impl Into<String>, unit: Unit, values: &[Option<f64>]) -> Self {
        let mut row = Self::of(label, values.iter().map(|value| value.map(|it| unit.show(it))));
        for (cell, ratio) in row.cells.iter_mut().zip(ratios(values)).skip(1) {
            let decimals = if ratio < Some(100.0) { 2 } else { 0 };
            cell.1 = ratio.map(|ratio| format!("({ratio:.decimals$}x)")).unwrap_or_default();
        }
        row
    }
}

/// The values divided by the first; `None` if that is zero.
pub(super) fn ratios(values: &[Option<f64>]) -> Vec<Option<f64>> {
    let first = values.first().copied().flatten().filter(|&first| first > 0.0);
    values.iter().map(|value| Some((*value)? / first?)).collect()
}

/// Lays out the rows with right-aligned values and ratios. Columns that do not fit into `width`
/// follow in further tables below.
pub(super) fn align(rows: &[Row], width: usize) -> String {
    let longest = |texts: &mut dyn Iterator<Item = &String>| {
        texts.map(|text| text.chars().count()).max().unwrap_or_default()
    };
    let label = longest(&mut rows.iter().map(|row| &row.label));
    let columns = rows.first().map_or(0, |row| row.cells.len());
    let widths: Vec<(usize, usize)> = (0..columns)
        .map(|column| {
            let values = longest(&mut rows.iter().map(|row| &row.cells[column].0));
            (values, longest(&mut rows.iter().map(|row| &row.cells[column].1)))
        })
        .collect();
    let (mut text, mut from) = (String::new(), 0);
    while from < columns {
        let mut room = width.saturating_sub(label);
        let fitting = widths[from..].iter().take_while(|&&(value, ratio)| {
            let needed = 2 + value + ratio + usize::from(ratio > 0);
            let fits = needed <= room;
            room = room.saturating_sub(needed);
            fits
        });
        let to = from + fitting.count().max(1);
        text.extend(iter::repeat_n('\n', usize::from(from > 0)));
        for row in rows {
            let mut line = format!("{:label$}", row.label);
            for ((value, ratio), &(values, ratios)) in
                row.cells.iter().zip(&widths).skip(from).take(to - from)
            {
                line += &format!("  {value:>values$}");
                if ratios > 0 {
                    line += &format!(" {ratio:>ratios$}");
                }
            }
            text += line.trim_end();
            text.push('\n');
        }
        from = to;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_do_not_fit_follow_below() {
        let values = [Some(1.0), Some(2.0), Some(150.0)];
        let rows = [
            Row::of("", ["a", "b", "c"].map(|it| Some(it.to_owned()))),
            Row::compared("n", Unit::Count, &values),
        ];
        assert_eq!(align(&rows, 80), "   a  b            c\nn  1  2 (2.00x)  150 (150x)\n");
        assert_eq!(align(&rows, 15), "   a  b\nn  1  2 (2.00x)\n\n     c\nn  150 (150x)\n");
        assert_eq!(align(&rows, 1).lines().count(), 8, "one column at least");
    }
}
