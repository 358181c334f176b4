//! Splicing: moving the bytes of a connection by splice(2) through a pipe, without copying them to user space and back.
//!
//! A connection is spliced while it keeps receiving large pieces, for which copying is most of the cost. Only raw bytes
//! without injected faults are: framing and faults depend on the bytes. A pipe is attached to a connection only while it
//! holds bytes. Those are owed, and nothing is received until they are sent.

use std::io;
use std::rc::Rc;

use super::nonblocking::unless_blocked;
use crate::platform::{Pipe, TcpStream};

/// The most bytes that one call moves, and so the most that a connection can owe in a pipe.
const MAX_SPLICE: usize = if cfg!(simulation) { 40 } else { 64 * 1024 };
/// Pieces of at least this size cost no more to splice than to copy.
const LARGE: usize = if cfg!(simulation) { 16 } else { 8 * 1024 };
/// The score from which a connection is spliced, and the highest one. It is copied again from 0.
const SPLICE_FROM: u8 = if cfg!(simulation) { 2 } else { 8 };

/// The splicing of one connection.
#[derive(Default)]
pub(super) struct Splice {
    /// One point for each large piece received, minus one for each small one.
    score: u8,
    is_worthwhile: bool,
    /// Nothing has been received since the socket was found empty.
    was_empty: bool,
    /// The pipe, while it holds owed bytes.
    pipe: Option<Box<PooledPipe>>,
}

/// The result of receiving once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spliced {
    /// Bytes were received, and some of them sent. The rest is in the pipe. If as many were received as one call moves,
    /// there probably are more.
    Bytes { received: usize, sent: usize, is_full: bool },
    /// Nothing is available.
    Empty,
    /// There is no pipe, the stream may have ended, or urgent data is next, which only recv(2) receives.
    Unavailable,
}

impl Splice {
    /// Records the size of a piece received by other means.
    pub(super) fn record(&mut self, size: usize) {
        self.was_empty = false;
        self.score = if size >= LARGE {
            SPLICE_FROM.min(self.score + 1)
        } else {
            self.score.saturating_sub(1)
        };
        match self.score {
            0 => self.is_worthwhile = false,
            SPLICE_FROM => self.is_worthwhile = true,
            _ => {}
        }
    }

    /// Whether the connection keeps receiving large pieces. A few small ones among them do not change that.
    pub(super) fn is_worthwhile(&self) -> bool {
        self.is_worthwhile
    }

    /// Receives once and sends as much of that as the socket accepts. The pipe must not hold bytes. What is sent is added
    /// to `echoed`, even if a later call fails.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub(super) fn echo(
        &mut self,
        stream: &TcpStream,
        pipes: &mut PipePool,
        echoed: &mut u64,
    ) -> io::Result<Spliced> {
        debug_assert!(self.pipe.is_none(), "nothing is received while bytes are owed");
        let Some(pipe) = pipes.take() else { return Ok(Spliced::Unavailable) };
        let received = match unless_blocked(|| pipe.pipe.fill(stream, MAX_SPLICE))? {
            Some(received @ 1..) => received,
            nothing => {
                pipes.put_back(pipe);
                return Ok(match nothing {
                    // Also with urgent data next, after the peer's FIN (tcp_splice_read): recv tells which.
                    Some(_) => Spliced::Unavailable,
                    None if !std::mem::replace(&mut self.was_empty, true) => Spliced::Empty,
                    // It was empty before, and has been reported as readable since.
                    None => Spliced::Unavailable,
                });
            }
        };
        self.record(received);
        let sent = drain(&pipe.pipe, stream, received, echoed)?;
        if sent < received {
            self.pipe = Some(Box::new(pipe));
        } else {
            pipes.put_back(pipe);
        }
        Ok(Spliced::Bytes { received, sent, is_full: received == MAX_SPLICE })
    }

    /// Sends as many of the `owed` bytes in the pipe as the socket accepts. Returns how many, and adds them to `echoed`.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub(super) fn flush(
        &mut self,
        stream: &TcpStream,
        pipes: &mut PipePool,
        owed: usize,
        echoed: &mut u64,
    ) -> io::Result<usize> {
        let Some(pipe) = self.pipe.take() else { return Ok(0) };
        let sent = drain(&pipe.pipe, stream, owed, echoed)?;
        if sent < owed {
            self.pipe = Some(pipe);
        } else {
            pipes.put_back(*pipe);
        }
        Ok(sent)
    }
}

/// Moves `count` bytes from the pipe to the socket, or as many as it accepts. Returns how many, and adds them to `echoed`.
fn drain(pipe: &Pipe, stream: &TcpStream, count: usize, echoed: &mut u64) -> io::Result<usize> {
    let mut sent = 0;
    while sent < count
        && let Some(moved) = unless_blocked(|| pipe.drain(stream, count - sent))?
    {
        sent += moved;
        *echoed += moved as u64;
    }
    Ok(sent)
}

/// A pipe that counts towards the limit of its [`PipePool`] until it is dropped.
struct PooledPipe {
    pipe: Pipe,
    _counted: Rc<()>,
}

/// The pipes of a worker.
pub(super) struct PipePool {
    /// See [`Config::max_pipes`](crate::Config::max_pipes).
    max: usize,
    empty: Vec<PooledPipe>,
    /// Each pipe holds a reference.
    count: Rc<()>,
}

