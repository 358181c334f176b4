//! Opening, closing and reopening the connections of a worker.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::time::Duration;

use super::{SWEEP_INTERVAL, Stage, Worker};
use crate::Error;
use crate::bench::connection::{ClientConnection, LinkState};
use crate::bench::stats::sum;
use crate::platform::{Events, Instant, Interest, Token, retransmits, start_connect};
use crate::rearm::rearm;

/// Pending connects of all workers, but at least one of each. More would overflow the accept queue
/// of many servers, and TCP retries a dropped SYN only after a second.
const MAX_CONNECTING: usize = 64;
/// Delay before a failed connection is opened again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The connections to be opened, in order and not too many at once.
pub(super) struct Connector {
    queue: VecDeque<usize>,
    /// Connects in progress, and their limit.
    pending: usize,
    max_pending: usize,
    /// Connections whose first connect has neither succeeded nor failed.
    unresolved: usize,
    first_failure: Option<io::Error>,
}

impl Connector {
    /// A connector for so many connections of one of `threads` workers. None is queued.
    pub(super) fn new(connections: usize, threads: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            pending: 0,
            max_pending: (MAX_CONNECTING / threads).max(1),
            unresolved: connections,
            first_failure: None,
        }
    }

    /// The next connection to open, if the limit allows it.
    fn start_next(&mut self) -> Option<usize> {
        let key = if self.pending < self.max_pending { self.queue.pop_front() } else { None };
        self.pending += usize::from(key.is_some());
        key
    }

    /// A connect has succeeded, or failed with this error.
    fn finish(&mut self, failure: Option<&io::Error>) {
        self.pending -= 1;
        self.unresolved = self.unresolved.saturating_sub(1);
        if let Some(error) = failure {
            let copy = || io::Error::new(error.kind(), error.to_string());
            self.first_failure.get_or_insert_with(copy);
        }
    }

    /// Gives up all connections.
    pub(super) fn abort(&mut self, error: io::Error) {
        (self.unresolved, self.first_failure) = (0, Some(error));
    }

    /// Whether every first connect has succeeded or failed.
    pub(super) fn is_resolved(&self) -> bool {
        self.unresolved == 0
    }

    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        self.first_failure.take()
    }
}

