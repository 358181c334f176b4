//! System calls that fail, one after the other: whatever an engine calls fails the first time, the second, the
//! third …, with each error that it can have, until a run ends without one. It takes strace(1).
//!
//! A server that serves has to go on: the connection that a failed call is about may end, no other does, nothing
//! spins, and it still stops when it is told to. One that cannot start says why.

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

/// The most calls of one kind that are made to fail, one in each run.
const MOST: usize = 60;
/// The same with `--sample`.
const SAMPLE: usize = 2;

/// Which.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    engines: Engines,

    /// A few calls with one error each, in some seconds
    #[arg(long)]
    sample: bool,

    /// Only this call
    #[arg(long, value_name = "NAME")]
    call: Option<String>,

    /// Servers at the same time
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

/// Fails the calls of one engine after the other, and prints what came of it.
#[allow(clippy::print_stdout, reason = "the report is what the task is for")]
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
    ensure!(failures == 0, "{failures} of the injections went wrong");
    if !options.sample && options.call.is_none() {
        println!("\n{}", table::left_out());
        for engine in &engines {
            every_call_is_known(engine, &scenario::calls_made(&binaries, engine)?)?;
        }
    }
    Ok(())
}

/// Every call that an engine makes is failed, or left out for a reason.
#[allow(clippy::print_stdout, reason = "the report is what the task is for")]
fn every_call_is_known(engine: &str, made: &[String]) -> Result<()> {
    let failed = |name: &str| CALLS.iter().any(|call| call.name == name);
    let left_out = |name: &str| LEFT_OUT.iter().any(|(names, _)| names.contains(&name));
    let unknown: Vec<_> =
        made.iter().filter(|name| !failed(name) && !left_out(name)).cloned().collect();
    let count = made.iter().filter(|name| failed(name)).count();
    println!("{engine} makes {} different calls (strace -c): {count} are failed", made.len());
    ensure!(unknown.is_empty(), "{engine} also calls {}", unknown.join(", "));
    Ok(())
}

/// Runs the scenario with one call after the other failed.
fn fail_each(binaries: &Binaries, engine: &str, call: &'static Call, sample: bool) -> Row {
    let mut row = Row { engine: engine.to_owned(), call, injections: 0, failures: Vec::new() };
    let (errors, most) = if sample { (1, SAMPLE) } else { (call.errors.len(), MOST) };
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
