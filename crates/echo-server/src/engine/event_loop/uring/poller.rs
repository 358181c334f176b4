//! The io_uring poller.
//!
//! It waits for input of a connection in one of two ways:
//!
//! - **PollIn**: a one-shot poll reports input, and the connection calls `recv` itself, into the worker's one large
//!   buffer, which stays in the CPU cache. The next poll is submitted with the call that waits. An idle
//!   connection holds no memory. This is best for large messages and for few connections. Every connection
//!   starts this way, and returns to it for large messages, few connections, or when no provided buffer was free,
//!   and also when it has owed bytes or is being closed.
//! - **RecvMultishot**: the kernel receives into small provided buffers, which are sent back by further
//!   operations, without a system call per message. This is best for small messages on many connections; see
//!   [`PROMOTE_AFTER`], [`DEMOTE_AFTER`] and
//!   [`Sizes::multishot_threshold`](super::Sizes::multishot_threshold).
//!
//! A connection that owes bytes is not read, but waits for room with **PollOut**. That poll is multishot, which
//! reports *changes*: a one-shot poll would report the end of the peer's stream again and again, because every
//! io_uring poll includes it.
//!
//! These rules keep the bytes in order:
//!
//! 1. A connection has one of these operations in flight. To change it, the old one is cancelled, and the new one
//!    is submitted after the last completion of the old one.
//! 2. A connection has at most one send in flight. A send does not wait for room, so it has completed when it has
//!    been submitted; the connection's completions are deferred until the send is known to have succeeded.
//! 3. Received buffers for which the connection has no room are queued in [`unread`](super::unread), and later
//!    ones behind them.
//! 4. A descriptor is closed only when every entry that refers to it has been submitted: the kernel may reuse its
//!    number at once.

mod completions;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use echo_ring::UserData;

use super::BUF_SIZE;
use super::operation::Operation;
use super::slot::{Op, Slot, Unread};
use super::unread::UnreadQueue;
use crate::engine::event_loop::{Event, Interest, Poller};
use crate::platform::{Completion, OwnedFd, RecvBuf, Ring, TcpListener, TcpStream, blocking};

/// Input, or the end of the stream.
const READABLE: u32 = (libc::POLLIN | libc::POLLRDHUP) as u32;
/// Room to write.
const WRITABLE: u32 = libc::POLLOUT as u32;
/// A broken connection.
const BROKEN: i32 = (libc::POLLERR | libc::POLLHUP) as i32;
/// Consecutive runs with little to echo after which a connection changes to RecvMultishot.
const PROMOTE_AFTER: u8 = if cfg!(simulation) { 2 } else { 8 };
/// Consecutive full buffers after which it changes back.
const DEMOTE_AFTER: u8 = 2;

/// A poller on an io_uring.
pub(super) struct UringPoller {
    ring: Ring,
    wake_fd: Arc<OwnedFd>,
    /// Indexed by the slot of [`Operation::Accept`].
    listeners: Vec<RawFd>,
    /// See [`Sizes::multishot_threshold`](super::Sizes::multishot_threshold).
    multishot_threshold: usize,
    /// Indexed by the key of the connection.
    slots: Vec<Slot>,
    /// The number of slots in use.
    registered: usize,
    /// The generation of the last connection registered.
    generation: u32,
    /// Buffers being sent, with the key and generation of their connection.
    sending: Vec<(usize, u32, RecvBuf)>,
    /// Events to be reported before `completed` is processed.
    events: VecDeque<Event<RecvBuf>>,
    /// Completions not processed yet.
    completed: VecDeque<Completion>,
    /// Completions deferred until a send of their connection has completed.
    deferred: Vec<Completion>,
    unread: UnreadQueue,
    /// A send is in flight after which the next unread buffer is to be reported. Success is silent, so the
    /// poller must submit before it blocks.
    unread_due: bool,
    /// Counts how often everything had been submitted, modulo 2¹⁶.
    submission: u16,
    /// Descriptors to close when everything is submitted.
    closing: Vec<OwnedFd>,
}

