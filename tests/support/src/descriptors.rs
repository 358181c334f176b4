//! The limit on descriptors.

/// Raises this program's limit on descriptors as far as possible; started programs inherit it. Returns the limit,
/// or `None` if there is none.
#[cfg(unix)]
#[must_use]
pub fn raise_descriptor_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // A sandbox may forbid it, and macOS does not accept "unlimited": then the old limit stays.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if raised.is_ok() { maximum } else { current }
}

/// Sockets are not limited by descriptors here, only by memory.
#[cfg(not(unix))]
#[must_use]
pub fn raise_descriptor_limit() -> Option<u64> {
    None
}
