//! An event loop a worker: the system says which sockets are ready (epoll, kqueue, IOCP; through mio),
//! and nobody waits for one of them.
//!
//! A connection is registered once, for reading and writing, and reported only when something has
//! *changed* (edge-triggered). So whoever stops before a socket is empty must come back by itself: a
//! `recv` that fills the buffer, or that an end of the stream may follow, puts the connection into a
//! queue and has its next turn after everybody else. A `recv` that leaves room in the buffer has
//! emptied the socket (epoll(7), question 9), but for what [`Connection::ended`] and [`REARMS_ON_BLOCK`] say.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;
use socket2::SockRef;

use crate::CloseReason;
use crate::accept::Acceptor;
use crate::farewell;
use crate::service::Service;
use crate::session::{Next, Session};
use crate::shutdown::Phase;
use crate::system::{release_memory, unacknowledged};

/// What one `recv` takes at most, and so what a connection can be owed of raw bytes. One for each
/// worker: it stays in the cache, and no connection has a buffer of its own.
const BUFFER: usize = 64 * 1024;
/// How often a connection may fill the buffer before the others have their turn: asking the system
/// for news after each would cost the large messages more than it gives the small.
const RECEIVES: usize = 4;
/// Sockets reported at once.
const EVENTS: usize = 1024;
/// Deadlines are looked at this often at least, and this often at most.
const SWEEP: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// A crowd of connections under pressure: when it has gone, the memory it took is given back.
const CROWD: usize = 16;
/// On Windows mio reports a socket again only after a call on it would have blocked, so there every
/// socket is read and written until it does.
const REARMS_ON_BLOCK: bool = cfg!(windows);
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

struct Worker<'a> {
    crew: &'a Crew<'a>,
    service: &'a Service<'a>,
    poll: Poll,
    door: &'a Door,
    connections: Slab<Connection>,
    /// Connections whose socket may still have something to read.
    more: VecDeque<usize>,
    buffer: Vec<u8>,
    /// Connections that owe something or take leave: those with a deadline whatever the settings.
    pressed: usize,
    /// There was a crowd of them since memory was last given back.
    crowded: bool,
    /// All times of connections are counted from here.
    epoch: Instant,
    now: Tick,
    last_sweep: Instant,
    /// Bytes echoed in this turn of the loop, counted for all to see at its end.
    echoed: u64,
}

/// Milliseconds since the worker's epoch: half the size of an `Instant`, and a deadline needs no more.
/// It wraps around after 49 days, so only differences mean something.
type Tick = u32;

/// A connection. There may be ten thousand of them, and most owe nothing: it is kept small.
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    session: Session,
    echoed: u64,
    accepted: Tick,
    /// When bytes last moved, either way.
    active: Tick,
    /// When the peer last took something of what it was owed, after our FIN.
    fin: Tick,
    /// What it had not taken by then.
    untaken: u32,
    /// When stopping, bytes that may have been received by then and were not read yet.
    left_to_drain: u32,
    /// The system has reported an end of the stream, an error or an urgent byte, so that a `recv` that
    /// leaves room says nothing: there is more until there is an error or the end.
    ended: bool,
    /// In the queue of those with more to read.
    queued: bool,
    /// Counted among the pressed.
    pressed: bool,
    /// Why it will be closed, if that is not the peer's doing.
    reason: Option<CloseReason>,
}

impl<'a> Worker<'a> {
    fn new(crew: &'a Crew<'a>, poll: Poll, door: &'a Door) -> Self {
        let epoch = Instant::now();
        Self {
            crew,
            service: crew.service,
            poll,
            door,
            connections: Slab::new(),
            more: VecDeque::new(),
            buffer: vec![0; BUFFER],
            pressed: 0,
            crowded: false,
            epoch,
            now: 0,
            last_sweep: epoch,
            echoed: 0,
        }
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut phase = Phase::Running;
        let mut last_event = self.epoch;
        while phase == Phase::Running || !self.connections.is_empty() {
            let timeout = self.timeout(last_event);
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != ErrorKind::Interrupted
            {
                // It cannot be told what is ready: like a second without news, and then another try.
                thread::sleep(SWEEP.1);
            }
            if self.keeps_time() || !self.service.config.busy_poll.is_zero() {
                let elapsed = self.epoch.elapsed();
                self.now = elapsed.as_millis() as Tick;
                if !events.is_empty() {
                    last_event = self.epoch + elapsed;
                }
            }
            for event in &events {
                match event.token() {
                    WAKER => phase = self.open_door(phase),
                    Token(key) => {
                        let ended = event.is_read_closed() || event.is_error() || is_urgent(event);
                        if ended && let Some(connection) = self.connections.get_mut(key) {
                            connection.ended = true;
                        }
                        self.ready(key, event.is_readable() || ended);
                    }
                }
            }
            // Everybody in the queue has one turn; who still has more is behind those who are ready.
            for _ in 0..self.more.len() {
                let Some(key) = self.more.pop_front() else { break };
                // Another one may have got the place of one that was queued.
                if let Some(connection) = self.connections.get_mut(key)
                    && std::mem::take(&mut connection.queued)
                {
                    self.ready(key, true);
                }
            }
            self.sweep();
            self.crowded |= self.pressed >= CROWD;
            if self.crowded && self.pressed == 0 {
                self.crowded = false;
                self.more.shrink_to_fit();
                self.connections.shrink_to_fit();
                release_memory();
            }
            if self.echoed > 0 {
                self.service.counters.echoed(std::mem::take(&mut self.echoed));
            }
            if phase == Phase::Cutting {
                self.cut_all();
            }
        }
    }

