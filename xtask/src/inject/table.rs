//! The results as a Markdown table.

use std::fmt::Write;

use super::Row;
use super::calls::{CALLS, LEFT_OUT};

/// One row per call and set of errors: the injections per engine, and the permitted effect.
pub(super) fn table(engines: &[String], rows: &[Row]) -> String {
    let mut table = format!("| call | errors | {} | permitted effect |\n", engines.join(" | "));
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

/// One row per group of calls into which nothing is injected.
pub(super) fn left_out() -> String {
    let mut table = "| not injected | reason |\n|---|---|\n".to_owned();
    for (names, why) in LEFT_OUT {
        let _ = writeln!(table, "| {} | {why} |", names.join(", "));
    }
    table
}
