//! One connection of a history: a non-blocking socket, and what the model says of it.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use echo_test_support::model::{End, Framing, Model};
use socket2::{Domain, SockAddr, Socket, Type};

use super::case::Case;
use super::history::Behaviour;
use crate::socket_table::queues_of_both_ends;

/// What is read in one go.
const READ_SIZE: usize = 64 * 1024;
/// How much earlier than its timeout a server may be seen to act: it counts milliseconds.
const ROUNDING: Duration = Duration::from_millis(5);

/// How much a peer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    All,
    /// No more than so many bytes.
    AtMost(usize),
}

pub(super) struct Peer {
    pub(super) socket: Socket,
    pub(super) model: Model,
    pub(super) reading: Reading,
    pub(super) end: End,
    pub(super) received: usize,
    case: &'static Case,
    /// Tells its bytes from those of others.
    number: usize,
    /// Bytes that were made to be sent, with those that are still to be.
    made: usize,
    outbox: Vec<u8>,
    finishing: bool,
    finished: bool,
    /// A write was told of a reset, which reads are then not told of.
    was_reset: bool,
    /// Before the last write; and when the peer last had read all there was.
    wrote_at: Instant,
    drained_at: Instant,
}

impl Peer {
    pub(super) fn connect(
        case: &'static Case,
        number: usize,
        behaviour: Behaviour,
        from: IpAddr,
        to: SocketAddr,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        if behaviour.little_room {
            socket.set_recv_buffer_size(4096)?;
        }
        if behaviour.little_to_send {
            socket.set_send_buffer_size(4096)?;
        }
        if behaviour.short_segments {
            socket.set_tcp_mss(536)?;
        }
        socket.set_tcp_nodelay(behaviour.nodelay)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        let now = Instant::now();
        socket.connect(&to.into())?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            model: Model::new(case.rules),
            reading: Reading::All,
            end: End::Open,
            received: 0,
            case,
            number,
            made: 0,
            outbox: Vec::new(),
            finishing: false,
            finished: false,
            was_reset: false,
            wrote_at: now,
            drained_at: now,
        })
    }

    /// Has whole messages sent, so many bytes of them at the least.
    pub(super) fn send(&mut self, size: usize, frame: usize) {
        let max = self.case.rules.max_frame;
        let aim = self.outbox.len() + size;
        while self.outbox.len() < aim {
            let left = aim - self.outbox.len();
            match self.case.rules.framing {
                Framing::Raw => self.make(left),
                Framing::Line => {
                    self.make(frame.min(max).min(left - 1));
                    self.outbox.push(b'\n');
                }
                Framing::Length => self.send_counted(frame.min(max).min(left.saturating_sub(4))),
            }
        }
    }

    /// Has a message sent that is longer than may be.
    pub(super) fn send_too_long(&mut self, excess: usize) {
        let size = self.case.rules.max_frame + excess;
        match self.case.rules.framing {
            Framing::Raw => self.make(excess),
            Framing::Line => {
                self.make(size);
                self.outbox.push(b'\n');
            }
            Framing::Length => self.send_counted(size),
        }
    }

    /// Has the beginning of a message sent.
    pub(super) fn send_half(&mut self, size: usize) {
        let size = size.min(self.case.rules.max_frame);
        let before = self.outbox.len();
        match self.case.rules.framing {
            Framing::Raw | Framing::Line => self.make(size),
            Framing::Length => {
                self.send_counted(size);
                self.outbox.truncate(before + 4 + size / 2);
            }
        }
    }

    /// Has bytes sent that mean nothing, or something by chance.
    pub(super) fn send_nonsense(&mut self, size: usize) {
        let from = self.outbox.len();
        self.make(size);
        for byte in &mut self.outbox[from..] {
            *byte = if *byte < 96 { b'\n' } else { *byte & 1 };
        }
    }

    fn send_counted(&mut self, size: usize) {
        self.outbox.extend_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes());
        self.make(size);
    }

    /// Bytes that are none of another place or peer, and no line breaks.
    fn make(&mut self, size: usize) {
        let offsets = self.made..self.made + size;
        let number = self.number as u64;
        self.outbox.extend(offsets.map(|offset| {
            let mixed = (offset as u64 + (number << 32) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            match (mixed >> 32) as u8 {
                b'\n' => b'.',
                byte => byte,
            }
        }));
        self.made += size;
    }

    /// Sends one byte as urgent, behind all that is to be sent, if there is room for it.
    pub(super) fn send_urgent(&mut self) {
        if self.outbox.is_empty() && self.end == End::Open && !self.finishing {
            let byte = [0x55];
            let before = Instant::now();
            let sent = self.socket.send_out_of_band(&byte);
            self.wrote(before, sent, &byte);
        }
    }

    pub(super) fn finish(&mut self) {
        self.finishing = true;
    }

    /// Whether it has something to send and may.
    pub(super) fn wants_to_write(&self) -> bool {
        !self.outbox.is_empty() && self.end == End::Open
    }

    pub(super) fn wants_to_read(&self) -> bool {
        self.end == End::Open && self.reading != Reading::AtMost(0)
    }

    /// It has got all that it must, and has sent all that will be taken from it.
    pub(super) fn is_settled(&self) -> bool {
        let sent = self.outbox.is_empty() || !self.model.takes_input();
        self.end != End::Open || sent && self.received >= self.model.must()
    }

    /// Writes and reads what can be without waiting. Returns whether anything moved.
    pub(super) fn advance(&mut self) -> Result<bool> {
        let wrote = self.write();
        Ok(self.read()? || wrote)
    }

    fn write(&mut self) -> bool {
        let mut progress = false;
        while self.wants_to_write() {
            let before = Instant::now();
            let outbox = std::mem::take(&mut self.outbox);
            let sent = self.socket.send(&outbox);
            let count = self.wrote(before, sent, &outbox);
            self.outbox = outbox;
            let Some(count) = count else { break };
            self.outbox.drain(..count);
            progress = true;
        }
        if self.finishing && !self.finished && self.outbox.is_empty() {
            self.finished = true;
            self.model.finished();
            // It fails only on a connection that has ended, which reading shows.
            let _ = self.socket.shutdown(std::net::Shutdown::Write);
        }
        progress
    }

    /// Tells the model what was sent of `bytes`, and returns how many of them are done with; `None` if there is no
    /// room for any.
    fn wrote(&mut self, before: Instant, sent: io::Result<usize>, bytes: &[u8]) -> Option<usize> {
        match sent {
            Ok(count) => {
                let silent = self.wrote_at.elapsed();
                if self.case.idle_timeout.is_some_and(|limit| silent + ROUNDING >= limit) {
                    self.model.may_be_idle();
                }
                self.wrote_at = before;
                self.model.sent(&bytes[..count]);
                Some(count)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => {
                self.was_reset |= error.kind() == ErrorKind::ConnectionReset;
                // The rest is lost, too.
                Some(bytes.len())
            }
        }
    }

    fn read(&mut self) -> Result<bool> {
        let mut piece = [0; READ_SIZE];
        let mut progress = false;
        while self.wants_to_read() {
            let limit = match self.reading {
                Reading::All => READ_SIZE,
                Reading::AtMost(left) => left.min(READ_SIZE),
            };
            match (&self.socket).read(&mut piece[..limit]) {
                Ok(0) => self.end = if self.was_reset { End::Reset } else { End::Eof },
                Ok(count) => {
                    self.check(&piece[..count])?;
                    self.received += count;
                    if let Reading::AtMost(left) = &mut self.reading {
                        *left -= count;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.note_time();
                    return Ok(progress);
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => self.end = End::Reset,
                Err(error) => return Err(error).context("cannot read"),
            }
            progress = true;
        }
        self.note_time();
        Ok(progress)
    }

    /// Tells the model of deadlines that may have passed: the peer takes nothing while it is not read to its end,
    /// and it is silent.
    fn note_time(&mut self) {
        let limit = self.case.write_timeout;
        if limit.is_some_and(|limit| self.drained_at.elapsed() + ROUNDING >= limit) {
            self.model.may_be_stalled();
        }
        if self.reading == Reading::All {
            self.drained_at = Instant::now();
        }
        let limit = self.case.idle_timeout;
        if limit.is_some_and(|limit| self.wrote_at.elapsed() + ROUNDING >= limit) {
            self.model.may_be_idle();
        }
    }

    fn check(&self, bytes: &[u8]) -> Result<()> {
        let (number, offset) = (self.number, self.received);
        if self.model.allows(offset, bytes) {
            return Ok(());
        }
        let expected = self.model.echo().get(offset..).unwrap_or_default();
        let same = expected.iter().zip(bytes).take_while(|(one, other)| one == other).count();
        let excerpt = |bytes: &[u8]| {
            bytes.get(same..).unwrap_or_default().iter().take(24).copied().collect::<Vec<u8>>()
        };
        anyhow::bail!(
            "peer {number} got a wrong byte at {}: {:?}, expected {:?}; {} may come in all",
            offset + same,
            excerpt(bytes).escape_ascii().to_string(),
            excerpt(expected).escape_ascii().to_string(),
            self.model.echo().len()
        )
    }

    /// Whether all that the connection will see has come.
    pub(super) fn is_over(&self) -> bool {
        self.end != End::Open || self.is_settled() && self.model.may_end(End::Open, self.received)
    }

    /// Judges the end.
    pub(super) fn judge(&self) -> Result<()> {
        let Self { number, received, end, model, .. } = self;
        ensure!(
            *received >= model.must(),
            "peer {number} got {received} bytes of {} that must come, {end:?}",
            model.must()
        );
        ensure!(
            model.may_end(*end, *received),
            "peer {number} ended with {end:?} after {received} bytes, which must not be"
        );
        Ok(())
    }

    /// Its own address and the server's; `None` if it is not connected any more.
    pub(super) fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        let address = |address: io::Result<SockAddr>| address.ok()?.as_socket();
        address(self.socket.local_addr()).zip(address(self.socket.peer_addr()))
    }

    /// How many bytes the server has taken from the peer and not sent back, as the kernel's queues tell; 0 if it
    /// drops what it takes.
    pub(super) fn held(&self) -> usize {
        let counts = self.end == End::Open && self.model.takes_input();
        let Some((near, far)) = self.addresses().filter(|_| counts) else { return 0 };
        let queues = || queues_of_both_ends(near, far);
        // What comes to the server between the two is not taken for held.
        let Some((ours, theirs)) = queues() else { return 0 };
        let taken = self.model.wire_len().saturating_sub(ours.send + theirs.receive);
        let Some((ours, theirs)) = queues() else { return 0 };
        taken.saturating_sub(self.received + ours.receive + theirs.send)
    }

    /// What is known of it, for a report.
    pub(super) fn describe(&self) -> String {
        let Self { number, received, end, reading, model, .. } = self;
        format!(
            "peer {number}: {} sent, {} to be sent, {received} received of {} to {}, {reading:?}, {end:?}",
            model.wire_len(),
            self.outbox.len(),
            model.must(),
            model.echo().len()
        )
    }
}