impl UringPoller {
    pub(super) fn new(ring: Ring, wake_fd: Arc<OwnedFd>, multishot_threshold: usize) -> Self {
        let mut poller = Self {
            ring,
            wake_fd,
            listeners: Vec::new(),
            multishot_threshold,
            slots: Vec::new(),
            registered: 0,
            generation: 0,
            sending: Vec::new(),
            events: VecDeque::new(),
            completed: VecDeque::new(),
            deferred: Vec::new(),
            unread: UnreadQueue::default(),
            unread_due: false,
            submission: 0,
            closing: Vec::new(),
        };
        poller.poll_wake_fd();
        poller
    }

    fn poll_wake_fd(&mut self) {
        let wake = Operation::Wake.user_data(0, 0);
        self.ring.poll_multishot(self.wake_fd.as_raw_fd(), libc::POLLIN as u32, wake);
    }

    fn poll_listener(&mut self, index: usize) {
        let accept = Operation::Accept.user_data(0, index);
        self.ring.poll_multishot(self.listeners[index], libc::POLLIN as u32, accept);
    }

    /// Waits for a connection with `op` from now on. Another operation that is armed is cancelled first.
    fn want(&mut self, key: usize, op: Op) {
        let slot = &mut self.slots[key];
        let cancelled = slot.armed != slot.wanted;
        slot.wanted = Some(op);
        match slot.armed {
            None => self.arm(key, op),
            Some(armed) if armed != op && !cancelled => {
                let armed = slot.user_data(armed, key);
                self.ring.cancel(armed, Operation::Cancel.user_data(0, 0));
            }
            Some(_) => {}
        }
    }

    fn arm(&mut self, key: usize, op: Op) {
        let slot = &mut self.slots[key];
        slot.armed = Some(op);
        slot.pushed_in = self.submission;
        let (descriptor, user_data) = (slot.descriptor, slot.user_data(op, key));
        match op {
            Op::PollIn => self.ring.poll_add(descriptor, READABLE, user_data),
            Op::PollOut => self.ring.poll_multishot(descriptor, WRITABLE, user_data),
            Op::RecvMultishot => self.ring.recv_multishot(descriptor, user_data),
        }
    }

    /// Chooses how to wait for input of a connection that has just echoed `echoed` bytes.
    fn choose_op(&mut self, key: usize, echoed: u64) -> Op {
        let slot = &mut self.slots[key];
        if slot.wanted == Some(Op::RecvMultishot) {
            return Op::RecvMultishot;
        }
        if self.unread.len() >= self.ring.buffers() / 2 {
            // Peers that do not read hold at least half of the buffers.
            slot.votes = 0;
            return Op::PollIn;
        }
        if echoed > 0 {
            let little = echoed < BUF_SIZE as u64 && self.registered >= self.multishot_threshold;
            slot.votes = if little { slot.votes + 1 } else { 0 };
        }
        if slot.votes < PROMOTE_AFTER {
            return Op::PollIn;
        }
        slot.votes = 0;
        Op::RecvMultishot
    }
}

impl Poller for UringPoller {
    type Buf = RecvBuf;

    const REPORTS_PENDING_INPUT: bool = true;

    fn listen(&mut self, listeners: &mut [TcpListener]) -> io::Result<()> {
        self.listeners = listeners.iter().map(AsRawFd::as_raw_fd).collect();
        (0..listeners.len()).for_each(|index| self.poll_listener(index));
        Ok(())
    }

    fn stop_listening(&mut self, listeners: Vec<TcpListener>) {
        self.listeners.clear();
        for index in 0..listeners.len() {
            self.ring
                .cancel(Operation::Accept.user_data(0, index), Operation::Cancel.user_data(0, 0));
        }
        // A poll keeps its socket open, and so listening, until the kernel has completed it. Submit the
        // cancellations before the listeners are closed. If this fails, so does the next wait.
        let _ = self.ring.wait(Some(Duration::ZERO));
        if !self.ring.has_submitted_all() {
            let descriptors = listeners.into_iter().map(blocking::TcpListener::from);
            self.closing.extend(descriptors.map(OwnedFd::from));
        }
    }

