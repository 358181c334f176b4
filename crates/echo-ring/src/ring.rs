//! The ring: operations go in, completions come out.
#![allow(
    unsafe_code,
    reason = "the io-uring crate leaves its promises to its user; see the crate's invariants"
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
/// It is [built](crate::RingSetup::build) by any thread, and belongs to the one that
/// [enables](Self::enable) it. Operations are only queued when they are asked for; [`wait`](Self::wait)
/// and [`submit`](Self::submit) give them to the kernel, in their order.
///
/// Dropping it submits what is queued and cancels what is in flight.
pub struct Ring {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    buffers: BufRing,
    arena: Box<[u8]>,
    /// Entries that the submission queue had no place for.
    deferred: VecDeque<Entry>,
    enter_flags: EnterFlags,
    /// The thread that has enabled it.
    owner: Option<ThreadId>,
    /// Whether its descriptor is registered with that thread.
    has_registered_fd: bool,
    /// What the first three borrow: the last to be dropped.
    io: BoxedIoUring,
}

// SAFETY: an `IoUring` is Send. By 5 nothing outside of this value refers to what its views point to, and by 3
// to the buffers but the kernel, which does not care for threads.
unsafe impl Send for Ring {}

/// What became of an operation.
#[derive(Debug)]
pub struct Completion {
    /// What the operation was submitted with.
    pub user_data: UserData,
    /// What the operation returned, for instance a number of bytes or the events of a poll; or a negative
    /// error number (`res` of a completion entry).
    pub result: i32,
    /// What was received. It has to be [recycled](Ring::recycle).
    pub buf: Option<RecvBuf>,
    /// Whether the operation goes on and will complete again (`IORING_CQE_F_MORE`). If not, a multishot
    /// operation has ended and may have to be started again.
    pub more: bool,
}

impl Ring {
    pub(crate) fn new(io: IoUring, buffers: BufRing, arena: Box<[u8]>) -> Self {
        let mut enter_flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        // A thread that waits for peers must not look like one that waits for a disk (Linux 6.15).
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

    /// Makes the ring this thread's own. Before that, and in any other thread after it, nothing is submitted.
    ///
    /// # Errors
    ///
    /// `EBADFD` if it has been enabled already, `EEXIST` if that was by another thread.
    pub fn enable(&mut self) -> io::Result<()> {
        self.check_thread()?;
        self.submitter.register_enable_rings()?;
        self.owner = Some(thread::current().id());
        // It saves looking up the descriptor in every call. Without it, everything works as well.
        self.has_registered_fd = self.submitter.register_ring_fd().is_ok();
        Ok(())
    }

    /// Completes once, when one of `events` (poll(2)) is there, with those that are.
    pub fn poll_add(&mut self, fd: RawFd, events: u32, user_data: UserData) {
        self.push(opcode::PollAdd::new(Fd(fd), events).build(), user_data);
    }

    /// Completes if one of `events` (poll(2)) is there, and again whenever one occurs.
    pub fn poll_multishot(&mut self, fd: RawFd, events: u32, user_data: UserData) {
        self.push(opcode::PollAdd::new(Fd(fd), events).multi(true).build(), user_data);
    }

    /// Receives what arrives, and completes with a [`RecvBuf`] for each piece of it, until the end of the
    /// stream (a result of 0), an error, or the lack of a buffer (`ENOBUFS`).
    pub fn recv_multishot(&mut self, fd: RawFd, user_data: UserData) {
        self.push(opcode::RecvMulti::new(Fd(fd), BufRing::GROUP).build(), user_data);
    }

    /// Sends what was received, all of it or as much as there is room for now. It completes only if that is
    /// not everything: with the number of bytes sent, or with an error, which is `EAGAIN` if there was no
    /// room at all. That completion is there once [everything is submitted](Self::has_submitted_all);
    /// without it, everything was sent.
    ///
    /// The buffer must not be recycled before that: then other bytes might be sent.
    ///
    /// # Panics
    ///
    /// If the buffer is another ring's.
    pub fn send(&mut self, fd: RawFd, buf: &RecvBuf, user_data: UserData) {
        let entry = send(fd, self.buffers.bytes(buf));
        self.push(entry, user_data);
    }

    /// Sends a part of the [arena](Self::arena), as [`send`](Self::send) does. It must not be written to
    /// before it is submitted: then other bytes might be sent.
    ///
    /// # Panics
    ///
    /// If the range is not within the arena.
    pub fn send_arena(&mut self, fd: RawFd, range: Range<usize>, user_data: UserData) {
        let entry = send(fd, &self.arena[range]);
        self.push(entry, user_data);
    }

    /// Ends the operation that was submitted with `target`. That completes a last time, with `ECANCELED`
    /// unless something else was first. The cancellation itself completes only if there is no such
    /// operation (`ENOENT`) or it is too late to end it (`EALREADY`).
    pub fn cancel(&mut self, target: UserData, user_data: UserData) {
        let entry = opcode::AsyncCancel::new(target.raw()).build();
        self.push(entry.flags(Flags::SKIP_SUCCESS), user_data);
    }

    /// Submits what is queued. Takes one system call, also if there is nothing.
    ///
    /// # Errors
    ///
    /// Those of `io_uring_enter(2)`. What was not submitted stays queued.
    pub fn submit(&mut self) -> io::Result<()> {
        self.push_deferred();
        self.submit_pushed()
    }

    /// Submits what is queued and waits for a completion, for `timeout` at most; `None` waits for ever, and
    /// 0 takes a system call only if there is something to submit or to complete. Returns whether there
    /// is a completion.
    ///
    /// # Errors
    ///
    /// Those of `io_uring_enter(2)`, among them `EINTR` after a signal. What was not submitted stays queued.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.check_thread()?;
        self.push_deferred();
        self.sync();
        let result = if timeout == Some(Duration::ZERO) {
            self.enter_if_pending()
        } else {
            self.enter(1, timeout)
        };
        self.sync();
        match result.map_err(|error| error.raw_os_error()) {
            // The time is over, or the kernel wants completions to be taken before it goes on.
            Ok(_) | Err(Some(libc::ETIME | libc::EBUSY)) => Ok(!self.completions.is_empty()),
            Err(code) => Err(io::Error::from_raw_os_error(code.unwrap_or(libc::EIO))),
        }
    }

