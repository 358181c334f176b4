//! What the user typed, and the one place where it becomes the library's types.

mod bench;
mod connection;
mod ping;
mod report;
mod target;

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use echo_client::{Config, Framing, units};
use echo_manual::Document;
use echo_proto::encode;

pub(crate) use self::bench::{BenchOptions, Format};
use self::connection::ConnectionOptions;
pub(crate) use self::ping::PingOptions;
pub(crate) use self::report::{ReportFormat, ReportOptions};
use self::target::TargetArgs;

/// TCP echo client: sends messages, reads them back and checks every byte.
///
/// Prints `Received b'…'`, in Python's notation for bytes, for each message that came back
/// unchanged.
#[derive(Debug, Parser)]
#[command(version, after_long_help = EXAMPLES, max_term_width = 80)]
#[command(
    override_usage = "echo-client [OPTIONS] [MESSAGE]...\n       echo-client [OPTIONS] COMMAND"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) mode: Option<Mode>,

    /// Messages to send, in order, on one connection; - sends stdin
    ///
    /// [default: Hello, world]
    ///
    /// Put -- before a message that starts with a dash or has the name of a command.
    #[arg(value_name = "MESSAGE")]
    messages: Vec<OsString>,

    /// Print the man page (man), or completions for bash, zsh, fish or powershell
    #[arg(long, value_enum, value_name = "WHAT", hide_possible_values = true)]
    pub(crate) generate: Option<Document>,

    #[command(flatten)]
    pub(crate) connection: ConnectionOptions,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Send stdin to the server and write its echo to stdout
    ///
    /// Sends and receives at the same time, in bounded memory, and compares every byte with what
    /// was sent. At the end of stdin the client half-closes the connection and reads until the
    /// server closes it. On a terminal it is a conversation: type a line, see its echo.
    #[command(after_long_help = PIPE_EXAMPLES)]
    Pipe(PipeOptions),

    /// Measure round trips one at a time, as ping(8) does
    ///
    /// Checks every byte of every echo. A lost connection is reported and opened again, so that a
    /// failover can be watched: the summary tells how long each outage lasted.
    #[command(after_long_help = ping::EXAMPLES)]
    Ping(PingOptions),

    /// Generate load on many connections; measure rate and latency
    ///
    /// Checks every byte of every echo. Without --rate the load is a closed loop: each echo
    /// triggers the next message, and the rate follows from that. With --rate each message has a
    /// due time and latency counts from there, however late it was sent, so that a server that
    /// stalls cannot hide it.
    #[command(after_long_help = bench::EXAMPLES)]
    Bench(Box<BenchOptions>),

    /// Compare, merge and plot saved runs
    ///
    /// Reads what bench has saved. Makes no connection.
    #[command(after_long_help = report::EXAMPLES)]
    Report(ReportOptions),
}

#[derive(Debug, Args)]
pub(crate) struct PipeOptions {
    #[command(flatten)]
    server: TargetArgs,

    /// Do not escape control characters in the echo on a terminal
    #[arg(long, env = "ECHO_RAW_OUTPUT", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) raw_output: bool,
}

/// Largest generated message, in bytes.
const MAX_MESSAGE_SIZE: u32 = 1 << 30;

const EXAMPLES: &str = "\
Examples:
  echo-client                              say \"Hello, world\" to this machine
  echo-client one two --framing length     two messages on one connection
  echo-client 'Grüß Gott' --host ::1       another message, over IPv6
  echo-client -- --help                    a message that looks like an option
  head -c 1G /dev/urandom | echo-client -  a gigabyte, every byte checked
  echo-client pipe < file | cmp - file     send a file and compare its echo
  echo-client ping example.com:7           round trips to another server

Durations: 50us, 200ms, 10s; a bare number is seconds.

Exit code:
  0    everything came back unchanged; for report: there is a report
  1    it did not: no connection, lost, changed or late; for report: a file is
       missing, damaged or does not fit, or a condition cannot be judged
  2    wrong usage
  3    a --fail-if condition of ping, bench or report holds
  130  ping or bench was interrupted twice";

const PIPE_EXAMPLES: &str = "\
Examples:
  echo-client pipe                         a conversation
  echo-client pipe example.com 7           with the server at this host and port
  tar c . | echo-client pipe | tar t       an archive through the server
  echo-client pipe --framing line < words  to a server with --framing line

Exit code:
  0  everything came back unchanged, or stdout was closed
  1  it did not: no connection, lost, changed or late
  2  wrong usage";

/// A message to send.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Stdin,
    Bytes {
        payload: Vec<u8>,
        /// The payload with its framing.
        wire: Vec<u8>,
    },
}

