//! A ring, in safe words. With its pool, it has the only `unsafe` of the engine. What that rests on:
//!
//! 1. An entry that is submitted refers to descriptors and groups of buffers by their numbers and to no
//!    memory. So it may stay in flight whatever becomes of the connection. The exception is a send: it
//!    does not wait, so it is over when it is submitted, and all it could do with memory is to read it.
//! 2. What a call to the kernel is given by address lives until the call returns, and the kernel keeps no
//!    such address beyond it; but for the pool's, which it keeps until the pool is unregistered.
//! 3. A buffer belongs to the kernel from when it is published at the tail of the pool's queue until a
//!    completion names it. From then until it is published again there is exactly one [`Piece`] of it.
//! 4. The pool's memory is freed only after it was unregistered, or never.
#![allow(unsafe_code, reason = "the io-uring crate leaves these promises to its user")]

mod pool;

use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::time::Duration;

pub(super) use self::pool::Piece;
use self::pool::Pool;
use io_uring::squeue::{self, Flags};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, cqueue, opcode};

/// Entries of the queues. A full one costs a system call and loses nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) submissions: u32,
    pub(super) completions: u32,
    /// Buffers to receive into; a power of two, as the others.
    pub(super) buffers: u16,
    /// With fewer connections than this, nobody is received for: there is too little to do with a call.
    pub(super) crowd: usize,
}

/// With [`PIECE`], 2.2 MiB for each worker.
pub(super) const SIZES: Sizes =
    Sizes { submissions: 512, completions: 4096, buffers: 512, crowd: 4 };
/// The most that a piece has; larger ones are cheaper to receive by oneself. A cache line more than 4 KiB,
/// so that a message of 4 KiB leaves room, by which it is known to be whole.
pub(super) const PIECE: usize = 4096 + 64;

/// A ring and its pool, set up for any thread to [start](Ring::start).
pub(super) struct Parts {
    ring: IoUring,
    pool: ManuallyDrop<Pool>,
}

/// A ring of which one thread pushes, submits and reaps the entries.
pub(super) struct Ring<'r> {
    submitter: Submitter<'r>,
    submissions: SubmissionQueue<'r>,
    completions: CompletionQueue<'r>,
    pool: &'r mut Pool,
    /// Entries that there was no place for: no more than a few for each connection.
    waiting: VecDeque<squeue::Entry>,
    flags: EnterFlags,
}

/// What became of an operation.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) token: u64,
    /// What happened, or a negative error number.
    pub(super) result: i32,
    /// What was received.
    pub(super) piece: Option<Piece>,
    /// The operation goes on, and completes again.
    pub(super) more: bool,
}

impl Parts {
    /// # Errors
    ///
    /// The system has no io_uring that can do what this engine needs, or does not let this process use it.
    pub(super) fn set_up(sizes: Sizes) -> io::Result<Self> {
        let ring = IoUring::builder()
            // The thread that enables it is the one that it belongs to.
            .setup_r_disabled()
            .setup_single_issuer()
            // The kernel completes operations while this thread waits for them, and at no other time.
            .setup_defer_taskrun()
            // It says in shared memory whether there are any, so that looking is no system call.
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_no_sqarray()
            .setup_cqsize(sizes.completions)
            .build(sizes.submissions)?;
        let pool = ManuallyDrop::new(Pool::new(sizes.buffers, PIECE));
        let parts = Self { ring, pool };
        parts.pool.register(&parts.ring.submitter())?;
        Ok(parts)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        // By 4: rather lost than written to after it is freed. It fails if it was not registered.
        if self.pool.unregister(&self.ring.submitter()).is_ok() {
            // SAFETY: it is not used again: this is the drop of what contains it.
            unsafe { ManuallyDrop::drop(&mut self.pool) };
        }
    }
}

impl<'r> Ring<'r> {
    /// Makes the ring this thread's own.
    pub(super) fn start(parts: &'r mut Parts) -> io::Result<Self> {
        let Parts { ring, pool } = parts;
        let mut flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        // A server that waits for peers must not look like one that waits for a disk.
        flags.set(EnterFlags::NO_IOWAIT, ring.params().is_feature_no_iowait());
        let (mut submitter, submissions, completions) = ring.split();
        submitter.register_enable_rings()?;
        // It saves looking up the descriptor with every call; not having it is no reason to stop.
        let _ = submitter.register_ring_fd();
        Ok(Self { submitter, submissions, completions, pool, waiting: VecDeque::new(), flags })
    }

    /// Reports once that one of `events` (poll(2)) is there.
    pub(super) fn poll_once(&mut self, descriptor: RawFd, events: u32, token: u64) {
        let poll = opcode::PollAdd::new(Fd(descriptor), events);
        self.push(poll.build().user_data(token));
    }

    /// Reports those of `events` that are there now, and whenever one comes up from then on.
    pub(super) fn poll_on(&mut self, descriptor: RawFd, events: u32, token: u64) {
        let poll = opcode::PollAdd::new(Fd(descriptor), events).multi(true);
        self.push(poll.build().user_data(token));
    }

    /// Receives what comes, a [`Piece`] at a time, until the end of the stream or of the pool.
    pub(super) fn receive(&mut self, descriptor: RawFd, token: u64) {
        let receive = opcode::RecvMulti::new(Fd(descriptor), Pool::GROUP);
        self.push(receive.build().user_data(token));
    }

