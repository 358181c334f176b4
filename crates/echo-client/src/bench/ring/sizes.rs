//! The sizes of a ring.

use super::MAX_SEND;
use crate::platform::RingSetup;

/// The most memory for buffers, unless 16 of them need more.
const POOL: usize = 1024 * 1024;

/// The sizes of the parts of a ring.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Sizes {
    pub(super) slots: usize,
    /// Entries of the submission queue.
    pub(super) requests: u32,
    /// Number of buffers, a power of two.
    pub(super) buffers: u16,
    /// Bytes per buffer.
    pub(super) buffer: usize,
    /// Bytes of the send arena.
    pub(super) arena: usize,
}

impl Sizes {
    /// For `slots` connections with up to `bytes` in flight on each.
    pub(in crate::bench) fn of(slots: usize, bytes: u64) -> Self {
        // Twice as large as an echo, so that extra bytes arrive in the same piece.
        let bytes = usize::try_from(bytes).unwrap_or(MAX_SEND).clamp(128, MAX_SEND / 2);
        let buffer = (2 * bytes).next_power_of_two();
        // Enough for what arrives between two waits, but within the processor's cache.
        let wanted = (2 * slots).next_power_of_two();
        let buffers = wanted.clamp(16, (POOL / buffer).clamp(16, 4096)) as u16;
        let requests = wanted.clamp(64, 1024) as u32;
        Self { slots, requests, buffers, buffer, arena: 4 * MAX_SEND }
    }

    pub(super) fn setup(self) -> RingSetup {
        let Self { slots, requests, buffers, buffer, arena } = self;
        // Room for everything that can complete between two waits: sends, every buffer, and each slot's operations.
        let completions = requests as usize + usize::from(buffers) + 3 * slots + 16;
        RingSetup {
            entries: requests,
            cq_entries: u32::try_from(completions).unwrap_or(u32::MAX),
            buffers,
            buffer_size: buffer,
            arena_size: arena,
            no_sqarray: false,
        }
    }
}
