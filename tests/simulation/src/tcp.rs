//! Simulated TCP connections: the program's socket, its peer, and what is under way between them.

pub(crate) mod active;
mod calls;
mod network;

use std::net::SocketAddr;

use echo_test_support::model::{End, Model};

use self::active::Active;

const IN: u32 = libc::POLLIN as u32;
const PRI: u32 = libc::POLLPRI as u32;
const OUT: u32 = libc::POLLOUT as u32;
const ERR: u32 = libc::POLLERR as u32;
const HUP: u32 = libc::POLLHUP as u32;
const RDHUP: u32 = libc::POLLRDHUP as u32;

/// What can happen in the network.
const SEGMENT: u8 = 0;
const FIN: u8 = 1;
const RESET: u8 = 2;
const ECHO: u8 = 3;
const ECHO_FIN: u8 = 4;
const ACK: u8 = 5;
const ECHO_RESET: u8 = 6;
const READ: u8 = 7;

/// A connection. Positions count bytes from its beginning.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "TCP has many flags")]
pub struct Tcp {
    /// The other end's address.
    pub peer: SocketAddr,
    /// What may be sent to the peer.
    pub model: Model,
    /// All that the peer has sent.
    pub wire: Vec<u8>,
    /// How much of it is in the receive queue, or was.
    pub delivered: usize,
    /// How much of it the program has received.
    pub consumed: usize,
    /// How much was delivered when the program's last wait returned.
    pub delivered_at_wait: usize,
    /// The same when the program began to end the connection: it asked how much was received, sent FIN or closed it.
    pub delivered_at_end: Option<usize>,
    /// When the program's last wait had returned as it last received or sent bytes.
    pub active_at: u64,
    /// When it sent FIN or closed the socket.
    pub ended_at: u64,
    /// The most bytes that the program may owe, and so send at once.
    pub limit: usize,
    /// Where the urgent byte is that was sent last and not received.
    urgent: Option<usize>,
    /// The peer has sent FIN, and it has arrived.
    pub fin: bool,
    fin_delivered: bool,
    /// The peer has reset the connection, or vanished.
    pub reset: bool,
    reset_delivered: bool,
    /// All that the program has sent.
    pub echo: Vec<u8>,
    /// How much was sent, and when the program's last wait had returned before that.
    pub sent_at: Vec<(usize, u64)>,
    /// How much of it has arrived at the peer.
    pub arrived: usize,
    /// How much of it the peer's system has acknowledged.
    pub acked: usize,
    /// How much the peer's program has read.
    read: usize,
    /// Whether the peer's program reads.
    pub reads: bool,
    fin_out: bool,
    fin_acked: bool,
    reset_out: bool,
    /// How the connection is, as the peer sees it.
    pub end: End,
    /// Why the program may say that the connection was lost.
    pub excuse: Option<&'static str>,
    /// The program has accepted it.
    pub accepted: bool,
    /// The program has closed it.
    pub closed: bool,
    /// The pending error (SO_ERROR).
    error: i32,
    /// No bytes are received, or sent, any more.
    dead: bool,
    shut: bool,
    /// A sender waits for room (SOCK_NOSPACE).
    no_space: bool,
    /// What happened, if the program has opened it.
    pub active: Option<Box<Active>>,
    pub(crate) resets_when_closed: bool,
    pub(crate) oob_inline: bool,
    /// Sizes of the send buffer, of the receive buffer, and of the peer's receive buffer.
    pub buffers: [usize; 3],
}

/// A listening socket.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    pub(crate) queue: Vec<usize>,
    pub(crate) is_closed: bool,
}

impl Tcp {
    fn new(peer: SocketAddr, model: Model, buffers: [usize; 3]) -> Self {
        Self {
            peer,
            model,
            wire: Vec::new(),
            delivered: 0,
            consumed: 0,
            delivered_at_wait: 0,
            delivered_at_end: None,
            active_at: 0,
            ended_at: 0,
            limit: usize::MAX,
            urgent: None,
            fin: false,
            fin_delivered: false,
            reset: false,
            reset_delivered: false,
            echo: Vec::new(),
            sent_at: Vec::new(),
            arrived: 0,
            acked: 0,
            read: 0,
            reads: true,
            fin_out: false,
            fin_acked: false,
            reset_out: false,
            end: End::Open,
            excuse: None,
            accepted: false,
            closed: false,
            error: 0,
            dead: false,
            shut: false,
            no_space: false,
            active: None,
            resets_when_closed: false,
            oob_inline: false,
            buffers,
        }
    }

