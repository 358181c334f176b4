//! The options of the benchmark.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::scenario::{self, Scenario};
use super::target::{Target, number_duplicates};

/// Options of the task.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Run some of the loads once and briefly, in less than a minute
    #[arg(long)]
    pub(super) quick: bool,

    /// Repetitions of each load on each server [default: 7; with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) reps: Option<u32>,

    /// Compare latencies beside the load: no pinning, default settings, at a fixed rate
    ///
    /// Server and load share all processors, as on a machine that has other work. The table has the rate that was
    /// reached, the latency from the intended send time up to p99.9, and the CPU time per echo. Rates that were
    /// not reached are marked. The first --server, if any, comes first, so ratios are to it.
    #[arg(long)]
    pub(super) tail: bool,

    /// Loads to run; sweep-connections and sweep-sizes are series [default: all but these two and
    /// tail; with --quick some; with --tail tail]
    #[arg(long = "scenario", value_name = "NAME", num_args = 1.., value_parser = scenarios())]
    scenarios: Vec<&'static [Scenario]>,

    /// Engines of our server, or python, the tutorial's server; ratios are to the first of all
    /// servers [default: all]
    #[arg(long = "engine", value_name = "NAME", num_args = 1.., value_parser = targets())]
    targets: Vec<Target>,

    /// Also compare this server; {port} in its command is the port on 127.0.0.1 (repeatable)
    ///
    /// The command is started without a shell. If the server fails under a load, it is left out there, with a
    /// note.
    #[arg(long = "server", value_name = "NAME=COMMAND")]
    servers: Vec<Target>,

    /// TCP congestion control of both sides, such as cubic or bbr [default: the system's]
    ///
    /// Everything then runs in a network namespace of its own, so the system keeps its setting. This needs
    /// unshare(1), ip(8), and root or unprivileged user namespaces.
    #[cfg(target_os = "linux")]
    #[arg(long, value_name = "NAME")]
    pub(super) congestion_control: Option<String>,

    /// Save each run as JSON in this folder, for echo-client report
    #[arg(long, value_name = "FOLDER")]
    pub(super) save: Option<PathBuf>,
}

fn scenarios() -> impl TypedValueParser<Value = &'static [Scenario]> {
    PossibleValuesParser::new(scenario::names())
        .map(|name| scenario::named(&name).expect("a possible value"))
}

fn targets() -> impl TypedValueParser<Value = Target> {
    PossibleValuesParser::new(Target::names()).map(|name| {
        let known = Target::names().find(|known| *known == name);
        Target::named(known.expect("a possible value"))
    })
}

impl Options {
    /// The loads to run.
    ///
    /// # Errors
    ///
    /// One has no fixed rate, and latencies beside the load are to be compared: a server that is slow would get
    /// fewer messages.
    pub(super) fn scenarios(&self) -> Result<Vec<&'static Scenario>> {
        let named: Vec<_> = self.scenarios.iter().copied().flatten().collect();
        for scenario in &named {
            ensure!(
                scenario.is_open_loop() || !self.tail,
                "--tail needs a load at a fixed rate, which {} is not: use {}",
                scenario.name,
                scenario::open_loop_names().collect::<Vec<_>>().join(" or ")
            );
        }
        Ok(match (named.is_empty(), self.tail) {
            (false, _) => named,
            (true, true) => scenario::TAIL.iter().collect(),
            (true, false) => {
                scenario::DEFAULT.iter().filter(|scenario| scenario.quick || !self.quick).collect()
            }
        })
    }

    /// The targets in the order of the report, all with unique names: the built-in ones first, and with --tail
    /// last.
    pub(super) fn targets(&self) -> Vec<Target> {
        let mut all = self.targets.clone();
        if all.is_empty() {
            all.extend(Target::names().map(Target::named));
        }
        all.extend(self.servers.iter().cloned());
        if self.tail {
            all.rotate_right(self.servers.len());
        }
        number_duplicates(&mut all);
        all
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Options {
        Line::parse_from([&["bench"], arguments].concat()).options
    }

    #[test]
    fn built_in_targets_and_given_servers_are_compared() {
        let names = |arguments| {
            let targets = options(arguments).targets();
            targets.into_iter().map(|it| it.name).collect::<Vec<_>>()
        };
        let given = ["--server", "c=/bin/c {port}", "--server", "d=/bin/d {port}"];
        assert!(names(&given).starts_with(&["threads".to_owned(), "readiness".to_owned()]));
        assert!(names(&given).ends_with(&["python".to_owned(), "c".to_owned(), "d".to_owned()]));
        let twice = names(&["--engine", "threads", "threads", "--server", "c=/bin/c {port}"]);
        assert_eq!(twice, ["threads", "threads-2", "c"]);
    }

    #[test]
    fn sweeps_are_run_on_request() {
        let count = |arguments| options(arguments).scenarios().unwrap().len();
        assert_eq!((count(&[]), count(&["--quick"])), (10, 4));
        assert_eq!(count(&["--scenario", "sweep-connections", "1x64", "sweep-sizes"]), 6 + 1 + 8);
    }

    #[test]
    fn tails_are_compared_at_fixed_rates_only() {
        let names = |arguments: &[&str]| {
            let scenarios = options(&[&["--tail"], arguments].concat()).scenarios();
            scenarios.map(|all| all.iter().map(|it| it.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap(), ["tail"]);
        assert_eq!(names(&["--quick"]).unwrap(), ["tail"]);
        assert_eq!(names(&["--scenario", "open", "tail"]).unwrap(), ["open", "tail"]);
        let error = names(&["--scenario", "tail", "1x64"]).unwrap_err().to_string();
        let expected = "--tail needs a load at a fixed rate, which 1x64 is not: use open or tail";
        assert_eq!(error, expected);
    }

    #[test]
    fn tails_are_compared_with_the_first_given_server() {
        let given = ["--tail", "--engine", "threads", "uring"];
        let given = [&given[..], &["--server", "c=/c {port}", "--server", "d=/d {port}"]].concat();
        let names: Vec<_> = options(&given).targets().into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["c", "d", "threads", "uring"]);
    }
}
