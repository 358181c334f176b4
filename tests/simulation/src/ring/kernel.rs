//! The kernel's side of the ring, with deferred task work: what completes does so within `io_uring_enter(2)`.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use echo_ring::UserData;

use super::RingSetup;
use crate::descriptor::Object;
use crate::world::{World, block, trace, with};

/// Every io_uring poll waits for these, too (`IO_POLL_UNMASK`).
pub(super) const ALWAYS: u32 = (libc::POLLERR | libc::POLLHUP | libc::POLLRDHUP) as u32;
const READABLE: u32 = (libc::POLLIN | libc::POLLPRI) as u32;

/// A submission entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) fd: RawFd,
    pub(crate) user_data: UserData,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Poll { events: u32, multishot: bool },
    Receive,
    Send { start: usize, len: usize },
    Cancel { target: UserData },
}

/// An operation in flight.
#[derive(Debug)]
pub(crate) struct Op {
    pub(super) user_data: UserData,
    pub(crate) object: Object,
    pub(super) kind: Kind,
    /// It was woken: its task work is pending.
    pub(super) fired: bool,
    pub(super) is_cancelled: bool,
    /// A cancellation has lost its race: it completes once more, for the last time.
    pub(super) is_last: bool,
}

/// A completion entry.
#[derive(Debug)]
pub(crate) struct Completed {
    pub(crate) user_data: UserData,
    pub(crate) result: i32,
    pub(crate) buffer: Option<u16>,
    pub(crate) more: bool,
}

/// A ring's queues, its buffers that are free, and its operations in flight.
#[derive(Debug, Default)]
pub(crate) struct RingKernel {
    pub(crate) exists: bool,
    pub(crate) setup: Option<RingSetup>,
    pub(crate) queue: VecDeque<Entry>,
    /// Of the program: entries for which the queue had no room.
    pub(crate) deferred: VecDeque<Entry>,
    pub(crate) completed: VecDeque<Completed>,
    /// Completions that the program saw when it last looked, and those it has taken since.
    pub(crate) visible: usize,
    pub(crate) taken: usize,
    /// Completions for which the queue had no room.
    pub(crate) overflow: VecDeque<Completed>,
    pub(crate) free: VecDeque<u16>,
    pub(crate) ops: Vec<Op>,
}

impl RingKernel {
    /// The program publishes what it has taken, and sees what has completed.
    pub(crate) fn sync(&mut self) {
        (self.visible, self.taken) = (self.completed.len(), 0);
    }

    /// Whether a system call could submit or complete anything (`IORING_SQ_TASKRUN`, `IORING_SQ_CQ_OVERFLOW`).
    pub(crate) fn is_pending(&self) -> bool {
        !self.queue.is_empty() || !self.overflow.is_empty() || self.ops.iter().any(|op| op.fired)
    }

    /// Whether a receive is in flight on a socket.
    pub(crate) fn receives(&self, socket: usize) -> bool {
        let object = Object::Socket(socket);
        self.ops.iter().any(|op| op.object == object && matches!(op.kind, Kind::Receive))
    }

    pub(super) fn has_room(&self) -> bool {
        let size = self.setup.map_or(0, |setup| setup.cq_entries as usize);
        self.overflow.is_empty() && self.completed.len() + self.taken < size
    }

    pub(super) fn complete(&mut self, completed: Completed) {
        if self.has_room() {
            self.completed.push_back(completed);
        } else {
            self.overflow.push_back(completed);
        }
    }

    fn flush_overflow(&mut self) {
        let size = self.setup.map_or(0, |setup| setup.cq_entries as usize);
        while self.completed.len() + self.taken < size
            && let Some(completed) = self.overflow.pop_front()
        {
            self.completed.push_back(completed);
        }
    }
}

impl World {
    /// Whether an entry that is not submitted names this descriptor.
    pub(crate) fn entry_names(&self, fd: RawFd) -> bool {
        self.ring.queue.iter().chain(&self.ring.deferred).any(|entry| entry.fd == fd)
    }

    pub(crate) fn wake_ops(&mut self, object: Object, events: u32) {
        for op in self.ring.ops.iter_mut().filter(|op| op.object == object) {
            let waits_for = match op.kind {
                Kind::Poll { events, .. } => events | ALWAYS,
                _ => READABLE | ALWAYS,
            };
            op.fired |= events == 0 || events & waits_for != 0;
        }
    }

    /// Checks that no operation keeps something open that the program has closed.
    pub fn check_operations_in_flight(&self) {
        for op in &self.ring.ops {
            assert!(self.is_open(op.object), "{op:?} keeps open what is closed");
        }
        assert!(
            self.ring.queue.is_empty() && self.ring.deferred.is_empty(),
            "entries are not submitted"
        );
    }

    /// Checks that all provided buffers are the kernel's again.
    pub fn check_buffers(&self) {
        let all = self.ring.setup.map_or(0, |setup| usize::from(setup.buffers));
        assert_eq!(self.ring.free.len(), all, "buffers are not recycled");
    }

