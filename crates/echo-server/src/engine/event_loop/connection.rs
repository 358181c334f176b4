//! One connection of an event loop: what it does in its turn, and when its time is up.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use socket2::SockRef;

use super::compact_addr::CompactAddr;
use crate::CloseReason;
use crate::accept::Incoming;
use crate::linger;
use crate::service::Service;
use crate::session::{Session, State};
use crate::system::unacknowledged;

/// On Windows mio reports a socket again only after a call on it would have blocked, so there every
/// socket is read and written until it does.
const REARMS_ON_BLOCK: bool = cfg!(windows);

/// Pieces of an echo that is held back which may go in one turn, so that the others have theirs.
const PIECES: usize = 64;

/// Milliseconds since the worker's epoch: half the size of an `Instant`, and a deadline needs no more.
/// It wraps around after 49 days, so only differences mean something.
pub(super) type Millis = u32;

/// A connection. There may be ten thousand of them, and most owe nothing: it is kept small.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: CompactAddr,
    pub(super) session: Session,
    pub(super) echoed: u64,
    pub(super) accepted: Millis,
    /// When bytes last moved, either way.
    pub(super) active: Millis,
    /// When the peer last took something of what it was owed, after our FIN.
    pub(super) fin: Millis,
    /// What it had not taken by then.
    pub(super) unacked: u32,
    /// When stopping, bytes that may have been received by then and were not read yet.
    pub(super) left_to_drain: u32,
    /// The system has reported an end of the stream, an error or an urgent byte, so that a `recv` that
    /// leaves room says nothing: there is more until there is an error or the end.
    pub(super) ended: bool,
    /// In the queue of those with more to read.
    pub(super) queued: bool,
    /// Counted among the backpressured.
    pub(super) backpressured: bool,
    /// Why it will be closed, if that is not the peer's doing.
    pub(super) reason: Option<CloseReason>,
}

