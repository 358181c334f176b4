//! One server under one load, once.

use anyhow::{Context, Result, bail};
use echo_client::run::Run;
use echo_test_support::{Finished, Process};

use super::Length;
use super::contender::Contender;
use super::pinning::Pinning;
use super::scenario::Scenario;
use crate::pair::Pair;

/// Starts the server, puts the load on it, ends it, and returns what the load saw. A load that did not get
/// every byte back as it was sent is an error.
pub(super) fn take(
    pair: &Pair,
    pinning: Pinning,
    contender: &Contender,
    scenario: &Scenario,
    length: Length,
) -> Result<Run> {
    let server = contender.start(pair, pinning)?;
    let mut load = pair.client(server.address, &["bench", "--format", "json"]);
    load.args(["--label", &contender.name]).args(scenario.load()).args(length.arguments());
    if cfg!(target_os = "linux") {
        load.args(["--server-pid", &server.process.id().to_string()]);
    }
    read(&Process::run(&mut pinning.load(&load), b"")?)
}

/// The run that the client saved, unless it failed.
fn read(client: &Finished) -> Result<Run> {
    let run: serde_json::Result<Run> = serde_json::from_str(&client.stdout);
    if client.status.success() {
        return run.context("echo-client wrote no run");
    }
    // What went wrong on a connection is in the report, all else on stderr.
    let said = client.stderr.trim_end();
    let incident = run.ok().and_then(|run| {
        let (failed, loss) = (run.result.failed, run.result.loss);
        let first = run.result.incidents.into_iter().next()?;
        let (connection, text) = (first.connection, first.text);
        Some(format!(
            "{failed} failed, {loss} messages lost; first connection {connection}: {text}"
        ))
    });
    bail!("echo-client ended with {}\n{said}{}", client.status, incident.unwrap_or_default())
}
