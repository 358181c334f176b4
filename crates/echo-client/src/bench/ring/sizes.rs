//! How much memory a ring takes.

use super::MAX_SEND;
use crate::platform::RingSetup;

/// Memory of the buffers, about, unless a few of the longest need more.
const POOL: usize = 1024 * 1024;

/// How large the parts of a ring are.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Sizes {
    pub(super) slots: usize,
    /// Requests handed over at once.
    pub(super) requests: u32,
    /// Buffers, a power of two, and how long they are.
    pub(super) buffers: u16,
    pub(super) buffer: usize,
    pub(super) arena: usize,
}

impl Sizes {
    /// For so many connections, with so many bytes in flight on each.
    pub(in crate::bench) fn of(slots: usize, bytes: u64) -> Self {
        // Twice as long as what is to come, so that more than that shows in one piece.
        let bytes = usize::try_from(bytes).unwrap_or(MAX_SEND).clamp(128, MAX_SEND / 2);
        let buffer = (2 * bytes).next_power_of_two();
        // What comes in a turn should fit; the memory should fit into the processor's cache.
        let wanted = (2 * slots).next_power_of_two();
        let buffers = wanted.clamp(16, (POOL / buffer).clamp(16, 4096)) as u16;
        let requests = wanted.clamp(64, 1024) as u32;
        Self { slots, requests, buffers, buffer, arena: 4 * MAX_SEND }
    }

    pub(super) fn setup(self) -> RingSetup {
        let Self { slots, requests, buffers, buffer, arena } = self;
        // Whatever can complete in a turn has a place: the sends, every buffer, and each slot's requests.
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
