//! Descriptors, threads and memory of a server.

use std::fmt;

use crate::Server;

/// Descriptors, threads and memory of a process; all 0 on a system without `/proc`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResourceUsage {
    /// Open files and sockets.
    pub descriptors: usize,
    /// Threads.
    pub threads: u64,
    /// Resident memory in KiB, without file-backed pages, which the system may drop and reload at any time.
    pub memory_kib: u64,
}

impl ResourceUsage {
    /// The present usage of the server; all 0 if it has ended.
    pub fn of(server: &Server) -> Self {
        let folder = format!("/proc/{}", server.process.id());
        let status = std::fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let descriptors = std::fs::read_dir(format!("{folder}/fd")).map_or(0, Iterator::count);
        Self { descriptors, threads: field("Threads:"), memory_kib: field("RssAnon:") }
    }

    /// The maximum of each figure.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        Self {
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
            memory_kib: self.memory_kib.max(other.memory_kib),
        }
    }
}

impl fmt::Display for ResourceUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { descriptors, threads, memory_kib } = self;
        write!(f, "{descriptors} descriptors, {threads} threads, {memory_kib} KiB")
    }
}
