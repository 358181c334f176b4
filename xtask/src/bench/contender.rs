//! The servers that are compared.

use std::process::Command;

use echo_server::Engine;
use echo_test_support::{Process, command};

use super::scenario::Scenario;
use crate::pair::Pair;

/// The tutorial's server as the tests have it: one connection, then it ends.
const TUTORIAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/echo_server.py");

/// A server that is compared with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contender {
    /// Our server on the engine of this name.
    Engine(&'static str),
    /// The tutorial's, in Python.
    Tutorial,
}

impl Contender {
    /// All there are. The library says which engines it has, so a new one takes part by itself; `auto`
    /// is one of the others.
    pub(super) fn all() -> Vec<Self> {
        let auto = Engine::Auto.to_string();
        let engines = Engine::NAMES.into_iter().filter(|name| *name != auto);
        engines.map(Self::Engine).chain([Self::Tutorial]).collect()
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Engine(name) => name,
            Self::Tutorial => "python",
        }
    }

    /// Why it cannot serve such a load, if so.
    pub(super) fn unfit_for(self, scenario: &Scenario) -> Option<&'static str> {
        match self {
            Self::Tutorial if !scenario.single => Some(
                "left out where a load takes more than one connection: it serves one, then ends",
            ),
            _ => None,
        }
    }

    /// The command that starts it on a free port, which it prints. Ours has one event loop, because the
    /// others have, and prints nothing for a connection: that would be measured along with the echo.
    pub(super) fn command(self, pair: &Pair) -> Command {
        match self {
            Self::Engine(name) => {
                let mut server = command(&pair.server);
                server.args(["--port", "0", "--engine", name, "--threads", "1", "--quiet"]);
                server
            }
            Self::Tutorial => {
                let mut server = command("python3");
                server.arg(TUTORIAL);
                server
            }
        }
    }

    /// Why it does not run on this machine, if so. That takes a try: an old kernel, a container's
    /// filter or a missing interpreter are not told by a version.
    pub(super) fn missing(self, pair: &Pair) -> Option<String> {
        let process = match Process::spawn(&mut self.command(pair)) {
            Ok(process) => process,
            Err(error) => return Some(error.to_string()),
        };
        process.wait_for_stdout("Listening on ").err()?;
        // All that it said is there only when it has ended.
        Some(match process.wait() {
            Ok(finished) => finished.stderr.trim_end().replace('\n', "; "),
            Err(error) => error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_takes_part_but_auto() {
        let names: Vec<_> = Contender::all().into_iter().map(Contender::name).collect();
        assert!(names.contains(&"threads") && names.contains(&"readiness"), "{names:?}");
        assert!(!names.contains(&"auto"), "{names:?}");
        assert_eq!(names.len(), Engine::NAMES.len(), "python comes instead of auto");
    }
}
