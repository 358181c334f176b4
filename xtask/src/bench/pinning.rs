//! Binding server and load to separate processors, so that neither takes time from the other.

use std::process::{Command, Stdio};

use echo_test_support::command;

/// The processors of the server and the load.
const SERVER: &str = "0";
const LOAD: &str = "1";

/// Whether programs are bound to a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pinning {
    /// Server and load have a processor each.
    Separate,
    /// They should, but this machine does not allow it.
    Unavailable,
    /// The system schedules both on all processors.
    Off,
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
        if works(SERVER) && works(LOAD) { Self::Separate } else { Self::Unavailable }
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
        if self == Self::Separate {
            let mut bound = command("taskset");
            bound.args(["-c", cpu]).args(words);
            return bound;
        }
        let mut unbound = command(program.get_program());
        unbound.args(program.get_args());
        unbound
    }

    /// Options of our server: a processor has room for one event loop, and the servers that it is compared with
    /// have one. Without pinning they are the defaults.
    pub(super) fn server_options(self) -> &'static [&'static str] {
        if self == Self::Off { &[] } else { &["--threads", "1"] }
    }

    /// Describes the pinning for the report.
    pub(super) fn description(self) -> String {
        match self {
            Self::Separate => format!("server bound to processor {SERVER}, load to {LOAD}"),
            Self::Unavailable => {
                "server and load not bound to processors (no taskset, or only one processor)"
                    .to_owned()
            }
            Self::Off => "server and load on all processors".to_owned(),
        }
    }
}