    /// Whether the receive queue is empty, and the program was told the end of the stream if there is one.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.consumed == self.delivered && self.error == 0
    }

    /// Bytes in the receive queue (FIONREAD).
    #[must_use]
    pub fn received(&self) -> usize {
        self.delivered - self.consumed
    }

    /// Bytes not acknowledged; a FIN counts as one (SIOCOUTQ).
    pub(crate) fn unacknowledged(&self) -> usize {
        if self.dead {
            return 0;
        }
        self.echo.len() - self.acked + usize::from(self.fin_out && !self.fin_acked)
    }

    fn queued(&self) -> usize {
        self.echo.len() - self.acked
    }

    /// Linux reports room when a third of the send buffer is free (`sk_stream_is_writable`).
    fn is_writable(&self) -> bool {
        let free = self.buffers[0].saturating_sub(self.queued());
        free > 0 && 2 * free >= self.queued()
    }

    /// The events that poll(2) reports (tcp_poll in Linux's net/ipv4/tcp.c).
    pub(crate) fn mask(&mut self) -> u32 {
        if self.is_connecting() {
            // SYN_SENT
            return 0;
        }
        let mut mask = 0;
        if self.dead || self.fin_delivered && self.shut {
            mask |= HUP;
        }
        if self.fin_delivered || self.dead {
            mask |= IN | RDHUP;
        }
        if self.received() > 0 {
            mask |= IN;
        }
        if self.shut || self.dead || self.is_writable() {
            mask |= OUT;
        } else {
            self.no_space = true;
        }
        if self.urgent.is_some_and(|at| at < self.delivered) {
            mask |= PRI;
        }
        if self.error != 0 {
            mask |= ERR;
        }
        mask
    }

    /// Whether no bytes can be received, or sent, any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.dead
    }

    /// Whether the next byte is urgent.
    pub(crate) fn is_at_urgent(&self) -> bool {
        self.urgent == Some(self.consumed) && self.received() > 0
    }

    /// Whether the peer's FIN has arrived.
    pub(crate) fn has_fin(&self) -> bool {
        self.fin_delivered
    }

    /// Takes the pending error (SO_ERROR).
    pub(crate) fn take_error(&mut self) -> Option<i32> {
        let error = std::mem::take(&mut self.error);
        (error != 0).then_some(error)
    }

    /// Calls `f` with what can happen.
    pub(crate) fn possible(&self, mut f: impl FnMut(u8)) {
        if self.reset {
            if !self.reset_delivered {
                f(RESET);
                if !self.reset_out && !self.dead && self.has_room_for_segment() {
                    f(SEGMENT);
                }
            }
            return;
        }
        if self.end == End::Reset {
            return;
        }
        if self.reset_out {
            f(ECHO_RESET);
        } else {
            if self.has_room_for_segment() {
                f(SEGMENT);
            }
            if self.fin && !self.fin_delivered && self.delivered == self.wire.len() {
                f(FIN);
            }
        }
        if self.reads && self.read < self.arrived {
            f(READ);
        }
        if self.arrived < self.echo.len() && self.arrived - self.read < self.buffers[2] {
            f(ECHO);
        }
        if self.fin_out && self.end == End::Open && self.arrived == self.echo.len() {
            f(ECHO_FIN);
        }
        let fin_to_ack = self.end == End::Eof && !self.fin_acked;
        if !self.dead && (self.acked < self.arrived || fin_to_ack) {
            f(ACK);
        }
    }

    fn acts(&mut self, now: u64) {
        if self.ended_at == 0 {
            self.active_at = now;
        }
    }

    fn ends(&mut self, now: u64) {
        self.delivered_at_end.get_or_insert(self.delivered_at_wait);
        if self.ended_at == 0 {
            self.ended_at = now;
        }
    }

    /// Whether the program has sent FIN and keeps the connection open.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.shut
    }

    fn has_room_for_segment(&self) -> bool {
        self.delivered < self.wire.len() && (self.closed || self.received() < self.buffers[1])
    }
}
