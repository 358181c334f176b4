//! What the user typed, and the one place where it turns into what the library uses.

use std::ffi::OsString;
use std::io::{self, Cursor, Read};
use std::time::Duration;

use clap::{Parser, value_parser};
use echo_client::Config;

/// TCP echo client: sends a message, reads it back and checks every byte.
///
/// Prints `Received b'…'`, in Python's notation for bytes, when all came back as it was sent.
#[derive(Debug, Parser)]
#[command(version, after_long_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to send; - for what comes in on stdin
    ///
    /// Put -- before a message that starts with a dash.
    #[arg(default_value = "Hello, world")]
    pub(crate) message: Message,

    /// Address or name of the server; '' for this machine
    ///
    /// If a name resolves to several addresses, they are tried in turn.
    #[arg(long, env = "ECHO_HOST", default_value = "127.0.0.1")]
    host: String,

    /// TCP port of the server, 1 to 65535
    #[arg(long, env = "ECHO_PORT", default_value_t = 65432)]
    #[arg(value_parser = value_parser!(u16).range(1..), allow_negative_numbers = true)]
    port: u16,

    /// How long to try to connect to each address
    #[arg(long, env = "ECHO_CONNECT_TIMEOUT", value_name = "DURATION", default_value = "5s")]
    #[arg(value_parser = duration)]
    connect_timeout: Duration,

    /// How long to wait for the next byte of the echo
    #[arg(long, env = "ECHO_TIMEOUT", value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = duration)]
    timeout: Duration,
}

const EXAMPLES: &str = "\
Examples:
  echo-client                              send \"Hello, world\" to 127.0.0.1:65432
  echo-client 'Grüß Gott' --host ::1       another message, over IPv6
  echo-client -- --help                    a message that looks like an option
  head -c 1G /dev/urandom | echo-client -  a gigabyte, each byte checked

Durations: 50us, 200ms, 10s.

Exit code: 0 all came back as sent, 1 it did not (no connection, lost, changed, late),
2 wrong usage.";

/// The message to send.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Bytes(Vec<u8>),
    Stdin,
}

impl Cli {
    pub(crate) fn config(&self) -> Config {
        Config {
            host: self.host.clone(),
            port: self.port,
            connect_timeout: self.connect_timeout,
            timeout: self.timeout,
        }
    }
}

impl From<OsString> for Message {
    fn from(argument: OsString) -> Self {
        // On Unix an argument is any bytes, and exactly these are sent.
        if argument == "-" { Self::Stdin } else { Self::Bytes(argument.into_encoded_bytes()) }
    }
}

impl Message {
    pub(crate) fn into_reader(self) -> Box<dyn Read + Send> {
        match self {
            Self::Bytes(bytes) => Box::new(Cursor::new(bytes)),
            Self::Stdin => Box::new(io::stdin()),
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("it must be more than zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}
