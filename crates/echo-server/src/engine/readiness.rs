//! An event loop a worker: the system says which sockets are ready (epoll, kqueue, IOCP; through mio),
//! and nobody waits for one of them.
//!
//! A connection is registered once, for reading and writing, and reported only when something has
//! *changed* (edge-triggered). So whoever stops before a socket is empty must come back by itself: a
//! `recv` that fills the buffer, or that an end of the stream may follow, puts the connection into a
//! queue and has its next turn after everybody else. A `recv` that leaves room in the buffer has
//! emptied the socket (epoll(7), question 9), but for what `Connection::ended` and `REARMS_ON_BLOCK` say.

mod connection;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Poll, Token, Waker};

use self::worker::Worker;
use crate::accept::Acceptor;
use crate::service::Service;
use crate::shutdown::Phase;

/// The token of the waker; connections have their place in the slab.
const WAKER: Token = Token(usize::MAX);

/// Serves until stopped, or one connection with [`Config::once`](crate::Config::once). Returns when
/// every connection has ended.
pub(crate) fn run(mut acceptor: Acceptor, service: &Service<'_>) -> io::Result<()> {
    let mut polls = Vec::new();
    let mut doors = Vec::new();
    for _ in 0..service.config.threads.max(1) {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        doors.push(Door { waker, inbox: Mutex::default(), open: AtomicUsize::new(0) });
        polls.push(poll);
    }
    let crew = Crew { service, doors, accepting: AtomicBool::new(true) };
    thread::scope(|scope| {
        // The scope waits for the workers: whatever happens here, they must not go on for ever.
        let _guard = CutOnExit(&crew);
        for (poll, door) in polls.into_iter().zip(&crew.doors) {
            let worker = thread::Builder::new().name("worker".to_owned());
            worker.spawn_scoped(scope, || {
                let _guard = CutOnPanic(&crew);
                Worker::new(&crew, poll, door).run();
            })?;
        }
        let accepted = acceptor.run(service, |stream, peer| {
            // Before it is handed in: it may be over before that call returns.
            service.connected(peer);
            crew.hand_in(TcpStream::from_std(stream), peer);
            let once = service.config.once;
            Ok(if once { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        if accepted.is_err() {
            // The listener broke: those who are connected still get what is owed to them.
            service.handle.stop();
        }
        crew.wait_for_the_last(&mut acceptor);
        accepted
    })
}

/// The workers, as the thread that accepts sees them.
struct Crew<'a> {
    service: &'a Service<'a>,
    doors: Vec<Door>,
    /// Connections may still be handed in, so no worker leaves.
    accepting: AtomicBool,
}

impl Crew<'_> {
    /// Hands a connection to the worker with the fewest.
    fn hand_in(&self, stream: TcpStream, peer: SocketAddr) {
        let door = self.doors.iter().min_by_key(|door| door.open.load(Relaxed));
        door.expect("there is a worker").hand_in(stream, peer);
    }

    /// Connections that have not ended.
    fn open(&self) -> usize {
        self.doors.iter().map(|door| door.open.load(Relaxed)).sum()
    }

    /// How far the workers have to be: they go on as long as connections may be handed in.
    fn phase(&self) -> Phase {
        if self.accepting.load(Acquire) { Phase::Running } else { self.service.phase() }
    }

    /// Waits until every connection has ended; once stopping, for the drain timeout at most.
    fn wait_for_the_last(&self, acceptor: &mut Acceptor) {
        // The workers do not call when they are through, so it looks for itself now and then.
        let look = Duration::from_millis(20);
        // With `once` it is not stopping yet: the connection takes the time it takes.
        while self.service.phase() == Phase::Running && self.open() > 0 {
            if acceptor.wait(Some(look)).is_err() {
                break;
            }
        }
        self.service.handle.stop();
        self.release();
        let since = Instant::now();
        while self.open() > 0 && self.service.phase() < Phase::Cutting {
            let left = self.service.config.drain_timeout.saturating_sub(since.elapsed());
            if left.is_zero() || acceptor.wait(Some(left.min(look))).is_err() {
                break;
            }
        }
    }

    /// Lets the workers see what phase it is.
    fn release(&self) {
        self.accepting.store(false, Release);
        self.doors.iter().for_each(Door::knock);
    }
}

/// Cuts what is left when the thread that accepts is through, or panics.
struct CutOnExit<'a>(&'a Crew<'a>);

impl Drop for CutOnExit<'_> {
    fn drop(&mut self) {
        self.0.service.handle.cut();
        self.0.release();
    }
}

/// Where the acceptor hands connections to a worker.
struct Door {
    waker: Waker,
    inbox: Mutex<Vec<(TcpStream, SocketAddr)>>,
    /// Connections handed in that have not ended.
    open: AtomicUsize,
}

impl Door {
    fn hand_in(&self, stream: TcpStream, peer: SocketAddr) {
        self.open.fetch_add(1, Relaxed);
        self.inbox().push((stream, peer));
        self.knock();
    }

    /// Makes the worker look at its inbox, and at the phase.
    fn knock(&self) {
        // It fails only when the waker is full of wake-ups already.
        let _ = self.waker.wake();
    }

    fn inbox(&self) -> MutexGuard<'_, Vec<(TcpStream, SocketAddr)>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker that panics would leave its connections to nobody: the server ends.
struct CutOnPanic<'a>(&'a Crew<'a>);

impl Drop for CutOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.service.handle.cut();
            self.0.release();
        }
    }
}
