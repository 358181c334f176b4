//! The ring: submitting operations and taking completions.
#![allow(
    unsafe_code,
    reason = "the io-uring crate leaves soundness to its caller; see the crate's invariants"
)]

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::thread::{self, ThreadId};
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, cqueue, opcode};

use crate::UserData;
use crate::buf_ring::{BufRing, RecvBuf};

/// An `io_uring` instance with its buffers.
///
/// Any thread may [build](crate::RingSetup::build) it; only the thread that [enables](Self::enable) it may
/// use it. Operations are queued, and [`wait`](Self::wait) and [`submit`](Self::submit) submit them to the
/// kernel in order.
///
/// Dropping the ring submits queued operations and cancels those in flight.
pub struct Ring {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    buffers: BufRing,
    arena: Box<[u8]>,
    /// Entries for which the submission queue had no room.
    deferred: VecDeque<Entry>,
    enter_flags: EnterFlags,
    /// The thread that has enabled the ring.
    owner: Option<ThreadId>,
    /// Whether the ring's descriptor is registered with that thread.
    has_registered_fd: bool,
    /// Borrowed by the first three fields, so dropped last.
    io: BoxedIoUring,
}

// SAFETY: an `IoUring` is Send. By 5 only this value refers to the memory of its views, and by 3 only this value
// and the kernel refer to the buffers; the kernel does not depend on the thread.
unsafe impl Send for Ring {}

/// The result of an operation.
#[derive(Debug)]
pub struct Completion {
    /// What the operation was submitted with.
    pub user_data: UserData,
    /// The return value, such as a number of bytes or the events of a poll, or a negative error number (`res`
    /// of a completion entry).
    pub result: i32,
    /// The received bytes. The buffer must be [recycled](Ring::recycle).
    pub buf: Option<RecvBuf>,
    /// Whether the operation is still in flight and will complete again (`IORING_CQE_F_MORE`). If not, a
    /// multishot operation has ended and may have to be resubmitted.
    pub more: bool,
}

impl Ring {
    pub(crate) fn new(io: IoUring, buffers: BufRing, arena: Box<[u8]>) -> Self {
        let mut enter_flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        // Waiting for peers is not I/O wait in the kernel's statistics (Linux 6.15).
        enter_flags.set(EnterFlags::NO_IOWAIT, io.params().is_feature_no_iowait());
        let io = BoxedIoUring(NonNull::from(Box::leak(Box::new(io))));
        // SAFETY: by 5: this is the only reference, and `io`, declared last, is dropped after the views.
        let (submitter, submissions, completions) = unsafe { &mut *io.0.as_ptr() }.split();
        Self {
            submitter,
            submissions,
            completions,
            buffers,
            arena,
            deferred: VecDeque::new(),
            enter_flags,
            owner: None,
            has_registered_fd: false,
            io,
        }
    }

    /// Enables the ring for this thread. Before that, and from any other thread, nothing can be submitted.
    ///
    /// # Errors
    ///
    /// Returns `EBADFD` if this thread has already enabled the ring, `EEXIST` if another thread has.
    pub fn enable(&mut self) -> io::Result<()> {
        self.check_thread()?;
        self.submitter.register_enable_rings()?;
        self.owner = Some(thread::current().id());
        // Optional: saves the kernel looking up the descriptor in every call.
        self.has_registered_fd = self.submitter.register_ring_fd().is_ok();
        Ok(())
    }

    /// Polls once: completes with the pending ones of `events` (poll(2)) as soon as there are any.
    pub fn poll_add(&mut self, fd: RawFd, events: u32, user_data: UserData) {
        self.push(opcode::PollAdd::new(Fd(fd), events).build(), user_data);
    }

    /// Polls repeatedly: completes if one of `events` (poll(2)) is pending, and again whenever one occurs.
    pub fn poll_multishot(&mut self, fd: RawFd, events: u32, user_data: UserData) {
        self.push(opcode::PollAdd::new(Fd(fd), events).multi(true).build(), user_data);
    }

    /// Receives repeatedly: completes with a [`RecvBuf`] for each piece of the stream, until the end of the
    /// stream (a result of 0), an error, or the lack of a free buffer (`ENOBUFS`).
    pub fn recv_multishot(&mut self, fd: RawFd, user_data: UserData) {
        self.push(opcode::RecvMulti::new(Fd(fd), BufRing::GROUP).build(), user_data);
    }

