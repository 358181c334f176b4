//! How many descriptors a program may have.

/// Raises this program's limit on descriptors, which those that it starts inherit, as far as it may be raised.
/// Returns the limit; `None` where there is none.
#[cfg(unix)]
#[must_use]
pub fn raise_descriptor_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // It may be forbidden, and on macOS "unlimited" is more than it takes. Then the old one stays.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if raised.is_ok() { maximum } else { current }
}

/// Where sockets are no descriptors, memory is the limit.
#[cfg(not(unix))]
#[must_use]
pub fn raise_descriptor_limit() -> Option<u64> {
    None
}
