//! One server under one load, once.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use echo_client::run::Run;
use echo_test_support::{Finished, Process, Server};

use super::contender::Contender;
use super::pinning::Pinning;
use super::scenario::Scenario;
use super::{Length, cpu_time};
use crate::pair::Pair;

/// What was measured.
pub(super) struct Sample {
    /// What the load saw.
    pub(super) run: Run,
    /// What the server used for it; `None` where the system does not tell.
    server_cpu: Option<Duration>,
}

impl Sample {
    /// Starts the server, puts the load on it and ends it. A load that did not get every byte back as it
    /// was sent is an error.
    pub(super) fn take(
        pair: &Pair,
        pinning: Pinning,
        contender: Contender,
        scenario: &Scenario,
        length: Length,
    ) -> Result<Self> {
        let server = Server::start_with(&mut pinning.server(&contender.command(pair)))?;
        let mut load = pair.client(server.address, &["bench", "--format", "json"]);
        load.args(scenario.load).args(length.arguments());

        let id = server.process.id();
        let before = cpu_time::of_process(id);
        let client = Process::run(&mut pinning.load(&load), b"")?;
        let after = cpu_time::of_process(id);

        let run = read(&client)?;
        Ok(Self { run, server_cpu: after.zip(before).map(|(after, before)| after - before) })
    }

    /// The server's processor time for an echo. It is that of the whole run, so the echoes of the warm-up
    /// count as well; all that was sent came back.
    pub(super) fn server_cpu_us_per_echo(&self) -> Option<f64> {
        Some(self.server_cpu?.as_secs_f64() * 1e6 / self.run.result.sent as f64)
    }
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