/// How a connection's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It waits for an event.
    Interest,
    /// It waits for a time as well.
    Until(Instant),
    /// There may be more to do.
    More,
    /// It can be closed.
    Over,
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
            fin: now,
            unacked: 0,
            left_to_drain: 0,
            ended: false,
            queued: false,
            backpressured: false,
            reason: None,
        }
    }

    /// Does what can be done without waiting, one `recv` at the most.
    pub(super) fn turn(
        &mut self,
        service: &Service<'_>,
        buffer: &mut [u8],
        readable: bool,
        now: Millis,
    ) -> io::Result<Turn> {
        let turn = match self.session.state() {
            State::Write | State::Hold => {
                self.flush(now)?;
                // While something was owed nothing was read.
                Turn::More
            }
            State::Read if readable => self.echo(buffer, now)?,
            State::Discard if readable => self.discard(buffer, now)?,
            _ => Turn::Interest,
        };
        self.conclude(service, turn, now)
    }

    /// The same with what was received for it.
    pub(super) fn take(
        &mut self,
        service: &Service<'_>,
        piece: &[u8],
        now: Millis,
    ) -> io::Result<Turn> {
        let turn = match self.session.state() {
            State::Read | State::Hold | State::Write => {
                let limit = self.limit(piece.len());
                self.echo_back(&piece[..limit], now)?;
                Turn::Interest
            }
            _ => {
                self.active = now;
                Turn::Interest
            }
        };
        self.conclude(service, turn, now)
    }

    /// Whether what is received for it goes back as it is and at once.
    pub(super) fn is_passthrough(&self) -> bool {
        self.session.is_passthrough() && self.left_to_drain == 0
    }

    /// Bytes that went back [as they were](Self::is_passthrough) did not: there was no room for them.
    pub(super) fn take_back(&mut self, bytes: &[u8]) -> io::Result<Turn> {
        self.echoed -= bytes.len() as u64;
        self.session.received(bytes, |_| Ok(0))?;
        Ok(Turn::Interest)
    }

    fn conclude(&mut self, service: &Service<'_>, turn: Turn, now: Millis) -> io::Result<Turn> {
        let mut turn = turn;
        if self.left_to_drain > 0 && self.session.state() == State::Stall {
            // What is in its receive queue would not have been taken either.
            self.stop_draining();
        }
        if self.session.state() == State::Finish {
            service.finishing(self.peer.address(), &self.session);
            self.session.fin_sent();
            // Where the peer has ended too, the close that comes next sends the FIN.
            if self.session.state() != State::Close {
                self.stream.shutdown(Shutdown::Write)?;
            }
            self.fin = now;
            turn = Turn::More;
        }
        Ok(match self.session.state() {
            State::Close => Turn::Over,
            State::Write => Turn::Interest,
            State::Hold | State::Stall | State::Reset => self.falter()?,
            _ if self.ended => Turn::More,
            _ => turn,
        })
    }

    /// What a connection waits for that is in the middle of a fault.
    fn falter(&mut self) -> io::Result<Turn> {
        // It is not read, which is how other connections learn that they are broken.
        if self.ended
            && let Some(error) = self.stream.take_error()?
        {
            return Err(error);
        }
        match self.session.state() {
            State::Hold => Ok(self.session.due().map_or(Turn::More, Turn::Until)),
            State::Reset if unacknowledged(&self.stream) > 0 => {
                Ok(Turn::Until(Instant::now() + linger::RESET_POLL))
            }
            State::Reset => {
                linger::reset_when_closed(SockRef::from(&self.stream))?;
                Ok(Turn::Over)
            }
            _ => Ok(Turn::Interest),
        }
    }

    /// Sends what is owed until there is no more room, or the rest is held back.
    fn flush(&mut self, now: Millis) -> io::Result<()> {
        let mut pieces = 0;
        loop {
            if self.session.state() == State::Hold
                && pieces < PIECES
                && self.session.release(Instant::now())
            {
                pieces += 1;
                // Until now it was not the peer that had to take something.
                self.active = now;
            }
            if self.session.state() != State::Write {
                return Ok(());
            }
            let stream = &self.stream;
            let sent = self.session.flush(|bytes| send(stream, bytes))?;
            self.sent(sent, now);
            if sent == 0 {
                return Ok(());
            }
        }
    }

    /// One `recv` and its echo.
    fn echo(&mut self, buffer: &mut [u8], now: Millis) -> io::Result<Turn> {
        let limit = self.limit(buffer.len());
        let Some(count) = receive(&self.stream, &mut buffer[..limit])? else {
            self.ended = false;
            if self.left_to_drain > 0 {
                self.stop_draining();
            }
            return Ok(Turn::Interest);
        };
        if count == 0 {
            self.session.peer_ended();
            return Ok(Turn::Interest);
        }
        let draining = self.left_to_drain > 0;
        self.echo_back(&buffer[..count], now)?;
        if REARMS_ON_BLOCK {
            self.flush(now)?;
        }
        Ok(if draining || count == limit || REARMS_ON_BLOCK { Turn::More } else { Turn::Interest })
    }

    /// How much of `room` may be received.
    fn limit(&self, room: usize) -> usize {
        if self.left_to_drain > 0 { room.min(self.left_to_drain as usize) } else { room }
    }

    /// Sends back what was received, as far as there is room.
    fn echo_back(&mut self, bytes: &[u8], now: Millis) -> io::Result<()> {
        let stream = &self.stream;
        let sent = self.session.received(bytes, |bytes| send(stream, bytes))?;
        self.sent(sent, now);
        self.active = now;
        if self.session.state() == State::Hold {
            self.flush(now)?;
        }
        if self.left_to_drain > 0 {
            self.left_to_drain = self.left_to_drain.saturating_sub(bytes.len() as u32);
            if self.left_to_drain == 0 {
                self.stop_draining();
            }
        }
        Ok(())
    }

    /// Bytes have gone back.
    pub(super) fn sent(&mut self, count: usize, now: Millis) {
        self.echoed += count as u64;
        if count > 0 {
            self.active = now;
        }
    }

    /// Takes what a peer sends that has our FIN, and drops it.
    fn discard(&mut self, buffer: &mut [u8], now: Millis) -> io::Result<Turn> {
        match receive(&self.stream, buffer)? {
            None => {
                self.ended = false;
                Ok(Turn::Interest)
            }
            Some(0) => {
                self.session.peer_ended();
                Ok(Turn::Interest)
            }
            Some(_) => {
                self.active = now;
                Ok(Turn::More)
            }
        }
    }

    /// The server stops: what may have been received by now is still echoed.
    pub(super) fn start_draining(&mut self) {
        match self.session.state() {
            State::Read | State::Hold | State::Write | State::Stall => self.session.release_all(),
            _ => return, // it is leaving already, for another reason
        }
        self.reason = Some(CloseReason::Stopped);
        // The receive queue cannot hold more than this; what comes later is not ours to echo, and a
        // peer that never pauses must not keep the server from stopping.
        let size = SockRef::from(&self.stream).recv_buffer_size().unwrap_or(0);
        self.left_to_drain = u32::try_from(size).unwrap_or(u32::MAX);
        if self.left_to_drain == 0 {
            self.stop_draining();
        }
    }

    fn stop_draining(&mut self) {
        self.left_to_drain = 0;
        self.session.refuse_input();
    }

    /// Whether its time is up, and for what reason.
    pub(super) fn overdue(&mut self, service: &Service<'_>, now: Millis) -> Option<CloseReason> {
        let since = |tick: Millis| Duration::from_millis(now.wrapping_sub(tick).into());
        let silent = since(self.active);
        let passed =
            |deadline: Option<Duration>| deadline.is_some_and(|deadline| silent >= deadline);
        match self.session.state() {
            State::Read | State::Stall if passed(service.config.idle_timeout) => {
                Some(CloseReason::Idle)
            }
            State::Write if passed(service.config.write_timeout) => Some(CloseReason::Stalled),
            next @ (State::Discard | State::Reset) => {
                let unacked = u32::try_from(unacknowledged(&self.stream)).unwrap_or(u32::MAX);
                if next == State::Discard
                    && linger::is_over(unacked as usize, silent, since(self.fin))
                {
                    return Some(self.reason.unwrap_or(self.session.reason()));
                }
                if unacked != std::mem::replace(&mut self.unacked, unacked) {
                    self.fin = now;
                }
                let limit = service.config.write_timeout;
                limit.is_some_and(|limit| since(self.fin) >= limit).then_some(CloseReason::Stalled)
            }
            _ => None,
        }
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

    /// A flood that a worker cannot get ahead of: there is more to read before each turn.
    #[test]
    fn of_a_flood_at_the_stop_no_more_is_echoed_than_the_receive_buffer_can_have_held() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let flood = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        flood.set_nonblocking(true).unwrap();

        Service::for_test(&Config::default(), |service, _| {
            let mut connection = Connection::new(service, Incoming { stream, peer, number: 0 }, 0);
            connection.start_draining();
            let most = u64::from(connection.left_to_drain);
            let mut buffer = vec![0; 4096];
            for _ in 0..10_000 {
                // As much as there is room for, and the echo is taken.
                let _ = (&flood).write(&[1; 64 * 1024]);
                let _ = (&flood).read(&mut [0; 64 * 1024]);
                connection.turn(service, &mut buffer, true, 0).unwrap();
            }
            assert!((1..=most).contains(&connection.echoed), "{} of {most}", connection.echoed);
            assert_eq!(connection.session.state(), State::Discard);
        });
    }
}
