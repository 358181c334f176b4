//! Sending and receiving over io_uring(7): one system call submits everything that a worker's connections send and
//! waits for what they receive. [`echo_ring`] wraps io_uring; this module is the load generator's use of it.
//!
//! Each connection has a slot. One multishot receive per connection delivers what arrives, in buffers that all
//! connections share. What a connection sends is written to the [`SendArena`] and submitted with the next wait. The
//! kernel sends as much as the socket has room for before that call returns, so the memory is free again whatever the
//! peer does. A short write is reported as [`Completion::ShortWrite`], and [`Completion::Writable`] follows when there
//! is room.

mod operation;
mod send_arena;
mod sizes;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use echo_ring::UserData;

use self::operation::Operation;
use self::send_arena::SendArena;
pub(in crate::bench) use self::sizes::Sizes;
use self::slot::Slot;
use crate::platform::{self, RecvBuf};

/// The most bytes that one send takes.
const MAX_SEND: usize = 64 * 1024;

/// What a ring reports.
#[derive(Debug)]
pub(in crate::bench) enum Completion {
    /// Bytes were received on this slot: [`Ring::bytes`].
    Received(usize),
    /// The peer of this slot has sent FIN.
    Ended(usize),
    /// The connection of this slot is broken.
    Failed(usize, io::Error),
    /// Slot and count: the last `count` bytes of a send were not sent.
    ShortWrite(usize, usize),
    /// The socket of this slot has room again.
    Writable(usize),
    /// The wake-up descriptor is readable.
    Woken,
}

/// The ring of a worker.
pub(in crate::bench) struct Ring {
    io: platform::Ring,
    arena: SendArena,
    slots: Vec<Slot>,
    wake_fd: RawFd,
    /// Operations to be queued by the next wait, beside the sends.
    wanted: Vec<UserData>,
    /// Short writes not reported yet, as user data and count. They are reported before everything else: the stream must
    /// know which bytes were not sent when it checks bytes that were received after that.
    unsent: VecDeque<(UserData, usize)>,
    /// Other completions not reported yet.
    completions: VecDeque<platform::Completion>,
    /// The buffer of the completion reported last.
    current: Option<RecvBuf>,
}

/// Tests whether io_uring works here, with everything that this module uses.
///
/// # Errors
///
/// Returns the error of the system, or [`ErrorKind::Unsupported`] if a feature is missing.
pub(in crate::bench) fn probe() -> io::Result<()> {
    Sizes::of(1, 1).setup().probe()
}

impl Ring {
    /// Creates a ring, on any thread. It must be [enabled](Self::enable) before it is used.
    ///
    /// # Errors
    ///
    /// The system has no io_uring, lacks a feature that is used here, or does not allow it.
    pub(in crate::bench) fn new(sizes: Sizes) -> io::Result<Self> {
        if sizes.slots > UserData::SLOTS {
            return Err(ErrorKind::QuotaExceeded.into());
        }
        Ok(Self {
            io: sizes.setup().build()?,
            arena: SendArena::new(sizes.arena),
            slots: vec![Slot::empty(0); sizes.slots],
            wake_fd: -1,
            wanted: Vec::new(),
            unsent: VecDeque::new(),
            completions: VecDeque::new(),
            current: None,
        })
    }

    /// Enables the ring for this thread alone. [`Completion::Woken`] is reported when `wake_fd` is readable.
    ///
    /// # Errors
    ///
    /// See [`echo_ring::Ring::enable`].
    pub(in crate::bench) fn enable(&mut self, wake_fd: &impl AsRawFd) -> io::Result<()> {
        self.wake_fd = wake_fd.as_raw_fd();
        self.wanted.push(Operation::PollWake.user_data(0, 0));
        self.io.enable()
    }

    /// Registers the connection of a slot, until [`remove`](Self::remove), which must precede its closing.
    pub(in crate::bench) fn add(&mut self, slot: usize, connection: &impl AsRawFd) {
        self.slots[slot].fd = connection.as_raw_fd();
        self.want(Operation::RecvMultishot, slot);
    }

    /// Reports nothing more of this slot's connection. Its receive stays in flight, and keeps the socket open, until the
    /// connection has ended: shut it down.
    pub(in crate::bench) fn remove(&mut self, slot: usize) {
        if !self.io.has_submitted_all() {
            // Entries that refer to the descriptor must be submitted before it can be reused.
            let result = self.io.submit();
            let _ = self.collect(result);
        }
        self.slots[slot] = Slot::empty(self.slots[slot].generation.wrapping_add(1));
    }

    /// Queues up to `length` bytes, which `fill` writes. Returns how many; if none, [`Completion::Writable`] follows.
    pub(in crate::bench) fn send(
        &mut self,
        slot: usize,
        length: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> usize {
        let length = length.min(MAX_SEND.min(self.arena.size()));
        // If the first of two sends in flight finds no room, the second could still be sent, out of order.
        let must_flush = self.slots[slot].is_waiting || !self.io.has_submitted_all();
        if (must_flush || !self.arena.has_room(length)) && self.flush().is_err() {
            // The next wait returns the error.
            self.wait_for_room(slot);
        }
        let Slot { is_full, generation, .. } = self.slots[slot];
        if is_full {
            return 0;
        }
        self.slots[slot].is_waiting = true;
        let range = self.arena.add(slot, generation, length);
        fill(&mut self.io.arena()[range]);
        length
    }

    /// Submits everything queued and waits for a completion, for up to `timeout`.
    ///
    /// # Errors
    ///
    /// Returns the error of `io_uring_enter(2)`: the system lacks memory.
    pub(in crate::bench) fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.queue_sends();
        while let Some(user_data) = self.wanted.pop() {
            self.queue(user_data);
        }
        let all_reported = self.completions.is_empty() && self.unsent.is_empty();
        let timeout = if all_reported { timeout } else { Duration::ZERO };
        let result = self.io.wait(Some(timeout)).map(drop);
        self.collect(result)
    }

