//! The event loops over a simulated system, driven by a seed. See CONTRIBUTING.md, "Simulation".
//!
//! A *history* is what happens to one worker: what up to four peers and the system do. It follows from its seed.
//! The worker, its connections and its poller are those of the server; what they call is [`echo_simulation`].

mod case;
mod history;
mod judge;
mod peer;
mod regressions;
mod run;
mod supervisor;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// Plays simulated histories of one engine.
#[derive(Debug, Parser)]
struct Options {
    /// Poller under the worker: readiness or uring
    #[arg(long)]
    engine: String,

    /// Seed of the first history; the next has the next
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// How many histories
    #[arg(long, value_name = "N", default_value_t = u64::MAX)]
    histories: u64,

    /// For how long
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    time: Option<Duration>,

    /// Print what happens in the first history
    #[arg(long)]
    trace: bool,

    /// Only count the histories until one fails: do not play those that have failed, nor look for a shorter one
    #[arg(long)]
    count: bool,
}

/// Plays histories until one fails, or there are enough.
#[must_use]
pub fn main() -> ExitCode {
    run::run(&Options::parse())
}
