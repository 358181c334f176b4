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
use super::stats::IntervalStats;
use super::workload::{RunLimit, Workload};
use crate::verified_stream::{VerifiedStream, is_self_connect};

/// A place in the load. Times are nanoseconds since the run began to send.
pub(super) struct ClientConnection {
    /// Its number over all threads, from 0.
    pub(super) number: usize,
    pub(super) link: LinkState,
    /// Whether it is in the queue of those whose next message has its time to come.
    pub(super) is_scheduled: bool,
    /// Whether it is in the queue of those whose connection is to be made.
    pub(super) is_queued: bool,
    /// When bytes last came, or the first of the messages in flight was sent.
    last_byte_at: u64,
    /// When the connection was lost that is to be replaced.
    pub(super) down_since: u64,
    /// When a connection was lost, if there was no echo since.
    pub(super) failing_since: Option<u64>,
    /// Messages started.
    pub(super) started: u64,
    /// Echoes in the window.
    pub(super) echoes: u64,
    in_flight: VecDeque<SentMessage>,
    schedule: Option<Schedule>,
    /// Messages that it has to send, and those that it was asked for at the beginning.
    quota: u64,
    requested: u64,
    /// Messages that are due from then on are not sent.
    send_deadline: u64,
    /// Messages started on this connection, and how many it may have.
    started_on_link: u64,
    max_on_link: u64,
    /// Connections so far, so that each has a stream of its own.
    connections: u64,
}

/// Where a seat's connection is.
pub(super) enum LinkState {
    /// There is none.
    Down,
    /// It is being made, since then.
    Connecting(TcpStream, Instant),
    /// It is there.
    Up(VerifiedStream),
}

/// A message in flight: when it was due and when it was sent.
#[derive(Clone, Copy)]
struct SentMessage {
    due: u64,
    sent: u64,
}

/// What a seat can do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Wait for echoes, or for the connection.
    Wait,
    /// Wait until the next message is due.
    Due(u64),
    /// The connection has had its messages: it can be replaced.
    Replace,
}

impl ClientConnection {
    pub(super) fn new(workload: &Workload, number: usize) -> Self {
        let quota = match workload.limit {
            RunLimit::Duration(_) => u64::MAX,
            RunLimit::Messages(messages) => {
                let (each, rest) = (
                    messages / workload.connections as u64,
                    messages % workload.connections as u64,
                );
                each + u64::from((number as u64) < rest)
            }
        };
        Self {
            number,
            link: LinkState::Down,
            is_scheduled: false,
            is_queued: false,
            last_byte_at: 0,
            down_since: 0,
            failing_since: None,
            started: 0,
            echoes: 0,
            in_flight: VecDeque::with_capacity(workload.depth.min(64)),
            schedule: Schedule::new(workload, number),
            quota,
            requested: quota,
            send_deadline: u64::MAX,
            started_on_link: 0,
            max_on_link: workload.reconnect_every.map_or(u64::MAX, Into::into),
            connections: 0,
        }
    }

    /// Times are counted anew from now on, and the first message may be started at once.
    pub(super) fn start_clock(&mut self) {
        self.down_since = 0;
        self.failing_since = self.failing_since.map(|_| 0);
        self.is_scheduled = true;
    }

    /// Takes a step in making the connection. Returns when it was begun, once it is there.
    pub(super) fn connected(
        &mut self,
        workload: &Workload,
        server: SocketAddr,
    ) -> std::io::Result<Option<Instant>> {
        let LinkState::Connecting(stream, since) = &self.link else { return Ok(None) };
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
        self.started_on_link = 0;
        let messages = TestStream::new(stream_number, workload.framing, workload.size);
        if let LinkState::Connecting(stream, _) = std::mem::replace(&mut self.link, LinkState::Down)
        {
            self.link = LinkState::Up(VerifiedStream::new(stream, messages));
        }
        Ok(Some(since))
    }

    /// Starts the messages whose time has come, as far as the depth allows.
    pub(super) fn start(&mut self, workload: &Workload, now: u64) -> NextStep {
        if !matches!(self.link, LinkState::Up(_)) {
            return NextStep::Wait;
        }
        let mut next = NextStep::Wait;
        while self.in_flight.len() < workload.depth && self.started < self.quota {
            if self.started_on_link == self.max_on_link {
                if self.in_flight.is_empty() {
                    return NextStep::Replace;
                }
                break;
            }
            let due = self.schedule.as_ref().map_or(now, Schedule::due);
            if due >= self.send_deadline {
                break;
            }
            if due > now {
                next = NextStep::Due(due);
                break;
            }
            if let Some(schedule) = &mut self.schedule {
                schedule.advance();
            }
            if self.in_flight.is_empty() {
                self.last_byte_at = now;
            }
            self.in_flight.push_back(SentMessage { due, sent: now });
            self.started += 1;
            self.started_on_link += 1;
        }
        next
    }

    /// The connection, and how many bytes are to be sent on it for what was started.
    pub(super) fn outgoing(&mut self, wire_size: u64) -> Option<(&mut VerifiedStream, u64)> {
        match &mut self.link {
            LinkState::Up(stream) => Some((stream, self.started_on_link * wire_size)),
            _ => None,
        }
    }

    /// Takes the messages that are back off those in flight; `stats` is for their times. Returns how many.
    pub(super) fn complete(
        &mut self,
        wire_size: u64,
        now: u64,
        mut stats: Option<&mut IntervalStats>,
    ) -> u64 {
        let LinkState::Up(stream) = &self.link else { return 0 };
        self.last_byte_at = now;
        let mut whole = 0;
        // The first one in flight ends here.
        let mut end = (self.started_on_link - self.in_flight.len() as u64 + 1) * wire_size;
        while stream.received() >= end
            && let Some(SentMessage { due, sent }) = self.in_flight.pop_front()
        {
            if let Some(stats) = &mut stats {
                stats.sample(due, sent, now);
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
    pub(super) fn disconnect(&mut self, now: u64) -> LinkState {
        self.in_flight.clear();
        self.down_since = now;
        std::mem::replace(&mut self.link, LinkState::Down)
    }

    /// Since when it has waited for the next byte of an echo, if it does.
    pub(super) fn waiting_since(&self) -> Option<u64> {
        (!self.in_flight.is_empty()).then_some(self.last_byte_at)
    }

    /// Whether it has sent all that it had to, and has all of it back or given it up.
    pub(super) fn is_finished(&self) -> bool {
        let is_over =
            self.schedule.as_ref().is_some_and(|schedule| schedule.due() >= self.send_deadline);
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
        self.send_deadline = end;
    }

    /// How many messages were not started: of those that were asked for, or that are due before `end`.
    pub(super) fn unsent(&self, end: u64) -> u64 {
        match &self.schedule {
            _ if self.requested < u64::MAX => self.requested - self.started,
            Some(schedule) => schedule.left_until(end),
            None => 0,
        }
    }

    /// What is not back of what was sent on this connection: bytes right and bytes sent.
    pub(super) fn bytes(&self) -> (u64, u64) {
        match &self.link {
            LinkState::Up(stream) => (stream.received(), stream.sent()),
            _ => (0, 0),
        }
    }
}
