//! The options of the benchmark.

use std::path::PathBuf;

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

    /// Loads to run; sweep-connections and sweep-sizes are series [default: all but these two; with
    /// --quick some]
    #[arg(long = "scenario", value_name = "NAME", num_args = 1.., value_parser = scenarios())]
    scenarios: Vec<&'static [Scenario]>,

    /// Engines of our server, or python, the tutorial's server; ratios are to the first [default: all]
    #[arg(long = "engine", value_name = "NAME", num_args = 1.., value_parser = targets())]
    targets: Vec<Target>,

    /// Also compare this server; {port} in its command is the port on 127.0.0.1 (repeatable)
    ///
    /// The command is started without a shell. If the server fails under a load, it is left out there, with a
    /// note.
    #[arg(long = "server", value_name = "NAME=COMMAND")]
    servers: Vec<Target>,

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
    pub(super) fn scenarios(&self) -> Vec<&'static Scenario> {
        if !self.scenarios.is_empty() {
            return self.scenarios.iter().copied().flatten().collect();
        }
        scenario::DEFAULT.iter().filter(|scenario| scenario.quick || !self.quick).collect()
    }

    /// The built-in targets first, all with unique names.
    pub(super) fn targets(&self) -> Vec<Target> {
        let mut all = self.targets.clone();
        if all.is_empty() {
            all.extend(Target::names().map(Target::named));
        }
        all.extend(self.servers.iter().cloned());
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
        let count = |arguments| options(arguments).scenarios().len();
        assert_eq!((count(&[]), count(&["--quick"])), (10, 4));
        assert_eq!(count(&["--scenario", "sweep-connections", "1x64", "sweep-sizes"]), 6 + 1 + 8);
    }
}
