//! The choice of engines for a task.

use anyhow::{Result, ensure};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use echo_server::Engine;

use crate::binaries::Binaries;

/// Engines named on the command line, or all.
#[derive(Debug, Args)]
pub(crate) struct Engines {
    /// Engines to use [default: all that work on this machine]
    #[arg(long = "engine", value_name = "NAME", num_args = 1.., value_parser = parser())]
    named: Vec<Engine>,
}

fn parser() -> impl TypedValueParser<Value = Engine> {
    PossibleValuesParser::new(Engine::NAMES).try_map(|name| name.parse::<Engine>())
}

impl Engines {
    /// The names of the chosen engines that work here. An engine that does not is an error if it was named, and
    /// otherwise reported as skipped.
    #[allow(clippy::print_stdout, reason = "part of the report")]
    pub(crate) fn on_this_machine(&self, binaries: &Binaries) -> Result<Vec<String>> {
        let auto = Engine::Auto.to_string();
        let all = Engine::NAMES.into_iter().map(str::to_owned).filter(|name| *name != auto);
        let mut names: Vec<_> = self.named.iter().map(Engine::to_string).collect();
        if names.is_empty() {
            names = all.collect();
        }
        let mut working = Vec::new();
        for name in names {
            match binaries.start(&["--engine", &name]) {
                Ok(_) => working.push(name),
                Err(why) => {
                    ensure!(self.named.is_empty(), "{name}: {why:#}");
                    println!("SKIP  {name}: {why:#}");
                }
            }
        }
        Ok(working)
    }
}
