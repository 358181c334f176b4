//! The limit on descriptors, which limits connections.

/// Descriptors reserved for everything but connections: standard streams, listeners, signals, and a few per
/// event loop.
#[cfg(unix)]
const RESERVE: usize = 16;
#[cfg(unix)]
const RESERVE_PER_LOOP: usize = 4;
/// Listeners of each further event loop with `--reuseport`: one for each address of the host. Few names have more.
#[cfg(unix)]
const LISTENERS_PER_LOOP: usize = 4;

/// Pipes per event loop, if there are enough descriptors.
#[cfg(unix)]
const MAX_PIPES: usize = if cfg!(target_os = "linux") { 16 } else { 0 };
/// With fewer descriptors than this, in total or per event loop, none is used for pipes.
#[cfg(unix)]
const PIPES_FROM: usize = 1024;
#[cfg(unix)]
const PIPES_FROM_PER_LOOP: usize = 128;

/// How the descriptors are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections; `None` if their number is not limited by descriptors.
    pub(crate) connections: Option<usize>,
    /// Pipes per event loop.
    pub(crate) pipes: usize,
}

/// Raises the soft limit on descriptors as far as the system allows. The soft limit is low only for programs that use
/// select(2).
#[cfg(unix)]
pub(crate) fn raise(event_loops: usize, reuseport: bool) -> Limits {
    // On macOS and FreeBSD the hard limit may be higher than what the kernel grants (kern.maxfilesperproc). Fails in
    // some sandboxes; the old limit then stays.
    let raised = rlimit::increase_nofile_limit(u64::MAX);
    let limit = raised.or_else(|_| rlimit::Resource::NOFILE.get_soft());
    let limit = limit.ok().filter(|&limit| limit != rlimit::INFINITY);
    divide(limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)), event_loops, reuseport)
}

/// Divides this many descriptors; `None` is an unlimited number.
#[cfg(unix)]
fn divide(limit: Option<usize>, event_loops: usize, reuseport: bool) -> Limits {
    let enough = PIPES_FROM.max(PIPES_FROM_PER_LOOP * event_loops);
    let pipes = if limit.is_none_or(|limit| limit >= enough) { MAX_PIPES } else { 0 };
    let further = if reuseport { event_loops.saturating_sub(1) } else { 0 };
    let each = RESERVE_PER_LOOP + 2 * pipes;
    let reserve = RESERVE + each * event_loops + LISTENERS_PER_LOOP * further;
    Limits { connections: limit.map(|limit| limit.saturating_sub(reserve).max(1)), pipes }
}

/// Sockets are not limited by descriptors here, only by memory.
#[cfg(not(unix))]
pub(crate) fn raise(_: usize, _: bool) -> Limits {
    Limits { connections: None, pipes: 0 }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn pipes_leave_descriptors_for_connections() {
        let [few, many] = [64, 1024].map(|limit| divide(Some(limit), 2, false));
        assert_eq!(few, Limits { connections: Some(40), pipes: 0 });
        assert_eq!(many, Limits { connections: Some(936), pipes: 16 });
        // As many as without pipes.
        assert_eq!(divide(Some(1024), 32, false), Limits { connections: Some(880), pipes: 0 });
        assert_eq!(divide(None, 2, false), Limits { connections: None, pipes: 16 });
        // An engine without event loops.
        assert_eq!(divide(Some(1024), 0, false).connections, Some(1008));
    }

    #[test]
    fn the_listeners_of_further_event_loops_leave_descriptors_for_connections() {
        let connections = |threads| divide(Some(1024), threads, true).connections;
        let alone = |threads| divide(Some(1024), threads, false).connections;
        assert_eq!(connections(1), alone(1));
        assert_eq!((connections(2), connections(32)), (Some(932), Some(756)));
    }
}
