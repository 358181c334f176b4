//! The limit on open file descriptors.

/// Descriptors other than connections: standard streams, files, signals, and some per event loop.
#[cfg(unix)]
const RESERVE: usize = 16;
#[cfg(unix)]
const RESERVE_PER_THREAD: usize = 4;

/// Raises the soft limit on descriptors to the hard limit, and fails if the connections still do
/// not fit: a run with some of them missing would be worse.
#[cfg(unix)]
pub(crate) fn raise_limit(connections: usize, threads: usize) -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // May be forbidden, and on macOS "unlimited" is out of range. Then the old limit stays.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let Some(limit) = (if raised.is_ok() { maximum } else { current }) else { return Ok(()) };
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