impl Cli {
    /// Parses the command line; exits with a message if it is wrong.
    pub(crate) fn from_command_line() -> Self {
        Self::from_arg_matches(&Self::shown().get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// The command with the options that each mode shows.
    pub(crate) fn shown() -> Command {
        let command = Self::command();
        // `report` makes no connection: it accepts the options for one, but does not show them.
        let global = command.get_arguments().filter(|option| option.is_global_set());
        let hidden: Vec<Arg> = global.map(|option| option.clone().hide(true)).collect();
        command.mut_subcommand("report", |report| report.args(hidden))
    }

    /// The settings of a connection. Exits with a usage error if they contradict each other.
    pub(crate) fn config(&self) -> Config {
        let (target, wait) = match &self.mode {
            Some(Mode::Pipe(options)) => (options.server.target(), None),
            Some(Mode::Ping(options)) => (options.server().target(), options.wait()),
            Some(Mode::Bench(options)) => (options.target(), None),
            Some(Mode::Report(_)) | None => (Ok(None), None),
        };
        let config = target.and_then(|target| self.connection.config(target, wait));
        let config = config.unwrap_or_else(|why| usage_error(ErrorKind::ArgumentConflict, why));
        if let (Some(Mode::Bench(options)), Some(bind)) = (&self.mode, config.bind)
            && bind.port() != 0
            && options.connects_again()
        {
            let why = format!(
                "--bind with a port is for one connection: use --bind {} for several",
                bind.ip()
            );
            usage_error(ErrorKind::ArgumentConflict, why);
        }
        config
    }

    /// The framing, if one was given.
    pub(crate) fn framing(&self) -> Option<Framing> {
        self.connection.framing
    }

    /// The messages to send. Exits with a usage error if one cannot be framed.
    pub(crate) fn messages(&self) -> Vec<Message> {
        if self.messages.is_empty() {
            return vec![self.message("Hello, world".into())];
        }
        self.messages.iter().map(|message| self.message(message.clone())).collect()
    }

    fn message(&self, argument: OsString) -> Message {
        let framing = self.connection.framing.unwrap_or_default();
        let refuse = |why| -> ! { usage_error(ErrorKind::InvalidValue, why) };
        if argument == "-" {
            if framing.is_framed() {
                refuse(format!("- sends stdin without framing; for --framing {framing} use pipe"));
            }
            return Message::Stdin;
        }
        // On Unix an argument may be any bytes; exactly these are sent.
        let payload = argument.into_encoded_bytes();
        let mut wire = Vec::new();
        if let Err(error) = encode(framing, &payload, &mut wire) {
            refuse(format!(
                "invalid value {} for '[MESSAGE]...': {error}",
                echo_proto::repr(&payload)
            ));
        }
        Message::Bytes { payload, wire }
    }
}

/// Exits with a usage error.
fn usage_error(kind: ErrorKind, why: String) -> ! {
    Cli::command().error(kind, why).exit()
}

/// Parses a whole number in this range.
fn whole<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| match *range.end() {
            end if end < u32::MAX.into() => {
                format!("expected a whole number from {} to {end}", range.start())
            }
            _ => format!("expected a whole number of at least {}", range.start()),
        })
    }
}

/// Bytes per message.
fn message_size(text: &str) -> Result<u32, &'static str> {
    match u32::try_from(units::size(text)?) {
        Ok(size @ 1..=MAX_MESSAGE_SIZE) => Ok(size),
        _ => Err("expected a size from 1 to 1GiB"),
    }
}

fn nonzero_duration(text: &str) -> Result<Duration, &'static str> {
    match units::duration(text)? {
        Duration::ZERO => Err("expected a duration of more than zero"),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_an_environment_variable_of_its_name() {
        let client = Cli::command();
        for command in std::iter::once(&client).chain(client.get_subcommands()) {
            for option in command.get_arguments() {
                let Some(name) = option.get_long() else { continue };
                // A variable must not turn every call into another one.
                if name == "generate" {
                    continue;
                }
                let variable = match (command.get_name(), name) {
                    // The plain names belong to the server or to another subcommand, with another
                    // meaning.
                    ("bench", "engine") => "ECHO_BENCH_ENGINE".to_owned(),
                    ("bench", "seed") => "ECHO_BENCH_SEED".to_owned(),
                    ("bench", "busy-poll") => "ECHO_BENCH_BUSY_POLL".to_owned(),
                    ("report", "format") => "ECHO_REPORT_FORMAT".to_owned(),
                    ("report", "fail-if") => "ECHO_REPORT_FAIL_IF".to_owned(),
                    _ => format!("ECHO_{}", name.to_uppercase().replace('-', "_")),
                };
                let found = option.get_env().and_then(|variable| variable.to_str());
                assert_eq!(found, Some(variable.as_str()), "{} --{name}", command.get_name());
            }
        }
    }
}