    /// How long to wait for events.
    fn timeout(&self, last_event: Instant) -> Option<Duration> {
        let busy_poll = self.service.config.busy_poll;
        if !self.more.is_empty() || !busy_poll.is_zero() && last_event.elapsed() < busy_poll {
            return Some(Duration::ZERO);
        }
        self.keeps_time().then(|| self.sweep_period().saturating_sub(self.last_sweep.elapsed()))
    }

    /// Whether any connection has a deadline. If not, nobody reads the clock.
    fn keeps_time(&self) -> bool {
        self.pressed > 0 || self.service.config.idle_timeout.is_some()
    }

    /// Takes in new connections and notices a change of phase.
    fn open_door(&mut self, before: Phase) -> Phase {
        self.now = self.epoch.elapsed().as_millis() as Tick;
        // Read before the inbox: past `Running`, everything was handed in already.
        let phase = self.crew.phase();
        let arrived = std::mem::take(&mut *self.door.inbox());
        for (stream, peer) in arrived {
            self.take_in(stream, peer);
        }
        if before == Phase::Running && phase == Phase::Draining {
            for key in self.keys() {
                self.connections[key].start_draining();
                self.ready(key, true);
            }
        }
        phase
    }

    fn take_in(&mut self, stream: TcpStream, peer: SocketAddr) {
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let connection = entry.insert(Connection::new(self.service, stream, peer, self.now));
        if self.poll.registry().register(&mut connection.stream, Token(key), interest()).is_err() {
            self.close(key, CloseReason::Lost);
        }
    }

