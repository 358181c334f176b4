//! A simulated `echo_ring::Ring`: its surface, and the queues that it shares with the kernel.

pub(crate) mod kernel;
mod task_work;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::time::Duration;

use echo_ring::UserData;

use self::kernel::{Entry, Kind};
use crate::clock::nanos;
use crate::world::{system_call, trace, try_with, with};

/// See `echo_ring::RingSetup`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "those of echo_ring::RingSetup")]
pub struct RingSetup {
    pub entries: u32,
    pub cq_entries: u32,
    pub buffers: u16,
    pub buffer_size: usize,
    pub arena_size: usize,
    pub no_sqarray: bool,
}

/// A simulated `echo_ring::Ring`. A world has one at a time.
#[derive(Debug)]
pub struct Ring {
    /// The buffers, then the arena.
    memory: Vec<u8>,
    setup: RingSetup,
}

/// See `echo_ring::Completion`.
#[derive(Debug)]
#[allow(missing_docs, reason = "those of echo_ring::Completion")]
pub struct Completion {
    pub user_data: UserData,
    pub result: i32,
    pub buf: Option<RecvBuf>,
    pub more: bool,
}

/// See `echo_ring::RecvBuf`. One that is dropped without being recycled is a violation as long as its ring exists.
#[derive(Debug, PartialEq, Eq)]
pub struct RecvBuf {
    len: u32,
    id: u16,
    is_recycled: bool,
}

impl RecvBuf {
    /// The number of bytes received.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no bytes were received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for RecvBuf {
    fn drop(&mut self) {
        if !self.is_recycled {
            try_with(|world| {
                assert!(!world.ring.exists, "buffer {} is dropped, but not recycled", self.id)
            });
        }
    }
}

impl RingSetup {
    /// See `echo_ring::RingSetup::build`.
    ///
    /// # Errors
    ///
    /// None.
    pub fn build(&self) -> io::Result<Ring> {
        let size = usize::from(self.buffers) * self.buffer_size + self.arena_size;
        with(|world| {
            assert!(!world.ring.exists, "a world has one ring");
            world.ring.exists = true;
            world.ring.setup = Some(*self);
            world.ring.free = (0..self.buffers).collect();
        });
        Ok(Ring { memory: vec![0; size], setup: *self })
    }