    /// Returns the next completion.
    pub(in crate::bench) fn next(&mut self) -> Option<Completion> {
        self.recycle_current();
        while let Some((user_data, count)) = self.unsent.pop_front() {
            if self.is_current(user_data) {
                return Some(Completion::ShortWrite(user_data.slot(), count));
            }
        }
        while let Some(completion) = self.completions.pop_front() {
            let completion = self.interpret(completion);
            if completion.is_some() {
                return completion;
            }
            self.recycle_current();
        }
        None
    }

    /// The bytes of a [`Completion::Received`], until the next completion is taken.
    pub(in crate::bench) fn bytes(&self) -> &[u8] {
        self.current.as_ref().map_or(&[], |buf| self.io.bytes(buf))
    }

    fn recycle_current(&mut self) {
        if let Some(buf) = self.current.take() {
            self.io.recycle(buf);
        }
    }

    fn interpret(&mut self, completion: platform::Completion) -> Option<Completion> {
        let platform::Completion { user_data, result, buf, more } = completion;
        self.current = buf;
        let slot = user_data.slot();
        match Operation::from_user_data(user_data) {
            Operation::PollWake => {
                self.wanted.push(user_data);
                Some(Completion::Woken)
            }
            _ if !self.is_current(user_data) => None,
            Operation::Send => Some(Completion::Failed(slot, error(result))),
            Operation::PollOut => {
                self.slots[slot].is_full = false;
                Some(Completion::Writable(slot))
            }
            Operation::RecvMultishot => match -result {
                0 => Some(Completion::Ended(slot)),
                // Queued again by the next wait, when every buffer has been recycled.
                libc::ENOBUFS | libc::EINTR | libc::EAGAIN => {
                    self.wanted.push(user_data);
                    None
                }
                failure if failure > 0 => Some(Completion::Failed(slot, error(result))),
                _ => {
                    if !more {
                        self.wanted.push(user_data);
                    }
                    Some(Completion::Received(slot))
                }
            },
        }
    }

    fn is_current(&self, user_data: UserData) -> bool {
        self.slots[user_data.slot()].generation == user_data.generation()
    }

    fn want(&mut self, operation: Operation, slot: usize) {
        self.wanted.push(operation.user_data(self.slots[slot].generation, slot));
    }

    fn wait_for_room(&mut self, slot: usize) {
        if !std::mem::replace(&mut self.slots[slot].is_full, true) {
            self.want(Operation::PollOut, slot);
        }
    }

    /// Queues an operation, unless its connection was removed.
    fn queue(&mut self, user_data: UserData) {
        let fd = self.slots[user_data.slot()].fd;
        match Operation::from_user_data(user_data) {
            Operation::PollWake => {
                self.io.poll_add(self.wake_fd, libc::POLLIN as u32, user_data);
            }
            _ if !self.is_current(user_data) => {}
            Operation::PollOut => self.io.poll_add(fd, libc::POLLOUT as u32, user_data),
            _ => self.io.recv_multishot(fd, user_data),
        }
    }

    fn queue_sends(&mut self) {
        while let Some(send) = self.arena.next() {
            let user_data = Operation::Send.user_data(send.generation, send.slot);
            if self.is_current(user_data) {
                let slot = &mut self.slots[send.slot];
                (slot.is_waiting, slot.sending) = (false, send.range().len());
                self.io.send_arena(slot.fd, send.range(), user_data);
            }
        }
    }

    /// Submits all sends without waiting, which empties the arena.
    ///
    /// # Errors
    ///
    /// Some could not be submitted.
    fn flush(&mut self) -> io::Result<()> {
        self.queue_sends();
        let result = self.io.submit();
        self.collect(result)?;
        self.io.has_submitted_all().then_some(()).ok_or_else(|| ErrorKind::OutOfMemory.into())
    }

    /// Takes the completions after a call with this `result`, and returns its error unless it is transient.
    fn collect(&mut self, result: io::Result<()>) -> io::Result<()> {
        self.take_completions();
        while self.io.has_overflowed() {
            self.io.submit()?;
            self.take_completions();
        }
        if self.io.has_submitted_all() {
            self.arena.submitted();
        }
        match result.map_err(|error| (error.kind(), error)) {
            // A signal, or completions had to be taken first, which they were.
            Ok(()) | Err((ErrorKind::Interrupted | ErrorKind::ResourceBusy, _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    /// Takes all completions, so that those of later submissions follow them.
    fn take_completions(&mut self) {
        while let Some(completion) = self.io.next_completion() {
            let (user_data, result) = (completion.user_data, completion.result);
            if Operation::from_user_data(user_data) != Operation::Send {
                self.completions.push_back(completion);
                continue;
            }
            if !self.is_current(user_data) {
                continue;
            }
            let slot = user_data.slot();
            let missing = self.slots[slot].sending.saturating_sub(result.max(0) as usize);
            self.unsent.push_back((user_data, missing));
            if result < 0 && -result != libc::EAGAIN {
                self.completions.push_back(completion);
            } else {
                self.wait_for_room(slot);
            }
        }
    }
}

fn error(result: i32) -> io::Error {
    io::Error::from_raw_os_error(-result)
}
