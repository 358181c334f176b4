//! The echo-client program: parse, connect, run the mode.

mod bench;
mod cli;
mod descriptors;
mod generate;
mod ping;
mod pipe;
mod print;
mod progress;
mod report;
mod server_wait;
mod signals;
mod terminal;

use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::time::Duration;

use echo_client::report::Error as ReportError;
use echo_client::{Config, Connection, Error};

use crate::cli::{Cli, Message, Mode};
use crate::print::{Excerpt, print_error, print_line};
use crate::server_wait::wait_for_server;

fn main() -> ExitCode {
    match run(&Cli::from_command_line()) {
        Ok(code) => code,
        Err(error) => match error.downcast_ref() {
            // A closed stdout is not an error: the reader has seen enough.
            Some(Error::Output(source)) if source.kind() == ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            known => {
                let hint = known.and_then(Error::hint);
                let of_report = || error.downcast_ref::<ReportError>()?.hint().map(str::to_owned);
                print_error(&error, hint.or_else(of_report));
                ExitCode::FAILURE
            }
        },
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    if let Some(document) = cli.generate {
        return generate::run(document);
    }
    let (config, wait) = (cli.config(), cli.connection.wait_for_server);
    match &cli.mode {
        None => send_messages(&config, wait, &cli.messages()),
        Some(Mode::Pipe(options)) => pipe::run(&config, wait, options, cli.framing()),
        Some(Mode::Bench(options)) => bench::run(&config, wait, &cli.workload(options), options),
        Some(Mode::Ping(options)) => ping::run(config, wait, cli.ping(options), options),
        Some(Mode::Report(options)) => report::run(options),
    }
}

/// The tutorial's client, once per message.
fn send_messages(
    config: &Config,
    wait: Option<Duration>,
    messages: &[Message],
) -> anyhow::Result<ExitCode> {
    let mut connection = wait_for_server(wait, || false, || Connection::open(config))?;
    for message in messages {
        let mut excerpt = Excerpt::default();
        match message {
            Message::Stdin => {
                connection.echo(io::stdin(), &mut excerpt)?;
            }
            Message::Bytes { payload, wire } => {
                connection.echo(io::Cursor::new(wire.clone()), io::sink())?;
                // Every byte on the wire came back unchanged, so the payload did.
                io::Write::write_all(&mut excerpt, payload)?;
            }
        }
        print_line(&format!("Received {excerpt}")).map_err(Error::Output)?;
    }
    Ok(ExitCode::SUCCESS)
}