    fn register(&mut self, key: usize, stream: &mut TcpStream) -> io::Result<()> {
        if key >= UserData::SLOTS {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        if self.slots.len() <= key {
            self.slots.resize(key + 1, Slot::VACANT);
        }
        self.generation = self.generation.wrapping_add(1);
        let (descriptor, generation) = (stream.as_raw_fd(), self.generation);
        self.slots[key] = Slot { descriptor, generation, ..Slot::VACANT };
        self.registered += 1;
        self.want(key, Op::PollIn);
        Ok(())
    }

    fn deregister(&mut self, key: usize, stream: TcpStream) {
        let registered = self.slots.get_mut(key).filter(|slot| slot.descriptor >= 0);
        let Some(slot) = registered else { return };
        let slot = std::mem::replace(slot, Slot::VACANT);
        if slot.unread != Unread::None {
            self.drop_unread(key);
        }
        if slot.pushed_in == self.submission {
            self.closing.push(blocking::TcpStream::from(stream).into());
        }
        if let Some(armed) = slot.armed
            && slot.wanted == slot.armed
        {
            // An operation in flight would keep the socket open.
            self.ring.cancel(slot.user_data(armed, key), Operation::Cancel.user_data(0, 0));
        }
        self.registered -= 1;
        if self.registered == 0 {
            // The table may have grown to ten thousand connections.
            self.slots = Vec::new();
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        self.completed.extend(self.deferred.drain(..));
        let pool_low = self.sending.len() >= self.ring.buffers() / 2;
        if pool_low || self.unread_due || !self.closing.is_empty() {
            // Otherwise, until the next event, buffers in flight would not be free for other peers, unread
            // buffers would not be reported, and closed connections would stay open.
            let _ = self.ring.submit();
            self.collect();
        }
        // If submitting failed, for lack of memory, the wait may submit what is left, but must not block then.
        let submitted = !self.unread_due && self.closing.is_empty();
        let nothing = submitted && self.completed.is_empty() && self.events.is_empty();
        let result = self.ring.wait(if nothing { timeout } else { Some(Duration::ZERO) });
        self.collect();
        result?;
        Ok(self.completed.len() + self.events.len())
    }

    fn next(&mut self) -> Option<Event<RecvBuf>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                if let Event::Received { key, .. } = event {
                    self.slots[key].unread = Unread::Taken;
                }
                return Some(event);
            }
            let completion = self.completed.pop_front()?;
            if let Some(event) = self.event(completion) {
                return Some(event);
            }
        }
    }

    fn receives(&self, key: usize) -> bool {
        self.slots[key].armed == Some(Op::RecvMultishot) || self.slots[key].unread != Unread::None
    }

    fn sends(&self, key: usize) -> bool {
        self.slots[key].sending || self.slots[key].unread != Unread::None
    }

    fn received_ahead(&self) -> usize {
        self.ring.buffers() * BUF_SIZE
    }

    fn set_interest(&mut self, key: usize, interest: Interest, echoed: u64) {
        let reads = matches!(interest, Interest::Receive | Interest::Readable);
        if reads && self.slots[key].unread != Unread::None && self.redeliver(key) {
            return;
        }
        match interest {
            Interest::Receive => {
                let op = self.choose_op(key, echoed);
                self.want(key, op);
            }
            Interest::Readable => self.want(key, Op::PollIn),
            // For a timer too, so that an error is reported.
            Interest::Writable | Interest::Timer => self.want(key, Op::PollOut),
            Interest::Unchanged => {}
        }
    }

    fn bytes<'a>(&'a self, buf: &'a RecvBuf) -> &'a [u8] {
        self.ring.bytes(buf)
    }

    fn recycle(&mut self, buf: RecvBuf) {
        self.ring.recycle(buf);
    }

    fn send(&mut self, key: usize, buf: RecvBuf) {
        let slot = &mut self.slots[key];
        self.unread_due |= slot.unread != Unread::None;
        slot.sending = true;
        slot.pushed_in = self.submission;
        self.ring.send(slot.descriptor, &buf, Operation::Send.user_data(slot.generation, key));
        self.sending.push((key, slot.generation, buf));
    }

    fn defer(&mut self, key: usize, buf: RecvBuf) {
        let slot = &mut self.slots[key];
        // A buffer that was reported again and deferred again is still the first of its connection.
        match std::mem::replace(&mut slot.unread, Unread::Waiting) {
            Unread::Taken => self.unread.push_front(key, buf),
            Unread::None | Unread::Waiting | Unread::Reported => self.unread.push_back(key, buf),
        }
        self.want(key, Op::PollOut);
    }
}
