//! How a worker sends and receives.

use std::io;

use clap::ValueEnum;

use super::ring::{Ring, Sizes, probe};
use crate::Error;

/// The I/O interface that moves the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// io_uring where it works, unless a connection has 16 KiB or more in flight; otherwise readiness
    #[default]
    Auto,
    /// One system call per send and receive, on sockets reported as ready (epoll, kqueue)
    Readiness,
    /// One system call for all pending operations: io_uring(7), Linux 6.1 or later
    Uring,
}

/// The bytes in flight per connection from which [`Engine::Auto`] does not choose io_uring. What the kernel receives for all
/// connections together no longer fits into the processor's cache, while readiness uses one buffer for them all.
const LARGE: u64 = 16 * 1024;

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
    if engine == Engine::Readiness || engine == Engine::Auto && bytes >= LARGE {
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
    fn by_default_io_uring_is_for_small_messages() {
        let count = |engine, bytes| rings(engine, 2, 1, bytes).map_or(0, |rings| rings.len());
        let available = 2 * usize::from(probe().is_ok());
        assert_eq!(count(Engine::Auto, LARGE - 1), available);
        assert_eq!(count(Engine::Auto, LARGE), 0);
        assert_eq!(count(Engine::Uring, LARGE), available);
    }
}
