//! How many connections the system lets a program have.

/// Descriptors for everything that is not a connection: standard streams, files, signals, and some for each
/// event loop.
#[cfg(unix)]
const RESERVE: usize = 16;
#[cfg(unix)]
const RESERVE_PER_THREAD: usize = 4;

/// Raises the soft limit on descriptors to the hard one, and fails if the connections do not fit even so:
/// better than a run in which some of them are missing.
#[cfg(unix)]
pub(crate) fn raise_limit(connections: usize, threads: usize) -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // It may be forbidden, and on macOS "unlimited" is more than it takes. Then the old one stays.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let Some(limit) = (if raised.is_ok() { maximum } else { current }) else { return Ok(()) };
    if (connections + RESERVE + RESERVE_PER_THREAD * threads) as u64 > limit {
        anyhow::bail!(
            "{connections} connections are more than the limit of {limit} descriptors allows: raise it \
             (ulimit -Hn), or share the load between several processes and add up their runs with  \
             echo-client report --merge"
        );
    }
    Ok(())
}

/// Where sockets are no descriptors, memory is the limit.
#[cfg(not(unix))]
pub(crate) fn raise_limit(_: usize, _: usize) -> anyhow::Result<()> {
    Ok(())
}
