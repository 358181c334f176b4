//! The readiness poller: epoll, kqueue or IOCP, through mio.
//!
//! Each connection is registered once, edge-triggered, for reading and writing; on Windows, after each run for what
//! it waits for. The rest of this engine is shared: see [`event_loop`](super).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::time::Duration;

use super::edges::rearm;
use super::pool::{Waker, WorkerContext, serve};
use super::{Event, Poller};
use crate::listen::accept::Acceptor;
use crate::platform::{
    self, Events, Interest, Poll, ReadinessEvent, TcpListener, TcpStream, Token,
};
use crate::service::Service;
use crate::shutdown::ShutdownListener;

/// The token of the waker; a connection's token is its key.
const WAKER: Token = Token(usize::MAX);
/// The token of all listeners: an event on one checks them all.
const LISTENER: Token = Token(usize::MAX - 1);
/// Events fetched per system call.
const EVENTS: usize = 1024;

/// Serves until stopped, or one connection with [`Config::once`](crate::Config::once). Returns when
/// every connection has ended.
pub(crate) fn run(
    acceptors: Vec<Acceptor>,
    shutdown: ShutdownListener,
    service: &Service<'_>,
) -> io::Result<()> {
    let mut loops = Vec::new();
    for _ in 0..service.config.threads.max(1) {
        loops.push(new_loop()?);
    }
    serve(acceptors, shutdown, service, loops, work)
}

/// Creates what a worker's poller is made from, and its waker.
pub(super) fn new_loop() -> io::Result<(Poll, Waker)> {
    let poll = Poll::new()?;
    let waker = platform::Waker::new(poll.registry(), WAKER)?;
    let wake: Waker = Box::new(move || {
        // Fails only if the waker's counter or pipe is full; a wake-up is pending then.
        let _ = waker.wake();
    });
    Ok((poll, wake))
}

/// Runs a worker.
pub(super) fn work(poll: Poll, context: WorkerContext<'_>) {
    let (events, pending) = (Events::with_capacity(EVENTS), VecDeque::new());
    context.work(Readiness { poll, events, pending });
}

/// A poller on readiness events.
struct Readiness {
    poll: Poll,
    events: Events,
    pending: VecDeque<Event<Infallible>>,
}

impl Poller for Readiness {
    /// This poller receives nothing: connections read from their sockets.
    type Buf = Infallible;

    const REPORTS_PENDING_INPUT: bool = false;

    fn listen(&mut self, listeners: &mut [TcpListener]) -> io::Result<()> {
        let registry = self.poll.registry();
        listeners.iter_mut().try_for_each(|it| registry.register(it, LISTENER, Interest::READABLE))
    }

    fn stop_listening(&mut self, listeners: Vec<TcpListener>) {
        for mut listener in listeners {
            // See `deregister`.
            let _ = self.poll.registry().deregister(&mut listener);
        }
    }

    fn register(&mut self, key: usize, stream: &mut TcpStream) -> io::Result<()> {
        self.poll.registry().register(stream, Token(key), interest())
    }

    fn deregister(&mut self, _: usize, mut stream: TcpStream) {
        // Closing a socket deregisters it from epoll, but not on every system.
        let _ = self.poll.registry().deregister(&mut stream);
    }

    fn rearm(&mut self, key: usize, stream: &mut TcpStream, interest: super::Interest) {
        if rearm(&self.poll, stream, Token(key), interest).is_err() {
            self.pending.push_back(Event::Lost { key });
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        self.poll.poll(&mut self.events, timeout)?;
        self.pending.extend(self.events.iter().map(|event| match event.token() {
            WAKER => Event::Wake,
            LISTENER => Event::AcceptReady,
            Token(key) => {
                let ended = event.is_read_closed() || event.is_error() || is_urgent(event);
                Event::Ready { key, readable: event.is_readable() || ended, ended }
            }
        }));
        Ok(self.pending.len())
    }

    fn next(&mut self) -> Option<Event<Infallible>> {
        self.pending.pop_front()
    }

    fn bytes<'a>(&'a self, buf: &'a Infallible) -> &'a [u8] {
        match *buf {}
    }

    fn recycle(&mut self, buf: Infallible) {
        match buf {}
    }

    fn send(&mut self, _: usize, buf: Infallible) {
        match buf {}
    }

    fn defer(&mut self, _: usize, buf: Infallible) {
        match buf {}
    }
}

/// The interest of a new connection. Urgent data is received in-line (SO_OOBINLINE), but a `recv` stops before it.
fn interest() -> Interest {
    #[cfg(target_os = "linux")]
    return Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
    #[cfg(windows)]
    return Interest::READABLE;
    #[cfg(not(any(target_os = "linux", windows)))]
    return Interest::READABLE | Interest::WRITABLE;
}

/// Whether there is urgent data, where the system reports it.
fn is_urgent(event: &ReadinessEvent) -> bool {
    cfg!(target_os = "linux") && event.is_priority()
}
