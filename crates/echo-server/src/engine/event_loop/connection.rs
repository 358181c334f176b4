//! One connection of an event loop: its I/O and its deadlines.

#[cfg(test)]
mod tests;

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use super::compact_addr::CompactAddr;
use super::edges::recv_emptied_socket;
use super::nonblocking::{receive, send};
use super::splice::{PipePool, Splice, Spliced};
use crate::CloseReason;
use crate::linger;
use crate::listen::accept::Incoming;
use crate::platform::{Instant, SockRef, TcpStream, pending_error, received, unacknowledged};
use crate::progress::{Millis, SendProgress};
use crate::service::Service;
use crate::session::{Session, State};

/// Limit of held-back pieces sent in one run, so that other connections are not delayed.
const PIECES_PER_RUN: usize = if cfg!(simulation) { 3 } else { 64 };

/// The most raw bytes a connection may owe; with framing, a message more. Beyond that, received buffers stay with
/// the poller.
pub(super) const MAX_OWED: usize = if cfg!(simulation) { 40 } else { 64 * 1024 };

/// What the connections of a worker share for their I/O.
pub(super) struct Scratch {
    /// A receive fills it with at most as much as a connection may owe. Stays in the CPU cache.
    pub(super) buffer: Vec<u8>,
    pub(super) pipes: PipePool,
    /// See [`Poller::REPORTS_PENDING_INPUT`](super::Poller::REPORTS_PENDING_INPUT).
    reports_pending_input: bool,
}

impl Scratch {
    pub(super) fn new(max_pipes: usize, reports_pending_input: bool) -> Self {
        let pipes = PipePool::new(max_pipes);
        Self { buffer: vec![0; MAX_OWED], pipes, reports_pending_input }
    }
}

/// A connection. Kept small, because there may be ten thousand of them and most owe nothing. All times are
/// relative to the worker's epoch.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: CompactAddr,
    pub(super) session: Session,
    pub(super) echoed: u64,
    pub(super) accepted: Millis,
    /// When bytes were last received or sent.
    pub(super) active: Millis,
    /// The peer's progress in taking bytes that are owed, or sent and not acknowledged.
    pub(super) progress: SendProgress,
    /// The poller has reported end of stream, an error or urgent data. A short read then does not mean that the
    /// socket is empty: read until `EAGAIN`, an error or the end.
    pub(super) ended: bool,
    /// A timer is set and has not expired.
    pub(super) timer_set: bool,
    /// In the run queue.
    pub(super) queued: bool,
    /// Counted in the worker's `backpressured`: the connection has a deadline even if no timeout is configured.
    pub(super) backpressured: bool,
    splice: Splice,
    /// Why the server is closing the connection, if it is.
    pub(super) reason: Option<CloseReason>,
}

impl Connection {
    pub(super) fn new(service: &Service<'_>, incoming: Incoming, now: Millis) -> Self {
        Self {
            stream: TcpStream::from_std(incoming.stream),
            peer: incoming.peer.into(),
            session: Session::new(service.config, incoming.number),
            echoed: 0,
            accepted: now,
            active: now,
            progress: SendProgress::start(0, now),
            ended: false,
            timer_set: false,
            queued: false,
            backpressured: false,
            splice: Splice::default(),
            reason: None,
        }
    }

