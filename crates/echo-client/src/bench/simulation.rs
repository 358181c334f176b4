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

use echo_simulation::Histories;

/// Plays histories.
#[must_use]
pub fn main() -> ExitCode {
    let (engines, regressions) = (&["bench-readiness"], regressions::REGRESSIONS);
    Histories { engines, regressions, play: run::play, forget: || () }.main()
}
