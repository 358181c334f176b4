//! The echo-client program: parse, connect, do what the mode says.

mod cli;
mod pipe;
mod print;
mod progress;
mod terminal;

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use clap::Parser;
use echo_client::{Connection, Error};

use crate::cli::{Cli, Message, Mode};
use crate::print::{Excerpt, print_error, print_line};

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref() {
            // Whoever was to read the output has left, and that is all right.
            Some(Error::Output(source)) if source.kind() == ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            known => {
                print_error(&error, known.and_then(Error::hint));
                ExitCode::FAILURE
            }
        },
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    // Before anything else: wrong usage does not open connections.
    let messages = cli.messages();
    let connection = Connection::open(&cli.config())?;
    match &cli.mode {
        None => send_messages(connection, &messages),
        Some(Mode::Pipe(options)) => pipe::run(connection, options, cli.framing()),
    }
}

/// The seed's client, once for each message.
fn send_messages(mut connection: Connection, messages: &[Message]) -> anyhow::Result<()> {
    for message in messages {
        let mut excerpt = Excerpt::default();
        match message {
            Message::Stdin => {
                connection.echo(io::stdin(), &mut excerpt)?;
            }
            Message::Bytes { payload, wire } => {
                connection.echo(io::Cursor::new(wire.clone()), io::sink())?;
                // Every byte of the wire came back as it was, so the payload did.
                io::Write::write_all(&mut excerpt, payload)?;
            }
        }
        print_line(&format!("Received {excerpt}")).map_err(Error::Output)?;
    }
    Ok(())
}
