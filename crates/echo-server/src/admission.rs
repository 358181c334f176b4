//! Limits on the number of connections, in total and per peer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Config, RefuseReason};

/// Counts open connections and admits new ones within the limits.
pub(crate) struct Admission {
    max_connections: usize,
    max_per_peer: Option<usize>,
    /// The bits of an IPv6 address that identify a peer.
    mask_v6: u128,
    open: AtomicUsize,
    /// Connections by peer; empty without a limit per peer.
    by_peer: Mutex<HashMap<IpAddr, usize>>,
}

impl Admission {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            max_connections: config.max_connections.unwrap_or(usize::MAX),
            max_per_peer: config.max_per_peer,
            mask_v6: u128::MAX.checked_shl(128 - u32::from(config.peer_prefix_v6)).unwrap_or(0),
            open: AtomicUsize::new(0),
            by_peer: Mutex::default(),
        }
    }

    /// Admits a connection, which must be [released](Self::release) when it has ended.
    ///
    /// Several threads may call this. A connection is refused only if a limit is reached: one that is refused for
    /// its peer must not count among all for a moment, so the count of all is increased only when the other permits
    /// it, under the lock of the latter.
    pub(crate) fn admit(&self, peer: SocketAddr) -> Result<(), RefuseReason> {
        let Some(max) = self.max_per_peer else { return self.count() };
        let (peer, mut by_peer) = (self.key(peer), self.by_peer());
        let count = by_peer.get(&peer).copied().unwrap_or(0);
        if count < max {
            self.count()?;
            by_peer.insert(peer, count + 1);
            Ok(())
        } else if self.open.load(Relaxed) >= self.max_connections {
            Err(RefuseReason::Connections)
        } else {
            Err(RefuseReason::PerPeer)
        }
    }

    /// Counts one more connection, unless the limit is reached.
    fn count(&self) -> Result<(), RefuseReason> {
        let more = |open| (open < self.max_connections).then_some(open + 1);
        let counted = self.open.fetch_update(Relaxed, Relaxed, more);
        counted.map(drop).map_err(|_| RefuseReason::Connections)
    }

    /// Counts an admitted connection as ended.
    pub(crate) fn release(&self, peer: SocketAddr) {
        self.open.fetch_sub(1, Relaxed);
        if self.max_per_peer.is_some() {
            let (peer, mut by_peer) = (self.key(peer), self.by_peer());
            if let Some(count) = by_peer.get_mut(&peer) {
                *count -= 1;
                if *count == 0 {
                    // Without this, the map would grow with every peer that has ever connected.
                    by_peer.remove(&peer);
                }
            }
        }
    }

    /// The number of admitted connections that have not ended.
    #[cfg(simulation)]
    pub(crate) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// What identifies a peer. An IPv4 peer is the same one on a dual-stack listener.
    fn key(&self, peer: SocketAddr) -> IpAddr {
        match peer.ip().to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & self.mask_v6).into(),
        }
    }

    fn by_peer(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_peer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    fn admission(max_connections: usize, max_per_peer: Option<usize>) -> Admission {
        let max_connections = Some(max_connections);
        Admission::new(&Config { max_connections, max_per_peer, ..Config::default() })
    }

    #[test]
    fn a_released_place_is_free_again() {
        let admission = admission(2, None);
        let peer = "192.0.2.1:1".parse().unwrap();
        assert_eq!((admission.admit(peer), admission.admit(peer)), (Ok(()), Ok(())));
        assert_eq!(admission.admit(peer), Err(RefuseReason::Connections));
        admission.release(peer);
        assert_eq!(admission.admit(peer), Ok(()));
    }

    #[test]
    fn limits_are_exact_with_several_accepting_threads() {
        const THREADS: usize = 4;
        for (max_connections, max_per_peer) in [(3, None), (THREADS, Some(3))] {
            let admission = admission(max_connections, max_per_peer);
            let peer = "192.0.2.1:1".parse().unwrap();
            let (start, (most, open)) =
                (Barrier::new(THREADS), (AtomicUsize::new(0), AtomicUsize::new(0)));
            thread::scope(|scope| {
                let connect = || {
                    start.wait();
                    for _ in 0..20_000 {
                        if admission.admit(peer).is_ok() {
                            most.fetch_max(open.fetch_add(1, Relaxed) + 1, Relaxed);
                            thread::yield_now();
                            open.fetch_sub(1, Relaxed);
                            admission.release(peer);
                        }
                    }
                };
                (0..THREADS).for_each(|_| drop(scope.spawn(connect)));
            });
            let most = most.into_inner();
            assert!(most <= 3, "{most} with {max_connections}, {max_per_peer:?}");
            assert_eq!(
                (admission.open.into_inner(), admission.by_peer.into_inner().unwrap().len()),
                (0, 0)
            );
        }
    }

    #[test]
    fn a_connection_refused_for_its_peer_takes_no_place_for_a_moment() {
        let admission = admission(2, Some(1));
        let (refused, admitted) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:1".parse().unwrap());
        admission.admit(refused).unwrap();
        let (start, ended) = (Barrier::new(3), AtomicBool::new(false));
        let failed = thread::scope(|scope| {
            let refuse = || {
                start.wait();
                while !ended.load(Relaxed) {
                    admission.admit(refused).unwrap_err();
                }
            };
            (0..2).for_each(|_| drop(scope.spawn(refuse)));
            start.wait();
            let admit = || admission.admit(admitted).map(|()| admission.release(admitted));
            let failed = (0..50_000).filter(|_| admit().is_err()).count();
            ended.store(true, Relaxed);
            failed
        });
        assert_eq!(failed, 0);
    }

    #[test]
    fn an_address_is_one_peer_with_any_port_and_notation() {
        let admission = admission(9, Some(1));
        let (first, second) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:1".parse().unwrap());
        let mapped = "[::ffff:192.0.2.1]:2".parse().unwrap();
        assert_eq!((admission.admit(first), admission.admit(second)), (Ok(()), Ok(())));
        assert_eq!(admission.admit(mapped), Err(RefuseReason::PerPeer));
        admission.release(first);
        assert_eq!(admission.admit(mapped), Ok(()));
        admission.release(mapped);
        admission.release(second);
        assert!(admission.by_peer().is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_peer_with_all_its_addresses() {
        let [one, same, other] = ["[2001:db8::1]:1", "[2001:db8::ffff:2]:1", "[2001:db8:0:1::1]:1"]
            .map(|peer| peer.parse().unwrap());
        let limited = |peer_prefix_v6| {
            Admission::new(&Config { max_per_peer: Some(1), peer_prefix_v6, ..Config::default() })
        };
        for (prefix, same_is, other_is) in [
            (64, Err(RefuseReason::PerPeer), Ok(())),
            (128, Ok(()), Ok(())),
            (1, Err(RefuseReason::PerPeer), Err(RefuseReason::PerPeer)),
        ] {
            let admission = limited(prefix);
            let admitted = [one, same, other].map(|peer| admission.admit(peer));
            assert_eq!(admitted, [Ok(()), same_is, other_is], "/{prefix}");
        }
        let admission = limited(64);
        admission.admit(one).unwrap();
        admission.release(one);
        assert_eq!(admission.admit(same), Ok(()));
    }
}
