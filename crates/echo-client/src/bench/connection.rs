//! One connection of the load: its messages in flight, and when the next one may be sent.
//!
//! When a connection fails or has sent its share, a new TCP connection takes its place. The
//! schedule and the quota of messages carry over.

use std::collections::VecDeque;
use std::net::SocketAddr;

use echo_proto::TestStream;

use super::schedule::Schedule;
use super::stats::IntervalStats;
use super::workload::{RunLimit, Workload};
use crate::connect::is_self_connect;
use crate::platform::{Instant, TcpStream};
use crate::verified_stream::VerifiedStream;

/// A client connection. Times are nanoseconds since the start of the run.
pub(super) struct ClientConnection {
    /// Number over all workers, from 0.
    pub(super) number: usize,
    pub(super) link: LinkState,
    /// Whether it is in the worker's queue of due times.
    pub(super) is_scheduled: bool,
    /// Whether it is in the worker's queue of connections to open.
    pub(super) is_queued: bool,
    /// When bytes last arrived, or when the oldest message in flight was sent.
    last_byte_at: u64,
    /// When the link went down.
    pub(super) down_since: u64,
    /// When the link failed, if no echo has arrived since.
    pub(super) failing_since: Option<u64>,
    /// Messages sent.
    pub(super) started: u64,
    /// Echoes in the measuring window.
    pub(super) echoes: u64,
    in_flight: VecDeque<SentMessage>,
    /// How many of them, the last ones, have been started and not been given to the socket.
    unsent: usize,
    /// When the link came up.
    up_since: u64,
    /// When the echoes of a punctual client would have arrived, each of which makes room for one message.
    punctual_echoes: VecDeque<u64>,
    schedule: Option<Schedule>,
    /// How many messages to send, now and as first requested.
    quota: u64,
    requested: u64,
    /// Messages due at this time or later are not sent.
    send_deadline: u64,
    /// Messages sent on the current link, and its limit.
    started_on_link: u64,
    max_on_link: u64,
    /// Links so far. Each has its own test stream.
    connections: u64,
}

/// State of the TCP connection.
pub(super) enum LinkState {
    /// Not connected.
    Down,
    /// Connecting since this time.
    Connecting(TcpStream, Instant),
    /// Connected.
    Up(VerifiedStream),
}

/// A message in flight.
#[derive(Clone, Copy)]
pub(super) struct SentMessage {
    /// When it was due. In a closed loop that is when it was sent.
    pub(super) due: u64,
    /// When it was sent: read just before the call that gave its first byte to the socket.
    pub(super) sent: u64,
    /// When a client that is never late would have sent it: when it was due, and the link and the echoes of
    /// earlier messages had made room for it. Those echoes take as long as they really did, from when that client
    /// would have sent their messages, so a late client does not excuse its further lateness.
    pub(super) punctual: u64,
}

