//! The event loop of one load thread: keeps messages in flight on its connections.
//!
//! It is made of three things: the [`Connector`] opens connections, the [`Pacer`] wakes the loop
//! when messages are due, and the [`Meter`] follows the stages of the run and measures.

mod connecting;
mod measuring;
mod pacing;
mod transfer;

use std::io;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use self::connecting::Connector;
use self::measuring::{Meter, Stage};
use self::pacing::Pacer;
use super::connection::{ClientConnection, LinkState};
use super::ring::Ring;
use super::schedule::Schedule;
use super::stats::IntervalStats;
use super::workload::RunLimit;
use super::{Shared, Update};
use crate::Error;
use crate::platform::{Events, Instant, Poll, Token};

/// Token of the timer. The other tokens are indices of connections.
const TIMER: Token = Token(usize::MAX);
/// The most bytes sent or received per call.
const BUFFER_LEN: usize = 128 * 1024;
/// Readiness events per poll.
const EVENT_CAPACITY: usize = 1024;
/// How often timeouts and the stop flag are checked.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// An event loop and its connections.
pub(super) struct Worker<'a> {
    shared: &'a Shared<'a>,
    index: usize,
    updates: SyncSender<Update>,
    poll: Poll,
    /// The ring that established connections use; `None` for readiness.
    ring: Option<Ring>,
    /// Connections with data to submit to the ring.
    sending: Vec<usize>,
    buffer: Vec<u8>,
    connections: Vec<ClientConnection>,
    connector: Connector,
    pacer: Pacer,
    meter: Meter,
    /// Start of the run: times count from here.
    start: Instant,
    last_sweep: u64,
}

impl<'a> Worker<'a> {
    /// A worker for every `shared.threads`-th connection, from `index` on. `spares` returns
    /// statistics for another use.
    pub(super) fn new(
        shared: &'a Shared<'a>,
        index: usize,
        updates: SyncSender<Update>,
        spares: Receiver<IntervalStats>,
        ring: Option<Ring>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let workload = shared.workload;
        let numbers = (index..workload.connections).step_by(shared.threads);
        let connections: Vec<_> =
            numbers.map(|number| ClientConnection::new(workload, number)).collect();
        Ok(Self {
            shared,
            index,
            updates,
            ring,
            sending: Vec::new(),
            buffer: vec![0; BUFFER_LEN],
            connector: Connector::new(connections.len(), shared.threads),
            pacer: Pacer::new(&poll, TIMER)?,
            meter: Meter::new(workload, spares),
            start: Instant::now(),
            last_sweep: 0,
            poll,
            connections,
        })
    }

