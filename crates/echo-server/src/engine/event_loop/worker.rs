//! The event loop of one worker thread.
//!
//! A worker owns a poller and a set of connections. Each iteration waits for events, runs every connection that is
//! ready, fires expired timers and checks deadlines.
//!
//! Pollers may report edges, not levels: a connection that stops reading before `EAGAIN` is not reported again for
//! data that is already queued. Such a connection puts itself on the run queue and is resumed after all others
//! have run, which also keeps one fast sender from starving the rest. [`edges`](super::edges) says when a socket is
//! known to be empty without another call.

mod accept;
mod deadlines;
mod hot;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::Duration;

use slab::Slab;

use self::hot::Hot;
use super::connection::{Connection, Scratch};
use super::pool::WorkerContext;
use super::spin::AdaptiveSpin;
use super::timers::Timers;
use super::{Event, Interest, Poller};
use crate::CloseReason;
use crate::listen::accept::Incoming;
use crate::platform::{Instant, sleep, unacknowledged};
use crate::progress::{Millis, SendProgress};
use crate::service::Service;
use crate::session::State;
use crate::shutdown::Phase;

/// How often a connection may fill the buffer before the others are run. Polling after each `recv` would cost large
/// messages more than it would gain for small ones.
const RECVS_PER_RUN: usize = if cfg!(simulation) { 2 } else { 4 };
/// Consecutive transient failures of a wait that are tolerated, and how long to pause after each.
const MAX_FAILED_WAITS: u32 = if cfg!(simulation) { 12 } else { 100 };
const FAILED_WAIT_PAUSE: Duration = Duration::from_millis(10);

/// An event loop and the connections it drives.
struct Worker<'a, P> {
    context: WorkerContext<'a>,
    service: &'a Service<'a>,
    poller: P,
    /// Consecutive failed waits.
    failed_waits: u32,
    /// When to accept again without an event: after a backoff, or because more connections may be queued.
    accept_at: Option<Instant>,
    connections: Slab<Connection>,
    /// Connections that can go on without an event: they stopped before `EAGAIN`, or for the sake of others.
    run_queue: VecDeque<usize>,
    timers: Timers,
    scratch: Scratch,
    /// Number of connections that owe bytes or are being closed. They have a deadline even if no timeout is
    /// configured.
    backpressured: usize,
    /// A connection has been backpressured since memory was last returned to the system.
    trim_pending: bool,
    /// The times of connections are relative to this.
    epoch: Instant,
    now: Millis,
    last_event: Instant,
    hot: Hot,
    spin: AdaptiveSpin,
    last_sweep: Instant,
    /// Bytes echoed in this iteration, added to the counters at its end. A short write subtracts from it, so it may
    /// be negative, modulo 2⁶⁴; the addition wraps in the same way.
    echoed: u64,
}

impl WorkerContext<'_> {
    /// Runs an event loop on `poller` until the server has stopped.
    pub(in crate::engine) fn work(self, poller: impl Poller) {
        Worker::new(self, poller).run();
    }
}

impl<'a, P: Poller> Worker<'a, P> {
    fn new(context: WorkerContext<'a>, poller: P) -> Self {
        let epoch = Instant::now();
        let service = context.pool.service;
        Self {
            service,
            context,
            poller,
            failed_waits: 0,
            accept_at: None,
            connections: Slab::new(),
            run_queue: VecDeque::new(),
            timers: Timers::default(),
            scratch: Scratch::new(service.config.max_pipes, P::REPORTS_PENDING_INPUT),
            backpressured: 0,
            trim_pending: false,
            epoch,
            now: 0,
            last_event: epoch,
            hot: Hot::default(),
            spin: AdaptiveSpin::new(),
            last_sweep: epoch,
            echoed: 0,
        }
    }

    fn run(mut self) {
        if let Err(error) = self.serve() {
            // No more events are reported for its connections.
            self.abort_all();
            let Self { context, poller, .. } = self;
            // A ring holds the listeners that it polls. Connections would still be queued in them.
            drop(poller);
            context.fail(error);
        }
    }

