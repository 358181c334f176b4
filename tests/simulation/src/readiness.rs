//! Simulated epoll, edge-triggered, with the surface of mio's `Poll`.

use std::io;
use std::ops::BitOr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use crate::clock::nanos;
use crate::descriptor::{Object, next_event};
use crate::tcp::active::Told;
use crate::world::{World, block, system_call, trace, try_with, with};

const BOTH_ENDS: u32 = (libc::POLLERR | libc::POLLHUP) as u32;

/// What an epoll instance waits for.
#[derive(Debug, Default)]
pub(crate) struct Epoll {
    number: u64,
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    object: Object,
    token: usize,
    events: u32,
    /// It was woken since it was last reported.
    ready: bool,
}

/// A simulated `mio::Poll`.
#[derive(Debug)]
pub struct Poll(Registry);

/// A simulated `mio::Registry`.
#[derive(Debug)]
pub struct Registry {
    epoll: u64,
}

/// See `mio::Token`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub usize);

/// See `mio::Interest`.
#[derive(Clone, Copy, Debug)]
pub struct Interest(u32);

/// A simulated `mio::Events`.
#[derive(Debug)]
pub struct Events {
    events: Vec<ReadinessEvent>,
}

/// A simulated `mio::event::Event`.
#[derive(Clone, Copy, Debug)]
pub struct ReadinessEvent {
    token: usize,
    events: u32,
}

/// A simulated `mio::Waker`.
#[derive(Debug)]
pub struct Waker {
    event: u64,
}

/// What can be registered.
pub trait Source: AsRawFd {}

impl Interest {
    /// Input.
    pub const READABLE: Self = Self((libc::POLLIN | libc::POLLRDHUP) as u32);
    /// Room to send.
    pub const WRITABLE: Self = Self(libc::POLLOUT as u32);
    /// Urgent data.
    pub const PRIORITY: Self = Self(libc::POLLPRI as u32);
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl<'a> IntoIterator for &'a Events {
    type Item = &'a ReadinessEvent;
    type IntoIter = std::slice::Iter<'a, ReadinessEvent>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Events {
    /// See `mio::Events::with_capacity`.
    #[must_use]
    pub fn with_capacity(_: usize) -> Self {
        Self { events: Vec::new() }
    }

    /// The events of the last poll.
    pub fn iter(&self) -> std::slice::Iter<'_, ReadinessEvent> {
        self.events.iter()
    }
}

/// As mio's `sys/unix/selector/epoll.rs` reads the events.
impl ReadinessEvent {
    /// See `mio::event::Event::token`.
    #[must_use]
    pub fn token(&self) -> Token {
        Token(self.token)
    }

    /// See `mio::event::Event::is_readable`.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.has(libc::POLLIN) || self.has(libc::POLLPRI)
    }

    /// See `mio::event::Event::is_error`.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.has(libc::POLLERR)
    }

    /// See `mio::event::Event::is_read_closed`.
    #[must_use]
    pub fn is_read_closed(&self) -> bool {
        self.has(libc::POLLHUP) || self.has(libc::POLLIN) && self.has(libc::POLLRDHUP)
    }

    /// See `mio::event::Event::is_priority`.
    #[must_use]
    pub fn is_priority(&self) -> bool {
        self.has(libc::POLLPRI)
    }

    fn has(&self, event: i16) -> bool {
        self.events & event as u32 != 0
    }
}

impl Waker {
    /// See `mio::Waker::new`.
    ///
    /// # Errors
    ///
    /// None.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let event = next_event();
        with(|world| {
            world.epoll(registry.epoll).add(Object::Event(event), token.0, libc::POLLIN as u32)
        });
        Ok(Self { event })
    }

    /// See `mio::Waker::wake`.
    ///
    /// # Errors
    ///
    /// None.
    pub fn wake(&self) -> io::Result<()> {
        with(|world| {
            let event = Object::Event(self.event);
            if world.epolls.iter().any(|epoll| epoll.items.iter().any(|item| item.object == event))
            {
                trace!(world, "the waker is used");
                world.set_event(event);
            } else {
                world.outside_wakes += 1;
            }
        });
        Ok(())
    }
}

impl Poll {
    /// See `mio::Poll::new`.
    ///
    /// # Errors
    ///
    /// None.
    pub fn new() -> io::Result<Self> {
        let number = next_event();
        with(|world| world.epolls.push(Epoll { number, items: Vec::new() }));
        Ok(Self(Registry { epoll: number }))
    }