    /// Runs to the end. The last update is [`Update::Done`].
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENT_CAPACITY);
        if let Some(Err(error)) = self.ring.as_mut().map(|ring| ring.enable(&self.poll)) {
            // Nothing can be sent or received.
            self.connections.clear();
            self.connector.abort(error);
        }
        (0..self.connections.len()).for_each(|key| self.queue_connect(key));
        while !self.connector.is_resolved() && !self.shared.stop.is_stopped() {
            self.run_once(&mut events, SWEEP_INTERVAL);
        }
        let is_up = |connection: &ClientConnection| matches!(connection.link, LinkState::Up(_));
        let connected = self.connections.iter().any(is_up);
        let failure = self.connector.take_failure();
        self.send(Update::Ready { connected, failure });
        if let Some(start) = self.shared.barrier.wait() {
            self.start = start;
            self.last_sweep = 0;
            self.load(&mut events);
            self.drain(&mut events);
        }
        let Self { index: worker, updates, meter, .. } = self;
        let (number, stats, totals) = meter.finish();
        let _ = updates.send(Update::Done { worker, number, stats, totals: Box::new(totals) });
    }

    /// Fails only if the run has been given up and the receiver is gone.
    fn send(&self, update: Update) {
        let _ = self.updates.send(update);
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Sends and measures until the limit is reached.
    fn load(&mut self, events: &mut Events) {
        self.meter.stage = Stage::WarmUp;
        for (key, connection) in self.connections.iter_mut().enumerate() {
            connection.start_clock();
            self.pacer.push(0, key);
        }
        loop {
            self.update_stage();
            let now = self.now();
            let is_finished = self.shared.workload.is_counted()
                && self.connections.iter().all(ClientConnection::is_finished);
            let is_over = now >= self.meter.end() || is_finished;
            if is_over || self.shared.stop.is_stopped() {
                self.meter.totals.is_interrupted = !is_over;
                return self.close_window(now);
            }
            self.send_due();
            let left = self.meter.next_check().saturating_sub(now);
            self.run_once(events, Duration::from_nanos(left).min(SWEEP_INTERVAL));
        }
    }

    /// Ends the measuring window.
    fn close_window(&mut self, now: u64) {
        self.meter.close(now, self.connections.iter().map(|connection| connection.echoes).sum());
        let (from, to) = self.meter.window();
        let workload = self.shared.workload;
        let due = |it: &ClientConnection| Schedule::due_between(workload, it.number, from, to);
        self.meter.totals.due = self.connections.iter().map(due).sum();
        self.meter.totals.backlog = self.connections.iter().map(|it| it.backlog(to)).sum();
    }

    /// Follows the stages of the run, and hands over what was measured in an interval.
    fn update_stage(&mut self) {
        if let Some((number, stats)) = self.meter.update(self.now()) {
            // Does not block: the channel has room for all statistics there are.
            self.send(Update::Interval { worker: self.index, number, stats });
        }
    }

    /// Waits for the messages in flight and sends those that were due before the end but could not
    /// be sent in time. Otherwise a stall at the end of a run would be missing from the latencies.
    fn drain(&mut self, events: &mut Events) {
        let (started_at, end) = (self.now(), self.meter.end());
        let interrupted = self.shared.stop.is_stopped();
        for connection in &mut self.connections {
            if interrupted { connection.stop() } else { connection.stop_at(end) }
        }
        let timeout = self.shared.config.timeout;
        let backlog = match self.shared.workload.limit {
            RunLimit::Duration(duration) => duration.min(timeout),
            RunLimit::Messages(_) => Duration::ZERO,
        };
        while !self.connections.iter().all(ClientConnection::is_finished) {
            let draining = Duration::from_nanos(self.now() - started_at);
            if draining >= backlog {
                // Sending the rest would take as long as the run again, or longer.
                self.connections.iter_mut().for_each(ClientConnection::stop);
                self.pacer.clear();
            }
            // A connection whose echoes keep coming is waited for; `sweep` gives up the others.
            if self.shared.stop.is_stopped() && !interrupted {
                break;
            }
            self.send_due();
            self.run_once(events, SWEEP_INTERVAL);
        }
        // Bytes that arrive after the last echo are surplus.
        self.run_once(events, Duration::ZERO);
        (0..self.connections.len()).for_each(|key| self.finish_connection(key));
        let (connections, totals) = (&self.connections, &mut self.meter.totals);
        totals.sent = connections.iter().map(|connection| connection.started).sum();
        totals.shares = connections.iter().map(|connection| connection.echoes).collect();
        totals.unsent = connections.iter().map(|connection| connection.unsent(end)).sum();
    }

    /// Closes a connection at the end of the run.
    fn finish_connection(&mut self, key: usize) {
        let late = !self.connections[key].is_finished() && !self.shared.stop.is_stopped();
        if let LinkState::Up(stream) = &mut self.connections[key].link {
            let timeout = stream.timeout(self.shared.config.timeout);
            match stream.receive(&mut self.buffer) {
                Err(error @ Error::Reply { .. }) => return self.fail(key, &error),
                _ if late => return self.fail(key, &timeout),
                // A second stop may have ended the wait for it.
                _ => self.count_echoes(key, self.now()),
            }
        }
        self.disconnect(key);
    }
}
