//! The limit on descriptors, which limits connections.

/// Descriptors reserved for everything but connections: standard streams, listeners, signals, and a few per
/// event loop.
#[cfg(unix)]
const RESERVE: usize = 16;
#[cfg(unix)]
const RESERVE_PER_THREAD: usize = 4;

/// Raises the soft limit on descriptors as far as the system allows, and returns how many connections it allows;
/// `None` if there is no limit. The soft limit is low only for programs that use select(2).
#[cfg(unix)]
pub(crate) fn raise(threads: usize) -> Option<usize> {
    // On macOS and FreeBSD the hard limit may be higher than what the kernel grants (kern.maxfilesperproc). Fails in
    // some sandboxes; the old limit then stays.
    let raised = rlimit::increase_nofile_limit(u64::MAX);
    let limit = raised.or_else(|_| rlimit::Resource::NOFILE.get_soft());
    let limit = limit.ok().filter(|&limit| limit != rlimit::INFINITY)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Some(limit.saturating_sub(RESERVE + RESERVE_PER_THREAD * threads).max(1))
}

/// Sockets are not limited by descriptors here, only by memory.
#[cfg(not(unix))]
pub(crate) fn raise(_: usize) -> Option<usize> {
    None
}
