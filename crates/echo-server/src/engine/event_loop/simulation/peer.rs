//! What a peer sends.

use echo_simulation::with;
use echo_test_support::model::{Framing, Rules};

use crate::engine::event_loop::connection::MAX_OWED;
use crate::engine::event_loop::uring::BUF_SIZE;

/// The most that a peer sends.
const MOST: usize = 400;
/// Around the borders of buffers.
const BORDERS: [usize; 8] =
    [1, BUF_SIZE - 1, BUF_SIZE, BUF_SIZE + 1, 2 * BUF_SIZE, MAX_OWED - 1, MAX_OWED, MAX_OWED + 1];

/// A peer and its connection, an index of the world's.
#[derive(Clone, Copy)]
pub(super) struct Peer {
    pub(super) socket: usize,
    rules: Rules,
}

impl Peer {
    pub(super) fn new(socket: usize, rules: Rules) -> Self {
        Self { socket, rules }
    }

    /// Whether it may send.
    fn may_send(self) -> bool {
        with(|world| {
            let tcp = &world.sockets[self.socket];
            !tcp.fin && !tcp.reset && tcp.wire.len() < MOST
        })
    }

    /// Sends some whole messages.
    pub(super) fn sends_messages(self) -> bool {
        if !self.may_send() {
            return false;
        }
        let (size, frame) = with(|world| {
            let size = match world.rng.u8(..8) {
                0..4 => world.rng.usize(1..BUF_SIZE),
                4..6 => BORDERS[world.rng.usize(..BORDERS.len())],
                _ => world.rng.usize(1..4 * MAX_OWED),
            };
            (size, world.rng.usize(..=self.rules.max_frame))
        });
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            let payload = match self.rules.framing {
                Framing::Raw => size,
                _ => frame.min(size - bytes.len()),
            };
            self.message(payload, &mut bytes);
        }
        self.sends(&bytes, false)
    }

    /// Sends a part of a message, or something that is none.
    pub(super) fn sends_nonsense(self) -> bool {
        if !self.may_send() || self.rules.framing == Framing::Raw {
            return false;
        }
        let mut bytes = Vec::new();
        let (kind, size) =
            with(|world| (world.rng.u8(..3), world.rng.usize(..=self.rules.max_frame)));
        match kind {
            0 => {
                self.message(size, &mut bytes);
                bytes.truncate(bytes.len().div_ceil(2));
            }
            1 => self.message(self.rules.max_frame + 1 + size, &mut bytes),
            _ => self.payload(size, &mut bytes),
        }
        self.sends(&bytes, false)
    }

    /// Whether it may send on and on.
    pub(super) fn can_flood(self) -> bool {
        with(|world| {
            let tcp = &world.sockets[self.socket];
            let goes_on = tcp.accepted && !tcp.closed && !tcp.is_shut() && !tcp.fin && !tcp.reset;
            goes_on && self.rules.framing == Framing::Raw
        })
    }

    /// Sends more, for the sake of it.
    pub(super) fn floods(self) {
        let mut bytes = Vec::new();
        self.payload(60, &mut bytes);
        self.sends(&bytes, false);
    }

    /// Sends one byte as urgent.
    pub(super) fn sends_urgent(self) -> bool {
        self.may_send() && self.sends(b"!", true)
    }

    fn sends(self, bytes: &[u8], urgent: bool) -> bool {
        with(|world| world.peer_sends(self.socket, bytes, urgent));
        true
    }

    fn message(self, payload: usize, bytes: &mut Vec<u8>) {
        if self.rules.framing == Framing::Length {
            bytes.extend_from_slice(&(payload as u32).to_be_bytes());
        }
        self.payload(payload, bytes);
        if self.rules.framing == Framing::Line {
            bytes.push(b'\n');
        }
    }

    /// Bytes that differ from those before and from those of other peers.
    fn payload(self, count: usize, bytes: &mut Vec<u8>) {
        let sent = with(|world| world.sockets[self.socket].wire.len());
        let start = sent + bytes.len() + self.socket * 1000;
        bytes.extend((start..start + count).map(|at| {
            let mixed = (at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            match (mixed >> 32) as u8 {
                b'\n' => b'.',
                byte => byte,
            }
        }));
    }
}
