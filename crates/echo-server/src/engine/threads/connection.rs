//! One connection, served by its own thread.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::blocking::{receive, send_all};
use super::buffer::{Buffer, Heap};
use super::{Engine, TICK};
use crate::CloseReason;
use crate::linger;
use crate::progress::{Millis, SendProgress};
use crate::service::Service;
use crate::session::{Session, State};
use crate::shutdown::Phase;
use crate::system::{received, unacknowledged};

/// How long draining waits for more bytes that were already in flight inside this host.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// The connection that a thread serves.
pub(super) struct Connection<'a> {
    pub(super) service: &'a Service<'a>,
    heap: &'a Heap,
    pub(super) stream: &'a TcpStream,
    peer: SocketAddr,
    pub(super) session: Session,
    started: Instant,
    /// Bytes sent back.
    pub(super) echoed: u64,
    /// Bytes were received that have not all been echoed and acknowledged.
    pub(super) owing: bool,
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        engine: &'a Engine<'a>,
        stream: &'a TcpStream,
        peer: SocketAddr,
        session: Session,
    ) -> Self {
        let Engine { service, heap, .. } = engine;
        let started = Instant::now();
        Self { service, heap, stream, peer, session, started, echoed: 0, owing: false }
    }

    pub(super) fn run(mut self) {
        // A broken connection ends without affecting others.
        let reason = match self.serve() {
            _ if self.owing && self.service.phase() == Phase::Aborting => CloseReason::Aborted,
            Ok(CloseReason::Done) => self.session.reason(),
            Ok(reason) => reason,
            Err(error) if error.kind() == ErrorKind::WouldBlock => CloseReason::Stalled,
            Err(_) => CloseReason::Lost,
        };
        let (messages, duration) = (self.session.messages(), self.started.elapsed());
        self.service.closed(self.peer, messages, self.echoed, duration, reason);
    }

    /// Echoes until the end of the stream or until the server closes the connection.
    fn serve(&mut self) -> io::Result<CloseReason> {
        let config = self.service.config;
        // Shorter than the deadline, so that `send_all` can observe slow progress.
        self.stream.set_write_timeout(config.write_timeout.map(|timeout| timeout / 4))?;
        let tick = config.idle_timeout.map_or(TICK, |idle| TICK.min(idle / 4));
        self.stream.set_read_timeout(Some(tick))?;
        let mut buffer = Buffer::new();
        let mut active = self.now();
        while matches!(self.session.state(), State::Read | State::Stall) {
            if self.service.phase() > Phase::Running {
                return self.drain(&mut buffer, CloseReason::Stopped);
            }
            // Before the call: bytes that arrived while the process was suspended are found by it and count as
            // activity.
            let asked = self.now();
            let received = match self.session.state() {
                State::Stall => self.pause(tick).map(|()| None),
                _ => self.echo_once(&mut buffer, None),
            };
            let elapsed = |since| Duration::from_millis(asked - since);
            if received?.is_some() {
                active = self.now();
            } else if config.idle_timeout.is_some_and(|idle| elapsed(active) >= idle) {
                self.session.refuse_input();
                return self.linger(&mut buffer, CloseReason::Idle);
            }
            if config.max_lifetime.is_some_and(|lifetime| elapsed(0) >= lifetime) {
                return self.drain(&mut buffer, CloseReason::Expired);
            }
        }
        self.linger(&mut buffer, CloseReason::Done)
    }

    /// Closes the connection gracefully: echoes what was received by now, then sends FIN.
    fn drain(&mut self, buffer: &mut Buffer, reason: CloseReason) -> io::Result<CloseReason> {
        self.stream.set_read_timeout(Some(DRAIN_TICK))?;
        self.start_draining();
        while self.session.state() == State::Read {
            if self.echo_once(buffer, self.session.drain_limit())?.is_none() {
                self.session.refuse_input();
            }
        }
        self.linger(buffer, reason)
    }

    /// Limits further input to what is in the receive queue now, so that a peer that never pauses cannot keep the
    /// server from stopping.
    pub(super) fn start_draining(&mut self) {
        self.session.start_draining(u32::try_from(received(self.stream)).unwrap_or(u32::MAX));
    }

    /// One `recv` of up to `limit` bytes, and one `sendall`. A peer that does not read blocks the `sendall`, so no
    /// more is received from it. Returns the number of bytes received, or `None` after the socket's timeout.
    fn echo_once(
        &mut self,
        buffer: &mut Buffer,
        limit: Option<usize>,
    ) -> io::Result<Option<usize>> {
        buffer.grow();
        let room = buffer.room();
        let max = limit.unwrap_or(room.len()).min(room.len());
        let count = receive(self.stream, &mut room[..max])?;
        match count {
            Some(0) => self.session.peer_ended(),
            Some(count) => {
                self.owing = true;
                let Self { service, stream, echoed, .. } = self;
                let send = |bytes: &[u8]| send_all(stream, bytes, service, echoed);
                self.session.received(&room[..count], send)?;
                buffer.received = count;
                self.send_held_back()?;
                self.owing = false;
            }
            None => {
                buffer.shrink(self.heap);
                self.heap.trim();
            }
        }
        Ok(count)
    }

    /// Milliseconds since the connection was accepted.
    pub(super) fn now(&self) -> Millis {
        self.started.elapsed().as_millis() as Millis
    }

    /// Sends FIN, then reads and discards until the connection can be closed without resetting it.
    fn linger(&mut self, buffer: &mut Buffer, reason: CloseReason) -> io::Result<CloseReason> {
        if self.session.state() == State::Reset {
            return self.reset();
        }
        self.service.finishing(self.peer, &self.session);
        self.stream.shutdown(Shutdown::Write)?;
        self.session.fin_sent();
        self.stream.set_read_timeout(Some(linger::LINGER_TIMEOUT))?;
        let mut progress = SendProgress::start(0, self.now());
        while self.session.state() == State::Discard {
            let received = receive(self.stream, buffer.room())?;
            if received == Some(0) {
                self.session.peer_ended();
            }
            let (unacked, since_taken) = self.observe(&mut progress);
            self.fail_if_stalled(since_taken)?;
            let silent = if received.is_none() { linger::LINGER_TIMEOUT } else { Duration::ZERO };
            if self.service.phase() == Phase::Aborting
                || linger::is_over(unacked, silent, since_taken)
            {
                break;
            }
        }
        Ok(reason)
    }

    /// Returns the number of bytes that the peer's kernel has not acknowledged, and the time since it last made
    /// progress.
    pub(super) fn observe(&mut self, progress: &mut SendProgress) -> (usize, Duration) {
        let (unacked, now) = (unacknowledged(self.stream), self.now());
        progress.observe(unacked, now);
        self.owing = unacked > 0;
        (unacked, Duration::from_millis(progress.stalled_for(now)))
    }

    /// Fails like a `send` that has timed out if the peer has made no progress for the write timeout.
    pub(super) fn fail_if_stalled(&self, since_taken: Duration) -> io::Result<()> {
        let limit = self.service.config.write_timeout;
        match limit.is_some_and(|limit| self.owing && since_taken >= limit) {
            true => Err(ErrorKind::WouldBlock.into()),
            false => Ok(()),
        }
    }
}