    /// Serves until the server has stopped.
    ///
    /// # Errors
    ///
    /// The poller has failed for good.
    fn serve(&mut self) -> io::Result<()> {
        let mut phase = Phase::Running;
        self.listen();
        while phase == Phase::Running || !self.connections.is_empty() {
            self.wait()?;
            let mut accept_ready = false;
            while let Some(event) = self.poller.next() {
                match event {
                    Event::Wake => phase = self.on_wake(phase),
                    Event::AcceptReady => accept_ready = true,
                    Event::Ready { key, readable, ended } => {
                        if ended && let Some(connection) = self.connections.get_mut(key) {
                            connection.ended = true;
                        }
                        self.ready(key, readable);
                    }
                    Event::Received { key, buf } => self.received(key, buf),
                    Event::ShortWrite { key, buf, sent } => self.short_write(key, buf, sent),
                    Event::Lost { key } => self.close(key, CloseReason::Lost),
                }
            }
            if accept_ready || self.accept_at.is_some_and(|time| time <= Instant::now()) {
                self.accept();
            }
            self.run_ready();
            self.fire_expired();
            self.sweep();
            self.read_hot();
            if self.echoed != 0 {
                self.service.counters.echoed(std::mem::take(&mut self.echoed));
            }
            if phase == Phase::Aborting {
                self.abort_all();
            }
        }
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        if timeout != Some(Duration::ZERO) {
            self.release_hot();
        }
        let poller = &mut self.poller;
        let any = match self.spin.wait(timeout, |timeout| poller.wait(timeout)) {
            Ok(events) => {
                self.failed_waits = 0;
                events > 0
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => false,
            Err(error) if is_transient(&error) && self.failed_waits < MAX_FAILED_WAITS => {
                self.failed_waits += 1;
                sleep(FAILED_WAIT_PAUSE);
                false
            }
            Err(error) => return Err(error),
        };
        if self.keeps_time() || !self.service.config.busy_poll.is_zero() {
            let elapsed = self.epoch.elapsed();
            self.now = elapsed.as_millis() as Millis;
            if any {
                self.last_event = self.epoch + elapsed;
            }
        }
        Ok(())
    }

    /// Runs each connection on the run queue once. Those that requeue themselves are run in the next iteration,
    /// after connections with new events.
    fn run_ready(&mut self) {
        for _ in 0..self.run_queue.len() {
            let Some(key) = self.run_queue.pop_front() else { break };
            // The key may have been reused since it was queued.
            if let Some(connection) = self.connections.get_mut(key)
                && std::mem::take(&mut connection.queued)
            {
                self.ready(key, true);
            }
        }
    }

    /// Registers dispatched connections and acts on a change of phase.
    fn on_wake(&mut self, before: Phase) -> Phase {
        if self.service.phase() > Phase::Running {
            // Connections queued before the stop are still served.
            self.accept();
        }
        self.update_now();
        let (phase, inbox) = self.context.take_inbox();
        for incoming in inbox {
            self.register(incoming);
        }
        if before == Phase::Running && phase == Phase::Draining {
            for key in self.keys() {
                self.start_draining(key, CloseReason::Stopped);
            }
        }
        phase
    }

    fn register(&mut self, incoming: Incoming) {
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let connection = entry.insert(Connection::new(self.service, incoming, self.now));
        // An injected fault may end the connection before its first byte.
        let is_open = connection.session.state() == State::Read;
        if self.poller.register(key, &mut connection.stream).is_err() {
            self.close(key, CloseReason::Lost);
        } else if !is_open {
            self.ready(key, false);
        }
    }

    fn start_draining(&mut self, key: usize, reason: CloseReason) {
        self.connections[key].start_draining(reason, self.poller.received_ahead());
        self.ready(key, true);
    }

    /// Runs a connection.
    fn ready(&mut self, key: usize, readable: bool) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let before = connection.echoed;
        if connection.backpressured {
            // The process may have been suspended since the last wait: a write deadline that begins now, at an earlier
            // time, could have passed already.
            self.now = self.epoch.elapsed().as_millis() as Millis;
        }
        let receives = self.poller.receives(key);
        // A read now could echo its bytes before those that the poller is still sending.
        let postponed = readable && !receives && self.poller.sends(key);
        if receives {
            // The poller reads until the end.
            connection.ended = false;
        }
        let readable = readable && !receives && !postponed;
        let mut result = connection.run(self.service, &mut self.scratch, readable, self.now);
        for _ in 1..RECVS_PER_RUN {
            if !readable || !matches!(result, Ok(true)) {
                break;
            }
            result = connection.run(self.service, &mut self.scratch, true, self.now);
        }
        self.after_run(key, before, result.map(|more| more || postponed));
    }

    /// Echoes bytes that the poller has received for a connection.
    fn received(&mut self, key: usize, buf: P::Buf) {
        let Some(connection) = self.connections.get_mut(key) else {
            return self.poller.recycle(buf);
        };
        let (before, bytes) = (connection.echoed, self.poller.bytes(&buf));
        if connection.session.is_passthrough() {
            connection.passed_through(bytes.len(), self.now);
            self.echoed = self.echoed.wrapping_add(bytes.len() as u64);
            return self.poller.send(key, buf);
        }
        if connection.is_full(bytes.len()) {
            return self.poller.defer(key, buf);
        }
        let result = connection.run_received(self.service, bytes, self.now);
        self.poller.recycle(buf);
        self.after_run(key, before, result);
    }

