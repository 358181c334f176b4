//! The data path over io_uring(7): what a worker's connections send and receive, with one system call for
//! all that is ready.
//!
//! A connection has a slot. It is received from by one multishot request, into buffers that all of them
//! share. What it sends is written to the [`Outbox`] and handed over with the next wait, as a request
//! that the kernel carries out at once, as far as there is room, or not at all (`MSG_DONTWAIT`); so the
//! memory is free when the call returns, and nothing a peer does can hold it. `MSG_WAITALL` makes less than
//! all of it a failure, which alone has a completion. What was not sent is told, and when there is room.
//!
//! What the `unsafe` here rests on; [`pool`] has rules of its own:
//!
//! - **R1**: a buffer is held, and shown, from the completion that names it until the next one is looked at;
//!   only then it is given back, once.
//! - **R2**: a request names no memory but the outbox's, which is as long-lived as the ring, and which the
//!   kernel reads only during `enter`.
//! - **R3**: whatever is in flight is counted. The pool is freed when that is nothing, or else never.

#![allow(unsafe_code, reason = "what a request names is for the caller to keep")]

mod outbox;
mod pool;
mod probe;
mod sizes;
mod slot;
mod tag;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use self::outbox::{Outbox, Piece};
use self::pool::Pool;
pub(in crate::bench) use self::probe::probe;
pub(in crate::bench) use self::sizes::Sizes;
use self::slot::Slot;
use self::tag::{Operation, Tag};

/// What a slot sends at once, at the most.
const PIECE: usize = 64 * 1024;

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
    Unsent(usize, usize),
    /// There is room to send more, which there was not before.
    Writable(usize),
    /// The notifier has something.
    Noticed,
}

/// The connections of a worker and what happens to them.
pub(in crate::bench) struct Ring {
    io: IoUring,
    pool: Pool,
    outbox: Outbox,
    slots: Vec<Slot>,
    notifier: RawFd,
    /// Requests to be made in the next turn, beside the sends.
    wanted: Vec<Tag>,
    /// What was not looked at. First come the bytes that were not sent: what was received after they were
    /// to be sent must find them taken back.
    unsent: VecDeque<(Tag, usize)>,
    completions: VecDeque<cqueue::Entry>,
    /// The buffer that is shown, and how much is in it.
    held: Option<(u16, usize)>,
    /// Requests that have a completion to come, and may use memory until then.
    in_flight: usize,
}

impl Ring {
    /// A ring that is not in use yet. It can be made on any thread.
    ///
    /// # Errors
    ///
    /// The system has no io_uring, not all of it that is used here, or does not allow it.
    pub(in crate::bench) fn new(sizes: Sizes) -> io::Result<Self> {
        let Sizes { slots, requests, buffers, buffer, outbox } = sizes;
        // Whatever can complete in a turn has a place: the sends, every buffer, and each slot's requests.
        let completions = requests as usize + usize::from(buffers) + 3 * slots + 16;
        let io = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_r_disabled()
            .setup_clamp()
            .setup_cqsize(completions.next_power_of_two() as u32)
            .build(requests)?;
        let pool = Pool::register(&io.submitter(), buffers, buffer)?;
        Ok(Self {
            io,
            pool,
            outbox: Outbox::new(outbox),
            slots: vec![Slot::empty(0); slots],
            notifier: -1,
            wanted: Vec::new(),
            unsent: VecDeque::new(),
            completions: VecDeque::new(),
            held: None,
            in_flight: 0,
        })
    }

    /// From now on this thread alone uses the ring. It is told when `notifier` can be read from.
    pub(in crate::bench) fn begin(&mut self, notifier: &impl AsRawFd) -> io::Result<()> {
        self.notifier = notifier.as_raw_fd();
        self.wanted.push(Tag { operation: Operation::Notice, generation: 0, slot: 0 });
        self.io.submitter().register_enable_rings()
    }

    /// A slot has a connection, until [`remove`](Self::remove), which comes before it is closed.
    pub(in crate::bench) fn add(&mut self, slot: usize, connection: &impl AsRawFd) {
        self.slots[slot].fd = connection.as_raw_fd();
        self.want(Operation::Receive, slot);
    }

    /// Nothing is heard of this slot's connection any more. It is let go of when it has ended: shut it down.
    pub(in crate::bench) fn remove(&mut self, slot: usize) {
        if !self.io.submission().is_empty() {
            // It was not handed over when it should have been; now the descriptor is still this one.
            let _ = self.enter(0, Duration::ZERO);
        }
        self.slots[slot] = Slot::empty(tag::next(self.slots[slot].generation));
    }

