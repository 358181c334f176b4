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

use echo_simulation::Histories;

const READINESS: &str = "readiness";
const URING: &str = "uring";

/// Plays histories of one poller.
#[must_use]
pub fn main() -> ExitCode {
    let (engines, regressions) = (&[READINESS, URING], regressions::REGRESSIONS);
    Histories { engines, regressions, play: run::play, forget: case::forget }.main()
}
