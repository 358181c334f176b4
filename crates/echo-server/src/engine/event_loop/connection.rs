//! One connection of an event loop: what it does when it is run, and when its time is up.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use socket2::SockRef;

use super::compact_addr::CompactAddr;
use super::edges::{recv_emptied_socket, short_send_fills_socket};
use crate::CloseReason;
use crate::linger;
use crate::listen::accept::Incoming;
use crate::progress::{Millis, SendProgress};
use crate::service::Service;
use crate::session::{Session, State};
use crate::system::{received, unacknowledged};

/// Pieces of a held-back echo that may be sent in one run, so that other connections are not delayed.
const PIECES_PER_RUN: usize = 64;

/// The most that a connection may owe before what is received for it is left with the poller.
pub(super) const MAX_OWED: usize = 64 * 1024;

/// A connection. There may be ten thousand of them, and most owe nothing: it is kept small. All times are
/// counted from the worker's epoch.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: CompactAddr,
    pub(super) session: Session,
    pub(super) echoed: u64,
    pub(super) accepted: Millis,
    /// When bytes last moved, either way.
    pub(super) active: Millis,
    /// While something is owed, or sent and not acknowledged: whether the peer takes it.
    pub(super) progress: SendProgress,
    /// The system has reported an end of the stream, an error or an urgent byte, so that a `recv` that
    /// leaves room says nothing: there is more until there is an error or the end.
    pub(super) ended: bool,
    /// It has a timer that has not expired.
    pub(super) timer_set: bool,
    /// In the run queue.
    pub(super) queued: bool,
    /// Counted among those that have a deadline whatever the settings.
    pub(super) backpressured: bool,
    /// Why it will be closed, if that is not the peer's doing.
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
            reason: None,
        }
    }

    /// Does what can be done without waiting, with one `recv` at most. Returns whether there may be more to do
    /// although no event will say so.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub(super) fn run(
        &mut self,
        service: &Service<'_>,
        buffer: &mut [u8],
        readable: bool,
        now: Millis,
    ) -> io::Result<bool> {
        let more = match self.session.state() {
            State::Write | State::Hold => {
                self.flush(now)?;
                // While something was owed nothing was read.
                true
            }
            State::Read if readable => self.echo(buffer, now)?,
            State::Discard if readable => self.discard(buffer, now)?,
            _ => false,
        };
        self.after_run(service, more, now)
    }

    /// The same with bytes that the poller has received for it.
    pub(super) fn take(
        &mut self,
        service: &Service<'_>,
        bytes: &[u8],
        now: Millis,
    ) -> io::Result<bool> {
        self.echo_back(bytes, now)?;
        self.after_run(service, false, now)
    }

    /// Bytes that were [passed through](Session::is_passthrough) were not sent: there was no room for them.
    pub(super) fn unsent(&mut self, bytes: &[u8]) {
        self.echoed -= bytes.len() as u64;
        self.session.unsent(bytes);
    }

    /// Whether it owes so much that it can take no more than what one `recv` brings.
    pub(super) fn is_full(&self, received: usize) -> bool {
        self.session.owed() + received > MAX_OWED
    }

    /// When it wants to be run although nothing happens to it.
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
            // If the peer has ended too, the close that comes next sends the FIN.
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

    /// Moves an injected fault on, as far as it depends on more than the echo.
    fn run_fault(&mut self) -> io::Result<bool> {
        // It is not read, which is how other connections find out that they are broken.
        if self.ended
            && let Some(error) = self.stream.take_error()?
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

    /// Sends what is owed until there is no more room, or the rest is held back.
    fn flush(&mut self, now: Millis) -> io::Result<()> {
        let mut pieces = 0;
        loop {
            if self.session.state() == State::Hold
                && pieces < PIECES_PER_RUN
                && self.session.release(Instant::now())
            {
                pieces += 1;
                // Until now it was not the peer that had to take something.
                self.active = now;
                self.progress = SendProgress::start(self.session.owed(), now);
            }
            if self.session.state() != State::Write {
                return Ok(());
            }
            let stream = &self.stream;
            let sent = self.session.flush(|bytes| send(stream, bytes))?;
            self.echoed += sent as u64;
            self.moved(sent, now);
            self.progress.observe(self.session.owed(), now);
            if sent == 0 {
                return Ok(());
            }
        }
    }

    /// One `recv` and its echo.
    fn echo(&mut self, buffer: &mut [u8], now: Millis) -> io::Result<bool> {
        let limit = self.session.drain_limit();
        let room = limit.unwrap_or(buffer.len()).min(buffer.len());
        let Some(count) = receive(&self.stream, &mut buffer[..room])? else {
            self.ended = false;
            if limit.is_some() {
                // All that had been received is echoed.
                self.session.refuse_input();
            }
            return Ok(false);
        };
        if count == 0 {
            self.session.peer_ended();
            return Ok(false);
        }
        self.echo_back(&buffer[..count], now)?;
        if !short_send_fills_socket() {
            self.flush(now)?;
        }
        Ok(limit.is_some() || !recv_emptied_socket(count, room))
    }

    /// Sends back what was received, as far as there is room.
    fn echo_back(&mut self, bytes: &[u8], now: Millis) -> io::Result<()> {
        let (stream, echoed) = (&self.stream, &mut self.echoed);
        // Counted at once: a later send of these bytes may fail, but those before it have been made.
        let count_sent = |bytes: &[u8]| send(stream, bytes).inspect(|sent| *echoed += *sent as u64);
        self.session.received(bytes, count_sent)?;
        self.active = now;
        if self.session.state() == State::Hold {
            self.flush(now)?;
        }
        Ok(())
    }

    /// Bytes that were [passed through](Session::is_passthrough) are on their way back.
    pub(super) fn passed_through(&mut self, count: usize, now: Millis) {
        self.echoed += count as u64;
        self.moved(count, now);
    }

    fn moved(&mut self, count: usize, now: Millis) {
        if count > 0 {
            self.active = now;
        }
    }

    /// Reads what a peer sends that has our FIN, and drops it.
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

    /// Ends the connection in order: what may have been received by now is still echoed, then FIN. The poller
    /// has received up to `ahead` bytes that it has not reported yet.
    pub(super) fn start_draining(&mut self, reason: CloseReason, ahead: usize) {
        if !matches!(self.session.state(), State::Read | State::Hold | State::Write | State::Stall)
        {
            return; // it is being ended already, for another reason
        }
        self.reason.get_or_insert(reason);
        // What comes later need not be echoed, and a peer that never pauses must not keep the server from
        // stopping.
        let limit = received(&self.stream) + ahead;
        self.session.start_draining(u32::try_from(limit).unwrap_or(u32::MAX));
    }

    /// Whether its time is up, and for what reason.
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

/// One `recv`: a count of bytes, 0 at the end of the stream, `None` if there are none now.
fn receive(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    unless_blocked(|| stream.read(buffer))
}

/// One `send`: how many bytes there was room for.
fn send(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    unless_blocked(|| stream.write(bytes)).map(Option::unwrap_or_default)
}

fn unless_blocked(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    /// A flood that always has more to read before the connection is run again.
    #[test]
    fn a_drained_flood_is_echoed_only_up_to_its_limit() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let flood = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        flood.set_nonblocking(true).unwrap();

        Service::for_test(&Config::default(), |service, _| {
            let mut connection = Connection::new(service, Incoming { stream, peer, number: 0 }, 0);
            let _ = (&flood).write(&[1; 64 * 1024]);
            connection.start_draining(CloseReason::Stopped, 0);
            let most = connection.session.drain_limit().unwrap() as u64;
            let mut buffer = vec![0; 4096];
            for _ in 0..10_000 {
                // Fill the buffers, and take the echo.
                let _ = (&flood).write(&[1; 64 * 1024]);
                let _ = (&flood).read(&mut [0; 64 * 1024]);
                connection.run(service, &mut buffer, true, 0).unwrap();
            }
            assert_eq!((connection.echoed, most), (64 * 1024, 64 * 1024));
            assert_eq!(connection.session.state(), State::Discard);
        });
    }
}