    /// Sends the contents of a buffer, or as much as the socket has room for. Completes only if not everything
    /// was sent: with the number of bytes sent, or with an error, which is `EAGAIN` if there was no room. If
    /// there is no such completion once [everything is submitted](Self::has_submitted_all), everything was
    /// sent.
    ///
    /// Do not recycle the buffer before that, or other bytes may be sent.
    ///
    /// # Panics
    ///
    /// Panics if the buffer belongs to another ring.
    pub fn send(&mut self, fd: RawFd, buf: &RecvBuf, user_data: UserData) {
        let entry = send(fd, self.buffers.bytes(buf));
        self.push(entry, user_data);
    }

    /// Sends a part of the [arena](Self::arena), like [`send`](Self::send). Do not write to that part before
    /// everything is submitted, or other bytes may be sent.
    ///
    /// # Panics
    ///
    /// Panics if the range is not within the arena.
    pub fn send_arena(&mut self, fd: RawFd, range: Range<usize>, user_data: UserData) {
        let entry = send(fd, &self.arena[range]);
        self.push(entry, user_data);
    }

    /// Cancels the operation that was submitted with `target`, which then completes for the last time, with
    /// `ECANCELED` unless something else ended it first. The cancellation itself completes only if there is no
    /// such operation (`ENOENT`) or it is too late to cancel it (`EALREADY`).
    pub fn cancel(&mut self, target: UserData, user_data: UserData) {
        let entry = opcode::AsyncCancel::new(target.raw()).build();
        self.push(entry.flags(Flags::SKIP_SUCCESS), user_data);
    }

    /// Submits queued operations. Always takes a system call, even if the queue is empty.
    ///
    /// # Errors
    ///
    /// Returns the error of `io_uring_enter(2)`. Operations that were not submitted stay queued.
    pub fn submit(&mut self) -> io::Result<()> {
        self.push_deferred();
        self.submit_pushed()
    }