    /// Does what is possible without blocking, with at most one `recv`. Returns whether the connection must be
    /// requeued: there may be more to do, and no event will report it.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub(super) fn run(
        &mut self,
        service: &Service<'_>,
        scratch: &mut Scratch,
        readable: bool,
        now: Millis,
    ) -> io::Result<bool> {
        let more = match self.session.state() {
            State::Write | State::Hold => {
                if self.session.piped() > 0 {
                    self.flush_pipe(&mut scratch.pipes, now)?;
                }
                if self.session.piped() == 0 {
                    self.flush(now)?;
                }
                // Nothing was read while bytes were owed.
                true
            }
            State::Read if readable => self.receive(scratch, now)?,
            State::Discard if readable => self.discard(&mut scratch.buffer, now)?,
            _ => false,
        };
        self.after_run(service, more, now)
    }

    /// Like [`run`](Self::run), with bytes that the poller has received.
    pub(super) fn run_received(
        &mut self,
        service: &Service<'_>,
        bytes: &[u8],
        now: Millis,
    ) -> io::Result<bool> {
        self.echo_back(bytes, now)?;
        self.after_run(service, false, now)
    }

    /// Takes back bytes that were [passed through](Session::is_passthrough) and could not be sent.
    pub(super) fn unsent(&mut self, bytes: &[u8], now: Millis) {
        self.echoed -= bytes.len() as u64;
        let before = self.session.owed();
        self.session.unsent(bytes);
        self.owes_more(before, now);
    }

    /// Starts the write deadline if nothing was owed before.
    fn owes_more(&mut self, before: usize, now: Millis) {
        if before == 0 && self.session.owed() > 0 {
            self.progress = SendProgress::start(self.session.owed(), now);
        }
    }

    /// Whether everything that it receives is echoed at once, and its messages are too small to be spliced.
    pub(super) fn is_small_passthrough(&self) -> bool {
        self.session.is_passthrough() && !self.splice.is_worthwhile()
    }

    /// Whether `received` more bytes would exceed what the connection may owe.
    pub(super) fn is_full(&self, received: usize) -> bool {
        self.session.owed() + received > MAX_OWED
    }

    /// When to run the connection without an event, if ever.
    pub(super) fn timer(&self) -> Option<Instant> {
        match self.session.state() {
            State::Hold => self.session.due(),
            State::Reset => Some(Instant::now() + linger::RESET_POLL),
            _ => None,
        }
    }

    fn after_run(&mut self, service: &Service<'_>, more: bool, now: Millis) -> io::Result<bool> {
        if self.session.state() == State::Finish {
            service.finishing(self.peer.address(), &self.session);
            self.session.fin_sent();
            // If the peer has sent FIN too, the close that follows sends ours.
            if self.session.state() != State::Close {
                self.stream.shutdown(Shutdown::Write)?;
            }
            self.progress = SendProgress::start(0, now);
            return Ok(true);
        }
        match self.session.state() {
            State::Write => Ok(false),
            State::Hold | State::Stall | State::Reset => self.run_fault(),
            _ => Ok(more || self.ended),
        }
    }

    /// Advances an injected fault that waits for something other than the socket: a timer or the peer's ACK.
    fn run_fault(&mut self) -> io::Result<bool> {
        // Other connections learn of errors by reading; this one is not read.
        if self.ended
            && let Some(error) = pending_error(&self.stream)?
        {
            return Err(error);
        }
        match self.session.state() {
            State::Hold => Ok(self.session.due().is_none()),
            State::Reset if unacknowledged(&self.stream) == 0 => {
                linger::reset_when_closed(SockRef::from(&self.stream))?;
                self.session.fin_sent();
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    /// Sends owed bytes until the socket is full or the rest is held back.
    fn flush(&mut self, now: Millis) -> io::Result<()> {
        let mut pieces = 0;
        loop {
            if self.session.state() == State::Hold
                && pieces < PIECES_PER_RUN
                && self.session.release(Instant::now())
            {
                pieces += 1;
                // The delay was ours: the peer's deadline starts now.
                self.active = now;
                self.progress = SendProgress::start(self.session.owed(), now);
            }
            if self.session.state() != State::Write {
                return Ok(());
            }
            // Bytes may have been added.
            self.progress.observe(self.session.owed(), now);
            let stream = &self.stream;
            let sent = self.session.flush(|bytes| send(stream, bytes))?;
            self.echoed += sent as u64;
            self.record_activity(sent, now);
            self.progress.observe(self.session.owed(), now);
            if sent == 0 {
                return Ok(());
            }
        }
    }

    /// Receives once and echoes, by splicing if that is worthwhile.
    fn receive(&mut self, scratch: &mut Scratch, now: Millis) -> io::Result<bool> {
        if self.splice.is_worthwhile()
            && !self.ended
            && self.session.is_passthrough()
            && let Some(more) = self.splice(scratch, now)?
        {
            return Ok(more);
        }
        self.echo(&mut scratch.buffer, now)
    }

    /// Receives once by splicing. Returns `None` if the socket has to be read by `recv` instead.
    fn splice(&mut self, scratch: &mut Scratch, now: Millis) -> io::Result<Option<bool>> {
        match self.splice.echo(&self.stream, &mut scratch.pipes, &mut self.echoed)? {
            Spliced::Bytes { received, sent, is_full } => {
                self.active = now;
                self.session.owe_piped(received - sent);
                self.owes_more(0, now);
                // A short splice does not mean that the socket is empty: the pipe may be full of small pieces. Another
                // call costs more than the poller's report.
                Ok(Some(is_full || !scratch.reports_pending_input))
            }
            Spliced::Empty => Ok(Some(false)),
            Spliced::Unavailable => Ok(None),
        }
    }

    /// Sends the owed bytes in the pipe.
    fn flush_pipe(&mut self, pipes: &mut PipePool, now: Millis) -> io::Result<()> {
        let piped = self.session.piped();
        let sent = self.splice.flush(&self.stream, pipes, piped, &mut self.echoed)?;
        self.record_activity(sent, now);
        self.session.piped_sent(sent);
        self.progress.observe(self.session.owed(), now);
        Ok(())
    }

    /// Receives once into `buffer` and echoes.
    fn echo(&mut self, buffer: &mut [u8], now: Millis) -> io::Result<bool> {
        let limit = self.session.drain_limit();
        let room = limit.unwrap_or(buffer.len()).min(buffer.len());
        let Some(count) = receive(&self.stream, &mut buffer[..room])? else {
            self.ended = false;
            if limit.is_some() {
                // Everything received before the drain began has been echoed.
                self.session.refuse_input();
            }
            return Ok(false);
        };
        if count == 0 {
            self.session.peer_ended();
            return Ok(false);
        }
        self.splice.record(count);
        self.echo_back(&buffer[..count], now)?;
        Ok(limit.is_some() || !recv_emptied_socket(count, room))
    }

    /// Echoes `bytes`. Buffers what the socket does not accept.
    fn echo_back(&mut self, bytes: &[u8], now: Millis) -> io::Result<()> {
        let (stream, echoed) = (&self.stream, &mut self.echoed);
        // Counted after each send: earlier sends count even if a later one fails.
        let count_sent = |bytes: &[u8]| send(stream, bytes).inspect(|sent| *echoed += *sent as u64);
        let before = self.session.owed();
        self.session.received(bytes, count_sent)?;
        self.owes_more(before, now);
        self.active = now;
        if self.session.state() == State::Hold {
            self.flush(now)?;
        }
        Ok(())
    }

    /// Counts bytes that were [passed through](Session::is_passthrough) as echoed.
    pub(super) fn passed_through(&mut self, count: usize, now: Millis) {
        self.echoed += count as u64;
        self.record_activity(count, now);
    }

    fn record_activity(&mut self, count: usize, now: Millis) {
        if count > 0 {
            self.active = now;
        }
    }

    /// Reads and discards input after our FIN.
    fn discard(&mut self, buffer: &mut [u8], now: Millis) -> io::Result<bool> {
        match receive(&self.stream, buffer)? {
            None => {
                self.ended = false;
                Ok(false)
            }
            Some(0) => {
                self.session.peer_ended();
                Ok(false)
            }
            Some(_) => {
                self.active = now;
                Ok(true)
            }
        }
    }

    /// Begins to close the connection gracefully: what was received by now is still echoed, then FIN is sent. The
    /// poller may hold up to `ahead` received bytes that it has not reported yet.
    pub(super) fn start_draining(&mut self, reason: CloseReason, ahead: usize) {
        if !matches!(self.session.state(), State::Read | State::Hold | State::Write | State::Stall)
        {
            return; // it is already being closed, for another reason
        }
        self.reason.get_or_insert(reason);
        // Later input is not echoed: a peer that never pauses must not keep the server from stopping.
        let limit = received(&self.stream) + ahead;
        self.session.start_draining(u32::try_from(limit).unwrap_or(u32::MAX));
    }

    /// The reason to close the connection, if one of its deadlines has passed.
    pub(super) fn overdue(&mut self, service: &Service<'_>, now: Millis) -> Option<CloseReason> {
        let config = service.config;
        let has_passed = |deadline: Option<Duration>, elapsed: Millis| {
            deadline.is_some_and(|deadline| Duration::from_millis(elapsed) >= deadline)
        };
        let silent = now.saturating_sub(self.active);
        let state = self.session.state();
        match state {
            State::Write if has_passed(config.write_timeout, self.progress.stalled_for(now)) => {
                return Some(CloseReason::Stalled);
            }
            State::Discard | State::Reset => {
                let unacked = unacknowledged(&self.stream);
                self.progress.observe(unacked, now);
                let stalled = self.progress.stalled_for(now);
                let [silent, since_taken] = [silent, stalled].map(Duration::from_millis);
                if state == State::Discard && linger::is_over(unacked, silent, since_taken) {
                    return Some(self.reason.unwrap_or(self.session.reason()));
                }
                return has_passed(config.write_timeout, stalled).then_some(CloseReason::Stalled);
            }
            State::Finish | State::Close => return None,
            State::Read | State::Stall if has_passed(config.idle_timeout, silent) => {
                return Some(CloseReason::Idle);
            }
            _ => {}
        }
        let age = now.saturating_sub(self.accepted);
        (self.reason.is_none() && has_passed(config.max_lifetime, age))
            .then_some(CloseReason::Expired)
    }
}
