//! A simulated pipe that moves bytes by splice(2).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;

use crate::sockets::TcpStream;
use crate::world::{World, system_call, trace, with};

/// A pipe and the bytes in it.
#[derive(Debug, Default)]
pub struct Pipe {
    bytes: RefCell<VecDeque<u8>>,
}

impl Pipe {
    /// Creates a pipe.
    ///
    /// # Errors
    ///
    /// Those of pipe2(2).
    pub fn new() -> io::Result<Self> {
        if with(World::fails) {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        Ok(Self::default())
    }

    /// Moves up to `max` bytes from the receive queue of `stream` into the pipe.
    ///
    /// # Errors
    ///
    /// Those of splice(2).
    ///
    /// # Panics
    ///
    /// The pipe is not empty.
    pub fn fill(&self, stream: &TcpStream, max: usize) -> io::Result<usize> {
        system_call();
        let mut bytes = self.bytes.borrow_mut();
        assert!(bytes.is_empty(), "a pipe is filled that is not empty");
        with(|world| {
            let socket = world.socket(stream.as_raw_fd());
            world.assert_sole_receiver(socket);
            let result = match world.failure(socket) {
                Some(error) => Err(error),
                None if world.interrupts() => Err(libc::EINTR),
                // Only recv(2) receives urgent data (tcp_read_sock). Once FIN has arrived, finding nothing else looks like
                // the end of the stream (tcp_splice_read).
                None if world.sockets[socket].is_at_urgent() => {
                    let tcp = &world.sockets[socket];
                    if tcp.has_fin() { Ok((tcp.consumed, 0)) } else { Err(libc::EAGAIN) }
                }
                None => {
                    // A slot holds a piece of one packet, so a pipe may be full before it has moved what it may.
                    let room = if world.liberty() { world.rng.usize(1..=max) } else { max };
                    world.receive(socket, room)
                }
            };
            trace!(world, "splice from peer {socket}, {max}: {result:?}");
            let (start, count) = result.map_err(io::Error::from_raw_os_error)?;
            bytes.extend(&world.sockets[socket].wire[start..start + count]);
            Ok(count)
        })
    }

    /// Moves up to `max` bytes from the pipe into the send queue of `stream`.
    ///
    /// # Errors
    ///
    /// Those of splice(2).
    ///
    /// # Panics
    ///
    /// The pipe is empty.
    pub fn drain(&self, stream: &TcpStream, max: usize) -> io::Result<usize> {
        system_call();
        let mut bytes = self.bytes.borrow_mut();
        assert!(!bytes.is_empty(), "a pipe is drained that is empty");
        let most = bytes.len().min(max);
        let all = &bytes.make_contiguous()[..most];
        let count = with(|world| {
            let socket = world.socket(stream.as_raw_fd());
            let result = match world.failure(socket) {
                Some(error) => Err(error),
                None if world.interrupts() => Err(libc::EINTR),
                None => world.transmit(socket, all),
            };
            trace!(world, "splice to peer {socket}, {max}: {result:?}");
            result.map_err(io::Error::from_raw_os_error)
        })?;
        bytes.drain(..count);
        Ok(count)
    }
}
