//! Which engines of the server a task is about.

use anyhow::{Result, ensure};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use echo_server::Engine;

use crate::pair::Pair;

/// Some engines, or all there are.
#[derive(Debug, Args)]
pub(crate) struct Engines {
    /// Engines [default: all that this machine has]
    #[arg(long = "engine", value_name = "NAME", num_args = 1.., value_parser = parser())]
    named: Vec<Engine>,
}

fn parser() -> impl TypedValueParser<Value = Engine> {
    PossibleValuesParser::new(Engine::NAMES).try_map(|name| name.parse::<Engine>())
}

impl Engines {
    /// Their names. One that this machine lacks is an error if it was asked for, and else said to be skipped.
    #[allow(clippy::print_stdout, reason = "it belongs to the report")]
    pub(crate) fn on_this_machine(&self, pair: &Pair) -> Result<Vec<String>> {
        let auto = Engine::Auto.to_string();
        let all = Engine::NAMES.into_iter().map(str::to_owned).filter(|name| *name != auto);
        let mut names: Vec<_> = self.named.iter().map(Engine::to_string).collect();
        if names.is_empty() {
            names = all.collect();
        }
        let mut there = Vec::new();
        for name in names {
            match pair.start(&["--engine", &name]) {
                Ok(_) => there.push(name),
                Err(why) => {
                    ensure!(self.named.is_empty(), "{name}: {why:#}");
                    println!("SKIP  {name}: {why:#}");
                }
            }
        }
        Ok(there)
    }
}
