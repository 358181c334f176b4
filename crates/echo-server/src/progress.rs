//! The progress of a peer in receiving what it is owed.
//!
//! A deadline that any progress renews can be postponed forever: a peer that reads one byte per minute would hold
//! its 64 KiB for six weeks. Only a [step](STEP) of 1 KiB renews it, or receiving everything. At the default
//! `--write-timeout` of 60 s that is 17 bytes per second, slower than the slowest modem.
//!
//! Only what the peer's system accepts can be seen, not what the peer reads: a full receive buffer is not refilled
//! before about half of it is free (RFC 9293, 3.8.6.2.2), so a slow reader progresses in steps of that size.

/// Milliseconds since an epoch of the caller's choice. It does not wrap within the life of a machine.
pub(crate) type Millis = u64;

/// Bytes that a peer must receive to renew its deadline.
pub(crate) const STEP: u32 = if cfg!(simulation) { 8 } else { 1024 };

/// The bytes a peer has yet to receive, and when it last received a step of them.
///
/// The caller counts outstanding bytes, always in the same way: either those not sent yet, or those that the peer's
/// system has not acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SendProgress {
    outstanding: u32,
    since: Millis,
}

impl SendProgress {
    /// Starts observing a peer with `outstanding` bytes to receive.
    pub(crate) fn start(outstanding: usize, now: Millis) -> Self {
        Self { outstanding: saturate(outstanding), since: now }
    }

    /// Records the number of bytes outstanding now.
    pub(crate) fn observe(&mut self, outstanding: usize, now: Millis) {
        let outstanding = saturate(outstanding);
        let taken = self.outstanding.saturating_sub(outstanding);
        if taken >= STEP || outstanding == 0 && taken > 0 {
            *self = Self { outstanding, since: now };
        }
        // It may have grown: the peer has to receive the new bytes too.
        self.outstanding = self.outstanding.max(outstanding);
    }

    /// Milliseconds since the peer last made a step of progress.
    pub(crate) fn stalled_for(&self, now: Millis) -> Millis {
        now.saturating_sub(self.since)
    }
}

fn saturate(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_bytes_do_not_renew_the_deadline_and_steps_do() {
        let mut progress = SendProgress::start(64 * 1024, 0);
        for taken in 1..STEP as usize {
            progress.observe(64 * 1024 - taken, taken as Millis);
        }
        assert_eq!(progress.stalled_for(1023), 1023);
        progress.observe(64 * 1024 - STEP as usize, 1024);
        assert_eq!(progress.stalled_for(1024), 0);
        progress.observe(0, 1030);
        assert_eq!((progress.stalled_for(1030), progress.stalled_for(1040)), (0, 10));
    }

    #[test]
    fn a_peer_with_nothing_to_take_makes_no_progress() {
        let mut progress = SendProgress::start(0, 5);
        progress.observe(0, 10);
        assert_eq!(progress.stalled_for(10), 5);
        progress.observe(10, 20);
        progress.observe(0, 30);
        assert_eq!(progress.stalled_for(31), 1);
    }

    #[test]
    fn fifty_days_are_fifty_days() {
        let day = 24 * 60 * 60 * 1000;
        assert_eq!(SendProgress::start(1, 0).stalled_for(50 * day), 50 * day);
    }
}