    /// See `mio::Poll::registry`.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.0
    }

    /// See `mio::Poll::poll`.
    ///
    /// # Errors
    ///
    /// Those of epoll_wait(2).
    pub fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        system_call();
        events.events.clear();
        let number = self.0.epoll;
        let (error, deadline) = with(|world| {
            let deadline = timeout.map(|timeout| world.now + nanos(timeout));
            let error = if world.breaks() {
                Some(world.broken_error)
            } else {
                (world.fails() || world.liberty() && world.rng.u8(..) < 8).then_some(libc::EINTR)
            };
            (error, deadline)
        });
        if error.is_none() {
            block(deadline, |world| world.has_ready(number));
        }
        with(|world| {
            if error.is_none() {
                world.report(number, events);
            }
            world.wait_returns();
            trace!(world, "poll({timeout:?}): {error:?}, {:?}", events.events);
        });
        error.map_or(Ok(()), |error| Err(io::Error::from_raw_os_error(error)))
    }
}

/// What a ring would wait for; none does yet.
impl AsRawFd for Poll {
    fn as_raw_fd(&self) -> RawFd {
        -1
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        try_with(|world| world.epolls.retain(|epoll| epoll.number != self.0.epoll));
    }
}

impl Registry {
    /// See `mio::Registry::register`.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2).
    pub fn register(
        &self,
        source: &mut impl Source,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        system_call();
        with(|world| {
            let object = world.object(source.as_raw_fd());
            if let Object::Socket(socket) = object
                && world.fails()
            {
                world.sockets[socket].excuse = Some("epoll_ctl failed");
                world.told(socket, Told::Broken);
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            if let Object::Socket(socket) = object
                && let Some(active) = &mut world.sockets[socket].active
            {
                active.token = Some(token.0);
            }
            let now = world.mask(object) & (interest.0 | BOTH_ENDS) != 0;
            let epoll = world.epoll(self.epoll);
            epoll.add(object, token.0, interest.0);
            if let Some(item) = epoll.items.last_mut() {
                item.ready = now;
            }
            Ok(())
        })
    }

    /// See `mio::Registry::deregister`.
    ///
    /// # Errors
    ///
    /// None.
    pub fn deregister(&self, source: &mut impl Source) -> io::Result<()> {
        system_call();
        with(|world| {
            let object = world.object(source.as_raw_fd());
            world.epoll(self.epoll).items.retain(|item| item.object != object);
        });
        Ok(())
    }
}

impl Epoll {
    fn add(&mut self, object: Object, token: usize, events: u32) {
        self.items.push(Item { object, token, events, ready: false });
    }
}

impl World {
    fn epoll(&mut self, number: u64) -> &mut Epoll {
        let epoll = self.epolls.iter_mut().find(|epoll| epoll.number == number);
        epoll.expect("the poller is closed")
    }

    /// Closing the last descriptor deregisters what it refers to (epoll(7), question 6).
    pub(crate) fn forget(&mut self, object: Object) {
        for epoll in &mut self.epolls {
            epoll.items.retain(|item| item.object != object);
        }
    }

    pub(crate) fn wake_epolls(&mut self, object: Object, events: u32) {
        for item in self.epolls.iter_mut().flat_map(|epoll| &mut epoll.items) {
            item.ready |=
                item.object == object && (events == 0 || events & (item.events | BOTH_ENDS) != 0);
        }
    }

    /// Whether an event can be reported. Wake-ups without one are dropped, as by `ep_send_events`.
    fn has_ready(&mut self, number: u64) -> bool {
        let mut epoll = std::mem::take(self.epoll(number));
        let mut any = false;
        for item in &mut epoll.items {
            item.ready = item.ready && self.mask(item.object) & (item.events | BOTH_ENDS) != 0;
            any |= item.ready;
        }
        epoll.number = number;
        self.put_back(epoll);
        any
    }

    fn put_back(&mut self, epoll: Epoll) {
        let place = self.epolls.iter_mut().find(|epoll| epoll.number == 0);
        *place.expect("it was taken from there") = epoll;
    }

    /// Reports what is ready: all of it, or a part, the rest of which is reported later.
    fn report(&mut self, number: u64, events: &mut Events) {
        let mut epoll = std::mem::take(self.epoll(number));
        let count = epoll.items.len();
        let first = if count > 0 { self.rng.usize(..count) } else { 0 };
        for index in 0..count {
            // The order of the ready list is that of the wake-ups, which may be any.
            let item = &mut epoll.items[(first + index) % count];
            // A wake-up may concern something that no event says; the state is reported nevertheless.
            let spurious = self.spurious > 0 && self.liberty() && self.rng.u8(..) < 32;
            self.spurious -= u8::from(spurious);
            if !(item.ready || spurious)
                || item.ready && !events.events.is_empty() && self.liberty()
            {
                continue;
            }
            let mut mask = self.mask(item.object) & (item.events | BOTH_ENDS);
            if spurious && matches!(item.object, Object::Socket(_)) {
                // select(2), BUGS: a descriptor may be reported as readable when a read would block.
                mask |= libc::POLLIN as u32;
            }
            item.ready = false;
            if mask != 0 {
                events.events.push(ReadinessEvent { token: item.token, events: mask });
            }
        }
        self.steps += events.events.len() as u64;
        epoll.number = number;
        self.put_back(epoll);
    }
}
