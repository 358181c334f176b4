//! A peer address in half the space of [`SocketAddr`].

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

/// A [`SocketAddr`] in 16 bytes instead of 32. An IPv6 address is boxed.
pub(super) enum CompactAddr {
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

impl CompactAddr {
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::V4(address) => SocketAddr::V4(*address),
            Self::V6(address) => SocketAddr::V6(**address),
        }
    }
}

impl From<SocketAddr> for CompactAddr {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::V4(address),
            SocketAddr::V6(address) => Self::V6(Box::new(address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_conversion() {
        for address in ["127.0.0.1:7", "[::1]:65432"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(CompactAddr::from(address).address(), address);
        }
        assert!(size_of::<CompactAddr>() <= 16);
    }
}
