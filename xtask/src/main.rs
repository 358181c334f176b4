//! What cargo alone cannot say about the pair. Run it as `cargo xtask`.

mod bench;
mod cargo;
mod e2e;
mod engines;
mod inject;
mod model;
mod pair;
mod sanitize;
mod siege;
mod soak;
mod socket_table;

use clap::{Parser, Subcommand};

/// Tasks of the echo pair's workspace.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build both programs, let them talk over real sockets, and check what they say
    E2e {
        /// Check the release build
        #[arg(long)]
        release: bool,
    },
    /// Run the same loads on every engine of the server, side by side, and print a table
    Bench(bench::Options),
    /// Let peers of all kinds visit every engine for a time, with stops and kills in between
    Soak(soak::Options),
    /// Play random histories against every engine, and judge what comes back by a model
    Model(model::Options),
    /// Fail every system call of every engine, one after the other, and see that nothing else does
    Inject(inject::Options),
    /// Let attackers of every kind at each engine, and see how a hundred honest peers fare among them
    Siege(siege::Options),
    /// Run the tests of what has unsafe code under AddressSanitizer and LeakSanitizer
    Sanitize,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::E2e { release } => e2e::run(release),
        Task::Bench(options) => bench::run(&options),
        Task::Soak(options) => soak::run(&options),
        Task::Model(options) => model::run(&options),
        Task::Inject(options) => inject::run(&options),
        Task::Siege(options) => siege::run(&options),
        Task::Sanitize => sanitize::run(),
    }
}