    /// See `echo_ring::RingSetup::probe`.
    ///
    /// # Errors
    ///
    /// None.
    pub fn probe(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Ring {
    /// See `echo_ring::Ring::enable`.
    ///
    /// # Errors
    ///
    /// None.
    pub fn enable(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// See `echo_ring::Ring::poll_add`.
    pub fn poll_add(&mut self, fd: RawFd, events: u32, user_data: UserData) {
        self.push(Entry { fd, user_data, kind: Kind::Poll { events, multishot: false } });
    }

    /// See `echo_ring::Ring::poll_multishot`.
    pub fn poll_multishot(&mut self, fd: RawFd, events: u32, user_data: UserData) {
        self.push(Entry { fd, user_data, kind: Kind::Poll { events, multishot: true } });
    }

    /// See `echo_ring::Ring::recv_multishot`.
    pub fn recv_multishot(&mut self, fd: RawFd, user_data: UserData) {
        self.push(Entry { fd, user_data, kind: Kind::Receive });
    }

    /// See `echo_ring::Ring::send`.
    pub fn send(&mut self, fd: RawFd, buf: &RecvBuf, user_data: UserData) {
        let start = usize::from(buf.id) * self.setup.buffer_size;
        self.push(Entry { fd, user_data, kind: Kind::Send { start, len: buf.len() } });
    }

    /// See `echo_ring::Ring::send_arena`.
    pub fn send_arena(&mut self, fd: RawFd, range: Range<usize>, user_data: UserData) {
        let start = self.memory.len() - self.setup.arena_size + range.start;
        self.push(Entry { fd, user_data, kind: Kind::Send { start, len: range.len() } });
    }

    /// See `echo_ring::Ring::cancel`.
    pub fn cancel(&mut self, target: UserData, user_data: UserData) {
        self.push(Entry { fd: -1, user_data, kind: Kind::Cancel { target } });
    }

    /// See `echo_ring::Ring::submit`.
    ///
    /// # Errors
    ///
    /// Those of `io_uring_enter(2)`.
    pub fn submit(&mut self) -> io::Result<()> {
        self.push_deferred();
        self.submit_pushed()
    }

    /// See `echo_ring::Ring::wait`.
    ///
    /// # Errors
    ///
    /// Those of `io_uring_enter(2)`.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.push_deferred();
        let deferred = with(|world| {
            world.ring.sync();
            !world.ring.deferred.is_empty()
        });
        let result = if timeout == Some(Duration::ZERO) || deferred {
            let pending = with(|world| world.ring.is_pending());
            if pending { self.enter(true, false, None) } else { Ok(0) }
        } else {
            let deadline = timeout.map(|timeout| with(|world| world.now + nanos(timeout)));
            self.enter(true, true, deadline)
        };
        with(|world| {
            world.ring.sync();
            world.wait_returns();
            trace!(world, "wait({timeout:?}): {result:?}, {} completions", world.ring.visible);
            match result {
                Ok(_) | Err(libc::ETIME | libc::EBUSY) => Ok(world.ring.visible > 0),
                Err(code) => Err(io::Error::from_raw_os_error(code)),
            }
        })
    }

    /// See `echo_ring::Ring::next_completion`.
    pub fn next_completion(&mut self) -> Option<Completion> {
        with(|world| {
            let ring = &mut world.ring;
            ring.visible = ring.visible.checked_sub(1)?;
            ring.taken += 1;
            let completed = ring.completed.pop_front()?;
            let buf = completed.buffer.map(|id| RecvBuf {
                len: u32::try_from(completed.result).unwrap_or(0),
                id,
                is_recycled: false,
            });
            let (user_data, result, more) = (completed.user_data, completed.result, completed.more);
            trace!(
                world,
                "completion of {user_data:?}: {result}, buffer {:?}, more {more}", completed.buffer
            );
            Some(Completion { user_data, result, buf, more })
        })
    }

    /// See `echo_ring::Ring::has_submitted_all`.
    #[must_use]
    pub fn has_submitted_all(&self) -> bool {
        with(|world| {
            let ring = &world.ring;
            ring.deferred.is_empty() && ring.queue.is_empty() && ring.overflow.is_empty()
        })
    }

    /// See `echo_ring::Ring::has_overflowed`.
    #[must_use]
    pub fn has_overflowed(&self) -> bool {
        with(|world| !world.ring.overflow.is_empty())
    }

    /// See `echo_ring::Ring::buffers`.
    #[must_use]
    pub fn buffers(&self) -> usize {
        self.setup.buffers.into()
    }

    /// See `echo_ring::Ring::bytes`.
    #[must_use]
    pub fn bytes<'a>(&'a self, buf: &'a RecvBuf) -> &'a [u8] {
        let start = usize::from(buf.id) * self.setup.buffer_size;
        &self.memory[start..start + buf.len()]
    }

    /// See `echo_ring::Ring::recycle`.
    pub fn recycle(&mut self, mut buf: RecvBuf) {
        buf.is_recycled = true;
        let start = usize::from(buf.id) * self.setup.buffer_size;
        with(|world| {
            let ring = &mut world.ring;
            let is_sent =
                |entry: &Entry| matches!(entry.kind, Kind::Send { start: of, .. } if of == start);
            let queued = ring.queue.iter().chain(&ring.deferred).any(is_sent);
            assert!(!queued, "buffer {} is recycled while a queued entry sends it", buf.id);
            ring.free.push_back(buf.id);
        });
    }

    /// See `echo_ring::Ring::arena`.
    pub fn arena(&mut self) -> &mut [u8] {
        let start = self.memory.len() - self.setup.arena_size;
        &mut self.memory[start..]
    }

    fn submit_pushed(&mut self) -> io::Result<()> {
        with(|world| world.ring.sync());
        // The io-uring crate asks for completions only if some are held back.
        let events = with(|world| !world.ring.overflow.is_empty());
        let result = self.enter(events, false, None);
        with(|world| {
            world.ring.sync();
            trace!(world, "submit: {result:?}");
        });
        result.map(drop).map_err(io::Error::from_raw_os_error)
    }

    fn push(&mut self, entry: Entry) {
        with(|world| trace!(world, "push {entry:?}"));
        self.make_room();
        with(|world| {
            let ring = &mut world.ring;
            let full = ring.queue.len() >= self.setup.entries as usize;
            if full || !ring.deferred.is_empty() {
                ring.deferred.push_back(entry);
            } else {
                ring.queue.push_back(entry);
            }
        });
    }

    fn push_deferred(&mut self) {
        while with(|world| !world.ring.deferred.is_empty()) {
            self.make_room();
            let entries = self.setup.entries as usize;
            let pushed = with(|world| {
                let ring = &mut world.ring;
                let has_room = ring.queue.len() < entries;
                if has_room && let Some(entry) = ring.deferred.pop_front() {
                    ring.queue.push_back(entry);
                }
                has_room
            });
            if !pushed {
                break;
            }
        }
    }

    fn make_room(&mut self) {
        if with(|world| world.ring.queue.len() >= self.setup.entries as usize) {
            let _ = self.submit_pushed();
        }
    }

    /// See `io_uring_enter(2)`: submits, runs pending completions if `events`, and waits for one if `waits`.
    fn enter(&mut self, events: bool, waits: bool, deadline: Option<u64>) -> Result<usize, i32> {
        system_call();
        kernel::enter(&mut self.memory, events, waits, deadline)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        try_with(|world| {
            world.ring.exists = false;
            let ops = std::mem::take(&mut world.ring.ops);
            (world.ring.queue, world.ring.deferred) = (VecDeque::new(), VecDeque::new());
            ops.iter().for_each(|op| world.release(op.object));
        });
    }
}
