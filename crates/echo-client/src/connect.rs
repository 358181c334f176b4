//! From a host and a port to a connected socket.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::IpVersion;
use crate::error::ConnectFailure;
use crate::{Config, Error, system};

/// Connects to the first address of the host that accepts. Returns the address too: the system
/// forgets it if the server resets the connection at once.
pub(crate) fn connect(config: &Config) -> Result<(TcpStream, SocketAddr), Error> {
    let mut failures = Vec::new();
    for address in addresses(config)? {
        let socket = config.bind.map(bound_socket).transpose()?;
        match connect_to(address, socket, config.connect_timeout) {
            Ok(stream) => return Ok((stream, address)),
            Err(source) => failures.push(ConnectFailure { address, source }),
        }
    }
    Err(Error::Connect { host: config.host.clone(), port: config.port, failures })
}

fn connect_to(
    peer: SocketAddr,
    socket: Option<Socket>,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let stream = match socket {
        None => TcpStream::connect_timeout(&peer, timeout)?,
        Some(socket) => {
            socket.connect_timeout(&peer.into(), timeout)?;
            socket.into()
        }
    };
    if is_self_connect(stream.local_addr(), peer) {
        return Err(ErrorKind::ConnectionRefused.into());
    }
    // Send each message at once instead of waiting for more data (Nagle, RFC 896).
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Starts to connect without waiting.
pub(crate) fn start_connect(
    peer: SocketAddr,
    bind: Option<SocketAddr>,
) -> io::Result<mio::net::TcpStream> {
    let Some(address) = bind else { return mio::net::TcpStream::connect(peer) };
    let socket = bound_socket(address).map_err(io::Error::other)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&peer.into()) {
        Err(error) if !is_in_progress(&error) => Err(error),
        _ => Ok(mio::net::TcpStream::from_std(socket.into())),
    }
}

#[cfg(unix)]
fn is_in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
}

#[cfg(not(unix))]
fn is_in_progress(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

/// A socket with this source address.
pub(crate) fn bound_socket(address: SocketAddr) -> Result<Socket, Error> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP));
    let socket = socket.map_err(Error::Setup)?;
    let prepared = if address.port() == 0 {
        system::choose_port_on_connect(&socket)
    } else {
        // The previous connection from this port may still be in TIME_WAIT.
        socket.set_reuse_address(cfg!(unix))
    };
    let bound = prepared.and_then(|()| socket.bind(&address.into()));
    bound.map_err(|source| Error::Bind { address, source })?;
    Ok(socket)
}

/// The addresses of the host in the resolver's order of preference (RFC 6724), without duplicates.
pub(crate) fn addresses(config: &Config) -> Result<Vec<SocketAddr>, Error> {
    let Config { host, port, .. } = config;
    let version = config.ip_version.or(config.bind.map(IpVersion::of));
    if host.is_empty() {
        // For a server this means every interface; for a client, loopback.
        return Ok(vec![match version {
            Some(IpVersion::V6) => (Ipv6Addr::LOCALHOST, *port).into(),
            _ => (Ipv4Addr::LOCALHOST, *port).into(),
        }]);
    }
    let failed = |source| Error::Resolve { host: host.clone(), source };
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in resolve(host, *port).map_err(failed)? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(failed(io::Error::new(ErrorKind::NotFound, "no address")));
    }
    if let Some(version) = version {
        addresses.retain(|address| IpVersion::of(*address) == version);
        if addresses.is_empty() {
            return Err(Error::NoAddress { host: host.clone(), version });
        }
    }
    Ok(addresses)
}

/// Asks the system's resolver.
fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if host == "localhost" && system::lacks_hosts() {
        return Ok(vec![(Ipv6Addr::LOCALHOST, port).into(), (Ipv4Addr::LOCALHOST, port).into()]);
    }
    Ok((host, port).to_socket_addrs()?.collect())
}

/// Whether a new connection leads to itself. Connecting to a port without a listener that is also
/// in the range of local ports can do that (simultaneous open, RFC 9293, 3.5), and it would be a
/// perfect echo.
pub(crate) fn is_self_connect(local: io::Result<SocketAddr>, peer: SocketAddr) -> bool {
    local.is_ok_and(|local| local == peer)
}
