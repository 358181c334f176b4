//! One connection: connect, echo.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::connect::connect;
use crate::exchange::{self, EndCondition, InFlight};
use crate::{Config, Error};

/// A connection to an echo server.
#[derive(Debug)]
pub struct Connection {
    stream: Arc<TcpStream>,
    peer: SocketAddr,
    /// What was sent on the connection and has not come back.
    in_flight: Arc<InFlight>,
    timeout: Duration,
}

impl Connection {
    /// Connects to the first address of the host that accepts.
    ///
    /// # Errors
    ///
    /// [`Error::Resolve`], [`Error::NoAddress`], [`Error::Bind`], or [`Error::Connect`] with the
    /// failure of each address.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let (stream, peer) = connect(config)?;
        let (stream, in_flight) = (Arc::new(stream), Arc::default());
        Ok(Self { stream, peer, in_flight, timeout: config.timeout })
    }

    /// Sends all of `input`, receives its echo at the same time, compares it with what was sent and
    /// writes it to `output`. Returns the number of bytes echoed.
    ///
    /// The connection stays open for another exchange; after an error it is unusable.
    ///
    /// At most 8 MiB are in flight and in memory, however long the input.
    ///
    /// # Errors
    ///
    /// The connection fails, the echo is wrong or missing, or `input` or `output` fails. If that
    /// happens while a `read` of `input` blocks, its thread stays there until the read returns.
    pub fn echo(
        &mut self,
        input: impl Read + Send + 'static,
        output: impl Write,
    ) -> Result<u64, Error> {
        self.exchange(input, output, EndCondition::EchoComplete)
    }

    pub(crate) fn exchange(
        &mut self,
        input: impl Read + Send + 'static,
        output: impl Write,
        end: EndCondition,
    ) -> Result<u64, Error> {
        exchange::run(&self.stream, &self.in_flight, input, output, self.timeout, end)
    }

    /// The address of the server.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }
}
