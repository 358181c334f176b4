//! The server's event loops, and the load loop of `bench`, over a simulated system: builds them with
//! `--cfg simulation`, and runs histories.

mod mutations;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::cargo::cargo;

/// The server's event loops that are simulated.
const ENGINES: [&str; 2] = ["readiness", "uring"];
/// The load loop of `bench`.
const BENCH: &str = "bench-readiness";
/// Beside everything else that is built, because the flags differ.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/simulation");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// How many, and which.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// For how long, for each engine [default: 30s, or until --histories are done]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    time: Option<std::time::Duration>,

    /// How many histories, for each engine
    #[arg(long, value_name = "N")]
    histories: Option<u64>,

    /// Engines to simulate [default: all]
    #[arg(long = "engine", value_name = "NAME", num_args = 1.., value_parser = [ENGINES[0], ENGINES[1], BENCH])]
    engines: Vec<String>,

    /// Seed of the first history; the next has the next [default: another each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Print what happens in the first history, and stop
    #[arg(long)]
    trace: bool,

    /// Take out lines of the code one by one, and count the histories until one fails; only those with TEXT in
    /// their description
    #[arg(long, value_name = "TEXT", num_args = 0..)]
    mutations: Option<Vec<String>>,
}

/// Plays histories on one engine after the other.
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(only) = &options.mutations {
        return mutations::run(only);
    }
    let (root, folder) = (Path::new(ROOT), Path::new(FOLDER));
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 40));
    let engines = ENGINES.into_iter().chain([BENCH]).filter(|engine| {
        options.engines.is_empty() || options.engines.iter().any(|named| named == engine)
    });
    for engine in engines {
        let program = match engine {
            BENCH => build(root, folder, "echo-client", "simulate_bench")?,
            _ => build_in(root, folder)?,
        };
        let mut command = Command::new(&program);
        command.args(["--engine", engine, "--seed", &seed.to_string()]);
        if options.trace {
            command.arg("--trace");
        }
        if let Some(histories) = options.histories {
            command.args(["--histories", &histories.to_string()]);
        }
        let default = options.histories.is_none().then_some(std::time::Duration::from_secs(30));
        if let Some(time) = options.time.or(default) {
            command.args(["--time", &humantime::format_duration(time).to_string()]);
        }
        let status = command.status().context("cannot start the simulation")?;
        ensure!(status.success(), "{engine}: a simulated history failed");
    }
    Ok(())
}

/// Builds the simulation of the server of the workspace at `root`. Returns the program.
fn build_in(root: &Path, folder: &Path) -> Result<PathBuf> {
    build(root, folder, "echo-server", "simulate")
}

/// Builds an example that simulates. Returns the program.
fn build(root: &Path, folder: &Path, package: &str, example: &str) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.current_dir(root);
    cargo.args(["build", "--quiet", "--locked", "--profile", "simulation"]);
    cargo.args(["--package", package, "--example", example, "--target-dir"]).arg(folder);
    cargo.env("RUSTFLAGS", "--cfg simulation");
    let status = cargo.status().context("cannot start cargo")?;
    ensure!(status.success(), "the simulation does not build");
    Ok(folder.join("simulation/examples").join(example))
}
