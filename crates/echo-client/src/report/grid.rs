//! Aligned columns, as text and as Markdown.

use echo_proto::one_line;

use crate::units::Unit;

/// One row: a label and a cell for each side. A cell has parts, such as a value and its ratio, which
/// are columns of their own and stay together.
pub(super) struct Row {
    label: String,
    cells: Vec<Vec<String>>,
}

impl Row {
    pub(super) fn new(label: &str, cells: Vec<Vec<String>>) -> Self {
        let shown = |part: String| one_line(&part).to_string();
        let cells = cells.into_iter().map(|parts| parts.into_iter().map(shown).collect()).collect();
        Self { label: label.to_owned(), cells }
    }

    /// A row of single values. Missing ones are shown as a dash.
    pub(super) fn of<T: ToString>(
        label: &str,
        values: impl IntoIterator<Item = Option<T>>,
    ) -> Self {
        let text = |value: Option<T>| value.map_or("-".to_owned(), |value| value.to_string());
        Self::new(label, values.into_iter().map(|value| vec![text(value)]).collect())
    }

    fn part(&self, (cell, part): (usize, usize)) -> &str {
        self.cells[cell].get(part).map_or("", String::as_str)
    }
}

/// The values divided by the first; `None` if that is zero.
pub(super) fn ratios(values: &[Option<f64>]) -> Vec<Option<f64>> {
    let first = values.first().copied().flatten().filter(|&first| first > 0.0);
    values.iter().map(|value| Some((*value)? / first?)).collect()
}

/// A ratio as text.
pub(super) fn times(ratio: f64) -> String {
    let decimals = if ratio < 100.0 { 2 } else { 0 };
    format!("{ratio:.decimals$}x")
}

/// A cell for each value, with the ratio to the first in parentheses.
pub(super) fn ratio_cells(unit: Unit, values: &[Option<f64>]) -> Vec<Vec<String>> {
    let cell = |(index, (value, ratio)): (usize, (&Option<f64>, Option<f64>))| {
        let ratio = ratio.filter(|_| index > 0);
        vec![
            value.map_or("-".to_owned(), |value| unit.show(value)),
            ratio.map(|ratio| format!("({})", times(ratio))).unwrap_or_default(),
        ]
    };
    values.iter().zip(ratios(values)).enumerate().map(cell).collect()
}

/// For each cell, the widths of its parts.
fn widths(rows: &[Row]) -> Vec<Vec<usize>> {
    let cells = rows.first().map_or(0, |row| row.cells.len());
    let parts = |cell: usize| rows.iter().map(|row| row.cells[cell].len()).max().unwrap_or(0);
    let width = |at| rows.iter().map(|row| row.part(at).chars().count()).max().unwrap_or(0);
    (0..cells)
        .map(|cell| (0..parts(cell)).map(|part| width((cell, part))).filter(|&it| it > 0).collect())
        .collect()
}

/// Lays out the rows with right-aligned columns. Cells that do not fit into `width` follow in
/// further tables below; texts that do not fit even then are shortened.
pub(super) fn text(rows: &[Row], width: usize) -> String {
    let label = rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0);
    let room = width.saturating_sub(label).max(3);
    let widths = widths(rows);
    let needed = |cell: usize| widths[cell].iter().map(|width| 1 + width).sum::<usize>() + 1;
    let (mut tables, mut from) = (Vec::new(), 0);
    while from < widths.len() {
        let mut end = 0;
        let fitting = (from..widths.len()).take_while(|&cell| {
            end += needed(cell);
            end <= room
        });
        let to = from + fitting.count().max(1);
        let lines = rows.iter().map(|row| {
            let mut line = format!("{:label$}", row.label);
            for (cell, parts) in widths.iter().enumerate().take(to).skip(from) {
                line.push(' ');
                for (part, &width) in parts.iter().enumerate() {
                    let width = width.min(room - 2);
                    line += &format!(" {:>width$}", shortened(row.part((cell, part)), width));
                }
            }
            line.trim_end().to_owned() + "\n"
        });
        tables.push(lines.collect::<String>());
        from = to;
    }
    tables.join("\n")
}

/// Lays out the rows as a table of Markdown (GitHub's), with a column for each part.
pub(super) fn markdown(rows: &[Row]) -> String {
    let widths = widths(rows);
    let columns: Vec<(usize, usize)> = (0..widths.len())
        .flat_map(|cell| (0..widths[cell].len()).map(move |part| (cell, part)))
        .collect();
    let mut lines = rows.iter().map(|row| {
        let parts = columns.iter().map(|&at| format!(" {} |", escaped(row.part(at).trim())));
        format!("| {} |{}\n", row.label, parts.collect::<String>())
    });
    let header = lines.next().unwrap_or_default();
    header + "|---|" + &"---:|".repeat(columns.len()) + "\n" + &lines.collect::<String>()
}

/// A line of CSV (RFC 4180).
pub(super) fn csv_line(fields: impl IntoIterator<Item = String>) -> String {
    let quoted = |field: String| match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field,
    };
    fields.into_iter().map(quoted).collect::<Vec<_>>().join(",") + "\n"
}

/// Text in which Markdown sees no markup of a table or of HTML.
pub(super) fn escaped(text: &str) -> String {
    one_line(text).to_string().replace('|', "\\|").replace('<', "&lt;")
}

/// Shortens a text in its middle: the start and the end may be what distinguishes it.
fn shortened(text: &str, width: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= width {
        return text.to_owned();
    }
    let (start, end) = (width / 2, letters.len() + 1 + width / 2 - width);
    letters[..start].iter().chain(&['…']).chain(&letters[end..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [Row; 2] {
        let cells = [&["1"][..], &["2", "(2.00x)"], &["150", "(150x)"]];
        let cells = cells.map(|parts| parts.iter().map(|&part| part.to_owned()).collect());
        [Row::of("", ["a", "b", "c|d"].map(Some)), Row::new("n", cells.into())]
    }

    #[test]
    fn columns_that_do_not_fit_follow_below() {
        assert_eq!(text(&rows(), 80), "   a  b          c|d\nn  1  2 (2.00x)  150 (150x)\n");
        assert_eq!(text(&rows(), 15), "   a  b\nn  1  2 (2.00x)\n\n   c|d\nn  150 (150x)\n");
        assert_eq!(text(&rows(), 1).lines().count(), 8, "one column at least");
    }

    #[test]
    fn a_name_that_does_not_fit_keeps_its_start_and_end() {
        let name = format!("first-{}-last", "x".repeat(90));
        let table = text(&[Row::of("run", [Some(name)])], 30);
        assert_eq!(table, "run  first-xxxxxx…xxxxxxx-last\n");
    }

    #[test]
    fn markdown_has_a_column_for_each_part() {
        let expected = "\
|  | a | b |  | c\\|d |  |
|---|---:|---:|---:|---:|---:|
| n | 1 | 2 | (2.00x) | 150 | (150x) |
";
        assert_eq!(markdown(&rows()), expected);
    }
}
