//! The limit on descriptors, which limits connections.

/// Descriptors reserved for everything but connections: standard streams, listeners, signals, and a few per
/// event loop.
#[cfg(unix)]
const RESERVE: usize = 16;
#[cfg(unix)]
const RESERVE_PER_THREAD: usize = 4;

/// Raises the soft limit on descriptors to the hard limit, and returns how many connections it allows; `None` if
/// there is no limit. The soft limit is low only for programs that use select(2).
#[cfg(unix)]
pub(crate) fn raise(threads: usize) -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Fails in some sandboxes, and on macOS for "unlimited"; the old limit then stays.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    let limit = usize::try_from(limit?).unwrap_or(usize::MAX);
    Some(limit.saturating_sub(RESERVE + RESERVE_PER_THREAD * threads).max(1))
}

/// Sockets are not limited by descriptors here, only by memory.
#[cfg(not(unix))]
pub(crate) fn raise(_: usize) -> Option<usize> {
    None
}
