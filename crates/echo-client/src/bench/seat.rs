//! One of the connections of a load: the messages in flight on it, and when the next one may start.
//!
//! A connection that fails or has served its time is replaced; the seat stays, with its schedule and
//! its share of the messages.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use echo_proto::TestStream;
use mio::net::TcpStream;

use super::pacing::Schedule;
use super::plan::{Length, Plan};
use super::record::Record;
use crate::verified_stream::{VerifiedStream, is_self_connect};

/// A place in the load. Times are nanoseconds since the run began to send.
pub(super) struct Seat {
    /// Its number over all threads, from 0.
    pub(super) number: usize,
    pub(super) link: Link,
    /// Whether it is in the queue of those whose next message has its time to come.
    pub(super) is_waiting: bool,
    /// Whether it is in the queue of those whose connection is to be made.
    pub(super) is_opening: bool,
    /// When bytes last came, or the first of the messages in flight was sent.
    heard: u64,
    /// When the connection was lost that is to be replaced.
    pub(super) down_since: u64,
    /// When a connection was lost, if there was no echo since.
    pub(super) failing_since: Option<u64>,
    /// Messages started.
    pub(super) started: u64,
    /// Echoes in the window.
    pub(super) echoes: u64,
    in_flight: VecDeque<Sent>,
    schedule: Option<Schedule>,
    /// Messages that it has to send, and those that it was asked for at the beginning.
    quota: u64,
    asked: u64,
    /// Messages that are due from then on are not sent.
    until: u64,
    /// Messages started on this connection, and how many it may have.
    started_here: u64,
    most_here: u64,
    /// Connections so far, so that each has a stream of its own.
    connections: u64,
}

/// Where a seat's connection is.
pub(super) enum Link {
    /// There is none.
    Down,
    /// It is being made, since then.
    Connecting(TcpStream, Instant),
    /// It is there.
    Up(VerifiedStream),
}

/// A message in flight: when it was due and when it was sent.
#[derive(Clone, Copy)]
struct Sent {
    due: u64,
    sent: u64,
}

/// What a seat can do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for echoes, or for the connection.
    Wait,
    /// Wait until the next message is due.
    Due(u64),
    /// The connection has had its messages: it can be replaced.
    Replace,
}

impl Seat {
    pub(super) fn new(plan: &Plan, number: usize) -> Self {
        let quota = match plan.length {
            Length::Duration(_) => u64::MAX,
            Length::Messages(messages) => {
                let (each, rest) =
                    (messages / plan.connections as u64, messages % plan.connections as u64);
                each + u64::from((number as u64) < rest)
            }
        };
        Self {
            number,
            link: Link::Down,
            is_waiting: false,
            is_opening: false,
            heard: 0,
            down_since: 0,
            failing_since: None,
            started: 0,
            echoes: 0,
            in_flight: VecDeque::with_capacity(plan.depth.min(64)),
            schedule: Schedule::new(plan, number),
            quota,
            asked: quota,
            until: u64::MAX,
            started_here: 0,
            most_here: plan.reconnect_every.map_or(u64::MAX, Into::into),
            connections: 0,
        }
    }

    /// Times are counted anew from now on, and the first message may be started at once.
    pub(super) fn begin(&mut self) {
        self.down_since = 0;
        self.failing_since = self.failing_since.map(|_| 0);
        self.is_waiting = true;
    }

