//! The operations of a worker's ring, as encoded in the `user_data` of their completions.

use echo_ring::UserData;

/// An operation. All but `Wake`, `Accept` and `Cancel` belong to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    /// Polls the eventfd with which other threads wake this one.
    Wake,
    /// Polls a listener; the slot is its index.
    Accept,
    /// Polls once for input.
    PollIn,
    /// Polls for room to write.
    PollOut,
    /// Receives into provided buffers.
    RecvMultishot,
    /// Sends a received buffer. Completes only if not all of it was sent.
    Send,
    /// Cancels another operation. Completes only if there was none to cancel.
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

    /// The `user_data` of this operation for the connection of `generation` in `slot`.
    pub(super) fn user_data(self, generation: u32, slot: usize) -> UserData {
        UserData::new(self as u8, generation, slot)
    }

    /// The operation that was submitted with `user_data`.
    pub(super) fn from_user_data(user_data: UserData) -> Self {
        Self::ALL[usize::from(user_data.op())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_decoded_from_its_user_data() {
        for operation in Operation::ALL {
            let user_data = operation.user_data(u32::MAX, UserData::SLOTS - 1);
            assert_eq!(Operation::from_user_data(user_data), operation);
        }
    }
}
