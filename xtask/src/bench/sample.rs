//! One run of one server under one load.

use anyhow::{Context, Result, bail};
use echo_client::run::Run;
use echo_client::run_file::RunFile;
use echo_test_support::{Finished, Process};

use super::RunDuration;
use super::pinning::Pinning;
use super::scenario::Scenario;
use super::target::Target;
use crate::binaries::Binaries;

/// Starts the server, runs the load and returns the result. It is an error if a byte was not returned unchanged.
pub(super) fn take(
    binaries: &Binaries,
    pinning: Pinning,
    target: &Target,
    scenario: &Scenario,
    length: RunDuration,
) -> Result<Run> {
    let server = target.start(binaries, pinning)?;
    let mut load = binaries.client(server.address, &["bench", "--format", "json"]);
    load.args(["--label", &target.name]).args(scenario.load()).args(length.arguments());
    if cfg!(target_os = "linux") {
        load.args(["--server-pid", &server.process.id().to_string()]);
    }
    read(&Process::run(&mut pinning.load(&load), b"")?)
}

/// The run that the client printed, unless it failed.
fn read(client: &Finished) -> Result<Run> {
    let file: serde_json::Result<RunFile> = serde_json::from_str(&client.stdout);
    let run = file.ok().and_then(|file| file.into_runs().pop());
    if client.status.success() {
        return run.context("echo-client wrote no run");
    }
    // Errors of a connection are in the report, all others on stderr.
    let stderr = client.stderr.trim_end();
    let incident = run.and_then(|run| {
        let (failed, loss) = (run.result.failed, run.result.loss);
        let first = run.result.incidents.into_iter().next()?;
        let (connection, text) = (first.connection, first.text);
        Some(format!(
            "{failed} failed, {loss} messages lost; first connection {connection}: {text}"
        ))
    });
    bail!("echo-client ended with {}\n{stderr}{}", client.status, incident.unwrap_or_default())
}
