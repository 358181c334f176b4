//! Enumerated faults: every system call of an engine fails on its first, second, third … call with each error that
//! it can return, until a run ends without an injection. Requires strace(1).
//!
//! A running server must keep serving: a failed call may end its own connection but no other, nothing spins, and
//! SIGTERM still stops the server. A server that cannot start must report why.

mod calls;
mod scenario;
mod table;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use anyhow::{Result, ensure};
use clap::Args;
use echo_test_support::skipped_without_strace;

use self::calls::{CALLS, Call, LEFT_OUT};
use self::scenario::{Injected, Injection};
use crate::binaries::Binaries;
use crate::engines::Engines;

/// The highest call number that is made to fail.
const MAX_CALLS: usize = 60;
/// The same with `--sample`.
const SAMPLE_CALLS: usize = 2;

/// Options of `cargo xtask inject`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    engines: Engines,

    /// Inject one error into a few calls; takes some seconds
    #[arg(long)]
    sample: bool,

    /// Inject only into this system call
    #[arg(long, value_name = "NAME")]
    call: Option<String>,

    /// Number of servers that run at the same time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
}

/// A row of the table.
struct Row {
    engine: String,
    call: &'static Call,
    injections: usize,
    failures: Vec<String>,
}

/// Injects each error into each call of each engine, and prints a table of the results.
#[allow(clippy::print_stdout, reason = "the report is the result of the task")]
pub(crate) fn run(options: &Options) -> Result<()> {
    if skipped_without_strace("cargo xtask inject") {
        return Ok(());
    }
    let binaries = Binaries::build(true)?;
    let engines = options.engines.on_this_machine(&binaries)?;
    let chosen = |call: &&'static Call| {
        (!options.sample || call.sampled)
            && options.call.as_ref().is_none_or(|name| name == call.name)
    };
    let work: Vec<(&String, &'static Call)> = engines
        .iter()
        .flat_map(|engine| CALLS.iter().filter(chosen).map(move |call| (engine, call)))
        .collect();
    let rows = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                while let Some((engine, call)) = work.get(next.fetch_add(1, Relaxed)) {
                    let row = fail_each(&binaries, engine, call, options.sample);
                    for failure in &row.failures {
                        println!("FAILED {engine}, {} with {failure}", call.name);
                    }
                    rows.lock().expect("it holds no panic").push(row);
                }
            });
        }
    });
    let rows = rows.into_inner().expect("it holds no panic");
    print!("{}", table::table(&engines, &rows));
    let failures: usize = rows.iter().map(|row| row.failures.len()).sum();
    ensure!(failures == 0, "{failures} injections had effects that are not permitted");
    if !options.sample && options.call.is_none() {
        println!("\n{}", table::left_out());
        for engine in &engines {
            every_call_is_known(engine, &scenario::calls_made(&binaries, engine)?)?;
        }
    }
    Ok(())
}

/// Checks that every call that the engine makes is either injected or listed with the reason why not.
#[allow(clippy::print_stdout, reason = "the report is the result of the task")]
fn every_call_is_known(engine: &str, made: &[String]) -> Result<()> {
    let failed = |name: &str| CALLS.iter().any(|call| call.name == name);
    let left_out = |name: &str| LEFT_OUT.iter().any(|(names, _)| names.contains(&name));
    let unknown: Vec<_> =
        made.iter().filter(|name| !failed(name) && !left_out(name)).cloned().collect();
    let count = made.iter().filter(|name| failed(name)).count();
    println!(
        "{engine} makes {} different calls (strace -c); errors are injected into {count}",
        made.len()
    );
    ensure!(unknown.is_empty(), "{engine} also calls {}", unknown.join(", "));
    Ok(())
}

/// Runs the scenario once for each error and call number.
fn fail_each(binaries: &Binaries, engine: &str, call: &'static Call, sample: bool) -> Row {
    let mut row = Row { engine: engine.to_owned(), call, injections: 0, failures: Vec::new() };
    let (errors, most) = if sample { (1, SAMPLE_CALLS) } else { (call.errors.len(), MAX_CALLS) };
    for error in &call.errors[..errors] {
        for when in 1..=most {
            let injection = Injection { call: call.name, error, when, permit: call.permit };
            match scenario::run(binaries, engine, injection) {
                Ok(Injected { possible: 0, impossible: 0 }) => break,
                Ok(Injected { possible, .. }) => row.injections += possible,
                Err(why) => row.failures.push(format!("{error} at call {when}: {why:#}")),
            }
        }
    }
    row
}