    /// Adds the unsent rest of a buffer to what a connection owes.
    fn short_write(&mut self, key: usize, buf: P::Buf, sent: usize) {
        if let Some(connection) = self.connections.get_mut(key) {
            let before = connection.echoed;
            connection.unsent(&self.poller.bytes(&buf)[sent..], self.now);
            self.after_run(key, before, Ok(false));
        }
        self.poller.recycle(buf);
    }

    /// Closes or requeues a connection that was run, or sets its timer and interest. `before` is the number of
    /// bytes it had echoed before that run.
    fn after_run(&mut self, key: usize, before: u64, result: io::Result<bool>) {
        let connection = &mut self.connections[key];
        let echoed = connection.echoed.wrapping_sub(before);
        self.echoed = self.echoed.wrapping_add(echoed);
        let Ok(more) = result else { return self.close(key, CloseReason::Lost) };
        let state = connection.session.state();
        if state == State::Close {
            let reason = connection.reason.unwrap_or(connection.session.reason());
            return self.close(key, reason);
        }
        if more && !connection.queued {
            connection.queued = true;
            self.run_queue.push_back(key);
        }
        if !connection.timer_set
            && let Some(time) = connection.timer()
        {
            connection.timer_set = true;
            self.timers.set(time, key);
        }
        let draining = connection.session.drain_limit().is_some();
        let backpressured = draining || !matches!(state, State::Read | State::Stall);
        if backpressured != connection.backpressured {
            connection.backpressured = backpressured;
            self.trim_pending |= backpressured;
            // `now` is not kept up to date while no connection has a deadline.
            self.now = self.epoch.elapsed().as_millis() as Millis;
            connection.active = self.now;
            connection.progress = SendProgress::start(connection.session.owed(), self.now);
            self.backpressured =
                if backpressured { self.backpressured + 1 } else { self.backpressured - 1 };
        }
        let interest = match state {
            _ if more => Interest::Unchanged,
            State::Read if !draining => Interest::Receive,
            State::Read | State::Finish | State::Discard | State::Close => Interest::Readable,
            State::Write => Interest::Writable,
            State::Hold | State::Stall | State::Reset => Interest::Timer,
        };
        if !self.is_hot(key, interest, echoed) {
            self.set_interest(key, interest, echoed);
        }
    }

    fn set_interest(&mut self, key: usize, interest: Interest, echoed: u64) {
        self.poller.rearm(key, &mut self.connections[key].stream, interest);
        self.poller.set_interest(key, interest, echoed);
    }

    fn close(&mut self, key: usize, reason: CloseReason) {
        let Some(connection) = self.connections.try_remove(key) else { return };
        self.backpressured -= usize::from(connection.backpressured);
        self.hot.remove(key);
        if let Some(due) = connection.session.due() {
            self.timers.cancel(due, key);
        }
        let age = self.epoch.elapsed().as_millis() as Millis;
        let duration = Duration::from_millis(age.saturating_sub(connection.accepted));
        let Connection { peer, session, echoed, stream, .. } = connection;
        // Before it is reported as closed.
        self.poller.deregister(key, stream);
        self.service.closed(peer.address(), session.messages(), echoed, duration, reason);
        self.context.pool.ended(self.context.handle);
        // The others create pipes again if they need any.
        self.scratch.pipes.trim();
        if self.connections.is_empty() {
            // The table may have grown to ten thousand connections.
            self.connections.shrink_to_fit();
            self.run_queue.shrink_to_fit();
        }
    }

    fn abort_all(&mut self) {
        for key in self.keys() {
            let connection = &self.connections[key];
            // An unacknowledged FIN counts as one byte (tcp(7), SIOCOUTQ), but is not owed.
            let fin = usize::from(connection.session.state() == State::Discard);
            let owing = connection.session.owed() > 0
                || self.poller.sends(key)
                || unacknowledged(&connection.stream) > fin;
            self.close(key, if owing { CloseReason::Aborted } else { CloseReason::Stopped });
        }
    }

    fn update_now(&mut self) {
        self.now = self.epoch.elapsed().as_millis() as Millis;
    }

    fn keys(&self) -> Vec<usize> {
        self.connections.iter().map(|(key, _)| key).collect()
    }
}

/// Whether a failed wait may succeed later: the kernel lacks memory or another resource (epoll_wait(2),
/// io_uring_enter(2)).
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::OutOfMemory | ErrorKind::ResourceBusy)
}
