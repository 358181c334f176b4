//! Tasks that cargo alone cannot do: end-to-end checks, benchmarks, stress tests. Run as `cargo xtask`.

mod bench;
mod binaries;
mod cargo;
mod dist;
mod e2e;
mod engines;
#[cfg(unix)]
mod inject;
#[cfg(unix)]
mod model;
mod sanitize;
mod simulate;
mod soak;
#[cfg_attr(windows, allow(dead_code, reason = "the model needs Unix"))]
mod socket_table;
mod stress;
#[cfg(target_os = "linux")]
mod wine;

use clap::{Parser, Subcommand};

/// Tasks of the echo pair's workspace.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Check both built programs end to end, over real sockets
    E2e {
        /// Check the release build
        #[arg(long)]
        release: bool,
    },
    /// Compare the engines, and other servers, under the same loads
    Bench(bench::Options),
    /// Run random peers against every engine for a long time, with stops and kills
    Soak(soak::Options),
    /// Check every engine with random histories against a model of the echo
    #[cfg(unix)] // it suspends servers with SIGSTOP
    Model(model::Options),
    /// Run the event loops over a simulated system, driven by a seed
    Simulate(simulate::Options),
    /// Fail every system call of every engine in turn, and check that nothing else fails
    #[cfg(unix)] // it runs them under strace(1)
    Inject(inject::Options),
    /// Mix hostile and well-behaved clients against every engine
    Stress(stress::Options),
    /// Check both programs, built for Windows, with Wine
    #[cfg(target_os = "linux")]
    Wine {
        /// Check the release build
        #[arg(long)]
        release: bool,
    },
    /// Make release files: an archive, a Debian package, the files of a container image
    Dist(dist::Options),
    /// Run the tests of unsafe code under AddressSanitizer and LeakSanitizer
    Sanitize,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::E2e { release } => e2e::run(release),
        Task::Bench(options) => bench::run(&options),
        Task::Soak(options) => soak::run(&options),
        #[cfg(unix)]
        Task::Model(options) => model::run(&options),
        Task::Simulate(options) => simulate::run(&options),
        #[cfg(unix)]
        Task::Inject(options) => inject::run(&options),
        Task::Stress(options) => stress::run(&options),
        #[cfg(target_os = "linux")]
        Task::Wine { release } => wine::run(release),
        Task::Dist(options) => dist::run(&options),
        Task::Sanitize => sanitize::run(),
    }
}
