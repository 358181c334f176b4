//! What a server holds, as the system sees it.

use std::fmt;

use crate::Server;

/// Descriptors, threads and memory of a process. All of them 0 where there is no `/proc`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Open files and sockets.
    pub descriptors: usize,
    /// Threads.
    pub threads: u64,
    /// Resident memory in KiB, without the pages of the program file, which come and go as the system likes.
    pub memory_kib: u64,
}

impl Held {
    /// What the server holds now; nothing if it is gone.
    pub fn by(server: &Server) -> Self {
        let folder = format!("/proc/{}", server.process.id());
        let status = std::fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let descriptors = std::fs::read_dir(format!("{folder}/fd")).map_or(0, Iterator::count);
        Self { descriptors, threads: field("Threads:"), memory_kib: field("RssAnon:") }
    }

    /// The larger of both figures, each for itself.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        Self {
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
            memory_kib: self.memory_kib.max(other.memory_kib),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { descriptors, threads, memory_kib } = self;
        write!(f, "{descriptors} descriptors, {threads} threads, {memory_kib} KiB")
    }
}
