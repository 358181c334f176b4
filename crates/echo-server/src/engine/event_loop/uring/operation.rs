//! The operations of a worker's ring, as the `user_data` of their completions tells them apart.

use echo_ring::UserData;

/// What an operation is for. All but the first two and the last are a connection's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    /// Reports that another thread has woken this one.
    Wake,
    /// Reports that there are connections to accept; the slot is the index of the listener.
    Accept,
    /// Reports that there is something to read.
    PollIn,
    /// Reports that there is room to write.
    PollOut,
    /// Receives.
    RecvMultishot,
    /// Sends back what was received. Completes only if there was not enough room.
    Send,
    /// Ends one of these. Completes only if there was none.
    Cancel,
}

impl Operation {
    const ALL: [Self; 7] = [
        Self::Wake,
        Self::Accept,
        Self::PollIn,
        Self::PollOut,
        Self::RecvMultishot,
        Self::Send,
        Self::Cancel,
    ];

    /// What it is submitted with for the connection of this generation in this slot.
    pub(super) fn of(self, generation: u32, slot: usize) -> UserData {
        UserData::new(self as u8, generation, slot)
    }

    /// Which operation was submitted with this.
    pub(super) fn with(user_data: UserData) -> Self {
        Self::ALL[usize::from(user_data.op())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_known_by_what_it_was_submitted_with() {
        for operation in Operation::ALL {
            let user_data = operation.of(u32::MAX, UserData::SLOTS - 1);
            assert_eq!(Operation::with(user_data), operation);
        }
    }
}
