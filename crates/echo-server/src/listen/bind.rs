//! Resolving a host and binding listening sockets.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::listen::socket_options::SocketOptions;
use crate::{BindError, Config, system};

/// Attempts to find a port that is free on every address.
const FREE_PORT_TRIES: usize = 32;

/// Listening sockets, and the addresses that this machine does not have.
pub(crate) struct Bound {
    /// One group for each event loop that accepts, with a socket for each address.
    pub(crate) groups: Vec<Vec<TcpListener>>,
    pub(crate) skipped: Vec<BindError>,
}

/// Listens on every address that the configured host resolves to.
pub(crate) fn bind(config: &Config) -> Result<Bound, BindError> {
    let addresses = addresses(&config.host, config.port)?;
    for _ in 1..FREE_PORT_TRIES {
        match listen_on_all(&addresses, config) {
            // The port that the system chose for the first address may be in use on another.
            Err(BindError::Listen { source, .. })
                if config.port == 0 && source.kind() == ErrorKind::AddrInUse => {}
            result => return result,
        }
    }
    listen_on_all(&addresses, config)
}

/// The addresses of `host`. The empty host means every IPv4 interface, as in Python's `bind`.
fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, BindError> {
    if host.is_empty() {
        return Ok(vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))]);
    }
    if host == "localhost" && system::lacks_hosts() {
        return Ok(vec![(Ipv6Addr::LOCALHOST, port).into(), (Ipv4Addr::LOCALHOST, port).into()]);
    }
    let failed = |source| BindError::Resolve { host: host.to_owned(), source };
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in (host, port).to_socket_addrs().map_err(failed)? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(failed(io::Error::new(ErrorKind::NotFound, "no address")));
    }
    Ok(addresses)
}

/// Listens on each of `addresses`, all on one port.
///
/// A name can resolve to an address that the machine does not have: `localhost` includes `::1` even where
/// IPv6 is disabled. Such an address is skipped as long as another one can be bound.
pub(crate) fn listen_on_all(addresses: &[SocketAddr], config: &Config) -> Result<Bound, BindError> {
    let (mut listeners, mut skipped) = (Vec::new(), Vec::new());
    let mut port = None;
    for &(mut address) in addresses {
        address.set_port(port.unwrap_or(address.port()));
        let listening = new_socket(address)
            .and_then(|socket| listen(socket, address, config))
            .and_then(|listener| Ok((listener.local_addr()?.port(), listener)))
            .map_err(|source| BindError::Listen { address, source });
        match listening {
            Ok((used, listener)) => {
                port = Some(used);
                listeners.push(listener);
            }
            Err(error) if is_missing(&error) => skipped.push(error),
            Err(error) => return Err(error),
        }
    }
    if listeners.is_empty()
        && let Some(error) = skipped.pop()
    {
        return Err(error);
    }
    Ok(Bound { groups: add_groups(listeners, config)?, skipped })
}

/// The sockets of the first event loop, and with [`Config::reuseport`] those of the others.
///
/// The first sockets listen before they are shared, so that a second server, which begins with the same step, finds the
/// address in use. With SO_REUSEPORT from the beginning, it would silently receive some of the connections.
fn add_groups(
    first: Vec<TcpListener>,
    config: &Config,
) -> Result<Vec<Vec<TcpListener>>, BindError> {
    if !config.reuseport || config.once || config.threads < 2 {
        return Ok(vec![first]);
    }
    let mut groups: Vec<_> = (1..config.threads).map(|_| Vec::new()).collect();
    for listener in &first {
        let address = listener.local_addr().map_err(BindError::Setup)?;
        let failed = |source| BindError::Listen { address, source };
        share_port(&SockRef::from(listener)).map_err(failed)?;
        for group in &mut groups {
            group.push(listen_beside(address, config).map_err(failed)?);
        }
    }
    groups.insert(0, first);
    Ok(groups)
}

/// Listens on the address of another socket, whose port is shared.
fn listen_beside(address: SocketAddr, config: &Config) -> io::Result<TcpListener> {
    let socket = new_socket(address)?;
    share_port(&SockRef::from(&socket))?;
    listen(socket, address, config)
}

/// Whether the machine lacks the address or its whole family.
fn is_missing(error: &BindError) -> bool {
    let BindError::Listen { source, .. } = error else { return false };
    #[cfg(unix)]
    const NO_FAMILY: i32 = libc::EAFNOSUPPORT;
    #[cfg(windows)]
    const NO_FAMILY: i32 = windows_sys::Win32::Networking::WinSock::WSAEAFNOSUPPORT;
    source.raw_os_error() == Some(NO_FAMILY) || source.kind() == ErrorKind::AddrNotAvailable
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    claim_address(&socket)?;
    Ok(socket)
}

