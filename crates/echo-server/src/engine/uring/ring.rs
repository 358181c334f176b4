//! A ring, in safe words, and the only `unsafe` of the engine. What it rests on:
//!
//! 1. An entry that is submitted refers to a descriptor by its number and to no memory. So it may stay in
//!    flight whatever becomes of the connection, of this ring or of a submission that fails half-way.
//! 2. What a call to the kernel is given by address lives until the call returns, and the kernel keeps no
//!    such address beyond it.
#![allow(unsafe_code, reason = "the io-uring crate leaves these two promises to its user")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::squeue::{self, Flags};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, cqueue, opcode};

/// Entries of the queues. A full one costs a system call and loses nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) submissions: u32,
    pub(super) completions: u32,
}

/// 96 KiB for each worker.
pub(super) const SIZES: Sizes = Sizes { submissions: 512, completions: 4096 };

/// A ring that is set up, of which the entries are pushed, submitted and reaped by one thread.
pub(super) struct Ring<'r> {
    submitter: Submitter<'r>,
    submissions: SubmissionQueue<'r>,
    completions: CompletionQueue<'r>,
    /// Entries that there was no place for: no more than the connections that are open or just closed.
    waiting: VecDeque<squeue::Entry>,
    enter: EnterFlags,
}

/// What became of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) token: u64,
    /// What happened, or a negative error number.
    pub(super) result: i32,
    /// The operation goes on, and completes again.
    pub(super) more: bool,
}

/// Sets up a ring, for any thread to [start](Ring::start).
///
/// # Errors
///
/// The system has no io_uring that can do what this engine needs, or does not let this process use it.
pub(super) fn set_up(sizes: Sizes) -> io::Result<IoUring> {
    IoUring::builder()
        // The thread that enables it is the one that it belongs to.
        .setup_r_disabled()
        .setup_single_issuer()
        // The kernel completes operations while this thread waits for them, and not at any other time.
        .setup_defer_taskrun()
        // It says in shared memory whether there are any, so that polling for them is no system call.
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_no_sqarray()
        .setup_cqsize(sizes.completions)
        .build(sizes.submissions)
}

impl<'r> Ring<'r> {
    /// Makes the ring this thread's own.
    pub(super) fn start(ring: &'r mut IoUring) -> io::Result<Self> {
        let mut enter = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        // A server that waits for peers must not look like one that waits for a disk.
        enter.set(EnterFlags::NO_IOWAIT, ring.params().is_feature_no_iowait());
        let (mut submitter, submissions, completions) = ring.split();
        submitter.register_enable_rings()?;
        // It saves looking up the descriptor with every call; not having it is no reason to stop.
        let _ = submitter.register_ring_fd();
        Ok(Self { submitter, submissions, completions, waiting: VecDeque::new(), enter })
    }

    /// Reports whenever one of `events` (poll(2)) happens to the descriptor, and those that are there now.
    pub(super) fn poll(&mut self, descriptor: RawFd, events: u32, token: u64) {
        let poll = opcode::PollAdd::new(Fd(descriptor), events).multi(true);
        self.push(poll.build().user_data(token));
    }

    /// Ends a poll. It completes a last time; this operation only if there was no such poll.
    pub(super) fn end_poll(&mut self, poll: u64, token: u64) {
        let remove = opcode::PollRemove::new(poll).build().flags(Flags::SKIP_SUCCESS);
        self.push(remove.user_data(token));
    }

    /// Submits what was asked for and waits for a completion, but no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// Those of io_uring_enter(2). What was to be submitted will be, with the next call.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.push_waiting();
        self.submissions.sync();
        let result =
            if timeout == Some(Duration::ZERO) { self.look() } else { self.sleep(timeout) };
        self.completions.sync();
        match result.map_err(|error| error.raw_os_error()) {
            // The time has passed, or the kernel wants completions to be taken before it goes on.
            Ok(_) | Err(Some(libc::ETIME | libc::EBUSY)) => Ok(()),
            Err(code) => Err(io::Error::from_raw_os_error(code.unwrap_or(libc::EIO))),
        }
    }

    /// The next of the completions that were there after the wait.
    pub(super) fn next(&mut self) -> Option<Completion> {
        let entry = self.completions.next()?;
        let (token, result) = (entry.user_data(), entry.result());
        Some(Completion { token, result, more: cqueue::more(entry.flags()) })
    }

    /// Submits what was asked for.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        self.submissions.sync();
        let result = self.submitter.submit();
        self.submissions.sync();
        result.map(drop)
    }

    /// Without a system call if there is nothing that it could do.
    fn look(&self) -> io::Result<usize> {
        let queue = &self.submissions;
        if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
            return Ok(0);
        }
        self.submitter.submit()
    }

    fn sleep(&self, timeout: Option<Duration>) -> io::Result<usize> {
        let timespec = timeout.map(Timespec::from);
        let mut args = SubmitArgs::new();
        if let Some(timespec) = &timespec {
            args = args.timespec(timespec);
        }
        let count = self.submissions.len() as u32;
        // SAFETY: by 2: `args` and what it points to are on this stack. The flags say what type it is.
        unsafe { self.submitter.enter(count, 1, self.enter.bits(), Some(&args)) }
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
        // SAFETY: by 1: only `poll` and `end_poll` make entries.
        unsafe { self.submissions.push(entry) }.is_ok()
    }
}

impl Drop for Ring<'_> {
    fn drop(&mut self) {
        // A poll keeps its socket open: those that were to end should not last until the kernel has
        // taken the ring down, which it does in its own time.
        let _ = self.submit();
    }
}
