//! The echo-server program: parse, build, run.

mod cli;
mod print;
mod signals;

use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::Context;
use clap::Parser;
use echo_server::{BindError, Event, Server, Summary};

use crate::cli::Cli;
use crate::print::{Lines, framing_broken_line, peer_name, summary_line};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (stdout, stderr) = (Lines::to_stdout(), Lines::to_stderr());
    let result = run(&cli, &stdout, &stderr);
    let lost = stdout.finish();
    let code = match result {
        Ok(Some(summary)) => {
            if summary.cut > 0 || !cli.quiet {
                let line = summary_line(&summary, cli.framing.is_framed(), lost);
                stderr.print(format!("echo-server: {line}"));
            }
            ExitCode::from(u8::from(summary.cut > 0))
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            stderr.print(format!("echo-server: {error:#}"));
            if let Some(hint) = error.downcast_ref().and_then(BindError::hint) {
                stderr.print(format!("hint: {hint}"));
            }
            ExitCode::FAILURE
        }
    };
    stderr.finish();
    code
}

/// Serves; returns the summary if a signal ended it.
fn run(cli: &Cli, stdout: &Lines, stderr: &Lines) -> anyhow::Result<Option<Summary>> {
    let server = Server::bind(cli.config())?;
    for passed_over in server.skipped() {
        stderr.print(format!("echo-server: {passed_over}; going on without it"));
    }
    // Before the first line: whoever reads that may signal at once.
    let signalled = signals::stop_on_signal(server.handle()).context("cannot wait for signals")?;
    for address in server.local_addrs() {
        stdout.print(format!("Listening on {address}"));
    }
    let summary = server.run(|event| match event {
        Event::Connected { peer } if !cli.quiet => {
            stdout.print(format!("Connected by {}", peer_name(peer)));
        }
        Event::FramingBroken { peer, error } => {
            stderr.print(format!("echo-server: {}", framing_broken_line(peer, error)));
        }
        Event::AcceptPaused { error } => stderr
            .print(format!("echo-server: cannot accept more connections: {error}; trying again")),
        _ => {}
    })?;
    Ok(signalled.load(Ordering::Relaxed).then_some(summary))
}