    /// Takes up to `length` bytes to be sent, which `fill` writes. Returns how many; where it is none,
    /// [`Completion::Writable`] will come.
    pub(in crate::bench) fn send(
        &mut self,
        slot: usize,
        length: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> usize {
        let length = length.min(PIECE.min(self.outbox.memory.len()));
        // Of two on their way at once, the second would overtake the first where that finds no room.
        let is_in_the_way = self.slots[slot].is_waiting || !self.io.submission().is_empty();
        if (is_in_the_way || !self.outbox.has_room(length)) && self.flush().is_err() {
            // The error comes again when the turn ends.
            self.wait_for_room(slot);
        }
        let Slot { is_full, generation, .. } = self.slots[slot];
        if is_full {
            return 0;
        }
        self.slots[slot].is_waiting = true;
        self.outbox.add(slot as u32, generation, length, fill);
        length
    }

    /// Hands over all there is and waits until something happens, for `timeout` at the most.
    ///
    /// # Errors
    ///
    /// Those of `io_uring_enter(2)`: the system is out of memory.
    pub(in crate::bench) fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.queue()?;
        while let Some(tag) = self.wanted.pop() {
            let Some(request) = self.request(tag) else { continue };
            if let Err(error) = self.push(&request) {
                self.wanted.push(tag);
                return Err(error);
            }
            self.in_flight += 1;
        }
        let has_news = !self.completions.is_empty() || !self.unsent.is_empty();
        self.enter(usize::from(!has_news && !timeout.is_zero()), timeout)
    }

    /// What happened next.
    pub(in crate::bench) fn next(&mut self) -> Option<Completion> {
        if let Some((id, _)) = self.held.take() {
            self.pool.give(id);
        }
        while let Some((tag, count)) = self.unsent.pop_front() {
            if self.is_current(tag) {
                return Some(Completion::Unsent(tag.slot as usize, count));
            }
        }
        while let Some(entry) = self.completions.pop_front() {
            let completion = self.look_at(&entry);
            if completion.is_some() {
                return completion;
            }
            if let Some((id, _)) = self.held.take() {
                self.pool.give(id);
            }
        }
        None
    }

    /// What came with a [`Completion::Received`], until the next completion is asked for.
    pub(in crate::bench) fn bytes(&self) -> &[u8] {
        match self.held {
            // SAFETY: by R1 a completion has named this buffer and it was not given since.
            Some((id, count)) => unsafe { self.pool.bytes(id, count) },
            None => &[],
        }
    }

    fn look_at(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let (tag, result) = (Tag::unpack(entry.user_data()), entry.result());
        self.held = cqueue::buffer_select(entry.flags()).map(|id| (id, result.max(0) as usize));
        let slot = tag.slot as usize;
        match tag.operation {
            Operation::Cancel => None,
            Operation::Notice => {
                self.wanted.push(tag);
                Some(Completion::Noticed)
            }
            _ if !self.is_current(tag) => None,
            Operation::Send => Some(Completion::Failed(slot, error(result))),
            Operation::Room => {
                self.slots[slot].is_full = false;
                Some(Completion::Writable(slot))
            }
            Operation::Receive => match -result {
                0 => Some(Completion::Ended(slot)),
                // It goes on behind this turn: then every buffer is back.
                libc::ENOBUFS | libc::EINTR | libc::EAGAIN => {
                    self.wanted.push(tag);
                    None
                }
                failure if failure > 0 => Some(Completion::Failed(slot, error(result))),
                _ => {
                    if !cqueue::more(entry.flags()) {
                        self.wanted.push(tag);
                    }
                    Some(Completion::Received(slot))
                }
            },
        }
    }

    fn is_current(&self, tag: Tag) -> bool {
        self.slots[tag.slot as usize].generation == tag.generation
    }

    fn want(&mut self, operation: Operation, slot: usize) {
        let generation = self.slots[slot].generation;
        self.wanted.push(Tag { operation, generation, slot: slot as u32 });
    }

    fn wait_for_room(&mut self, slot: usize) {
        if !std::mem::replace(&mut self.slots[slot].is_full, true) {
            self.want(Operation::Room, slot);
        }
    }

