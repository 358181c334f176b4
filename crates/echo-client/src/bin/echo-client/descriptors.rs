//! The limit on open file descriptors.

/// Descriptors other than connections: standard streams, files, signals, and some per event loop.
#[cfg(unix)]
const RESERVE: usize = 16;
#[cfg(unix)]
const RESERVE_PER_THREAD: usize = 4;

/// Raises the soft limit on descriptors as far as the system allows, and fails if the connections still do
/// not fit: a run with some of them missing would be worse.
#[cfg(unix)]
pub(crate) fn raise_limit(connections: usize, threads: usize) -> anyhow::Result<()> {
    // On macOS and FreeBSD the hard limit may be higher than what the kernel grants (kern.maxfilesperproc). Raising
    // may be forbidden; the old limit then stays.
    let raised = rlimit::increase_nofile_limit(u64::MAX);
    let limit = raised.or_else(|_| rlimit::Resource::NOFILE.get_soft()).unwrap_or(rlimit::INFINITY);
    if (connections + RESERVE + RESERVE_PER_THREAD * threads) as u64 > limit {
        anyhow::bail!(
            "{connections} connections exceed the limit of {limit} file descriptors: raise it (ulimit -Hn), \
             or run several processes and merge their runs with  echo-client report --merge"
        );
    }
    Ok(())
}

/// Where sockets are not file descriptors, memory is the limit.
#[cfg(not(unix))]
pub(crate) fn raise_limit(_: usize, _: usize) -> anyhow::Result<()> {
    Ok(())
}
