//! The tutorial's loop, with a thread for each connection: `recv`, `sendall`, until the peer has no more.
//!
//! Blocking calls make this the engine to read first. What they make hard is to stop: a thread that is blocked
//! in `recv` sees no flag. So each blocks for [`TICK`] at most, which costs a running echo nothing and an idle
//! connection five wake-ups a second, and [`abort`](crate::Handle::abort) shuts down the sockets of threads that
//! are blocked.

mod buffer;
mod faults;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use self::buffer::{Buffer, Heap};

use crate::CloseReason;
use crate::linger;
use crate::listen::accept::{Acceptor, Incoming};
use crate::progress::{Millis, SendProgress};
use crate::service::Service;
use crate::session::{Session, State};
use crate::shutdown::{Phase, ShutdownListener};
use crate::system::{received, unacknowledged};

/// The longest that a silent connection takes to notice a stop.
const TICK: Duration = Duration::from_millis(200);
/// How long, when draining, more bytes may take to come up from the receive queue.
const DRAIN_TICK: Duration = Duration::from_millis(20);
/// A connection's thread calls little, and keeps a large buffer on the heap.
const STACK: usize = 128 * 1024;

/// Serves until stopped, or one connection with [`Config::once`](crate::Config::once).
pub(crate) fn run(
    acceptor: Acceptor,
    mut shutdown: ShutdownListener,
    service: &Service<'_>,
) -> io::Result<()> {
    let engine = Engine { service, open: Mutex::default(), heap: Heap::new() };
    thread::scope(|scope| {
        // The scope waits for every connection: if the observer panics, they must not go on.
        let _guard = AbortOnPanic(&engine);
        let accepted = acceptor.run(&mut shutdown, service, |incoming| {
            engine.start(scope, incoming)?;
            let once = service.config.once;
            Ok(if once { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        if accepted.is_err() {
            // The listener broke: those who are connected still get what is owed to them.
            service.handle.stop();
        }
        engine.wait_for_the_last(&mut shutdown);
        accepted
    })
}

struct Engine<'a> {
    service: &'a Service<'a>,
    open: Mutex<Open>,
    heap: Heap,
}

/// The connections being served, to cut them.
#[derive(Default)]
struct Open {
    /// By number: a descriptor is reused as soon as it is closed.
    streams: HashMap<u64, Arc<TcpStream>>,
}

impl Engine<'_> {
    /// Starts the thread that serves a connection.
    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        incoming: Incoming,
    ) -> io::Result<()> {
        let Incoming { stream, peer, number } = incoming;
        // The acceptor's sockets are non-blocking, as an event loop wants them.
        stream.set_nonblocking(false)?;
        let stream = Arc::new(stream);
        self.open().streams.insert(number, Arc::clone(&stream));
        let thread = thread::Builder::new().name("connection".to_owned()).stack_size(STACK);
        let started = thread.spawn_scoped(scope, move || {
            let _registration = Registration { engine: self, number };
            self.service.connected(peer);
            let session = Session::new(self.service.config, number);
            Connection::new(self, &stream, peer, session).run();
        });
        if let Err(error) = started {
            self.open().streams.remove(&number);
            return Err(error);
        }
        Ok(())
    }

    /// Waits until every connection has ended; once stopping, for the drain timeout at most.
    fn wait_for_the_last(&self, shutdown: &mut ShutdownListener) {
        let mut draining_since = None;
        while !self.open().streams.is_empty() {
            let mut left = None;
            if self.service.phase() > Phase::Running {
                let since = *draining_since.get_or_insert_with(Instant::now);
                left = Some(self.service.config.drain_timeout.saturating_sub(since.elapsed()));
            }
            if left == Some(Duration::ZERO) || self.service.phase() == Phase::Aborting {
                return self.abort();
            }
            if shutdown.sleep(left).is_err() {
                thread::sleep(left.map_or(TICK, |left| left.min(TICK)));
            }
        }
    }

    /// Ends every connection, whatever is owed to it.
    fn abort(&self) {
        self.service.handle.abort();
        for stream in self.open().streams.values() {
            // Wakes its thread with an error. Fails where the peer was quicker.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Locks the table of connections. Nothing panics while holding it.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the connections when the thread that accepts them panics.
struct AbortOnPanic<'a>(&'a Engine<'a>);

impl Drop for AbortOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.abort();
        }
    }
}

/// Takes a connection out of the table when its thread ends, in whatever way.
struct Registration<'a> {
    engine: &'a Engine<'a>,
    number: u64,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut open = self.engine.open();
        open.streams.remove(&self.number);
        // The thread that waits for the last connection does so when no more are accepted.
        let service = self.engine.service;
        if open.streams.is_empty() && (service.config.once || service.phase() > Phase::Running) {
            service.handle.wake();
        }
    }
}

