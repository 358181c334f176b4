//! How many descriptors, and so connections, the system allows.

/// Descriptors for everything that is not a connection: standard streams, listeners, signals, and a few
/// for each event loop.
#[cfg(unix)]
const RESERVE: usize = 16;
#[cfg(unix)]
const RESERVE_PER_THREAD: usize = 4;

/// Raises the soft limit on descriptors to the hard one, and returns how many connections fit; `None` if
/// there is no limit. A process has the soft limit for the sake of old programs that use select(2).
#[cfg(unix)]
pub(crate) fn raise(threads: usize) -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // It may be forbidden, and on macOS "unlimited" is more than it takes. Then the old one stays.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    let limit = usize::try_from(limit?).unwrap_or(usize::MAX);
    Some(limit.saturating_sub(RESERVE + RESERVE_PER_THREAD * threads).max(1))
}

/// Where sockets are no descriptors, memory is the limit.
#[cfg(not(unix))]
pub(crate) fn raise(_: usize) -> Option<usize> {
    None
}
