//! What is to be compared, as typed.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::contender::{Contender, number_namesakes};
use super::scenario::{self, Scenario};

/// What is to be compared.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Have a look that takes less than a minute: some of the loads, once and briefly
    #[arg(long)]
    pub(super) quick: bool,

    /// How often each server gets each load [default: 7; with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) reps: Option<u32>,

    /// Loads; sweep-connections and sweep-sizes are a row of them each [default: all but these two; with
    /// --quick some]
    #[arg(long = "scenario", value_name = "NAME", num_args = 1.., value_parser = scenarios())]
    scenarios: Vec<&'static [Scenario]>,

    /// Engines of our server, and python, the tutorial's server; ratios are to the first [default: all]
    #[arg(long = "engine", value_name = "NAME", num_args = 1.., value_parser = contenders())]
    contenders: Vec<Contender>,

    /// Another echo server, under this name: its command, where {port} stands for the port on 127.0.0.1; may
    /// be repeated
    ///
    /// The command is started without a shell. One that fails under a load is left out there, and said to be.
    #[arg(long = "server", value_name = "NAME=COMMAND")]
    servers: Vec<Contender>,

    /// Keep each run as JSON in this folder, for echo-client report
    #[arg(long, value_name = "FOLDER")]
    pub(super) save: Option<PathBuf>,
}

fn scenarios() -> impl TypedValueParser<Value = &'static [Scenario]> {
    PossibleValuesParser::new(scenario::names())
        .map(|name| scenario::named(&name).expect("it is a possible value"))
}

fn contenders() -> impl TypedValueParser<Value = Contender> {
    PossibleValuesParser::new(Contender::names()).map(|name| {
        let known = Contender::names().find(|known| *known == name);
        Contender::named(known.expect("it is a possible value"))
    })
}

impl Options {
    pub(super) fn scenarios(&self) -> Vec<&'static Scenario> {
        if !self.scenarios.is_empty() {
            return self.scenarios.iter().copied().flatten().collect();
        }
        scenario::DEFAULT.iter().filter(|scenario| scenario.quick || !self.quick).collect()
    }

    /// Ours first, no two under one name.
    pub(super) fn contenders(&self) -> Vec<Contender> {
        let mut all = self.contenders.clone();
        if all.is_empty() {
            all.extend(Contender::names().map(Contender::named));
        }
        all.extend(self.servers.iter().cloned());
        number_namesakes(&mut all);
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
    fn all_of_ours_take_part_and_whoever_is_given() {
        let names = |arguments| {
            let contenders = options(arguments).contenders();
            contenders.into_iter().map(|it| it.name).collect::<Vec<_>>()
        };
        let given = ["--server", "c=/bin/c {port}", "--server", "d=/bin/d {port}"];
        assert!(names(&given).starts_with(&["threads".to_owned(), "readiness".to_owned()]));
        assert!(names(&given).ends_with(&["python".to_owned(), "c".to_owned(), "d".to_owned()]));
        let twice = names(&["--engine", "threads", "threads", "--server", "c=/bin/c {port}"]);
        assert_eq!(twice, ["threads", "threads-2", "c"]);
    }

    #[test]
    fn sweeps_are_run_when_asked_for() {
        let count = |arguments| options(arguments).scenarios().len();
        assert_eq!((count(&[]), count(&["--quick"])), (10, 4));
        assert_eq!(count(&["--scenario", "sweep-connections", "1x64", "sweep-sizes"]), 6 + 1 + 8);
    }
}
