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
    /// What was sent on the connection and has not come back.
    in_flight: Arc<InFlight>,
    timeout: Duration,
}

impl Connection {
    /// Connects to the first address of the host that accepts.
    ///
    /// # Errors
    ///
    /// [`Error::Resolve`], or [`Error::Connect`] with the failure of each address.
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

/// Connects to the first address of the host that accepts. Returns the address too: the system
/// forgets it if the server resets the connection at once.
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
    // Send each message at once instead of waiting for more data (Nagle, RFC 896).
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The addresses of `host` in the resolver's order of preference (RFC 6724), without duplicates.
pub(crate) fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    if host.is_empty() {
        // For a server this means every interface; for a client, loopback.
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