/// What a connection can do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Wait for an echo or for the link.
    Wait,
    /// Wait for the next due time.
    Due(u64),
    /// Replace the link: it has carried its share of messages.
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
            unsent: 0,
            up_since: 0,
            punctual_echoes: VecDeque::new(),
            schedule: Schedule::new(workload, number),
            quota,
            requested: quota,
            send_deadline: u64::MAX,
            started_on_link: 0,
            max_on_link: workload.reconnect_every.map_or(u64::MAX, Into::into),
            connections: 0,
        }
    }

    /// Restarts the clock at the start of the run. The first message may be sent at once.
    pub(super) fn start_clock(&mut self) {
        (self.down_since, self.up_since) = (0, 0);
        self.failing_since = self.failing_since.map(|_| 0);
        self.is_scheduled = true;
    }

    /// Advances a pending connect. Returns when it was started, once it has succeeded.
    pub(super) fn connected(
        &mut self,
        workload: &Workload,
        server: SocketAddr,
        now: u64,
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
        // Send each message at once instead of waiting for more data (Nagle, RFC 896).
        stream.set_nodelay(true)?;
        let since = *since;
        let stream_number = self.connections << 32 | self.number as u64;
        self.connections += 1;
        (self.started_on_link, self.up_since) = (0, now);
        self.punctual_echoes.clear();
        let messages = TestStream::new(stream_number, workload.framing, workload.size);
        if let LinkState::Connecting(stream, _) = std::mem::replace(&mut self.link, LinkState::Down)
        {
            self.link = LinkState::Up(VerifiedStream::new(stream, messages));
        }
        Ok(Some(since))
    }

    /// Starts the messages that are due, up to the depth.
    pub(super) fn start(&mut self, workload: &Workload, now: u64) -> NextStep {
        if !matches!(self.link, LinkState::Up(_)) {
            return NextStep::Wait;
        }
        let mut next = NextStep::Wait;
        while self.in_flight.len() < workload.depth && self.started < self.quota {
            let due = self.schedule.as_ref().map_or(now, Schedule::due);
            if due >= self.send_deadline {
                break;
            }
            if self.started_on_link == self.max_on_link {
                if self.in_flight.is_empty() {
                    return NextStep::Replace;
                }
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
            let punctual = due.max(self.room_since(workload.depth));
            self.in_flight.push_back(SentMessage { due, sent: now, punctual });
            self.unsent += 1;
            self.started += 1;
            self.started_on_link += 1;
        }
        next
    }

    /// The started messages are sent at this time.
    pub(super) fn stamp(&mut self, now: u64) {
        let is_closed_loop = self.schedule.is_none();
        for message in self.in_flight.iter_mut().rev().take(std::mem::take(&mut self.unsent)) {
            message.sent = now;
            if is_closed_loop {
                message.due = now;
            }
        }
    }

    /// The stream, and how many bytes must have been sent on it in all.
    pub(super) fn outgoing(&mut self, wire_size: u64) -> Option<(&mut VerifiedStream, u64)> {
        match &mut self.link {
            LinkState::Up(stream) => Some((stream, self.started_on_link * wire_size)),
            _ => None,
        }
    }

    /// Since when a punctual client would have had room for the next message.
    fn room_since(&mut self, depth: usize) -> u64 {
        if self.started_on_link < depth as u64 {
            return self.up_since;
        }
        self.punctual_echoes.pop_front().unwrap_or(self.up_since)
    }

    /// Takes completed messages off the queue and records their times in `stats`. Returns their
    /// number.
    pub(super) fn complete(
        &mut self,
        wire_size: u64,
        now: u64,
        mut stats: Option<&mut IntervalStats>,
    ) -> u64 {
        let LinkState::Up(stream) = &self.link else { return 0 };
        self.last_byte_at = now;
        let mut whole = 0;
        // Where the oldest message in flight ends.
        let mut end = (self.started_on_link - self.in_flight.len() as u64 + 1) * wire_size;
        while stream.received() >= end
            && let Some(message) = self.in_flight.pop_front()
        {
            if let Some(stats) = &mut stats {
                stats.sample(message, now);
            }
            if self.schedule.is_some() {
                self.punctual_echoes.push_back(message.punctual + now.saturating_sub(message.sent));
            }
            whole += 1;
            end += wire_size;
        }
        if whole > 0 {
            self.failing_since = None;
        }
        whole
    }

    /// Drops the link and the messages in flight on it.
    pub(super) fn disconnect(&mut self, now: u64) -> LinkState {
        self.in_flight.clear();
        self.unsent = 0;
        self.down_since = now;
        std::mem::replace(&mut self.link, LinkState::Down)
    }

    /// Since when it has waited for the next byte of an echo; `None` if it waits for none.
    pub(super) fn waiting_since(&self) -> Option<u64> {
        (!self.in_flight.is_empty()).then_some(self.last_byte_at)
    }

    /// Whether all messages have been sent, and each has come back or been given up.
    pub(super) fn is_finished(&self) -> bool {
        let is_over =
            self.schedule.as_ref().is_some_and(|schedule| schedule.due() >= self.send_deadline);
        (is_over || self.started >= self.quota) && self.in_flight.is_empty()
    }

    /// Sends no further messages.
    pub(super) fn stop(&mut self) {
        self.quota = self.started;
    }

    /// Sends only what is due before `end`, or nothing more without a schedule.
    pub(super) fn stop_at(&mut self, end: u64) {
        if self.schedule.is_none() {
            self.stop();
        }
        self.send_deadline = end;
    }

    /// Messages that were requested, or due before `end`, and not sent.
    pub(super) fn unsent(&self, end: u64) -> u64 {
        match &self.schedule {
            _ if self.requested < u64::MAX => self.requested - self.started,
            Some(schedule) => schedule.left_until(end),
            None => 0,
        }
    }

    /// Messages due before `end` that have not been sent; 0 without a schedule.
    pub(super) fn backlog(&self, end: u64) -> u64 {
        self.schedule.as_ref().map_or(0, |schedule| schedule.left_until(end))
    }

    /// Bytes received and bytes sent on the current link.
    pub(super) fn bytes(&self) -> (u64, u64) {
        match &self.link {
            LinkState::Up(stream) => (stream.received(), stream.sent()),
            _ => (0, 0),
        }
    }
}
