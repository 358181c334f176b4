//! One event loop: waits for news, gives each connection its turn, and looks at the deadlines.
//!
//! A poller reports what has *changed*, once. So whoever stops before a socket is empty must come back
//! by itself: a `recv` that fills the buffer, or that an end of the stream may follow, puts the connection
//! into a queue and has its next turn after everybody else. A `recv` that leaves room in the buffer has
//! emptied the socket (epoll(7), question 9), but for what `Connection::ended` and `REARMS_ON_BLOCK` say.

mod accepting;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

use slab::Slab;

use super::connection::{Connection, Millis, Turn};
use super::pool::WorkerContext;
use super::spin::AdaptiveSpin;
use super::timers::Timers;
use super::{Event, Interest, Poller};
use crate::CloseReason;
use crate::accept::Incoming;
use crate::linger;
use crate::service::Service;
use crate::session::State;
use crate::shutdown::Phase;
use crate::system::{release_memory, unacknowledged};

/// What one `recv` takes at most, and so what a connection can be owed of raw bytes. One for each
/// worker: it stays in the cache, and no connection has a buffer of its own.
const BUFFER: usize = 64 * 1024;
/// How often a connection may fill the buffer before the others have their turn: asking the system
/// for news after each would cost the large messages more than it gives the small.
const RECEIVES: usize = 4;
/// Deadlines are looked at this often at least, and this often at most.
const SWEEP_PERIOD: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// An event loop and the connections it drives.
struct Worker<'a, P> {
    context: WorkerContext<'a>,
    service: &'a Service<'a>,
    poller: P,
    /// When to accept again: after a pause, or where some were left for another turn.
    accept_at: Option<Instant>,
    connections: Slab<Connection>,
    /// Connections whose socket may still have something to read.
    more: VecDeque<usize>,
    timers: Timers,
    buffer: Vec<u8>,
    /// Connections that owe something or take leave: those with a deadline whatever the settings.
    backpressured: usize,
    /// Some were backpressured since memory was last given back.
    trim_pending: bool,
    /// All times of connections are counted from here.
    epoch: Instant,
    now: Millis,
    last_news: Instant,
    spin: AdaptiveSpin,
    last_sweep: Instant,
    /// Bytes echoed in this turn of the loop, counted for all to see at its end. Those that turn out not
    /// to have been may make it negative, modulo 2⁶⁴, as which it is added.
    echoed: u64,
}

impl WorkerContext<'_> {
    /// Drives connections on what `poller` reports, until the server has stopped.
    pub(in crate::engine) fn work(self, poller: impl Poller) {
        Worker::new(self, poller).run();
    }
}

impl<'a, P: Poller> Worker<'a, P> {
    fn new(context: WorkerContext<'a>, poller: P) -> Self {
        let epoch = Instant::now();
        Self {
            service: context.pool.service,
            context,
            poller,
            accept_at: None,
            connections: Slab::new(),
            more: VecDeque::new(),
            timers: Timers::default(),
            buffer: vec![0; BUFFER],
            backpressured: 0,
            trim_pending: false,
            epoch,
            now: 0,
            last_news: epoch,
            spin: AdaptiveSpin::new(),
            last_sweep: epoch,
            echoed: 0,
        }
    }

    fn run(mut self) {
        let mut phase = Phase::Running;
        self.listen();
        while phase == Phase::Running || !self.connections.is_empty() {
            self.wait();
            let mut arrivals = false;
            while let Some(news) = self.poller.next() {
                match news {
                    Event::Wake => phase = self.on_wake(phase),
                    Event::AcceptReady => arrivals = true,
                    Event::Ready { key, readable, ended } => {
                        if ended && let Some(connection) = self.connections.get_mut(key) {
                            connection.ended = true;
                        }
                        self.ready(key, readable);
                    }
                    Event::Received { key, piece } => self.received(key, piece),
                    Event::ShortWrite { key, piece, sent } => self.unsent(key, piece, sent),
                    Event::Lost { key } => self.close(key, CloseReason::Lost),
                }
            }
            if arrivals || self.accept_at.is_some_and(|time| time <= Instant::now()) {
                self.accept();
            }
            self.run_ready();
            self.fire_expired();
            self.sweep();
            if self.echoed != 0 {
                self.service.counters.echoed(std::mem::take(&mut self.echoed));
            }
            if phase == Phase::Aborting {
                self.abort_all();
            }
        }
    }