fn listen(socket: Socket, address: SocketAddr, config: &Config) -> io::Result<TcpListener> {
    if let IpAddr::V6(ip) = address.ip() {
        // `::` means every interface, IPv4 included; any other address only itself.
        socket.set_only_v6(!ip.is_unspecified())?;
    }
    let options = SocketOptions { keepalive: config.keepalive };
    options.set_on(SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(config.backlog.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Lets other sockets of this user listen on the same address, if they permit it too.
#[cfg(target_os = "linux")]
fn share_port(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// [`Server::bind`](crate::Server::bind) does not ask for it.
#[cfg(not(target_os = "linux"))]
fn share_port(_: &SockRef<'_>) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// Lets a restarted server bind while old connections are in TIME_WAIT.
#[cfg(unix)]
fn claim_address(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// Prevents other programs from sharing the port, which SO_REUSEADDR would permit here. The price is that connections
/// of an earlier server that are still open keep the port.
#[cfg(windows)]
fn claim_address(socket: &Socket) -> io::Result<()> {
    crate::system::use_address_exclusively(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(host: &str, port: u16) -> Config {
        Config { host: host.to_owned(), port, ..Config::default() }
    }

    fn bound(host: &str) -> Vec<SocketAddr> {
        let bound = bind(&config(host, 0)).unwrap();
        bound.groups[0].iter().map(|listener| listener.local_addr().unwrap()).collect()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn connections_inherit_nodelay_from_their_listener() {
        let bound = bind(&config("127.0.0.1", 0)).unwrap();
        let listener = &bound.groups[0][0];
        let _peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        assert!(listener.accept().unwrap().0.nodelay().unwrap());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_backlog_limits_how_many_connections_are_queued() {
        let bound = bind(&Config { backlog: 4, ..config("127.0.0.1", 0) }).unwrap();
        let address = bound.groups[0][0].local_addr().unwrap();
        // Linux queues one more than the backlog and drops the SYNs of further ones, which time out.
        let timeout = std::time::Duration::from_millis(200);
        let connect = || std::net::TcpStream::connect_timeout(&address, timeout).ok();
        let queued: Vec<_> = std::iter::from_fn(connect).take(10).collect();
        assert_eq!(queued.len(), 5);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn with_reuseport_each_event_loop_has_a_socket_and_others_find_the_port_in_use() {
        let shared = Config { reuseport: true, threads: 3, ..config("127.0.0.1", 0) };
        let bound = bind(&shared).unwrap();
        let address = bound.groups[0][0].local_addr().unwrap();
        let peers: Vec<_> =
            (0..300).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let accepted = bound.groups.iter().map(|group| {
            let [listener] = &group[..] else { panic!("one address") };
            std::iter::from_fn(|| listener.accept().ok()).count()
        });
        let accepted: Vec<_> = accepted.collect();
        assert_eq!((accepted.len(), accepted.iter().sum()), (3, peers.len()));
        // By a hash: that one of them gets fewer than 30 of 300 is most unlikely.
        assert!(accepted.iter().all(|&count| count > 30), "{accepted:?}");
        for second in [shared.clone(), config("127.0.0.1", 0)] {
            let error = bind(&Config { port: address.port(), ..second }).err().unwrap();
            assert!(error.to_string().ends_with(": address in use"), "{error}");
        }
        // One connection needs one socket.
        assert_eq!(bind(&Config { once: true, ..shared }).unwrap().groups.len(), 1);
    }

    #[test]
    fn an_empty_host_is_every_ipv4_interface() {
        assert_eq!(bound("")[0].ip(), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }

    #[test]
    fn every_address_of_a_name_is_bound_on_one_port() {
        if echo_test_support::skipped_without_localhost(
            "every_address_of_a_name_is_bound_on_one_port",
        ) {
            return;
        }
        let addresses = bound("localhost");
        assert!(addresses.iter().all(|address| address.ip().is_loopback()), "{addresses:?}");
        assert!(addresses.iter().all(|address| address.port() == addresses[0].port()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn with_reuseport_each_event_loop_has_a_socket_for_each_address() {
        let shared = Config { reuseport: true, threads: 3, ..Config::default() };
        let both = ["127.0.0.1:0", "127.0.0.2:0"].map(|address| address.parse().unwrap());
        let bound = listen_on_all(&both, &shared).unwrap();
        let addresses = |group: &Vec<TcpListener>| {
            group.iter().map(|listener| listener.local_addr().unwrap()).collect::<Vec<_>>()
        };
        let groups: Vec<_> = bound.groups.iter().map(addresses).collect();
        let [first, second] = groups[0][..] else { panic!("two addresses: {groups:?}") };
        assert_eq!((first.ip(), second.ip()), (both[0].ip(), both[1].ip()));
        assert_eq!(first.port(), second.port());
        assert_eq!(groups, vec![vec![first, second]; 3]);
    }

    #[test]
    fn an_address_in_use_is_named_with_a_hint() {
        let first = bind(&config("127.0.0.1", 0)).unwrap();
        let port = first.groups[0][0].local_addr().unwrap().port();
        let error = bind(&config("127.0.0.1", port)).err().unwrap();
        assert_eq!(error.to_string(), format!("cannot listen on 127.0.0.1:{port}: address in use"));
        let hint = error.hint().unwrap();
        assert!(
            hint.contains(&format!("another program uses port {port}; find it with  ")),
            "{hint}"
        );
    }

    #[test]
    fn an_address_of_another_machine_is_named_with_a_hint() {
        // TEST-NET-3 (RFC 5737) is reserved for documentation.
        let error = bind(&config("203.0.113.1", 0)).err().unwrap();
        assert!(error.to_string().contains("203.0.113.1:0: address not available"), "{error}");
        assert!(error.hint().unwrap().contains("--host ''"));
    }

    #[test]
    fn a_name_that_does_not_resolve_is_named() {
        // A label is at most 63 bytes long, so this name fails without a query.
        let host = "x".repeat(64);
        let error = bind(&config(&host, 0)).err().unwrap();
        assert!(error.to_string().starts_with("cannot find the address of \"xxx"), "{error}");
    }

    /// Another program could take over the port otherwise.
    #[test]
    fn no_other_socket_can_share_the_port() {
        let first = bind(&config("127.0.0.1", 0)).unwrap();
        let address = first.groups[0][0].local_addr().unwrap();
        let thief = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        thief.set_reuse_address(true).unwrap();
        let stolen = thief.bind(&address.into()).and_then(|()| thief.listen(1));
        assert!(stolen.is_err(), "two sockets listen on {address}");
    }
}
