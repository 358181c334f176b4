//! The operations of a worker's ring, and their encoding in `user_data`.

use echo_ring::UserData;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    /// Receives until the end of the stream, an error, or the lack of a free buffer.
    RecvMultishot,
    /// Sends as much as the socket has room for. Completes only if that is not everything.
    Send,
    /// Polls once for room to send.
    PollOut,
    /// Polls once for a wake-up.
    PollWake,
}

impl Operation {
    const ALL: [Self; 4] = [Self::RecvMultishot, Self::Send, Self::PollOut, Self::PollWake];

    /// The `user_data` of this operation on a connection.
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
    fn user_data_identifies_the_operation() {
        for operation in Operation::ALL {
            let user_data = operation.user_data(u32::MAX, UserData::SLOTS - 1);
            assert_eq!(Operation::from_user_data(user_data), operation);
        }
    }
}