/// A connection, as its thread sees it.
struct Connection<'a> {
    service: &'a Service<'a>,
    heap: &'a Heap,
    stream: &'a TcpStream,
    peer: SocketAddr,
    session: Session,
    started: Instant,
    /// Bytes sent back.
    echoed: u64,
    /// Bytes were taken from the peer that it has not got back, or not acknowledged.
    owing: bool,
}

impl<'a> Connection<'a> {
    fn new(
        engine: &'a Engine<'a>,
        stream: &'a TcpStream,
        peer: SocketAddr,
        session: Session,
    ) -> Self {
        let Engine { service, heap, .. } = engine;
        let started = Instant::now();
        Self { service, heap, stream, peer, session, started, echoed: 0, owing: false }
    }

    fn run(mut self) {
        // A connection that breaks ends, and no other is affected.
        let reason = match self.serve() {
            _ if self.owing && self.service.phase() == Phase::Aborting => CloseReason::Aborted,
            Ok(CloseReason::Done) => self.session.reason(),
            Ok(reason) => reason,
            Err(error) if error.kind() == ErrorKind::WouldBlock => CloseReason::Stalled,
            Err(_) => CloseReason::Lost,
        };
        let (messages, duration) = (self.session.messages(), self.started.elapsed());
        self.service.closed(self.peer, messages, self.echoed, duration, reason);
    }

    /// Echoes until the peer has sent all it wants to, or the connection is to be ended.
    fn serve(&mut self) -> io::Result<CloseReason> {
        let config = self.service.config;
        // Shorter than the deadline: see `send_all`.
        self.stream.set_write_timeout(config.write_timeout.map(|timeout| timeout / 4))?;
        let tick = config.idle_timeout.map_or(TICK, |idle| TICK.min(idle / 4));
        self.stream.set_read_timeout(Some(tick))?;
        let mut buffer = Buffer::new();
        let mut active = self.now();
        while matches!(self.session.state(), State::Read | State::Stall) {
            if self.service.phase() > Phase::Running {
                return self.drain(&mut buffer, CloseReason::Stopped);
            }
            // Before the call, which finds what has arrived by then, however long the process was suspended.
            let asked = self.now();
            let received = match self.session.state() {
                State::Stall => self.pause(tick).map(|()| None),
                _ => self.echo_once(&mut buffer, None),
            };
            let elapsed = |since| Duration::from_millis(asked - since);
            if received?.is_some() {
                active = self.now();
            } else if config.idle_timeout.is_some_and(|idle| elapsed(active) >= idle) {
                self.session.refuse_input();
                return self.linger(&mut buffer, CloseReason::Idle);
            }
            if config.max_lifetime.is_some_and(|lifetime| elapsed(0) >= lifetime) {
                return self.drain(&mut buffer, CloseReason::Expired);
            }
        }
        self.linger(&mut buffer, CloseReason::Done)
    }

    /// Echoes what had been received when the end of the connection was decided, and ends it.
    fn drain(&mut self, buffer: &mut Buffer, reason: CloseReason) -> io::Result<CloseReason> {
        self.stream.set_read_timeout(Some(DRAIN_TICK))?;
        self.start_draining();
        while self.session.state() == State::Read {
            if self.echo_once(buffer, self.session.drain_limit())?.is_none() {
                self.session.refuse_input();
            }
        }
        self.linger(buffer, reason)
    }

    /// What is in the receive queue is still echoed. What comes later need not be, and a peer that never pauses
    /// must not keep the server from stopping.
    fn start_draining(&mut self) {
        self.session.start_draining(u32::try_from(received(self.stream)).unwrap_or(u32::MAX));
    }

    /// One `recv`, of up to `limit` bytes, and one `sendall`. A peer that does not read blocks it, and so is
    /// not read from. Returns how many bytes came, or `None` if there were none in time.
    fn echo_once(
        &mut self,
        buffer: &mut Buffer,
        limit: Option<usize>,
    ) -> io::Result<Option<usize>> {
        buffer.grow();
        let room = buffer.room();
        let most = limit.unwrap_or(room.len()).min(room.len());
        let count = receive(self.stream, &mut room[..most])?;
        match count {
            Some(0) => self.session.peer_ended(),
            Some(count) => {
                self.owing = true;
                let Self { service, stream, echoed, .. } = self;
                let all = |bytes: &[u8]| send_all(stream, bytes, service, echoed);
                self.session.received(&room[..count], all)?;
                buffer.received = count;
                self.send_held_back()?;
                self.owing = false;
            }
            None => {
                buffer.shrink(self.heap);
                self.heap.trim();
            }
        }
        Ok(count)
    }

