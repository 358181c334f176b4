//! Binding server and load to separate processors, so that neither takes time from the other.

use std::process::{Command, Stdio};

use echo_test_support::command;

/// The processors of the server and the load.
const SERVER: &str = "0";
const LOAD: &str = "1";

/// Whether programs are bound to a processor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pinning {
    possible: bool,
}

impl Pinning {
    /// Tries to bind a program: taskset(1) may be missing, the machine may have one processor, or a container may
    /// forbid one of the two.
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

    /// Binds the program to a processor, if possible. taskset(1) executes the program in the same process, so the
    /// process ID is the program's.
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

    /// Describes the pinning for the report.
    pub(super) fn description(self) -> String {
        if self.possible {
            format!("server bound to processor {SERVER}, load to {LOAD}")
        } else {
            "server and load not bound to processors (no taskset, or only one processor)".to_owned()
        }
    }
}
