//! The operations of a worker's ring, as the `user_data` of their completions tells them apart.

use echo_ring::UserData;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    /// Receives until there is an end, an error or no buffer.
    RecvMultishot,
    /// Sends at once, as far as there is room. Completes only if that was not everything.
    Send,
    /// Waits until there is room to send.
    PollOut,
    /// Waits until the worker's poll has something.
    PollWake,
}

impl Operation {
    const ALL: [Self; 4] = [Self::RecvMultishot, Self::Send, Self::PollOut, Self::PollWake];

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