    /// The request that is wanted, unless its connection is gone.
    fn request(&self, tag: Tag) -> Option<squeue::Entry> {
        let fd = Fd(self.slots[tag.slot as usize].fd);
        let request = match tag.operation {
            Operation::Notice => {
                opcode::PollAdd::new(Fd(self.notifier), libc::POLLIN as u32).build()
            }
            _ if !self.is_current(tag) => return None,
            Operation::Room => opcode::PollAdd::new(fd, libc::POLLOUT as u32).build(),
            _ => opcode::RecvMulti::new(fd, pool::GROUP).build(),
        };
        Some(request.user_data(tag.pack()))
    }

    /// Puts the sends into the queue to the kernel.
    fn queue(&mut self) -> io::Result<()> {
        while let Some(Piece { slot, generation, start, length }) = self.outbox.next() {
            let tag = Tag { operation: Operation::Send, generation, slot };
            if self.is_current(tag) {
                let (fd, bytes) =
                    (self.slots[slot as usize].fd, &self.outbox.memory[start..start + length]);
                let flags = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
                let request = opcode::Send::new(Fd(fd), bytes.as_ptr(), length as u32)
                    .flags(flags)
                    .build()
                    .flags(squeue::Flags::SKIP_SUCCESS)
                    .user_data(tag.pack());
                self.push(&request)?;
                let slot = &mut self.slots[slot as usize];
                (slot.is_waiting, slot.sending) = (false, length);
            }
            self.outbox.advance();
        }
        Ok(())
    }

    /// Hands all sends over, without waiting; the outbox is empty then.
    fn flush(&mut self) -> io::Result<()> {
        self.queue()?;
        self.enter(0, Duration::ZERO)?;
        let is_done = self.io.submission().is_empty();
        is_done.then_some(()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Puts a request into the queue, and hands over what is there if it is full.
    fn push(&mut self, request: &squeue::Entry) -> io::Result<()> {
        // SAFETY: by R2 the memory that it names, if any, outlives it.
        if unsafe { self.io.submission().push(request) }.is_err() {
            self.enter(0, Duration::ZERO)?;
            // SAFETY: the same.
            unsafe { self.io.submission().push(request) }
                .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        }
        Ok(())
    }

    /// Hands over what is queued, waits for `want` completions, and collects those that are there.
    fn enter(&mut self, want: usize, timeout: Duration) -> io::Result<()> {
        let result = if want == 0 {
            self.io.submit()
        } else {
            let timeout = Timespec::from(timeout);
            self.io.submitter().submit_with_args(want, &SubmitArgs::new().timespec(&timeout))
        };
        self.collect();
        while self.io.submission().cq_overflow() {
            // The kernel keeps those that had no place, until it is asked for them.
            self.io.submit()?;
            self.collect();
        }
        if self.io.submission().is_empty() {
            self.outbox.taken();
        }
        match result.map_err(|error| (error.raw_os_error(), error)) {
            // The time is over, a signal came, or there were more completions than are collected now.
            Ok(_) | Err((Some(libc::ETIME | libc::EINTR | libc::EBUSY), _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    /// Takes all completions, so that those of what is handed over next are behind them.
    fn collect(&mut self) {
        for entry in self.io.completion() {
            let (tag, result) = (Tag::unpack(entry.user_data()), entry.result());
            if tag.operation != Operation::Send {
                self.in_flight -= usize::from(!cqueue::more(entry.flags()));
                self.completions.push_back(entry);
                continue;
            }
            let slot = &mut self.slots[tag.slot as usize];
            if slot.generation != tag.generation {
                continue;
            }
            let missing = slot.sending.saturating_sub(result.max(0) as usize);
            self.unsent.push_back((tag, missing));
            if result < 0 && -result != libc::EAGAIN {
                self.completions.push_back(entry);
            } else if !std::mem::replace(&mut slot.is_full, true) {
                self.wanted.push(Tag { operation: Operation::Room, ..tag });
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.in_flight > 0 {
            let tag = Tag { operation: Operation::Cancel, generation: 0, slot: 0 };
            let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
            self.in_flight += usize::from(self.push(&cancel.user_data(tag.pack())).is_ok());
        }
        for _ in 0..100 {
            if self.in_flight == 0 || self.enter(1, Duration::from_millis(10)).is_err() {
                break;
            }
        }
        if self.in_flight > 0 {
            // By R3: a leak is better than bytes that come from the network into somebody else's memory.
            self.pool.lose();
        }
    }
}

fn error(result: i32) -> io::Error {
    io::Error::from_raw_os_error(-result)
}