    /// Submits the next entry. Returns whether there was one.
    fn submit_next(&mut self, memory: &mut [u8]) -> bool {
        let Some(Entry { fd, user_data, kind }) = self.ring.queue.pop_front() else { return false };
        self.steps += 1;
        match kind {
            Kind::Cancel { target } => self.cancel(target, user_data),
            Kind::Send { start, len } => self.send(fd, user_data, &memory[start..start + len]),
            Kind::Poll { .. } | Kind::Receive => {
                let object = self.object(fd);
                let is_same =
                    |op: &Op| op.user_data == user_data && matches!(op.object, Object::Socket(_));
                let twice = self.ring.ops.iter().any(is_same);
                assert!(!twice, "{user_data:?} is in flight already");
                if let (Kind::Receive, Object::Socket(socket)) = (kind, object) {
                    assert!(
                        !self.ring.receives(socket),
                        "two receives are in flight for peer {socket}"
                    );
                }
                let op = Op {
                    user_data,
                    object,
                    kind,
                    fired: false,
                    is_cancelled: false,
                    is_last: false,
                };
                self.ring.ops.push(op);
                self.start(self.ring.ops.len() - 1);
            }
        }
        true
    }

    /// An operation is issued: it is tried at once. A poll that is already satisfied completes by task work, or inline.
    fn start(&mut self, index: usize) {
        let (object, kind) = (self.ring.ops[index].object, self.ring.ops[index].kind);
        self.ring.ops[index].fired = match kind {
            Kind::Poll { events, .. } => self.mask(object) & (events | ALWAYS) != 0,
            // Re-arming without a free buffer gives ENOBUFS at once (axboe/liburing#1275).
            _ => self.ring.free.is_empty() || self.mask(object) & (READABLE | ALWAYS) != 0,
        };
    }

    fn cancel(&mut self, target: UserData, user_data: UserData) {
        let found = self.ring.ops.iter().position(|op| op.user_data == target && !op.is_last);
        let Some(index) = found else {
            return self.ring.complete(Completed {
                user_data,
                result: -libc::ENOENT,
                buffer: None,
                more: false,
            });
        };
        let object = self.ring.ops[index].object;
        let pending = match self.ring.ops[index].kind {
            Kind::Poll { events, .. } => self.mask(object) & (events | ALWAYS) != 0,
            _ => matches!(object, Object::Socket(socket) if self.sockets[socket].received() > 0),
        };
        let op = &mut self.ring.ops[index];
        let loses = op.fired && pending && self.rng.u8(..) < self.settings.liberty;
        op.fired = true;
        if loses {
            // io_uring_prep_cancel(3): -EALREADY, the operation may still complete normally.
            self.ring.ops[index].is_last = true;
            self.ring.complete(Completed {
                user_data,
                result: -libc::EALREADY,
                buffer: None,
                more: false,
            });
        } else {
            op.is_cancelled = true;
        }
    }

    /// A send with MSG_DONTWAIT and MSG_WAITALL completes while it is submitted; success is skipped.
    fn send(&mut self, fd: RawFd, user_data: UserData, bytes: &[u8]) {
        let socket = self.socket(fd);
        let result = match self.failure(socket) {
            Some(error) => Err(error),
            None => self.transmit(socket, bytes),
        };
        trace!(self, "submitted: send({fd}, {}) to peer {socket}: {result:?}", bytes.len());
        let result = match result {
            Ok(count) if count == bytes.len() => return,
            Ok(count) => count as i32,
            Err(error) => -error,
        };
        self.ring.complete(Completed { user_data, result, buffer: None, more: false });
    }
}

/// See `io_uring_enter(2)`.
pub(super) fn enter(
    memory: &mut [u8],
    events: bool,
    waits: bool,
    deadline: Option<u64>,
) -> Result<usize, i32> {
    let submitted = with(|world| world.enter(memory, events))?;
    let (count, is_partial) = submitted;
    if is_partial || !waits {
        return Ok(count);
    }
    loop {
        if with(|world| !world.ring.completed.is_empty()) {
            return Ok(count);
        }
        if with(|world| world.liberty() && world.rng.u8(..) < 4) {
            // A signal. What was submitted is reported instead, if there is anything.
            return if count > 0 { Ok(count) } else { Err(libc::EINTR) };
        }
        let woken = block(deadline, |world| world.ring.ops.iter().any(|op| op.fired));
        with(|world| world.run_task_work(memory));
        if !woken && with(|world| world.ring.completed.is_empty()) {
            return if count > 0 { Ok(count) } else { Err(libc::ETIME) };
        }
    }
}

impl World {
    /// Submits entries and runs task work. Returns how many were submitted, and whether some are left.
    fn enter(&mut self, memory: &mut [u8], events: bool) -> Result<(usize, bool), i32> {
        if self.breaks() {
            return Err(self.broken_error);
        }
        let queued = self.ring.queue.len();
        let (fails, partial) =
            (self.fails(), queued > 0 && self.rng.u8(..) < self.settings.partial);
        let most = if partial { self.rng.usize(..queued) } else { queued };
        let fails_now = self.fails_for_now(fails || partial && most == 0);
        if fails_now && fails {
            return Err(self.pick(&[libc::EAGAIN, libc::ENOMEM, libc::EINTR, libc::EBUSY]));
        }
        if events {
            self.ring.flush_overflow();
        }
        if queued > 0 && !self.ring.overflow.is_empty() {
            // Completions must be taken first.
            return Err(libc::EBUSY);
        }
        // Memory for requests may run out in the middle.
        if fails_now {
            return Err(libc::EAGAIN);
        }
        for _ in 0..most {
            self.submit_next(memory);
        }
        if events && !partial {
            self.run_task_work(memory);
        }
        Ok((most, partial))
    }
}
