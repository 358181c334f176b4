//! The kernel's table of sockets, as `netstat` reads it (Linux: proc_net_tcp in the kernel's
//! documentation).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state number of a listening socket, `TCP_LISTEN` in the kernel's `net/tcp_states.h`.
const LISTEN: &str = "0A";

/// The addresses with a listening socket on `port`; `None` on a system without this table.
pub(crate) fn listening_on(port: u16) -> Option<Vec<IpAddr>> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables: Vec<_> = tables.iter().flat_map(std::fs::read_to_string).collect();
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    (!tables.is_empty()).then(|| rows.filter_map(|row| listener(row, port)).collect())
}

/// What waits in the queues of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queues {
    /// What was written and the other end's system has not acknowledged.
    pub(crate) send: usize,
    /// What has arrived and was not read.
    pub(crate) receive: usize,
}

/// The queues of both ends of a connection on this machine. `None` where there is no such table or connection.
pub(crate) fn queues_of_both_ends(near: SocketAddr, far: SocketAddr) -> Option<(Queues, Queues)> {
    let path = if near.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let table = std::fs::read_to_string(path).ok()?;
    let queues = |from, to| table.lines().skip(1).find_map(|row| queues_in(row, from, to));
    queues(near, far).zip(queues(far, near))
}

/// How many connections the kernel has reset because it was out of memory for TCP (`TCPAbortOnMemory`); 0 where it does
/// not tell.
pub(crate) fn reset_for_lack_of_memory() -> u64 {
    let counters = std::fs::read_to_string("/proc/net/netstat").unwrap_or_default();
    let mut lines = counters.lines().map(str::split_whitespace);
    let named = lines.next().into_iter().flatten().zip(lines.next().into_iter().flatten());
    let count = named.into_iter().find(|(name, _)| *name == "TCPAbortOnMemory");
    count.and_then(|(_, count)| count.parse().ok()).unwrap_or(0)
}

/// Reads `0: 0100007F:FF98 0100007F:1234 01 0000002A:00000000 …`: number, the two addresses, state, the queues.
fn queues_in(row: &str, local: SocketAddr, remote: SocketAddr) -> Option<Queues> {
    let mut columns = row.split_whitespace().skip(1);
    let is = |column: &str, address: SocketAddr| {
        // The port first: it tells most rows apart.
        let (host, port) = column.split_once(':')?;
        let matches = u16::from_str_radix(port, 16).ok()? == address.port()
            && parse_address(host)? == address.ip();
        matches.then_some(())
    };
    is(columns.next()?, local)?;
    is(columns.next()?, remote)?;
    let (send, receive) = columns.nth(1)?.split_once(':')?;
    let count = |digits| usize::from_str_radix(digits, 16).ok();
    Some(Queues { send: count(send)?, receive: count(receive)? })
}

/// Reads `0: 0100007F:FF98 00000000:0000 0A …`: number, local address, remote address, state.
fn listener(row: &str, port: u16) -> Option<IpAddr> {
    let mut columns = row.split_whitespace().skip(1);
    let (address, port_number) = columns.next()?.split_once(':')?;
    let state = columns.nth(1)?;
    let port_number = u16::from_str_radix(port_number, 16).ok()?;
    (state == LISTEN && port_number == port).then(|| parse_address(address)).flatten()
}

/// Each group of eight digits is a number in the machine's byte order that holds four bytes in the
/// network's.
fn parse_address(digits: &str) -> Option<IpAddr> {
    let groups = digits.as_bytes().chunks(8);
    let words = groups.map(|group| u32::from_str_radix(str::from_utf8(group).ok()?, 16).ok());
    let bytes: Vec<u8> =
        words.collect::<Option<Vec<_>>>()?.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let v4 = || <[u8; 4]>::try_from(bytes.as_slice()).map(Ipv4Addr::from).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes.as_slice()).map(Ipv6Addr::from).map(IpAddr::from);
    v4().or_else(|_| v6()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn rows_are_read_as_the_kernel_writes_them() {
        let row = "  0: 0100007F:FF98 00000000:0000 0A 00000000:00000000 00:00000000 00000000";
        assert_eq!(listener(row, 65432), Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(listener(row, 65433), None);
        assert_eq!(listener(&row.replace(" 0A ", " 01 "), 65432), None);
        let row = "  0: 00000000000000000000000001000000:FF98 0:0000 0A 00000000:00000000";
        assert_eq!(listener(row, 65432), Some(IpAddr::from(Ipv6Addr::LOCALHOST)));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn the_queues_of_a_connection_stand_in_the_row_of_its_socket() {
        let row = " 1: 0100007F:FF98 0200007F:0007 01 0000002A:00000010 00:00000000 00000000";
        let of = |local: &str, remote: &str| {
            queues_in(row, local.parse().unwrap(), remote.parse().unwrap())
        };
        let expected = Queues { send: 42, receive: 16 };
        assert_eq!(of("127.0.0.1:65432", "127.0.0.2:7"), Some(expected));
        assert_eq!(of("127.0.0.2:7", "127.0.0.1:65432"), None);
        assert_eq!(of("127.0.0.1:65432", "127.0.0.2:8"), None);
    }
}
