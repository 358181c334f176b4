//! The descriptor table and what descriptors refer to.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::event::EventfdFlags;

use crate::world::{World, trace, try_with, with};

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    /// An index of `World::sockets`.
    Socket(usize),
    /// An index of `World::listeners`.
    Listener(usize),
    /// The number of an eventfd.
    Event(u64),
}

/// A simulated [`std::os::fd::OwnedFd`].
#[derive(Debug)]
pub struct OwnedFd(pub(crate) RawFd);

impl AsRawFd for OwnedFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Drop for OwnedFd {
    fn drop(&mut self) {
        try_with(|world| world.close(self.0));
    }
}

/// A simulated eventfd(2).
///
/// # Errors
///
/// None: descriptors do not run out before the program has started.
pub fn eventfd(_: u32, _: EventfdFlags) -> rustix::io::Result<OwnedFd> {
    let number = next_event();
    Ok(with(|world| OwnedFd(world.open(Object::Event(number)))))
}

/// A simulated write(2) to an eventfd.
///
/// # Errors
///
/// None: the counter is never full.
pub fn write(fd: &OwnedFd, bytes: &[u8]) -> rustix::io::Result<usize> {
    with(|world| {
        let event = world.object(fd.0);
        trace!(world, "{event:?}: written to");
        world.set_event(event);
    });
    Ok(bytes.len())
}

/// The numbers of eventfds differ in all worlds, so that one of another world is recognised.
pub(crate) fn next_event() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(1);
    LAST.fetch_add(1, Relaxed)
}

impl World {
    /// A descriptor for `object`: the lowest free number, as open(2) says, so closed ones come again at once.
    pub(crate) fn open(&mut self, object: Object) -> RawFd {
        let free = self.descriptors.iter().position(Option::is_none);
        let fd = free.unwrap_or_else(|| {
            self.descriptors.push(None);
            self.descriptors.len() - 1
        });
        self.descriptors[fd] = Some(object);
        fd as RawFd
    }

    /// What a descriptor refers to.
    pub(crate) fn object(&self, fd: RawFd) -> Object {
        let object = self.descriptors.get(fd as usize).copied().flatten();
        object.unwrap_or_else(|| panic!("descriptor {fd} is used, but not open"))
    }

    fn close(&mut self, fd: RawFd) {
        let object = self.object(fd);
        trace!(self, "close({fd}), {object:?}");
        self.steps += 1;
        // A ring that is broken submits nothing any more.
        assert!(
            self.broken || !self.entry_names(fd),
            "descriptor {fd} is closed while a queued entry names it"
        );
        self.descriptors[fd as usize] = None;
        self.forget(object);
        self.release(object);
    }

    pub(crate) fn is_open(&self, object: Object) -> bool {
        self.descriptors.contains(&Some(object))
    }

    /// Ends what was closed, unless an operation in flight still refers to it: close(2) neither cancels operations of
    /// io_uring nor sends FIN while one waits (axboe/liburing#932, #568).
    pub(crate) fn release(&mut self, object: Object) {
        if self.is_open(object) || self.ring.ops.iter().any(|op| op.object == object) {
            return;
        }
        match object {
            Object::Socket(socket) => self.close_socket(socket),
            Object::Listener(listener) => self.close_listener(listener),
            Object::Event(_) => {}
        }
    }

    /// Increments an eventfd, which its pollers are told.
    pub(crate) fn set_event(&mut self, event: Object) {
        if let Object::Event(number) = event
            && !self.events_set.contains(&number)
        {
            self.events_set.push(number);
        }
        self.wake(event, libc::POLLIN as u32);
    }

    /// The events that poll(2) would report now.
    pub(crate) fn mask(&mut self, object: Object) -> u32 {
        match object {
            Object::Socket(socket) => self.sockets[socket].mask(),
            Object::Listener(listener) => {
                let listener = &self.listeners[listener];
                if listener.queue.is_empty() { 0 } else { libc::POLLIN as u32 }
            }
            Object::Event(number) => {
                if self.events_set.contains(&number) {
                    libc::POLLIN as u32
                } else {
                    0
                }
            }
        }
    }

    /// Wakes what waits for `events` of `object`; for any, if they are 0.
    pub(crate) fn wake(&mut self, object: Object, events: u32) {
        self.wake_epolls(object, events);
        self.wake_ops(object, events);
    }
}
