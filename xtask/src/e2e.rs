//! End to end: the two built programs, as two processes, over real sockets.

mod checks;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use echo_test_support::Server;

use crate::pair::Pair;

/// How a check ended, if it did not fail.
enum Outcome {
    /// What it saw.
    Passed(String),
    /// Why it could not be done here.
    Skipped(String),
}

type Check = fn(&Pair) -> Result<Outcome>;

/// Builds both programs once and runs every check; stops at the first that fails.
#[allow(clippy::print_stdout, reason = "the report is what the task is for")]
pub(crate) fn run(release: bool) -> Result<()> {
    let pair = Pair::build(release)?;
    let started = Instant::now();
    let mut skipped = 0;
    println!("{}", checks::transcript(&pair)?);
    for (name, check) in checks::ALL {
        match check(&pair).with_context(|| format!("FAILED {name}"))? {
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

/// Ends a check whose programs did not do what they should, with what both of them printed.
fn ensure_seen(seen: bool, what: &str, server: &Server, client: &str) -> Result<()> {
    let (stdout, stderr) = server.process.output();
    ensure!(seen, "{what}\nclient: {client}\nserver stdout: {stdout}\nserver stderr: {stderr}");
    Ok(())
}