    fn wait(&mut self) {
        let (timeout, poller) = (self.timeout(), &mut self.poller);
        let any = self.spin.wait(timeout, |timeout| poller.wait(timeout)).unwrap_or_else(|error| {
            if error.kind() != ErrorKind::Interrupted {
                // It cannot be told what is ready: like a second without news, and then another try.
                thread::sleep(SWEEP_PERIOD.1);
            }
            false
        });
        if self.keeps_time() || !self.service.config.busy_poll.is_zero() {
            let elapsed = self.epoch.elapsed();
            self.now = elapsed.as_millis() as Millis;
            if any {
                self.last_news = self.epoch + elapsed;
            }
        }
    }

    /// Gives everybody in the queue one turn; who still has more is behind those who are ready.
    fn run_ready(&mut self) {
        for _ in 0..self.more.len() {
            let Some(key) = self.more.pop_front() else { break };
            // Another one may have got the place of one that was queued.
            if let Some(connection) = self.connections.get_mut(key)
                && std::mem::take(&mut connection.queued)
            {
                self.ready(key, true);
            }
        }
    }

    /// Gives those a turn whose time has come.
    fn fire_expired(&mut self) {
        if self.timers.next().is_some() {
            let now = Instant::now();
            while let Some(key) = self.timers.due(now) {
                self.ready(key, false);
            }
        }
    }

    /// How long to wait for news.
    fn timeout(&self) -> Option<Duration> {
        let busy_poll = self.service.config.busy_poll;
        if !self.more.is_empty() || !busy_poll.is_zero() && self.last_news.elapsed() < busy_poll {
            return Some(Duration::ZERO);
        }
        let sweep = || self.sweep_period().saturating_sub(self.last_sweep.elapsed());
        let until = |time: Instant| time.saturating_duration_since(Instant::now());
        let times = self.timers.next().into_iter().chain(self.accept_at).map(until);
        self.keeps_time().then(sweep).into_iter().chain(times).min()
    }

    /// Whether any connection has a deadline. If not, nobody reads the clock for one.
    fn keeps_time(&self) -> bool {
        self.backpressured > 0 || self.trim_pending || self.service.config.idle_timeout.is_some()
    }

    /// Takes in new connections and notices a change of phase.
    fn on_wake(&mut self, before: Phase) -> Phase {
        if self.service.phase() > Phase::Running {
            // Those who are in a queue at the stop still belong to those who are served.
            self.accept();
        }
        self.now = self.epoch.elapsed().as_millis() as Millis;
        // Read before the inbox: past `Running`, everything was handed in already.
        let phase = self.context.pool.phase();
        for incoming in self.context.handle.arrivals() {
            self.register(incoming);
        }
        if before == Phase::Running && phase == Phase::Draining {
            for key in self.keys() {
                self.connections[key].start_draining();
                self.ready(key, true);
            }
        }
        phase
    }

    fn register(&mut self, incoming: Incoming) {
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let connection = entry.insert(Connection::new(self.service, incoming, self.now));
        // It may be over before it has begun, on purpose.
        let begins = connection.session.state() == State::Read;
        if self.poller.watch(key, &mut connection.stream).is_err() {
            self.close(key, CloseReason::Lost);
        } else if !begins {
            self.ready(key, false);
        }
    }