    /// Takes a step in making the connection. Returns when it was begun, once it is there.
    pub(super) fn connected(
        &mut self,
        plan: &Plan,
        server: SocketAddr,
    ) -> std::io::Result<Option<Instant>> {
        let Link::Connecting(stream, since) = &self.link else { return Ok(None) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        if stream.peer_addr().is_err() {
            return Ok(None); // not yet
        }
        if is_self_connect(stream.local_addr(), server) {
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        // A message goes out when it is written, not when there is more (RFC 896).
        stream.set_nodelay(true)?;
        let since = *since;
        let stream_number = self.connections << 32 | self.number as u64;
        self.connections += 1;
        self.started_here = 0;
        let messages = TestStream::new(stream_number, plan.framing, plan.size);
        if let Link::Connecting(stream, _) = std::mem::replace(&mut self.link, Link::Down) {
            self.link = Link::Up(VerifiedStream::new(stream, messages));
        }
        Ok(Some(since))
    }

    /// Starts the messages whose time has come, as far as the depth allows.
    pub(super) fn start(&mut self, plan: &Plan, now: u64) -> Next {
        if !matches!(self.link, Link::Up(_)) {
            return Next::Wait;
        }
        let mut next = Next::Wait;
        while self.in_flight.len() < plan.depth && self.started < self.quota {
            if self.started_here == self.most_here {
                if self.in_flight.is_empty() {
                    return Next::Replace;
                }
                break;
            }
            let due = self.schedule.as_ref().map_or(now, Schedule::due);
            if due >= self.until {
                break;
            }
            if due > now {
                next = Next::Due(due);
                break;
            }
            if let Some(schedule) = &mut self.schedule {
                schedule.advance();
            }
            if self.in_flight.is_empty() {
                self.heard = now;
            }
            self.in_flight.push_back(Sent { due, sent: now });
            self.started += 1;
            self.started_here += 1;
        }
        next
    }

    /// The connection, and how many bytes are to be sent on it for what was started.
    pub(super) fn outgoing(&mut self, wire_size: u64) -> Option<(&mut VerifiedStream, u64)> {
        match &mut self.link {
            Link::Up(stream) => Some((stream, self.started_here * wire_size)),
            _ => None,
        }
    }

    /// Takes the messages that are back off those in flight; `record` is for their times. Returns how many.
    pub(super) fn complete(
        &mut self,
        wire_size: u64,
        now: u64,
        mut record: Option<&mut Record>,
    ) -> u64 {
        let Link::Up(stream) = &self.link else { return 0 };
        self.heard = now;
        let mut whole = 0;
        // The first one in flight ends here.
        let mut end = (self.started_here - self.in_flight.len() as u64 + 1) * wire_size;
        while stream.received() >= end
            && let Some(Sent { due, sent }) = self.in_flight.pop_front()
        {
            if let Some(record) = &mut record {
                record.sample(due, sent, now);
            }
            whole += 1;
            end += wire_size;
        }
        if whole > 0 {
            self.failing_since = None;
        }
        whole
    }

    /// Lets go of the connection, and of the messages in flight on it.
    pub(super) fn take_down(&mut self, now: u64) -> Link {
        self.in_flight.clear();
        self.down_since = now;
        std::mem::replace(&mut self.link, Link::Down)
    }

    /// Since when it has waited for the next byte of an echo, if it does.
    pub(super) fn has_waited_since(&self) -> Option<u64> {
        (!self.in_flight.is_empty()).then_some(self.heard)
    }

    /// Whether it has sent all that it had to, and has all of it back or given it up.
    pub(super) fn is_through(&self) -> bool {
        let is_over = self.schedule.as_ref().is_some_and(|schedule| schedule.due() >= self.until);
        (is_over || self.started >= self.quota) && self.in_flight.is_empty()
    }

    /// Sends no more than what is started.
    pub(super) fn stop(&mut self) {
        self.quota = self.started;
    }

    /// Sends no more than what is due before `end`, if it has a schedule; otherwise nothing more.
    pub(super) fn stop_at(&mut self, end: u64) {
        if self.schedule.is_none() {
            self.stop();
        }
        self.until = end;
    }

    /// How many messages were not started: of those that were asked for, or that are due before `end`.
    pub(super) fn unsent(&self, end: u64) -> u64 {
        match &self.schedule {
            _ if self.asked < u64::MAX => self.asked - self.started,
            Some(schedule) => schedule.left_until(end),
            None => 0,
        }
    }

    /// What is not back of what was sent on this connection: bytes right and bytes sent.
    pub(super) fn bytes(&self) -> (u64, u64) {
        match &self.link {
            Link::Up(stream) => (stream.received(), stream.sent()),
            _ => (0, 0),
        }
    }
}