impl Worker<'_> {
    /// Queues a connection to be opened.
    pub(super) fn queue_connect(&mut self, key: usize) {
        if !std::mem::replace(&mut self.connections[key].is_queued, true) {
            self.connector.queue.push_back(key);
        }
    }

    /// Starts queued connects, up to the limit.
    pub(super) fn start_connects(&mut self) {
        if self.meter.stage >= Stage::Draining {
            // A new connection would have nothing to send.
            let connections = &self.connections;
            self.connector.queue.retain(|&key| !connections[key].is_finished());
        }
        while let Some(key) = self.connector.start_next() {
            self.connections[key].is_queued = false;
            let since = Instant::now();
            let (server, bind) = (self.shared.server, self.shared.config.bind);
            let stream = start_connect(server, bind).and_then(|mut stream| {
                let both = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, Token(key), both)?;
                Ok(stream)
            });
            match stream {
                Ok(stream) => self.connections[key].link = LinkState::Connecting(stream, since),
                Err(error) => self.connect_failed(key, error),
            }
        }
    }

    /// Handles a readiness event of a pending connect.
    pub(super) fn on_connect_event(&mut self, key: usize) {
        let (workload, server, now) = (self.shared.workload, self.shared.server, self.now());
        match self.connections[key].connected(workload, server, now) {
            Ok(None) => self.await_connect(key),
            Ok(Some(since)) => {
                let took = since.elapsed().as_nanos() as u64;
                self.meter.totals.connect.saturating_record(took);
                self.connector.finish(None);
                self.attach_to_ring(key);
                if self.ring.is_some() {
                    self.pump(key, self.now());
                } else {
                    // The first bytes may have arrived with the handshake: their event is this one.
                    self.on_readable(key, false);
                }
            }
            Err(error) => self.connect_failed(key, error),
        }
    }

    /// Waits for another event of a pending connect.
    fn await_connect(&mut self, key: usize) {
        if let LinkState::Connecting(stream, _) = &mut self.connections[key].link
            && let Err(error) = rearm(self.poll.registry(), stream, Token(key), true)
        {
            self.connect_failed(key, error);
        }
    }

    /// Moves an established connection from the poll to the ring, if there is one.
    fn attach_to_ring(&mut self, key: usize) {
        if let (Some(ring), LinkState::Up(stream)) =
            (&mut self.ring, &mut self.connections[key].link)
        {
            // If this fails, its events are ignored.
            let _ = self.poll.registry().deregister(&mut stream.socket);
            ring.add(key, &stream.socket);
        }
    }

    pub(super) fn connect_failed(&mut self, key: usize, source: io::Error) {
        self.connector.finish(Some(&source));
        let error = self.shared.connect_error(source);
        self.fail(key, &error);
    }

    /// Counts a failed connection and closes it.
    pub(super) fn fail(&mut self, key: usize, error: &Error) {
        let now = self.now();
        // What arrived before the failure was correct.
        self.count_echoes(key, now);
        let connection = &mut self.connections[key];
        // At the end of a run the server may close first.
        let at_the_end = self.meter.stage >= Stage::Draining || connection.is_finished();
        if !(at_the_end && matches!(error, Error::Closed { .. })) {
            let at = if self.meter.stage == Stage::Connecting { 0 } else { now / 1000 };
            self.meter.totals.failure(connection.number, at, connection.bytes().0, error);
            connection.failing_since.get_or_insert(now);
        }
        self.disconnect(key);
    }

    /// Replaces a connection that has carried its share of messages.
    pub(super) fn replace(&mut self, key: usize) {
        // The readiness engine has not yet checked for surplus bytes; a ring would have reported
        // them.
        if self.ring.is_none()
            && let LinkState::Up(stream) = &mut self.connections[key].link
            && let Err(error @ Error::Reply { .. }) = stream.receive(&mut self.buffer)
        {
            return self.fail(key, &error);
        }
        self.disconnect(key);
        self.queue_connect(key);
    }

    pub(super) fn disconnect(&mut self, key: usize) {
        let now = self.now();
        let (received, sent) = self.connections[key].bytes();
        self.meter.totals.received_bytes += received;
        self.meter.totals.sent_bytes += sent;
        if let LinkState::Up(stream) = self.connections[key].disconnect(now) {
            if let Some(ring) = &mut self.ring {
                ring.remove(key);
                // Operations in flight keep the socket open until they end. Fails if the peer has
                // closed it.
                let _ = stream.socket.shutdown(Shutdown::Both);
            }
            self.meter.totals.retransmits =
                sum(self.meter.totals.retransmits, retransmits(&stream.socket));
        }
    }

    /// Checks timeouts and reopens failed connections.
    pub(super) fn sweep(&mut self, events: &mut Events) {
        let now = self.now();
        if Duration::from_nanos(now - self.last_sweep) < SWEEP_INTERVAL {
            return;
        }
        self.last_sweep = now;
        let (connect_timeout, timeout) =
            (self.shared.config.connect_timeout, self.shared.config.timeout);
        let waited_too_long =
            |since: u64| Duration::from_nanos(now.saturating_sub(since)) >= timeout;
        let is_overdue = |it: &ClientConnection| it.waiting_since().is_some_and(waited_too_long);
        if self.ring.is_some() && self.connections.iter().any(is_overdue) {
            self.run_once_uring(events, Duration::ZERO);
        }
        for key in 0..self.connections.len() {
            // The process may have been suspended since its last wait: what came meanwhile was in time.
            match &self.connections[key].link {
                LinkState::Connecting(_, since) if since.elapsed() >= connect_timeout => {
                    self.on_connect_event(key);
                }
                LinkState::Up(_) if self.ring.is_none() && is_overdue(&self.connections[key]) => {
                    self.on_readable(key, true);
                }
                _ => {}
            }
            let connection = &mut self.connections[key];
            match &connection.link {
                LinkState::Connecting(_, since) if since.elapsed() >= connect_timeout => {
                    self.connect_failed(key, ErrorKind::TimedOut.into());
                }
                LinkState::Up(stream) if is_overdue(connection) => {
                    let error = stream.timeout(timeout);
                    self.fail(key, &error);
                }
                LinkState::Down if connection.is_finished() => {}
                LinkState::Down if self.meter.stage >= Stage::Draining => connection.stop(),
                LinkState::Down if self.meter.stage > Stage::Connecting => {
                    let away = Duration::from_nanos(now.saturating_sub(connection.down_since));
                    let is_counted = self.shared.workload.is_counted();
                    if is_counted && connection.failing_since.is_some_and(waited_too_long) {
                        // A requested number of messages is waited for, but not for ever.
                        connection.stop();
                    } else if away >= RETRY_DELAY {
                        self.queue_connect(key);
                    }
                }
                _ => {}
            }
        }
    }
}
