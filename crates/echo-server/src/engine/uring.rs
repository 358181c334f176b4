//! A ring a worker: io_uring (Linux) reports what happens to the sockets, by a queue in shared memory.
//!
//! Each connection has one operation in flight for as long as it lives, a multishot poll, which completes
//! whenever its socket has changed. Bytes move by plain calls that do not block, over one buffer that stays
//! in the cache. See [`event_loop`], which has all the rest of this engine.
//!
//! What that saves, compared with epoll, is the calls that register a connection and take it out, and with
//! `--busy-poll` those that ask for news: there is a flag in shared memory to look at.

mod ring;
mod token;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use rustix::event::{EventfdFlags, eventfd};

use self::ring::{Completion, Ring, SIZES};
use self::token::{SLOTS, Token};
use super::event_loop::{self, News, Source};
use crate::accept::Acceptor;
use crate::service::Service;

/// Everything that can happen to a connection. Urgent data (RFC 6093) is not echoed, but a `recv` stops
/// where it stands in the stream.
const EVENTS: u32 = (libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP | libc::POLLPRI) as u32;
/// Those after which a `recv` that leaves room says nothing about whether there is more.
const ENDS: i32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR | libc::POLLPRI) as i32;

/// Serves until stopped, or one connection with [`Config::once`](crate::Config::once). Returns when
/// every connection has ended.
pub(crate) fn run(acceptor: Acceptor, service: &Service<'_>) -> io::Result<()> {
    let mut loops = Vec::new();
    for _ in 0..service.config.threads.max(1) {
        let bell = Arc::new(bell()?);
        let rope = Arc::clone(&bell);
        let knock: event_loop::Waker = Box::new(move || ring_the(&*rope));
        loops.push(((ring::set_up(SIZES)?, bell), knock));
    }
    event_loop::serve(acceptor, service, loops, |(mut ring, bell), seat| {
        let ring = Ring::start(&mut ring).expect("it worked when the engine was tried out");
        seat.work(Polls::new(ring, bell));
    })
}

/// Does once what the engine will do all the time: it alone tells whether the system allows it.
///
/// # Errors
///
/// It does not.
pub(crate) fn try_out() -> io::Result<()> {
    let mut ring = ring::set_up(SIZES)?;
    let mut polls = Polls::new(Ring::start(&mut ring)?, Arc::new(bell()?));
    ring_the(&*polls.bell);
    polls.ring.wait(Some(Duration::from_secs(1)))?;
    match polls.ring.next() {
        Some(Completion { more: true, .. }) => Ok(()),
        Some(Completion { result: code @ ..0, .. }) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// What a worker is woken with: a counter that nobody reads, because every count is reported.
fn bell() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

fn ring_the(bell: &impl AsFd) {
    // It fails when the counter is full, 2⁶⁴ knocks from now.
    let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
}

/// The sockets of a worker, as a ring reports on them.
struct Polls<'r> {
    ring: Ring<'r>,
    bell: Arc<OwnedFd>,
    /// By the key of the connection.
    slots: Vec<Slot>,
    /// How many of them are in use.
    watched: usize,
    /// The generation of the connection that came last.
    generation: u32,
}

/// The poll of a connection.
#[derive(Clone, Copy)]
struct Slot {
    /// `None` when the connection has left.
    descriptor: Option<RawFd>,
    generation: u32,
}

impl<'r> Polls<'r> {
    fn new(ring: Ring<'r>, bell: Arc<OwnedFd>) -> Self {
        let mut polls = Self { ring, bell, slots: Vec::new(), watched: 0, generation: 0 };
        polls.listen_for_the_bell();
        polls
    }

    fn listen_for_the_bell(&mut self) {
        self.ring.poll(self.bell.as_raw_fd(), libc::POLLIN as u32, Token::Bell.pack());
    }

    /// What a completion says about a connection that is still there.
    fn news(&mut self, completion: Completion) -> Option<News> {
        let Completion { token, result, more } = completion;
        match Token::unpack(token) {
            Token::Bell => {
                if !more {
                    self.listen_for_the_bell();
                }
                Some(News::Knock)
            }
            Token::Poll { generation, slot: key } => {
                let slot = self.slots.get(key).filter(|slot| slot.generation == generation)?;
                let descriptor = slot.descriptor?;
                if result < 0 {
                    return Some(News::Lost { key });
                }
                if !more {
                    // For instance because there was no room for its completion.
                    self.ring.poll(descriptor, EVENTS, token);
                }
                let ended = result & ENDS != 0;
                let readable = ended || result & i32::from(libc::POLLIN) != 0;
                Some(News::Ready { key, readable, ended })
            }
            Token::Cancel => None,
        }
    }
}

impl Source for Polls<'_> {
    fn watch(&mut self, key: usize, stream: &mut TcpStream) -> io::Result<()> {
        if key >= SLOTS {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        if self.slots.len() <= key {
            self.slots.resize(key + 1, Slot { descriptor: None, generation: 0 });
        }
        self.generation = self.generation.wrapping_add(1);
        let (descriptor, generation) = (stream.as_raw_fd(), self.generation);
        self.slots[key] = Slot { descriptor: Some(descriptor), generation };
        self.watched += 1;
        self.ring.poll(descriptor, EVENTS, Token::Poll { generation, slot: key }.pack());
        Ok(())
    }

    fn forget(&mut self, key: usize, _: &mut TcpStream) {
        // Without this, the poll would keep the socket open after it is closed.
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.descriptor.take().is_none() {
            return;
        }
        let poll = Token::Poll { generation: slot.generation, slot: key };
        self.ring.end_poll(poll.pack(), Token::Cancel.pack());
        self.watched -= 1;
        if self.watched == 0 {
            // Ten thousand connections leave a large table behind.
            self.slots = Vec::new();
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, news: &mut Vec<News>) -> io::Result<()> {
        self.ring.wait(timeout)?;
        while let Some(completion) = self.ring.next() {
            news.extend(self.news(completion));
        }
        Ok(())
    }
}
