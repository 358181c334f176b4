//! How a worker sends and receives.

use std::io;

use clap::ValueEnum;

use super::ring::{Ring, Sizes, probe};
use crate::Error;

/// The I/O interface that moves the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// io_uring for messages below 16 KiB where it works, otherwise readiness
    #[default]
    Auto,
    /// One system call per send and receive, on sockets reported as ready (epoll, kqueue)
    Readiness,
    /// One system call for all pending operations: io_uring(7), Linux 6.1 or later
    Uring,
}

/// Bytes per message from which readiness reaches higher rates: all connections share one buffer, which stays in the
/// processor's cache, while io_uring fills a buffer for each of them before the first is read.
const LARGE: u64 = 16 * 1024;

impl Engine {
    /// Chooses, if that is left to the program, by the size of a message on the wire.
    pub(super) fn for_messages_of(self, bytes: u64) -> Self {
        if self == Self::Auto && bytes >= LARGE { Self::Readiness } else { self }
    }
}

/// One ring per worker, sized for its connections and the bytes in flight on each. Empty if
/// readiness is to be used.
///
/// # Errors
///
/// io_uring was requested by name and does not work here.
pub(super) fn rings(
    engine: Engine,
    workers: usize,
    connections: usize,
    bytes: u64,
) -> Result<Vec<Ring>, Error> {
    if engine == Engine::Readiness {
        return Ok(Vec::new());
    }
    let rings = probe().and_then(|()| {
        let sizes = Sizes::of(connections, bytes);
        (0..workers).map(|_| Ring::new(sizes)).collect::<io::Result<Vec<_>>>()
    });
    match rings {
        Err(error) if engine == Engine::Uring => Err(Error::Uring(error)),
        rings => Ok(rings.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_the_default_for_large_messages_only() {
        assert_eq!(Engine::Auto.for_messages_of(LARGE - 1), Engine::Auto);
        assert_eq!(Engine::Auto.for_messages_of(LARGE), Engine::Readiness);
        assert_eq!(Engine::Uring.for_messages_of(LARGE), Engine::Uring);
    }
}