    /// Gives a connection its turn.
    fn ready(&mut self, key: usize, readable: bool) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let before = connection.echoed;
        let mut result = connection.turn(self.service, &mut self.buffer, readable, self.now);
        for _ in 1..RECEIVES {
            if !matches!(result, Ok(Turn::More)) {
                break;
            }
            result = connection.turn(self.service, &mut self.buffer, true, self.now);
        }
        self.echoed += connection.echoed - before;
        match result {
            Ok(Turn::Over) => {
                let reason = connection.reason.unwrap_or(CloseReason::Done);
                return self.close(key, reason);
            }
            Ok(turn) => {
                if turn == Turn::More && !connection.queued {
                    connection.queued = true;
                    self.more.push_back(key);
                }
            }
            Err(_) => return self.close(key, CloseReason::Lost),
        }
        let pressed = connection.session.next() != Next::Read || connection.left_to_drain > 0;
        if pressed != connection.pressed {
            connection.pressed = pressed;
            // The clock may not have been read for a while.
            self.now = self.epoch.elapsed().as_millis() as Tick;
            connection.active = self.now;
            connection.fin = self.now;
            self.pressed = if pressed { self.pressed + 1 } else { self.pressed - 1 };
        }
    }

    fn close(&mut self, key: usize, reason: CloseReason) {
        let mut connection = self.connections.remove(key);
        // Closing takes it out of epoll, but not out of every other system's selector.
        let _ = self.poll.registry().deregister(&mut connection.stream);
        self.pressed -= usize::from(connection.pressed);
        let reason = match connection.session.broken() {
            Some(_) if reason == CloseReason::Done => CloseReason::Framing,
            _ => reason,
        };
        let age = self.epoch.elapsed().as_millis() as Tick;
        let duration = Duration::from_millis(age.wrapping_sub(connection.accepted).into());
        let Connection { peer, session, echoed, stream, .. } = connection;
        // What counts it as gone comes after it is gone.
        drop(stream);
        self.service.closed(peer, &session, echoed, duration, reason);
        self.door.open.fetch_sub(1, Relaxed);
        if self.connections.is_empty() {
            // Ten thousand connections leave a large table behind.
            self.connections.shrink_to_fit();
            self.more.shrink_to_fit();
        }
    }

    /// Looks at every deadline, if it is time to. There is no timer for each connection: going through
    /// all of them now and then is cheaper than keeping timers in order with every echo.
    fn sweep(&mut self) {
        if !self.keeps_time() || self.last_sweep.elapsed() < self.sweep_period() {
            return;
        }
        self.last_sweep = Instant::now();
        self.now = self.epoch.elapsed().as_millis() as Tick;
        for key in self.keys() {
            if self.connections[key].session.next() == Next::Write {
                // The system reports room when a third of the send buffer is free; a slow peer may
                // have taken less in all this time, but it has taken some.
                self.ready(key, false);
            }
            let Some(connection) = self.connections.get_mut(key) else { continue };
            match connection.overdue(self.service, self.now) {
                None => {}
                Some(CloseReason::Idle) => {
                    // Not before a last look: after a long stall the silence may be ours.
                    self.ready(key, true);
                    let Some(connection) = self.connections.get_mut(key) else { continue };
                    if connection.overdue(self.service, self.now) == Some(CloseReason::Idle) {
                        connection.reason = Some(CloseReason::Idle);
                        connection.session.refuse_input();
                        self.ready(key, false);
                    }
                }
                Some(reason) => self.close(key, reason),
            }
        }
    }

    /// A quarter of the shortest deadline, so that none is late by more than that.
    fn sweep_period(&self) -> Duration {
        let config = self.service.config;
        let shortest = [config.idle_timeout, config.write_timeout, Some(farewell::SILENCE)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(SWEEP.1);
        (shortest / 4).clamp(SWEEP.0, SWEEP.1)
    }

    fn cut_all(&mut self) {
        for key in self.keys() {
            let connection = &self.connections[key];
            // Our FIN counts as a byte, but nobody is owed one.
            let fin = usize::from(connection.session.next() == Next::Discard);
            let owing = connection.session.owes() || unacknowledged(&connection.stream) > fin;
            self.close(key, if owing { CloseReason::Cut } else { CloseReason::Stopped });
        }
    }

    fn keys(&self) -> Vec<usize> {
        self.connections.iter().map(|(key, _)| key).collect()
    }
}

/// Everything that can happen to a connection. Urgent data (RFC 6093) is not echoed, but a `recv` stops
/// where it stands in the stream.
fn interest() -> Interest {
    let both = Interest::READABLE | Interest::WRITABLE;
    #[cfg(target_os = "linux")]
    let both = both | Interest::PRIORITY;
    both
}

/// Whether there is urgent data, where the system tells.
fn is_urgent(event: &Event) -> bool {
    cfg!(target_os = "linux") && event.is_priority()
}

/// How a connection's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It waits for an event.
    Waits,
    /// There may be more to read.
    More,
    /// It can be closed.
    Over,
}

impl Connection {
    fn new(service: &Service<'_>, stream: TcpStream, peer: SocketAddr, now: Tick) -> Self {
        Self {
            stream,
            peer,
            session: Session::new(service.config),
            echoed: 0,
            accepted: now,
            active: now,
            fin: now,
            untaken: 0,
            left_to_drain: 0,
            ended: false,
            queued: false,
            pressed: false,
            reason: None,
        }
    }

    /// Does what can be done without waiting, one `recv` at the most.
    fn turn(
        &mut self,
        service: &Service<'_>,
        buffer: &mut [u8],
        readable: bool,
        now: Tick,
    ) -> io::Result<Turn> {
        let mut turn = Turn::Waits;
        if self.session.next() == Next::Write {
            self.flush(now)?;
            // While something was owed nothing was read.
            turn = Turn::More;
        } else if readable {
            turn = match self.session.next() {
                Next::Read => self.echo(buffer, now)?,
                Next::Discard => self.discard(buffer, now)?,
                _ => Turn::Waits,
            };
        }
        if self.session.next() == Next::Finish {
            service.finishing(self.peer, &self.session);
            self.stream.shutdown(Shutdown::Write)?;
            self.session.fin_sent();
            self.fin = now;
            turn = Turn::More;
        }
        Ok(match self.session.next() {
            Next::Close => Turn::Over,
            Next::Write => Turn::Waits,
            _ if self.ended => Turn::More,
            _ => turn,
        })
    }

