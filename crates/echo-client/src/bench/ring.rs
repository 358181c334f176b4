//! The data path over io_uring(7): what a worker's connections send and receive, with one system call for
//! everything that is ready. [`echo_ring`] does it; here is what the load generator makes of it.
//!
//! Each connection has a slot. One multishot receive per connection delivers what arrives, in buffers that
//! all connections share. What a connection sends is written to the [`SendArena`] and submitted with the
//! next wait. The kernel sends it at once, as far as there is room; so the memory is free when the call
//! returns, whatever the peer does. A short send is reported as [`Completion::ShortWrite`], and
//! [`Completion::Writable`] follows when there is room again.

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

/// What a slot sends at once, at the most.
const MAX_SEND: usize = 64 * 1024;

/// Something that happened.
#[derive(Debug)]
pub(in crate::bench) enum Completion {
    /// Bytes came on this slot: [`Ring::bytes`].
    Received(usize),
    /// The peer has ended the connection of this slot.
    Ended(usize),
    /// The connection broke.
    Failed(usize, io::Error),
    /// The last so many of the bytes that were to be sent were not.
    ShortWrite(usize, usize),
    /// There is room to send more, which there was not before.
    Writable(usize),
    /// The notifier has something.
    Noticed,
}

/// The connections of a worker and what happens to them.
pub(in crate::bench) struct Ring {
    io: platform::Ring,
    arena: SendArena,
    slots: Vec<Slot>,
    notifier: RawFd,
    /// Requests to be made in the next turn, beside the sends.
    wanted: Vec<UserData>,
    /// What was not reported yet. First come the bytes that were not sent: what was received after they were
    /// to be sent must find them taken back.
    unsent: VecDeque<(UserData, usize)>,
    completions: VecDeque<platform::Completion>,
    /// The buffer that is shown, until the next completion is asked for.
    shown: Option<RecvBuf>,
}

/// Whether this machine has what a ring takes.
///
/// # Errors
///
/// What the system said, or [`ErrorKind::Unsupported`] where it does not do as it should.
pub(in crate::bench) fn probe() -> io::Result<()> {
    Sizes::of(1, 1).setup().probe()
}

impl Ring {
    /// A ring that is not in use yet. It can be made on any thread.
    ///
    /// # Errors
    ///
    /// The system has no io_uring, not all of it that is used here, or does not allow it.
    pub(in crate::bench) fn new(sizes: Sizes) -> io::Result<Self> {
        if sizes.slots > UserData::SLOTS {
            return Err(ErrorKind::QuotaExceeded.into());
        }
        Ok(Self {
            io: sizes.setup().build()?,
            arena: SendArena::new(sizes.arena),
            slots: vec![Slot::empty(0); sizes.slots],
            notifier: -1,
            wanted: Vec::new(),
            unsent: VecDeque::new(),
            completions: VecDeque::new(),
            shown: None,
        })
    }

    /// From now on this thread alone uses the ring. It is told when `notifier` can be read from.
    pub(in crate::bench) fn begin(&mut self, notifier: &impl AsRawFd) -> io::Result<()> {
        self.notifier = notifier.as_raw_fd();
        self.wanted.push(Operation::PollWake.of(0, 0));
        self.io.enable()
    }

    /// A slot has a connection, until [`remove`](Self::remove), which comes before it is closed.
    pub(in crate::bench) fn add(&mut self, slot: usize, connection: &impl AsRawFd) {
        self.slots[slot].fd = connection.as_raw_fd();
        self.want(Operation::RecvMultishot, slot);
    }

    /// Nothing is reported of this slot's connection any more. It is let go of when it has ended: shut it down.
    pub(in crate::bench) fn remove(&mut self, slot: usize) {
        if !self.io.has_submitted_all() {
            // It was not submitted when it should have been; now the descriptor is still this one.
            let result = self.io.submit();
            let _ = self.collect(result);
        }
        self.slots[slot] = Slot::empty(self.slots[slot].generation.wrapping_add(1));
    }

