//! The load loop over a simulated system, driven by a seed. See CONTRIBUTING.md, "Simulation".
//!
//! A *history* is a run of one worker against an echo server that is perfectly known: it delays, stalls, refuses,
//! resets, closes, and changes, adds or withholds bytes. The worker, its connections, the schedule, the histograms
//! and the collector are those of `bench`; what they call is `echo_simulation`, which notes what happens, and
//! when. The judge compares what `bench` measured with that.

mod case;
mod driver;
mod judge;
mod regressions;
mod run;
mod server;
mod truth;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// Plays simulated runs.
#[derive(Debug, Parser)]
struct Options {
    /// How the worker sends and receives: bench-readiness
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

    /// When one fails, do not look for a shorter one
    #[arg(long)]
    no_shrink: bool,
}

/// Plays histories until one fails, or there are enough.
#[must_use]
pub fn main() -> ExitCode {
    run::run(&Options::parse())
}