    /// Sends a piece, all of it or as much as there is room for now. It completes only if that is not all,
    /// and by the time that [everything is submitted](Self::has_submitted_all); the piece has to be kept
    /// until then.
    pub(super) fn send(&mut self, descriptor: RawFd, piece: &Piece, token: u64) {
        let bytes = self.bytes(piece);
        // With MSG_WAITALL, less than all is a failure, and told.
        let flags = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let send = opcode::Send::new(Fd(descriptor), bytes.as_ptr(), bytes.len() as u32);
        let send = send.flags(flags).build().flags(Flags::SKIP_SUCCESS);
        self.push(send.user_data(token));
    }

    /// Ends an operation. That completes a last time; this one only if there was none.
    pub(super) fn cancel(&mut self, operation: u64, token: u64) {
        let cancel = opcode::AsyncCancel::new(operation).build().flags(Flags::SKIP_SUCCESS);
        self.push(cancel.user_data(token));
    }

    /// How many buffers there are to receive into.
    pub(super) fn buffers(&self) -> usize {
        self.pool.len()
    }

    /// What was received.
    pub(super) fn bytes<'a>(&'a self, piece: &'a Piece) -> &'a [u8] {
        self.pool.bytes(piece)
    }

    /// Lets the buffer of a piece be used for another.
    pub(super) fn give_back(&mut self, piece: Piece) {
        self.pool.give_back(piece);
    }

    /// Submits what was asked for and waits for a completion, but no longer than `timeout`. Returns whether
    /// there is one.
    ///
    /// # Errors
    ///
    /// Those of io_uring_enter(2). What was to be submitted will be, with the next call.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.push_waiting();
        self.submissions.sync();
        // The kernel does not wait while it sees completions that were not taken.
        self.completions.sync();
        let result =
            if timeout == Some(Duration::ZERO) { self.look() } else { self.enter(1, timeout) };
        self.submissions.sync();
        self.completions.sync();
        match result.map_err(|error| error.raw_os_error()) {
            // The time has passed, or the kernel wants completions to be taken before it goes on.
            Ok(_) | Err(Some(libc::ETIME | libc::EBUSY)) => Ok(!self.completions.is_empty()),
            Err(code) => Err(io::Error::from_raw_os_error(code.unwrap_or(libc::EIO))),
        }
    }

    /// Whether all that was asked for is on its way, and nothing has completed that is still to come.
    pub(super) fn has_submitted_all(&self) -> bool {
        self.waiting.is_empty() && self.submissions.is_empty() && !self.submissions.cq_overflow()
    }

    /// The next of the completions that were there after the wait.
    pub(super) fn next(&mut self) -> Option<Completion> {
        let entry = self.completions.next()?;
        let (token, result, flags) = (entry.user_data(), entry.result(), entry.flags());
        let piece = cqueue::buffer_select(flags).map(|buffer| {
            // SAFETY: by 3: the completion, which is here once, names this buffer.
            unsafe { Piece::new(buffer, u16::try_from(result).unwrap_or(0)) }
        });
        Some(Completion { token, result, piece, more: cqueue::more(flags) })
    }

    /// Submits what was asked for.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        self.submissions.sync();
        self.completions.sync();
        let result = self.submitter.submit();
        self.submissions.sync();
        self.completions.sync();
        result.map(drop)
    }

    /// Without a system call if there is nothing that it could do.
    fn look(&self) -> io::Result<usize> {
        let queue = &self.submissions;
        if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
            return Ok(0);
        }
        self.enter(0, None)
    }

    /// Submits what was asked for, has the kernel complete what it can, and waits for `completions` at most so
    /// long.
    fn enter(&self, completions: u32, timeout: Option<Duration>) -> io::Result<usize> {
        let timespec = timeout.map(Timespec::from);
        let mut args = SubmitArgs::new();
        if let Some(timespec) = &timespec {
            args = args.timespec(timespec);
        }
        let count = self.submissions.len() as u32;
        // SAFETY: by 2: `args` and what it points to are on this stack. The flags say what type it is.
        unsafe { self.submitter.enter(count, completions, self.flags.bits(), Some(&args)) }
    }

    fn push(&mut self, entry: squeue::Entry) {
        if self.submissions.is_full() {
            // It may fail where there are completions to be taken first; then the entry has to wait.
            let _ = self.submit();
        }
        if !self.waiting.is_empty() || !self.try_push(&entry) {
            self.waiting.push_back(entry);
        }
    }

    /// Makes up for entries that there was no place for, in their order.
    fn push_waiting(&mut self) {
        while let Some(entry) = self.waiting.pop_front() {
            if self.submissions.is_full() {
                let _ = self.submit();
            }
            if !self.try_push(&entry) {
                self.waiting.push_front(entry);
                break;
            }
        }
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: by 1: only `poll_once`, `poll_on`, `receive`, `send` and `cancel` make entries. What `send`
        // points to is the pool's, which by 4 outlives every call that submits.
        unsafe { self.submissions.push(entry) }.is_ok()
    }
}

impl Drop for Ring<'_> {
    fn drop(&mut self) {
        // An operation keeps its socket open: those that were to end should not last until the kernel has
        // taken the ring down, which it does in its own time.
        let _ = self.wait(Some(Duration::ZERO));
    }
}
