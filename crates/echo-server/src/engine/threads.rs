//! The seed's loop, a thread for each connection: `recv`, `sendall`, until the peer has no more.
//!
//! Blocking calls make this the engine to read first. What they make hard is to stop: a thread
//! asleep in `recv` sees no flag. So each sleeps for [`TICK`] at most, which costs a running echo
//! nothing and an idle connection five wake-ups a second, and [`abort`](crate::Handle::abort) shuts the
//! sockets down underneath the sleepers.

mod faltering;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::accept::{Acceptor, Incoming};
use crate::linger;
use crate::service::Service;
use crate::session::{Session, State};
use crate::shutdown::{Phase, ShutdownListener};
use crate::system::unacknowledged;
use crate::{CloseReason, Config};

/// The longest that a silent connection takes to notice a stop.
const TICK: Duration = Duration::from_millis(200);
/// How long, when draining, more bytes may take to come up from the receive queue.
const DRAIN_TICK: Duration = Duration::from_millis(20);
/// What one `recv` takes at most.
const BUFFER: usize = 64 * 1024;
/// A connection's thread calls little and keeps its buffer on the heap.
const STACK: usize = 128 * 1024;

/// Serves until stopped, or one connection with [`Config::once`](crate::Config::once).
pub(crate) fn run(
    acceptor: Acceptor,
    mut shutdown: ShutdownListener,
    service: &Service<'_>,
) -> io::Result<()> {
    let engine = Engine { service, open: Mutex::default() };
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
            Connection::new(self.service, &stream, peer, session).run();
        });
        if let Err(error) = started {
            self.open().streams.remove(&number);
            return Err(error);
        }
        Ok(())
    }

    /// Interest until every connection has ended; once stopping, for the drain timeout at most.
    fn wait_for_the_last(&self, shutdown: &mut ShutdownListener) {
        let mut draining_since = None;
        while !self.open().streams.is_empty() {
            let mut backoff = None;
            if self.service.phase() > Phase::Running {
                let since = *draining_since.get_or_insert_with(Instant::now);
                backoff = Some(self.service.config.drain_timeout.saturating_sub(since.elapsed()));
            }
            if backoff == Some(Duration::ZERO) || self.service.phase() == Phase::Aborting {
                return self.abort();
            }
            if shutdown.sleep(backoff).is_err() {
                thread::sleep(TICK);
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

    /// Locks the table of connections. Nobody panics while holding it.
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
        if open.streams.is_empty() {
            self.engine.service.handle.wake();
        }
    }
}

/// A connection, as its thread sees it.
struct Connection<'a> {
    service: &'a Service<'a>,
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
        service: &'a Service<'a>,
        stream: &'a TcpStream,
        peer: SocketAddr,
        session: Session,
    ) -> Self {
        Self { service, stream, peer, session, started: Instant::now(), echoed: 0, owing: false }
    }

    fn run(mut self) {
        // A connection that breaks ends, and that is all: nobody else is concerned.
        let reason = match self.serve() {
            _ if self.owing && self.service.phase() == Phase::Aborting => CloseReason::Aborted,
            Ok(CloseReason::Done) => self.session.reason(),
            Ok(reason) => reason,
            Err(error) if error.kind() == ErrorKind::WouldBlock => CloseReason::Stalled,
            Err(_) => CloseReason::Lost,
        };
        self.service.closed(self.peer, &self.session, self.echoed, self.started.elapsed(), reason);
    }

    /// Echoes until the peer has sent all it wants to, or the server is told to stop.
    fn serve(&mut self) -> io::Result<CloseReason> {
        let config = self.service.config;
        // Shorter than the deadline: see `send_all`.
        self.stream.set_write_timeout(config.write_timeout.map(|timeout| timeout / 4))?;
        let tick = config.idle_timeout.map_or(TICK, |idle| TICK.min(idle / 4));
        self.stream.set_read_timeout(Some(tick))?;
        let mut buffer = vec![0; BUFFER];
        let mut silent_since = Instant::now();
        while matches!(self.session.state(), State::Read | State::Stall) {
            if self.service.phase() > Phase::Running {
                return self.drain(&mut buffer);
            }
            let received = match self.session.state() {
                State::Stall => self.pause(tick).map(|()| None),
                _ => self.echo_once(&mut buffer),
            };
            if received?.is_some() {
                silent_since = Instant::now();
            } else if config.idle_timeout.is_some_and(|idle| silent_since.elapsed() >= idle) {
                self.session.refuse_input();
                return self.linger(&mut buffer, CloseReason::Idle);
            }
        }
        self.linger(&mut buffer, CloseReason::Done)
    }

    /// Echoes what had been received when the stop came, and takes leave.
    fn drain(&mut self, buffer: &mut [u8]) -> io::Result<CloseReason> {
        self.stream.set_read_timeout(Some(DRAIN_TICK))?;
        // The receive queue cannot have held more than this; what comes later is not ours to echo,
        // and a peer that never pauses must not keep the server from stopping.
        let mut owed = SockRef::from(self.stream).recv_buffer_size()?;
        while owed > 0 && self.session.state() == State::Read {
            let limit = buffer.len().min(owed);
            let Some(count) = self.echo_once(&mut buffer[..limit])? else { break };
            owed -= count;
        }
        self.session.refuse_input();
        self.linger(buffer, CloseReason::Stopped)
    }

    /// One `recv` and one `sendall`. A peer that does not read blocks it, and so is not read from.
    /// Returns how many bytes came, or `None` if nothing did in time.
    fn echo_once(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let received = receive(self.stream, buffer)?;
        match received {
            Some(0) => self.session.peer_ended(),
            Some(count) => {
                self.owing = true;
                let all = |bytes: &[u8]| send_all(self.stream, bytes, self.service.config);
                let sent = self.session.received(&buffer[..count], all)?;
                self.count(sent);
                self.send_held_back()?;
                self.owing = false;
            }
            None => {}
        }
        Ok(received)
    }

    /// So many bytes were sent back.
    fn count(&mut self, sent: usize) {
        self.echoed += sent as u64;
        self.service.counters.echoed(sent as u64);
    }

    /// Sends FIN, and listens to a peer that may still be sending until it can be closed without harm.
    fn linger(&mut self, buffer: &mut [u8], reason: CloseReason) -> io::Result<CloseReason> {
        if self.session.state() == State::Reset {
            return self.reset();
        }
        self.service.finishing(self.peer, &self.session);
        self.stream.shutdown(Shutdown::Write)?;
        self.session.fin_sent();
        self.stream.set_read_timeout(Some(linger::LINGER_TIMEOUT))?;
        let (mut taken_at, mut unacked) = (Instant::now(), 0);
        while self.session.state() == State::Discard {
            let received = receive(self.stream, buffer)?;
            let unacknowledged = unacknowledged(self.stream);
            self.owing = unacknowledged > 0;
            if self.owing && unacknowledged != std::mem::replace(&mut unacked, unacknowledged) {
                taken_at = Instant::now();
            }
            if self.owing
                && self
                    .service
                    .config
                    .write_timeout
                    .is_some_and(|limit| taken_at.elapsed() >= limit)
            {
                return Err(ErrorKind::WouldBlock.into());
            }
            if received == Some(0) {
                self.session.peer_ended();
            }
            let silent = if received.is_none() { linger::LINGER_TIMEOUT } else { Duration::ZERO };
            if self.service.phase() == Phase::Aborting
                || linger::is_over(unacknowledged, silent, taken_at.elapsed())
            {
                break;
            }
        }
        Ok(reason)
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

/// Python's `sendall`, which gives up (`WouldBlock`) on a peer that takes no byte for the write timeout.
///
/// The system wakes a blocked send when a third of the send buffer is free. A slow peer may take longer
/// for that, so now and then another try shows whether it has taken anything at all.
fn send_all(mut stream: &TcpStream, bytes: &[u8], config: &Config) -> io::Result<usize> {
    let mut sent = 0;
    let mut last_progress = Instant::now();
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(count) => (sent, last_progress) = (sent + count, Instant::now()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) => {
                if config.write_timeout.is_some_and(|limit| last_progress.elapsed() >= limit) {
                    return Err(ErrorKind::WouldBlock.into());
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// Whether a socket's read or write timeout has passed. Windows says so in other words; elsewhere
/// those mean a peer that is gone.
fn is_timeout(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == ErrorKind::WouldBlock || cfg!(windows) && kind == ErrorKind::TimedOut
}
