//! The echo-client program: parse, connect, echo, print.

mod cli;
mod print;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;
use echo_client::{Connection, Error};

use crate::cli::Cli;
use crate::print::{Excerpt, print_error, print_line};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error, error.downcast_ref().and_then(Error::hint));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let connection = Connection::open(&cli.config())?;
    let mut excerpt = Excerpt::default();
    connection.echo(cli.message.into_reader(), &mut excerpt)?;
    match print_line(&format!("Received {excerpt}")) {
        // Whoever was to read it has left, and that is all right.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| Error::Output(error).into()),
    }
}