    /// Submits queued operations and waits for a completion, for up to `timeout`; `None` waits indefinitely,
    /// and 0 takes a system call only if there is something to submit or to complete. Returns whether there
    /// is a completion.
    ///
    /// # Errors
    ///
    /// Returns the error of `io_uring_enter(2)`, such as `EINTR` after a signal. Operations that were not
    /// submitted stay queued.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.check_thread()?;
        self.push_deferred();
        self.sync();
        // Entries for which there is no room must not wait for a completion: they may be what causes it.
        let result = if timeout == Some(Duration::ZERO) || !self.deferred.is_empty() {
            self.enter_if_pending()
        } else {
            self.enter(1, timeout)
        };
        self.sync();
        match result.map_err(|error| error.raw_os_error()) {
            // The timeout has passed, or completions must be taken before more can be submitted.
            Ok(_) | Err(Some(libc::ETIME | libc::EBUSY)) => Ok(!self.completions.is_empty()),
            Err(code) => Err(io::Error::from_raw_os_error(code.unwrap_or(libc::EIO))),
        }
    }

    /// Takes the next completion, of those available when the last system call returned.
    pub fn next_completion(&mut self) -> Option<Completion> {
        let entry = self.completions.next()?;
        let (result, flags) = (entry.result(), entry.flags());
        let buf = cqueue::buffer_select(flags).map(|id| {
            // SAFETY: by 3: this completion names the buffer, and completions are taken only here.
            unsafe { self.buffers.received(id, result.max(0) as u32) }
        });
        let user_data = UserData::from_raw(entry.user_data());
        Some(Completion { user_data, result, buf, more: cqueue::more(flags) })
    }

    /// Whether every queued operation has been submitted, and the completions so far can be
    /// [taken](Self::next_completion). Then descriptors may be closed and the memory of sends may be reused.
    #[must_use]
    pub fn has_submitted_all(&self) -> bool {
        self.deferred.is_empty() && self.submissions.is_empty() && !self.has_overflowed()
    }

    /// Whether the completion queue has overflowed and the kernel holds completions back. The next
    /// [`wait`](Self::wait) or [`submit`](Self::submit) delivers as many as there is room for.
    #[must_use]
    pub fn has_overflowed(&self) -> bool {
        self.submissions.cq_overflow()
    }

    /// The number of buffers to receive into.
    #[must_use]
    pub fn buffers(&self) -> usize {
        self.buffers.count()
    }

    /// The received bytes.
    ///
    /// # Panics
    ///
    /// Panics if the buffer belongs to another ring.
    #[must_use]
    pub fn bytes<'a>(&'a self, buf: &'a RecvBuf) -> &'a [u8] {
        self.buffers.bytes(buf)
    }

    /// Returns a buffer to the kernel, to be received into again.
    ///
    /// # Panics
    ///
    /// Panics if the buffer belongs to another ring.
    pub fn recycle(&mut self, buf: RecvBuf) {
        self.buffers.recycle(buf);
    }

    /// The memory that [`send_arena`](Self::send_arena) sends from.
    pub fn arena(&mut self) -> &mut [u8] {
        &mut self.arena
    }

    fn check_thread(&self) -> io::Result<()> {
        match self.owner {
            // By 6. The kernel returns the same error.
            Some(owner) if owner != thread::current().id() => {
                Err(io::Error::from_raw_os_error(libc::EEXIST))
            }
            _ => Ok(()),
        }
    }

    /// Synchronises the heads and tails of both queues with the kernel. Also needed before a system call: the
    /// kernel does not block while it sees completions that were not taken.
    fn sync(&mut self) {
        self.submissions.sync();
        self.completions.sync();
    }

    /// Makes a system call only if there is something to submit or to complete.
    fn enter_if_pending(&self) -> io::Result<usize> {
        let queue = &self.submissions;
        if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
            return Ok(0);
        }
        self.enter(0, None)
    }

    /// Submits published entries, runs the kernel's pending completions, and waits for `completions` of them.
    fn enter(&self, completions: u32, timeout: Option<Duration>) -> io::Result<usize> {
        let timespec = timeout.map(Timespec::from);
        let mut args = SubmitArgs::new();
        if let Some(timespec) = &timespec {
            args = args.timespec(timespec);
        }
        let count = self.submissions.len() as u32;
        // SAFETY: by 2: `args` and the time it points to are on this stack. EXT_ARG declares their type.
        unsafe { self.submitter.enter(count, completions, self.enter_flags.bits(), Some(&args)) }
    }

    fn submit_pushed(&mut self) -> io::Result<()> {
        self.check_thread()?;
        self.sync();
        let result = self.submitter.submit();
        self.sync();
        result.map(drop)
    }

    fn push(&mut self, entry: Entry, user_data: UserData) {
        let entry = entry.user_data(user_data.raw());
        self.make_room();
        if !self.deferred.is_empty() || !self.try_push(&entry) {
            self.deferred.push_back(entry);
        }
    }

    /// Pushes deferred entries in order, as many as there is room for.
    fn push_deferred(&mut self) {
        while let Some(entry) = self.deferred.pop_front() {
            self.make_room();
            if !self.try_push(&entry) {
                self.deferred.push_front(entry);
                break;
            }
        }
    }

    fn make_room(&mut self) {
        if self.submissions.is_full() {
            // Fails if completions must be taken first; the queue then stays full.
            let _ = self.submit_pushed();
        }
    }

    fn try_push(&mut self, entry: &Entry) -> bool {
        // SAFETY: by 1: only the operations above and `drop` create entries. Sends point into `buffers` or
        // `arena`, which are freed after the last submission.
        unsafe { self.submissions.push(entry) }.is_ok()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel tears a ring down asynchronously, and an operation keeps its file open until then. Cancel
        // everything now.
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push(cancel.flags(Flags::SKIP_SUCCESS), UserData::from_raw(u64::MAX));
        let _ = self.wait(Some(Duration::ZERO));
        let is_own_thread = self.check_thread().is_ok();
        if self.has_registered_fd && is_own_thread {
            // A registered descriptor keeps the ring alive until the thread exits.
            let _ = self.submitter.unregister_ring_fd();
        }
        // SAFETY: by 5: the views only read the `IoUring`. This submitter, unlike the other, refers to the ring by
        // its descriptor, which by 6 is valid in every thread.
        self.buffers.unregister(&unsafe { self.io.0.as_ref() }.submitter());
    }
}

/// Owns the `IoUring` that the views of a ring borrow.
struct BoxedIoUring(NonNull<IoUring>);

impl Drop for BoxedIoUring {
    fn drop(&mut self) {
        // SAFETY: by 5: the pointer comes from a box, and the views have been dropped.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Builds a send that does not wait for room. With `MSG_WAITALL` a short send counts as a failure, and only
/// failures complete.
fn send(fd: RawFd, bytes: &[u8]) -> Entry {
    let flags = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
    let send = opcode::Send::new(Fd(fd), bytes.as_ptr(), bytes.len() as u32);
    send.flags(flags).build().flags(Flags::SKIP_SUCCESS)
}

#[cfg(test)]
mod tests {
    use crate::RingSetup;

    #[test]
    fn a_ring_that_is_dropped_leaves_no_descriptor_registered() {
        let setup = RingSetup {
            entries: 1,
            cq_entries: 1,
            buffers: 1,
            buffer_size: 1,
            arena_size: 0,
            no_sqarray: false,
        };
        if let Err(error) = setup.build() {
            return echo_test_support::skipped("registered descriptors", &error.to_string());
        }
        // A thread can register at most 16.
        for _ in 0..40 {
            let mut ring = setup.build().unwrap();
            ring.enable().unwrap();
            assert!(ring.has_registered_fd);
        }
    }
}
