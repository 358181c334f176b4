//! Server and load on a processor each, so that neither takes time from the other.

use std::process::{Command, Stdio};

use echo_test_support::command;

/// The processor of the server, and that of the load.
const SERVER: &str = "0";
const LOAD: &str = "1";

/// Whether programs are bound to a processor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pinning {
    possible: bool,
}

impl Pinning {
    /// Tries it: the tool may be missing (it is Linux's), there may be one processor only, or a
    /// container may forbid one of the two.
    pub(super) fn find() -> Self {
        let works = |cpu| {
            let mut nothing = command("taskset");
            nothing.args(["-c", cpu, "true"]).stdout(Stdio::null()).stderr(Stdio::null());
            nothing.status().is_ok_and(|status| status.success())
        };
        Self { possible: works(SERVER) && works(LOAD) }
    }

    pub(super) fn server(self, program: &Command) -> Command {
        self.bind(SERVER, program)
    }

    pub(super) fn load(self, program: &Command) -> Command {
        self.bind(LOAD, program)
    }

    /// The program on that processor, if possible. taskset becomes the program: the process is its own.
    fn bind(self, cpu: &str, program: &Command) -> Command {
        let words = std::iter::once(program.get_program()).chain(program.get_args());
        if self.possible {
            let mut bound = command("taskset");
            bound.args(["-c", cpu]).args(words);
            return bound;
        }
        let mut unbound = command(program.get_program());
        unbound.args(program.get_args());
        unbound
    }

    /// What a reader of the figures must know of it.
    pub(super) fn description(self) -> String {
        if self.possible {
            format!("server bound to processor {SERVER}, load to {LOAD}")
        } else {
            "server and load not bound to processors (no taskset, or not two of them)".to_owned()
        }
    }
}
