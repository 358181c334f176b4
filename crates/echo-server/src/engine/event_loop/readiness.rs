//! Event loops on readiness: the system reports which sockets are ready (epoll, kqueue or IOCP, through mio).
//!
//! A connection is registered once, for reading and writing, and reported only when something has
//! *changed* (edge-triggered). So a connection that stops before its socket is empty must requeue itself; see
//! [`event_loop`](super), which has all the rest of this engine.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::time::Duration;

use mio::event::Event as MioEvent;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::{Event, Poller, Waker, serve};
use crate::listen::accept::Acceptor;
use crate::service::Service;
use crate::shutdown::ShutdownListener;

/// The token of the waker; connections have their place in the worker's table.
const WAKER: Token = Token(usize::MAX);
/// The token of every listener: an event of one is a reason to check all of them.
const LISTENER: Token = Token(usize::MAX - 1);
/// UringPoller reported at once.
const EVENTS: usize = 1024;

/// Serves until stopped, or one connection with [`Config::once`](crate::Config::once). Returns when
/// every connection has ended.
pub(crate) fn run(
    acceptor: Acceptor,
    shutdown: ShutdownListener,
    service: &Service<'_>,
) -> io::Result<()> {
    let mut loops = Vec::new();
    for _ in 0..service.config.threads.max(1) {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        let wake: Waker = Box::new(move || {
            // It fails only when the waker is full of wake-ups already.
            let _ = waker.wake();
        });
        loops.push((poll, wake));
    }
    serve(acceptor, shutdown, service, loops, |poll, context| {
        let (events, pending) = (Events::with_capacity(EVENTS), VecDeque::new());
        context.work(Readiness { poll, events, pending });
    })
}

/// The sockets of a worker, as the system reports on them.
struct Readiness {
    poll: Poll,
    events: Events,
    pending: VecDeque<Event<Infallible>>,
}

impl Poller for Readiness {
    /// A connection whose socket is ready receives by itself.
    type Buf = Infallible;

    fn listen(&mut self, listeners: &mut [TcpListener]) -> io::Result<()> {
        let registry = self.poll.registry();
        listeners.iter_mut().try_for_each(|it| registry.register(it, LISTENER, Interest::READABLE))
    }

    fn stop_listening(&mut self, listeners: Vec<TcpListener>) {
        for mut listener in listeners {
            // As with a connection, below.
            let _ = self.poll.registry().deregister(&mut listener);
        }
    }

    fn register(&mut self, key: usize, stream: &mut TcpStream) -> io::Result<()> {
        self.poll.registry().register(stream, Token(key), interest())
    }

    fn deregister(&mut self, _: usize, mut stream: TcpStream) {
        // Closing takes it out of epoll, but not out of every other system's selector.
        let _ = self.poll.registry().deregister(&mut stream);
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.poll.poll(&mut self.events, timeout)?;
        self.pending.extend(self.events.iter().map(|event| match event.token() {
            WAKER => Event::Wake,
            LISTENER => Event::AcceptReady,
            Token(key) => {
                let ended = event.is_read_closed() || event.is_error() || is_urgent(event);
                Event::Ready { key, readable: event.is_readable() || ended, ended }
            }
        }));
        Ok(!self.pending.is_empty())
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

/// Everything that can happen to a connection. Urgent bytes are data like any other (SO_OOBINLINE), but a
/// `recv` stops where they stand in the stream.
fn interest() -> Interest {
    let both = Interest::READABLE | Interest::WRITABLE;
    #[cfg(target_os = "linux")]
    let both = both | Interest::PRIORITY;
    both
}

/// Whether there is urgent data, where the system tells.
fn is_urgent(event: &MioEvent) -> bool {
    cfg!(target_os = "linux") && event.is_priority()
}
