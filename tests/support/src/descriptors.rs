//! The limit on descriptors.

/// Raises this program's limit on descriptors as far as possible; started programs inherit it. Returns the limit,
/// or `None` if there is none.
#[cfg(unix)]
#[must_use]
pub fn raise_descriptor_limit() -> Option<u64> {
    // A sandbox may forbid it: then the old limit stays.
    let raised = rlimit::increase_nofile_limit(u64::MAX);
    let limit = raised.or_else(|_| rlimit::Resource::NOFILE.get_soft());
    limit.ok().filter(|&limit| limit != rlimit::INFINITY)
}

/// Sockets are not limited by descriptors here, only by memory.
#[cfg(not(unix))]
#[must_use]
pub fn raise_descriptor_limit() -> Option<u64> {
    None
}
