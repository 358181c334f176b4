//! Who may connect: limits on connections, in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Config, RefuseReason};

/// Keeps count of the connections that are open.
pub(crate) struct Admission {
    max_connections: usize,
    max_per_peer: Option<usize>,
    open: AtomicUsize,
    /// Connections by address; empty without a limit on them.
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Admission {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            max_connections: config.max_connections.unwrap_or(usize::MAX),
            max_per_peer: config.max_per_peer,
            open: AtomicUsize::new(0),
            by_address: Mutex::default(),
        }
    }

    /// Lets a connection in, which must be [released](Self::release) when it has ended. Called by one
    /// thread, so that nobody gets in between the look and the count.
    pub(crate) fn admit(&self, peer: SocketAddr) -> Result<(), RefuseReason> {
        if self.open.load(Relaxed) >= self.max_connections {
            return Err(RefuseReason::Connections);
        }
        if let Some(max) = self.max_per_peer {
            let mut by_address = self.by_address();
            let count = by_address.get(&address(peer)).copied().unwrap_or(0);
            if count >= max {
                return Err(RefuseReason::PerPeer);
            }
            by_address.insert(address(peer), count + 1);
        }
        self.open.fetch_add(1, Relaxed);
        Ok(())
    }

    pub(crate) fn release(&self, peer: SocketAddr) {
        self.open.fetch_sub(1, Relaxed);
        if self.max_per_peer.is_some() {
            let mut by_address = self.by_address();
            if let Some(count) = by_address.get_mut(&address(peer)) {
                *count -= 1;
                if *count == 0 {
                    // What is kept for addresses that have left would grow without bound.
                    by_address.remove(&address(peer));
                }
            }
        }
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An IPv4 peer is the same one on a listener for both families.
fn address(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(max_connections: usize, max_per_peer: Option<usize>) -> Admission {
        let max_connections = Some(max_connections);
        Admission::new(&Config { max_connections, max_per_peer, ..Config::default() })
    }

    #[test]
    fn a_place_that_is_given_back_is_free_again() {
        let admission = admission(2, None);
        let peer = "192.0.2.1:1".parse().unwrap();
        assert_eq!((admission.admit(peer), admission.admit(peer)), (Ok(()), Ok(())));
        assert_eq!(admission.admit(peer), Err(RefuseReason::Connections));
        admission.release(peer);
        assert_eq!(admission.admit(peer), Ok(()));
    }

    #[test]
    fn an_address_is_one_peer_whatever_its_port_or_notation() {
        let admission = admission(9, Some(1));
        let (first, second) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:1".parse().unwrap());
        let mapped = "[::ffff:192.0.2.1]:2".parse().unwrap();
        assert_eq!((admission.admit(first), admission.admit(second)), (Ok(()), Ok(())));
        assert_eq!(admission.admit(mapped), Err(RefuseReason::PerPeer));
        admission.release(first);
        assert_eq!(admission.admit(mapped), Ok(()));
        admission.release(mapped);
        admission.release(second);
        assert!(admission.by_address().is_empty());
    }
}