    /// Sends what is owed until there is no more room.
    fn flush(&mut self, now: Tick) -> io::Result<()> {
        while self.session.next() == Next::Write {
            let stream = &self.stream;
            let sent = self.session.flush(|bytes| send(stream, bytes))?;
            self.sent(sent, now);
            if sent == 0 {
                break;
            }
        }
        Ok(())
    }

    /// One `recv` and its echo.
    fn echo(&mut self, buffer: &mut [u8], now: Tick) -> io::Result<Turn> {
        let limit = match self.left_to_drain {
            0 => buffer.len(),
            left => buffer.len().min(left as usize),
        };
        let Some(count) = receive(&self.stream, &mut buffer[..limit])? else {
            self.ended = false;
            if self.left_to_drain > 0 {
                self.stop_draining();
            }
            return Ok(Turn::Waits);
        };
        if count == 0 {
            self.session.peer_ended();
            return Ok(Turn::Waits);
        }
        let stream = &self.stream;
        let sent = self.session.received(&buffer[..count], |bytes| send(stream, bytes))?;
        self.sent(sent, now);
        self.active = now;
        if REARMS_ON_BLOCK {
            self.flush(now)?;
        }
        if self.left_to_drain > 0 {
            self.left_to_drain = self.left_to_drain.saturating_sub(count as u32);
            if self.left_to_drain == 0 {
                self.stop_draining();
            }
            return Ok(Turn::More);
        }
        Ok(if count == limit || REARMS_ON_BLOCK { Turn::More } else { Turn::Waits })
    }

    fn sent(&mut self, count: usize, now: Tick) {
        self.echoed += count as u64;
        if count > 0 {
            self.active = now;
        }
    }

    /// Takes what a peer sends that has our FIN, and drops it.
    fn discard(&mut self, buffer: &mut [u8], now: Tick) -> io::Result<Turn> {
        match receive(&self.stream, buffer)? {
            None => {
                self.ended = false;
                Ok(Turn::Waits)
            }
            Some(0) => {
                self.session.peer_ended();
                Ok(Turn::Waits)
            }
            Some(_) => {
                self.active = now;
                Ok(Turn::More)
            }
        }
    }

    /// The server stops: what may have been received by now is still echoed.
    fn start_draining(&mut self) {
        if !matches!(self.session.next(), Next::Read | Next::Write) {
            return; // it is leaving already, for another reason
        }
        self.reason = Some(CloseReason::Stopped);
        // The receive queue cannot hold more than this; what comes later is not ours to echo, and a
        // peer that never pauses must not keep the server from stopping.
        let size = SockRef::from(&self.stream).recv_buffer_size().unwrap_or(0);
        self.left_to_drain = u32::try_from(size).unwrap_or(u32::MAX);
        if self.left_to_drain == 0 {
            self.stop_draining();
        }
    }

    fn stop_draining(&mut self) {
        self.left_to_drain = 0;
        self.session.refuse_input();
    }

    /// Whether its time is up, and for what reason.
    fn overdue(&mut self, service: &Service<'_>, now: Tick) -> Option<CloseReason> {
        let since = |tick: Tick| Duration::from_millis(now.wrapping_sub(tick).into());
        let silent = since(self.active);
        let passed =
            |deadline: Option<Duration>| deadline.is_some_and(|deadline| silent >= deadline);
        match self.session.next() {
            Next::Read if passed(service.config.idle_timeout) => Some(CloseReason::Idle),
            Next::Write if passed(service.config.write_timeout) => Some(CloseReason::Stalled),
            Next::Discard => {
                let untaken = u32::try_from(unacknowledged(&self.stream)).unwrap_or(u32::MAX);
                if farewell::is_over(untaken as usize, silent, since(self.fin)) {
                    return Some(self.reason.unwrap_or(CloseReason::Done));
                }
                if untaken != std::mem::replace(&mut self.untaken, untaken) {
                    self.fin = now;
                }
                let limit = service.config.write_timeout;
                limit.is_some_and(|limit| since(self.fin) >= limit).then_some(CloseReason::Stalled)
            }
            _ => None,
        }
    }
}

/// One `recv`: a count of bytes, 0 at the end of the stream, `None` if there are none now.
fn receive(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    unless_blocked(|| stream.read(buffer))
}

/// One `send`: how many bytes there was room for.
fn send(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    unless_blocked(|| stream.write(bytes)).map(Option::unwrap_or_default)
}

fn unless_blocked(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
