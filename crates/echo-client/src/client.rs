//! One connection: resolve, connect, echo.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use crate::Config;
use crate::error::{ConnectFailure, Error};
use crate::exchange::{self, EndCondition, InFlight};
use crate::verified_stream::is_self_connect;

/// A connection to an echo server.
#[derive(Debug)]
pub struct Connection {
    stream: Arc<TcpStream>,
    peer: SocketAddr,
    /// What was sent on the connection and what came back.
    in_flight: Arc<InFlight>,
    timeout: Duration,
}

impl Connection {
    /// Connects to the first address of the host that answers.
    ///
    /// # Errors
    ///
    /// [`Error::Resolve`], or [`Error::Connect`] with what each address said.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let (stream, peer) = connect(config)?;
        let (stream, in_flight) = (Arc::new(stream), Arc::default());
        Ok(Self { stream, peer, in_flight, timeout: config.timeout })
    }

    /// Sends all of `input`, reads it back at the same time, checks it against what was sent and
    /// writes it to `output`. Returns the number of bytes that went out and came back.
    ///
    /// The connection stays open for the next exchange; after an error it is of no more use.
    ///
    /// What is in flight is bounded (8 MiB), so is the memory for it, whatever the input's length.
    ///
    /// # Errors
    ///
    /// The connection breaks, the echo is wrong or does not come, or `input` or `output` fails.
    /// If that happens while a `read` of `input` blocks, the thread that is in it stays there
    /// until it returns.
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

/// Connects to the first address of the host that answers. Returns that too: the system forgets it when the
/// server breaks the connection at once.
pub(crate) fn connect(config: &Config) -> Result<(TcpStream, SocketAddr), Error> {
    let mut failures = Vec::new();
    for address in addresses(&config.host, config.port)? {
        match connect_to(address, config.connect_timeout) {
            Ok(stream) => return Ok((stream, address)),
            Err(source) => failures.push(ConnectFailure { address, source }),
        }
    }
    Err(Error::Connect { host: config.host.clone(), port: config.port, failures })
}

fn connect_to(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, timeout)?;
    if is_self_connect(stream.local_addr(), address) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    // A message goes out when it is written, not when there is more (RFC 896).
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What `host` stands for, in the resolver's order of preference (RFC 6724), each address once.
pub(crate) fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    if host.is_empty() {
        // The server's "every interface"; from here the nearest of them is this machine's own.
        return Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]);
    }
    let failed = |source| Error::Resolve { host: host.to_owned(), source };
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in (host, port).to_socket_addrs().map_err(failed)? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "no address")));
    }
    Ok(addresses)
}
