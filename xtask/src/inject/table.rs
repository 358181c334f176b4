//! The table of what was made to fail, in Markdown.

use std::fmt::Write;

use super::Row;
use super::calls::{CALLS, LEFT_OUT};

/// A line for each call and set of errors: how often it failed on each engine, and what that may do.
pub(super) fn table(engines: &[String], rows: &[Row]) -> String {
    let mut table = format!("| call | errors | {} | may do |\n", engines.join(" | "));
    let _ = writeln!(table, "|---|---|{}---|", "--:|".repeat(engines.len()));
    for call in &CALLS {
        let of_call = |row: &&Row| std::ptr::eq(row.call, call);
        if !rows.iter().any(|row| of_call(&row)) {
            continue;
        }
        let counts = engines.iter().map(|engine| {
            let row = rows.iter().filter(of_call).find(|row| row.engine == *engine);
            match row {
                Some(row) if !row.failures.is_empty() => "FAILED".to_owned(),
                Some(row) if row.injections > 0 => row.injections.to_string(),
                _ => "–".to_owned(),
            }
        });
        let (counts, errors) = (counts.collect::<Vec<_>>().join(" | "), call.errors.join(" "));
        let (permit, reason) = (call.permit.describe(), call.reason);
        let _ = writeln!(table, "| {} | {errors} | {counts} | {permit}: {reason} |", call.name);
    }
    table
}

/// A line for each group of calls that are left out.
pub(super) fn left_out() -> String {
    let mut table = "| left out | why |\n|---|---|\n".to_owned();
    for (names, why) in LEFT_OUT {
        let _ = writeln!(table, "| {} | {why} |", names.join(", "));
    }
    table
}