impl PipePool {
    pub(super) fn new(max: usize) -> Self {
        Self { max, empty: Vec::new(), count: Rc::new(()) }
    }

    /// Takes an empty pipe. `None` if all are in use, or none can be created.
    fn take(&mut self) -> Option<PooledPipe> {
        if let Some(pipe) = self.empty.pop() {
            return Some(pipe);
        }
        if Rc::strong_count(&self.count) > self.max {
            return None;
        }
        Some(PooledPipe { pipe: Pipe::new().ok()?, _counted: Rc::clone(&self.count) })
    }

    /// Returns a pipe, which must be empty.
    fn put_back(&mut self, pipe: PooledPipe) {
        self.empty.push(pipe);
    }

    /// Closes the pipes that are not in use.
    pub(super) fn trim(&mut self) {
        self.empty = Vec::new();
    }
}

#[cfg(all(test, target_os = "linux", not(simulation)))]
mod tests {
    use std::io::{Read, Write};
    use std::net::{self, TcpListener};
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, poll};
    use socket2::SockRef;

    use super::*;

    /// A connection and its peer.
    fn pair() -> (TcpStream, net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        (TcpStream::from_std(stream), peer)
    }

    #[test]
    fn a_connection_is_spliced_after_many_large_pieces_and_copied_after_many_small_ones() {
        let mut splice = Splice::default();
        let mut after = |size| {
            splice.record(size);
            splice.is_worthwhile()
        };
        assert_eq!(
            [(); 8].map(|()| after(LARGE)),
            [false, false, false, false, false, false, false, true]
        );
        assert_eq!([1, LARGE, 1, LARGE, 1].map(&mut after), [true; 5]);
        assert_eq!([(); 7].map(|()| after(1)), [true, true, true, true, true, true, false]);
        assert!(!after(LARGE));
    }

    #[test]
    fn what_the_socket_has_no_room_for_stays_in_the_pipe_in_order() {
        let (stream, peer) = pair();
        let message: Vec<u8> = (0..16_000_000_u32).map(|i| (i % 251) as u8).collect();
        let (mut pipes, mut splice) = (PipePool::new(1), Splice::default());
        let (mut owed, mut echo) = (0, Vec::new());
        let mut echo_once = || {
            if owed > 0 {
                owed -= splice.flush(&stream, &mut pipes, owed, &mut 0).unwrap();
            } else if let Spliced::Bytes { received, sent, .. } =
                splice.echo(&stream, &mut pipes, &mut 0).unwrap()
            {
                owed = received - sent;
            }
            assert_eq!(pipes.empty.len(), usize::from(owed == 0));
            owed
        };
        std::thread::scope(|scope| {
            scope.spawn(|| (&peer).write_all(&message).unwrap());
            while echo_once() == 0 {}
            peer.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            let mut piece = vec![0; 100_000];
            while echo.len() < message.len() {
                echo_once();
                let count = (&peer).read(&mut piece).unwrap_or(0);
                echo.extend_from_slice(&piece[..count]);
            }
        });
        assert!(echo == message);
    }

    #[test]
    fn urgent_data_and_the_end_of_the_stream_are_told_apart_from_an_empty_socket() {
        let (stream, peer) = pair();
        SockRef::from(&stream).set_out_of_band_inline(true).unwrap();
        let (mut pipes, mut splice) = (PipePool::new(1), Splice::default());
        assert_eq!(splice.echo(&stream, &mut pipes, &mut 0).unwrap(), Spliced::Empty);
        SockRef::from(&peer).send_out_of_band(b"!").unwrap();
        let mut byte = [0];
        while SockRef::from(&stream).peek(&mut [std::mem::MaybeUninit::uninit()]).is_err() {}
        assert_eq!(splice.echo(&stream, &mut pipes, &mut 0).unwrap(), Spliced::Unavailable);
        assert_eq!((&stream).read(&mut byte).unwrap(), 1);
        splice.record(1);
        assert_eq!(splice.echo(&stream, &mut pipes, &mut 0).unwrap(), Spliced::Empty);
        // Urgent data and then FIN: only recv tells that the stream has not ended.
        splice.record(1);
        SockRef::from(&peer).send_out_of_band(b"!").unwrap();
        peer.shutdown(net::Shutdown::Write).unwrap();
        poll(&mut [PollFd::new(&stream, PollFlags::RDHUP)], None).unwrap();
        for rest in [1, 0] {
            assert_eq!(splice.echo(&stream, &mut pipes, &mut 0).unwrap(), Spliced::Unavailable);
            assert_eq!((&stream).read(&mut byte).unwrap(), rest);
        }
    }

    #[test]
    fn a_pool_creates_no_more_pipes_than_its_limit_until_one_is_closed() {
        let mut pool = PipePool::new(2);
        let pipes = [pool.take().unwrap(), pool.take().unwrap()];
        assert!(pool.take().is_none());
        let [returned, closed] = pipes;
        pool.put_back(returned);
        drop(closed);
        assert!(pool.take().is_some_and(|first| pool.take().is_some_and(|second| {
            drop(first);
            pool.put_back(second);
            true
        })));
        pool.trim();
        assert_eq!(Rc::strong_count(&pool.count), 1);
    }
}
