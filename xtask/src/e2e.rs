//! End-to-end checks: the two built programs, as two processes, over real sockets.

mod checks;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use echo_test_support::Server;

use crate::binaries::Binaries;

/// The outcome of a check that did not fail.
enum Outcome {
    /// What was observed.
    Passed(String),
    /// Why the check cannot run here.
    Skipped(String),
}

type Check = fn(&Binaries) -> Result<Outcome>;

/// Builds both programs once and runs every check; stops at the first that fails.
pub(crate) fn run(release: bool) -> Result<()> {
    check(&Binaries::build(release)?)
}

/// Runs every check; stops at the first that fails.
#[allow(clippy::print_stdout, reason = "the report is what the task is for")]
pub(crate) fn check(binaries: &Binaries) -> Result<()> {
    let started = Instant::now();
    let mut skipped = 0;
    println!("{}", checks::transcript(binaries)?);
    for (name, check) in checks::ALL {
        match check(binaries).with_context(|| format!("FAILED {name}"))? {
            Outcome::Passed(seen) => println!("ok    {name}: {seen}"),
            Outcome::Skipped(why) => {
                skipped += 1;
                println!("SKIP  {name}: {why}");
            }
        }
    }
    let passed = checks::ALL.len() - skipped;
    println!("\n{passed} checks passed, {skipped} skipped, in {:.1?}", started.elapsed());
    Ok(())
}

/// Fails a check unless `seen`, with the output of both programs.
fn ensure_seen(seen: bool, what: &str, server: &Server, client: &str) -> Result<()> {
    let (stdout, stderr) = server.process.output();
    ensure!(seen, "{what}\nclient: {client}\nserver stdout: {stdout}\nserver stderr: {stderr}");
    Ok(())
}