    /// Takes up to `length` bytes to be sent, which `fill` writes. Returns how many; where it is none,
    /// [`Completion::Writable`] will come.
    pub(in crate::bench) fn send(
        &mut self,
        slot: usize,
        length: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> usize {
        let length = length.min(MAX_SEND.min(self.arena.size()));
        // Of two on their way at once, the second would overtake the first where that finds no room.
        let is_in_the_way = self.slots[slot].is_waiting || !self.io.has_submitted_all();
        if (is_in_the_way || !self.arena.has_room(length)) && self.flush().is_err() {
            // The error comes again when the turn ends.
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

    /// Submits all there is and waits until something happens, for `timeout` at the most.
    ///
    /// # Errors
    ///
    /// Those of `io_uring_enter(2)`: the system is out of memory.
    pub(in crate::bench) fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.queue_sends();
        while let Some(user_data) = self.wanted.pop() {
            self.queue(user_data);
        }
        let is_nothing_left = self.completions.is_empty() && self.unsent.is_empty();
        let timeout = if is_nothing_left { timeout } else { Duration::ZERO };
        let result = self.io.wait(Some(timeout)).map(drop);
        self.collect(result)
    }

    /// What happened next.
    pub(in crate::bench) fn next(&mut self) -> Option<Completion> {
        self.recycle_shown();
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
            self.recycle_shown();
        }
        None
    }

    /// What came with a [`Completion::Received`], until the next completion is asked for.
    pub(in crate::bench) fn bytes(&self) -> &[u8] {
        self.shown.as_ref().map_or(&[], |buf| self.io.bytes(buf))
    }

    fn recycle_shown(&mut self) {
        if let Some(buf) = self.shown.take() {
            self.io.recycle(buf);
        }
    }

    fn interpret(&mut self, completion: platform::Completion) -> Option<Completion> {
        let platform::Completion { user_data, result, buf, more } = completion;
        self.shown = buf;
        let slot = user_data.slot();
        match Operation::with(user_data) {
            Operation::PollWake => {
                self.wanted.push(user_data);
                Some(Completion::Noticed)
            }
            _ if !self.is_current(user_data) => None,
            Operation::Send => Some(Completion::Failed(slot, error(result))),
            Operation::PollOut => {
                self.slots[slot].is_full = false;
                Some(Completion::Writable(slot))
            }
            Operation::RecvMultishot => match -result {
                0 => Some(Completion::Ended(slot)),
                // It goes on behind this turn: then every buffer is back.
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
        self.wanted.push(operation.of(self.slots[slot].generation, slot));
    }

    fn wait_for_room(&mut self, slot: usize) {
        if !std::mem::replace(&mut self.slots[slot].is_full, true) {
            self.want(Operation::PollOut, slot);
        }
    }

    /// Queues the request that is wanted, unless its connection is gone.
    fn queue(&mut self, user_data: UserData) {
        let fd = self.slots[user_data.slot()].fd;
        match Operation::with(user_data) {
            Operation::PollWake => {
                self.io.poll_add(self.notifier, libc::POLLIN as u32, user_data);
            }
            _ if !self.is_current(user_data) => {}
            Operation::PollOut => self.io.poll_add(fd, libc::POLLOUT as u32, user_data),
            _ => self.io.recv_multishot(fd, user_data),
        }
    }

    fn queue_sends(&mut self) {
        while let Some(send) = self.arena.next() {
            let user_data = Operation::Send.of(send.generation, send.slot);
            if self.is_current(user_data) {
                let slot = &mut self.slots[send.slot];
                (slot.is_waiting, slot.sending) = (false, send.range().len());
                self.io.send_arena(slot.fd, send.range(), user_data);
            }
        }
    }

    /// Submits all sends, without waiting; the arena is empty then.
    fn flush(&mut self) -> io::Result<()> {
        self.queue_sends();
        let result = self.io.submit();
        self.collect(result)?;
        self.io.has_submitted_all().then_some(()).ok_or_else(|| ErrorKind::OutOfMemory.into())
    }

    /// Collects the completions that are there after a call that had this result.
    fn collect(&mut self, result: io::Result<()>) -> io::Result<()> {
        self.take_completions();
        while self.io.has_overflowed() {
            self.io.submit()?;
            self.take_completions();
        }
        if self.io.has_submitted_all() {
            self.arena.taken();
        }
        match result.map_err(|error| (error.kind(), error)) {
            // A signal came, or there were more completions than are collected now.
            Ok(()) | Err((ErrorKind::Interrupted | ErrorKind::ResourceBusy, _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    /// Takes all completions, so that those of what is submitted next are behind them.
    fn take_completions(&mut self) {
        while let Some(completion) = self.io.next_completion() {
            let (user_data, result) = (completion.user_data, completion.result);
            if Operation::with(user_data) != Operation::Send {
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
