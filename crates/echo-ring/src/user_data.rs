//! Encoding `user_data`, which identifies the operation of a completion.

use std::fmt;

/// The number that an operation is submitted with and that its completions carry (`user_data` of an entry).
///
/// ```text
///  63       56 55                     24 23               0
/// ┌───────────┬─────────────────────────┬──────────────────┐
/// │    op     │       generation        │       slot       │
/// └───────────┴─────────────────────────┴──────────────────┘
///    8 bits            32 bits                24 bits
/// ```
///
/// - The **op** is the kind of operation. The caller defines its values.
/// - The **slot** is the index of the connection in the caller's table. Slots may be reused at once.
/// - The **generation** therefore tells apart the connections that used a slot. It must differ from those
///   of all operations still in flight for the slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UserData(u64);

const GENERATION_SHIFT: u32 = 24;
const OP_SHIFT: u32 = 56;

impl UserData {
    /// The number of slots.
    pub const SLOTS: usize = 1 << GENERATION_SHIFT;

    /// Packs the three numbers.
    ///
    /// # Panics
    ///
    /// Panics if `slot` is not less than [`SLOTS`](Self::SLOTS).
    #[must_use]
    pub const fn new(op: u8, generation: u32, slot: usize) -> Self {
        assert!(slot < Self::SLOTS, "a slot has at most 24 bits");
        Self((op as u64) << OP_SHIFT | (generation as u64) << GENERATION_SHIFT | slot as u64)
    }

    /// The kind of operation.
    #[must_use]
    pub const fn op(self) -> u8 {
        (self.0 >> OP_SHIFT) as u8
    }

    /// The generation of the connection in its slot.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }

    /// The slot of the connection.
    #[must_use]
    pub const fn slot(self) -> usize {
        self.0 as usize % Self::SLOTS
    }

    pub(crate) const fn from_raw(number: u64) -> Self {
        Self(number)
    }

    pub(crate) const fn raw(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for UserData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserData")
            .field("op", &self.op())
            .field("generation", &self.generation())
            .field("slot", &self.slot())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_numbers_are_unpacked_unchanged() {
        for op in [0, 1, u8::MAX] {
            for generation in [0, 1, 1 << 31, u32::MAX] {
                for slot in [0, 1, UserData::SLOTS - 1] {
                    let packed = UserData::new(op, generation, slot);
                    let user_data = UserData::from_raw(packed.raw());
                    let parts = (user_data.op(), user_data.generation(), user_data.slot());
                    assert_eq!(parts, (op, generation, slot));
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "24 bits")]
    fn a_slot_that_does_not_fit_is_refused() {
        let _ = UserData::new(0, 0, UserData::SLOTS);
    }
}
