//! The echo-server program.

mod cli;
mod diagnostics;
mod generate;
mod limits;
mod print;
mod signals;
mod systemd;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context;
use echo_server::{BindError, CloseReason, Engine, Event, Server, Summary};

use crate::cli::Cli;
use crate::diagnostics::Diagnostics;
use crate::print::{Lines, peer_name, stderr_width};

fn main() -> ExitCode {
    let cli = Cli::from_command_line();
    if let Some(document) = cli.generate {
        return generate::run(document);
    }
    let stdout = Lines::to_stdout();
    let (lines, width) = (Lines::to_stderr(), stderr_width());
    let diagnostics = Arc::new(Diagnostics::new(lines, cli.log_format, cli.verbose, width));
    let result = run(&cli, &stdout, &diagnostics);
    let lines_lost = stdout.finish();
    let code = match &result {
        Ok(Some(summary)) => {
            let aborted = summary.closed_as(CloseReason::Aborted) > 0;
            if aborted || !cli.quiet {
                diagnostics.summary(summary, cli.framing.is_framed(), lines_lost);
            }
            ExitCode::from(u8::from(aborted))
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            diagnostics.error(error, error.downcast_ref().and_then(BindError::hint));
            ExitCode::FAILURE
        }
    };
    diagnostics.finish();
    code
}

/// Serves. Returns the summary if a signal stopped the server.
fn run(
    cli: &Cli,
    stdout: &Lines,
    diagnostics: &Arc<Diagnostics>,
) -> anyhow::Result<Option<Summary>> {
    let config = cli.config(limits::raise(cli.event_loops(), cli.reuseport));
    let splices = config.max_pipes > 0;
    let faults = config.faults.clone();
    let server = match systemd::sockets()? {
        activated if !activated.is_empty() => Server::from_listeners(config, activated)?,
        _ => Server::bind(config)?,
    };
    for skipped in server.skipped() {
        diagnostics.note("skipped", &format!("{skipped}; continuing without it"));
    }
    if cli.verbose {
        let reason = server.engine_reason().map(|reason| format!(" ({reason})"));
        let engine = format!("engine: {}{}", server.engine(), reason.unwrap_or_default());
        diagnostics.note("engine", &engine);
        if cfg!(target_os = "linux") && server.engine() != Engine::Threads && !splices {
            diagnostics.note(
                "copying",
                "large messages are not spliced: too few descriptors (ulimit -Hn)",
            );
        }
    }
    if let Some(faults) = &faults {
        diagnostics.note("faults", &cli::notice(faults));
    }
    // Before the first line is printed: a program that waits for that line may send a signal at once.
    let signalled = signals::watch(&server, Arc::clone(diagnostics));
    let signalled = signalled.context("cannot wait for signals")?;
    for address in server.local_addrs() {
        stdout.print(format!("Listening on {address}"));
    }
    systemd::ready();
    let summary = server.run(|event| match event {
        Event::Connected { peer } if !cli.quiet => {
            stdout.print(format!("Connected by {}", peer_name(peer)));
        }
        event => diagnostics.observe(&event),
    })?;
    Ok(signalled.load(Ordering::Relaxed).then_some(summary))
}