    /// Gives a connection its turn.
    fn ready(&mut self, key: usize, readable: bool) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let before = connection.echoed;
        let receives = self.poller.receives(key);
        if receives {
            // Whatever there is to read is read for it.
            connection.ended = false;
        }
        let readable = readable && !receives;
        let mut result = connection.turn(self.service, &mut self.buffer, readable, self.now);
        for _ in 1..RECEIVES {
            if receives || !matches!(result, Ok(Turn::More)) {
                break;
            }
            result = connection.turn(self.service, &mut self.buffer, true, self.now);
        }
        self.after_turn(key, before, result);
    }

    /// Gives a connection its turn with what was received for it.
    fn received(&mut self, key: usize, piece: P::Piece) {
        let Some(connection) = self.connections.get_mut(key) else {
            return self.poller.give_back(piece);
        };
        let (before, bytes) = (connection.echoed, self.poller.bytes(&piece));
        if connection.is_passthrough() {
            connection.sent(bytes.len(), self.now);
            self.echoed = self.echoed.wrapping_add(bytes.len() as u64);
            return self.poller.send_back(key, piece);
        }
        let result = connection.take(self.service, bytes, self.now);
        self.poller.give_back(piece);
        self.after_turn(key, before, result);
    }

    /// Has a connection owe what was to be sent back.
    fn unsent(&mut self, key: usize, piece: P::Piece, sent: usize) {
        if let Some(connection) = self.connections.get_mut(key) {
            let before = connection.echoed;
            let result = connection.take_back(&self.poller.bytes(&piece)[sent..]);
            self.after_turn(key, before, result);
        }
        self.poller.give_back(piece);
    }

    /// Draws the conclusions from a connection's turn, before which it had echoed `before` bytes.
    fn after_turn(&mut self, key: usize, before: u64, result: io::Result<Turn>) {
        let connection = &mut self.connections[key];
        let echoed = connection.echoed.wrapping_sub(before);
        self.echoed = self.echoed.wrapping_add(echoed);
        let turn = match result {
            Ok(Turn::Over) => {
                let reason = connection.reason.unwrap_or(connection.session.reason());
                return self.close(key, reason);
            }
            Ok(turn) => turn,
            Err(_) => return self.close(key, CloseReason::Lost),
        };
        if turn == Turn::More && !connection.queued {
            connection.queued = true;
            self.more.push_back(key);
        }
        if let Turn::Until(time) = turn {
            self.timers.set(time, key);
        }
        let waits = matches!(connection.session.state(), State::Read | State::Stall);
        let backpressured = !waits || connection.left_to_drain > 0;
        if backpressured != connection.backpressured {
            connection.backpressured = backpressured;
            self.trim_pending |= backpressured;
            // The clock may not have been read for a while.
            self.now = self.epoch.elapsed().as_millis() as Millis;
            connection.active = self.now;
            connection.fin = self.now;
            self.backpressured =
                if backpressured { self.backpressured + 1 } else { self.backpressured - 1 };
        }
        let waits = match connection.session.state() {
            _ if turn == Turn::More => Interest::Nothing,
            State::Read if !backpressured => Interest::Peer,
            State::Read | State::Finish | State::Discard | State::Close => Interest::Leave,
            State::Write | State::Hold | State::Stall | State::Reset => Interest::Room,
        };
        self.poller.set_interest(key, waits, echoed);
    }

    fn close(&mut self, key: usize, reason: CloseReason) {
        let Some(connection) = self.connections.try_remove(key) else { return };
        self.backpressured -= usize::from(connection.backpressured);
        self.timers.cancel(key);
        let age = self.epoch.elapsed().as_millis() as Millis;
        let duration = Duration::from_millis(age.wrapping_sub(connection.accepted).into());
        let Connection { peer, session, echoed, stream, .. } = connection;
        // What counts it as gone comes after it is gone.
        self.poller.forget(key, stream);
        self.service.closed(peer.address(), &session, echoed, duration, reason);
        self.context.handle.ended();
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
        self.now = self.epoch.elapsed().as_millis() as Millis;
        for key in self.keys() {
            if self.connections[key].session.state() == State::Write {
                // The system reports room when a third of the send buffer is free; a slow peer may
                // have taken less in all this time, but it has taken some.
                self.ready(key, false);
            }
            let Some(connection) = self.connections.get_mut(key) else { continue };
            match connection.overdue(self.service, self.now) {
                None => {}
                Some(CloseReason::Idle) if self.poller.sends(key) => {}
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
        if self.trim_pending && self.backpressured == 0 {
            // Here and not at once: where it comes and goes, giving back would cost more than keeping.
            self.trim_pending = false;
            self.more.shrink_to_fit();
            self.connections.shrink_to_fit();
            release_memory();
        }
    }

    /// A quarter of the shortest deadline, so that none is late by more than that.
    fn sweep_period(&self) -> Duration {
        let config = self.service.config;
        let shortest = [config.idle_timeout, config.write_timeout, Some(linger::LINGER_TIMEOUT)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(SWEEP_PERIOD.1);
        (shortest / 4).clamp(SWEEP_PERIOD.0, SWEEP_PERIOD.1)
    }

    fn abort_all(&mut self) {
        for key in self.keys() {
            let connection = &self.connections[key];
            // Our FIN counts as a byte, but nobody is owed one.
            let fin = usize::from(connection.session.state() == State::Discard);
            let owing = connection.session.owes()
                || self.poller.sends(key)
                || unacknowledged(&connection.stream) > fin;
            self.close(key, if owing { CloseReason::Aborted } else { CloseReason::Stopped });
        }
    }

    fn keys(&self) -> Vec<usize> {
        self.connections.iter().map(|(key, _)| key).collect()
    }
}
