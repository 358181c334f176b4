//! The connections of a worker: making them, giving them up, and making them again.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Token};

use super::{SWEEP, Stage, Worker};
use crate::Error;
use crate::bench::record::sum;
use crate::bench::seat::Link;
use crate::system::retransmits;

/// Connections in the making at once: more would overrun the queue of many a server, and a connection
/// that does not fit into it is tried again by TCP after a second.
const CONNECTING: usize = 64;
/// How long to wait before a lost connection is made again.
const RETRY: Duration = Duration::from_millis(100);

impl Worker<'_> {
    /// Lets a seat's connection be made.
    pub(super) fn open(&mut self, key: usize) {
        if !std::mem::replace(&mut self.seats[key].is_opening, true) {
            self.opening.push_back(key);
        }
    }

    /// Begins to make connections, as many as may be in the making.
    pub(super) fn open_more(&mut self) {
        while self.connecting < CONNECTING
            && let Some(key) = self.opening.pop_front()
        {
            self.connecting += 1;
            self.seats[key].is_opening = false;
            let since = Instant::now();
            let stream = TcpStream::connect(self.shared.server).and_then(|mut stream| {
                let both = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, Token(key), both)?;
                Ok(stream)
            });
            match stream {
                Ok(stream) => self.seats[key].link = Link::Connecting(stream, since),
                Err(error) => self.fail_to_connect(key, error),
            }
        }
    }

    /// Something happened to a connection in the making.
    pub(super) fn connect_on(&mut self, key: usize) {
        match self.seats[key].connected(self.shared.plan, self.shared.server) {
            Ok(None) => {}
            Ok(Some(since)) => {
                let took = since.elapsed().as_nanos() as u64;
                self.tally.connect.saturating_record(took);
                self.connecting -= 1;
                self.hand_to_ring(key);
                if self.stage == Stage::Opening {
                    self.unresolved = self.unresolved.saturating_sub(1);
                } else {
                    self.pump(key, self.now());
                }
            }
            Err(error) => self.fail_to_connect(key, error),
        }
    }

    /// From now on the ring, if there is one, says what happens to a connection.
    fn hand_to_ring(&mut self, key: usize) {
        if let (Some(ring), Link::Up(stream)) = (&mut self.ring, &mut self.seats[key].link) {
            // If it fails, the events are passed over.
            let _ = self.poll.registry().deregister(&mut stream.socket);
            ring.add(key, &stream.socket);
        }
    }

    pub(super) fn fail_to_connect(&mut self, key: usize, source: io::Error) {
        self.connecting -= 1;
        self.unresolved = self.unresolved.saturating_sub(1);
        if self.first_failure.is_none() {
            self.first_failure = Some(io::Error::new(source.kind(), source.to_string()));
        }
        let error = self.shared.connect_error(source);
        self.fail(key, &error);
    }

    /// A connection is of no more use.
    pub(super) fn fail(&mut self, key: usize, error: &Error) {
        let now = self.now();
        // What came before the fault was right.
        self.count(key, now);
        let seat = &mut self.seats[key];
        // On the way out a server may end a connection first.
        let at_the_end = self.stage >= Stage::Draining || seat.is_through();
        if !(at_the_end && matches!(error, Error::Closed { .. })) {
            let at = if self.stage == Stage::Opening { 0 } else { now / 1000 };
            self.tally.failure(seat.number, at, seat.bytes().0, error);
            seat.failing_since.get_or_insert(now);
        }
        self.take_down(key);
    }

    /// A connection has had its messages: the next one takes its place.
    pub(super) fn replace(&mut self, key: usize) {
        // By readiness nobody has looked yet whether there are bytes too many; a ring would have told.
        if self.ring.is_none()
            && let Link::Up(stream) = &mut self.seats[key].link
            && let Err(error @ Error::Reply { .. }) = stream.receive(&mut self.buffer)
        {
            return self.fail(key, &error);
        }
        self.take_down(key);
        self.open(key);
    }

    pub(super) fn take_down(&mut self, key: usize) {
        let now = self.now();
        let (received, sent) = self.seats[key].bytes();
        self.tally.received_bytes += received;
        self.tally.sent_bytes += sent;
        if let Link::Up(stream) = self.seats[key].take_down(now) {
            if let Some(ring) = &mut self.ring {
                ring.remove(key);
                // What is in flight keeps the connection until it ends. Where it has, this fails.
                let _ = stream.socket.shutdown(Shutdown::Both);
            }
            self.tally.retransmits = sum(self.tally.retransmits, retransmits(&stream.socket));
        }
    }

    /// Looks at the timeouts, and makes lost connections again.
    pub(super) fn sweep(&mut self) {
        let now = self.now();
        if Duration::from_nanos(now - self.last_sweep) < SWEEP {
            return;
        }
        self.last_sweep = now;
        let (connect_timeout, timeout) =
            (self.shared.config.connect_timeout, self.shared.config.timeout);
        let waited_too_long =
            |since: u64| Duration::from_nanos(now.saturating_sub(since)) >= timeout;
        for key in 0..self.seats.len() {
            let seat = &mut self.seats[key];
            match &seat.link {
                Link::Connecting(_, since) if since.elapsed() >= connect_timeout => {
                    self.fail_to_connect(key, ErrorKind::TimedOut.into());
                }
                Link::Up(stream) if seat.has_waited_since().is_some_and(waited_too_long) => {
                    let (received, sent) = (stream.received(), stream.sent());
                    self.fail(key, &Error::Timeout { after: timeout, received, sent });
                }
                Link::Down if seat.is_through() => {}
                Link::Down if self.stage >= Stage::Draining => seat.stop(),
                Link::Down if self.stage > Stage::Opening => {
                    let away = Duration::from_nanos(now.saturating_sub(seat.down_since));
                    let is_counted = self.shared.plan.is_counted();
                    if is_counted && seat.failing_since.is_some_and(waited_too_long) {
                        // A count is waited for, but not for ever.
                        seat.stop();
                    } else if away >= RETRY {
                        self.open(key);
                    }
                }
                _ => {}
            }
        }
    }
}