    /// Milliseconds since the connection was accepted.
    fn now(&self) -> Millis {
        self.started.elapsed().as_millis() as Millis
    }

    /// Sends FIN, and reads from a peer that may still be sending until the connection can be closed without
    /// harm.
    fn linger(&mut self, buffer: &mut Buffer, reason: CloseReason) -> io::Result<CloseReason> {
        if self.session.state() == State::Reset {
            return self.reset();
        }
        self.service.finishing(self.peer, &self.session);
        self.stream.shutdown(Shutdown::Write)?;
        self.session.fin_sent();
        self.stream.set_read_timeout(Some(linger::LINGER_TIMEOUT))?;
        let mut progress = SendProgress::start(0, self.now());
        while self.session.state() == State::Discard {
            let received = receive(self.stream, buffer.room())?;
            if received == Some(0) {
                self.session.peer_ended();
            }
            let (unacked, since_taken) = self.observe(&mut progress);
            self.fail_if_stalled(since_taken)?;
            let silent = if received.is_none() { linger::LINGER_TIMEOUT } else { Duration::ZERO };
            if self.service.phase() == Phase::Aborting
                || linger::is_over(unacked, silent, since_taken)
            {
                break;
            }
        }
        Ok(reason)
    }

    /// How much the peer's system has not acknowledged, and for how long it has made no progress.
    fn observe(&mut self, progress: &mut SendProgress) -> (usize, Duration) {
        let (unacked, now) = (unacknowledged(self.stream), self.now());
        progress.observe(unacked, now);
        self.owing = unacked > 0;
        (unacked, Duration::from_millis(progress.stalled_for(now)))
    }

    /// Fails like a `send` that has timed out if the peer has taken nothing for too long.
    fn fail_if_stalled(&self, since_taken: Duration) -> io::Result<()> {
        let limit = self.service.config.write_timeout;
        match limit.is_some_and(|limit| self.owing && since_taken >= limit) {
            true => Err(ErrorKind::WouldBlock.into()),
            false => Ok(()),
        }
    }
}

/// One `recv`: a count of bytes, 0 at the end of the stream, `None` if none came in time.
fn receive(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match stream.read(buffer) {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// Python's `sendall`, which gives up (`WouldBlock`) on a peer that takes too little for the write timeout.
///
/// The system wakes a blocked send when a third of the send buffer is free. A slow peer may take longer
/// for that, so now and then another try shows whether it has taken anything at all.
///
/// What was sent is added to `echoed` and to the counters, also if the rest fails.
fn send_all(
    mut stream: &TcpStream,
    bytes: &[u8],
    service: &Service<'_>,
    echoed: &mut u64,
) -> io::Result<usize> {
    let (mut sent, started) = (0, Instant::now());
    let now = || started.elapsed().as_millis() as Millis;
    let mut progress = SendProgress::start(bytes.len(), 0);
    while sent < bytes.len() {
        // Before the call, which takes what there is room for by then.
        let asked = now();
        match stream.write(&bytes[sent..]) {
            Ok(count) => {
                sent += count;
                *echoed += count as u64;
                service.counters.echoed(count as u64);
                progress.observe(bytes.len() - sent, now());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
        let stalled = Duration::from_millis(progress.stalled_for(asked));
        if sent < bytes.len() && service.config.write_timeout.is_some_and(|limit| stalled >= limit)
        {
            return Err(ErrorKind::WouldBlock.into());
        }
    }
    Ok(sent)
}

/// Whether a socket's read or write timeout has passed. Windows reports that as another error; elsewhere
/// that one means a peer that is gone.
fn is_timeout(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == ErrorKind::WouldBlock || cfg!(windows) && kind == ErrorKind::TimedOut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use std::net::TcpListener;

    #[test]
    fn what_was_sent_before_a_send_fails_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _never_reads = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let limit = Duration::from_millis(100);
        stream.set_write_timeout(Some(limit / 4)).unwrap();
        let config = Config { write_timeout: Some(limit), ..Config::default() };
        Service::for_test(&config, |service, _| {
            let (mut echoed, bytes) = (0, vec![1; 64 * 1024 * 1024]);
            let error = send_all(&stream, &bytes, service, &mut echoed).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            assert!((1..bytes.len() as u64).contains(&echoed), "{echoed}");
            assert_eq!(service.counters.read().bytes, echoed);
        });
    }
}