    /// The next of the completions that were there when the last call returned.
    pub fn next_completion(&mut self) -> Option<Completion> {
        let entry = self.completions.next()?;
        let (result, flags) = (entry.result(), entry.flags());
        let buf = cqueue::buffer_select(flags).map(|id| {
            // SAFETY: by 3: this completion names the buffer, and is taken from the queue only here.
            unsafe { self.buffers.received(id, result.max(0) as u32) }
        });
        let user_data = UserData::from_raw(entry.user_data());
        Some(Completion { user_data, result, buf, more: cqueue::more(flags) })
    }

    /// Whether everything that was asked for is submitted, and every completion that there was for it can be
    /// [taken](Self::next_completion). Descriptors may be closed and the memory of sends may be used again
    /// then.
    #[must_use]
    pub fn has_submitted_all(&self) -> bool {
        self.deferred.is_empty() && self.submissions.is_empty() && !self.has_overflowed()
    }

    /// Whether the completion queue was full, and the kernel holds completions back. The next
    /// [`wait`](Self::wait) or [`submit`](Self::submit) delivers them, as far as there is room by then.
    #[must_use]
    pub fn has_overflowed(&self) -> bool {
        self.submissions.cq_overflow()
    }

    /// How many buffers there are to receive into.
    #[must_use]
    pub fn buffers(&self) -> usize {
        self.buffers.count()
    }

    /// What was received.
    ///
    /// # Panics
    ///
    /// If the buffer is another ring's.
    #[must_use]
    pub fn bytes<'a>(&'a self, buf: &'a RecvBuf) -> &'a [u8] {
        self.buffers.bytes(buf)
    }

    /// Lets the kernel receive into a buffer again.
    ///
    /// # Panics
    ///
    /// If the buffer is another ring's.
    pub fn recycle(&mut self, buf: RecvBuf) {
        self.buffers.recycle(buf);
    }

    /// The memory that [`send_arena`](Self::send_arena) sends from.
    pub fn arena(&mut self) -> &mut [u8] {
        &mut self.arena
    }

    fn check_thread(&self) -> io::Result<()> {
        match self.owner {
            // By 6, and with the number that the kernel has for this.
            Some(owner) if owner != thread::current().id() => {
                Err(io::Error::from_raw_os_error(libc::EEXIST))
            }
            _ => Ok(()),
        }
    }

    /// Publishes what was pushed and taken, and sees what the kernel has published. It has to come before a
    /// call as well: the kernel does not wait while it sees completions that were not taken.
    fn sync(&mut self) {
        self.submissions.sync();
        self.completions.sync();
    }

    /// Without a system call if there is nothing that it could do.
    fn enter_if_pending(&self) -> io::Result<usize> {
        let queue = &self.submissions;
        if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
            return Ok(0);
        }
        self.enter(0, None)
    }

    /// Submits what is published, has the kernel complete what it can, and waits for `completions`.
    fn enter(&self, completions: u32, timeout: Option<Duration>) -> io::Result<usize> {
        let timespec = timeout.map(Timespec::from);
        let mut args = SubmitArgs::new();
        if let Some(timespec) = &timespec {
            args = args.timespec(timespec);
        }
        let count = self.submissions.len() as u32;
        // SAFETY: by 2: `args` and what it points to are on this stack. EXT_ARG says what type it is.
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

    /// Pushes the deferred entries, in their order, as far as there is room.
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
            // It may fail where there are completions to be taken first; then there is no room.
            let _ = self.submit_pushed();
        }
    }

    fn try_push(&mut self, entry: &Entry) -> bool {
        // SAFETY: by 1: only the operations above and `drop` make entries. What a send points to belongs to
        // `buffers` or `arena`, which are freed when nothing is submitted any more.
        unsafe { self.submissions.push(entry) }.is_ok()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // An operation keeps its file open, and the kernel takes a ring down in its own time. So nothing is
        // left in flight.
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push(cancel.flags(Flags::SKIP_SUCCESS), UserData::from_raw(u64::MAX));
        let _ = self.wait(Some(Duration::ZERO));
        let is_own_thread = self.check_thread().is_ok();
        if self.has_registered_fd && is_own_thread {
            // It would keep the ring until the thread ends.
            let _ = self.submitter.unregister_ring_fd();
        }
        // SAFETY: by 5: the views only read the `IoUring`. This submitter, unlike the other, knows the ring by
        // its descriptor, which by 6 means the same in every thread.
        self.buffers.unregister(&unsafe { self.io.0.as_ref() }.submitter());
    }
}

/// Owns the `IoUring` that the views of a ring borrow.
struct BoxedIoUring(NonNull<IoUring>);

impl Drop for BoxedIoUring {
    fn drop(&mut self) {
        // SAFETY: by 5: it comes from a box, and the views are gone.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Sends at once, as far as there is room. With `MSG_WAITALL`, less than everything counts as a failure, and
/// only failures complete.
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
        // A thread has room for 16.
        for _ in 0..40 {
            let mut ring = setup.build().unwrap();
            ring.enable().unwrap();
            assert!(ring.has_registered_fd);
        }
    }
}
