//! Simulated sockets, with the methods of mio's, std's and socket2's that the programs use.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use socket2::TcpKeepalive;

use crate::descriptor::{Object, OwnedFd};
use crate::readiness::Source;
use crate::tcp::active::Told;
use crate::tcp::{Listener, Tcp};
use crate::world::{World, system_call, trace, with};

/// Sockets before an event loop takes them; the same types.
pub mod blocking {
    pub use super::{TcpListener, TcpStream};
}

/// A simulated connection.
#[derive(Debug)]
pub struct TcpStream(pub(crate) OwnedFd);

/// A simulated listener.
#[derive(Debug)]
pub struct TcpListener(OwnedFd);

/// A simulated [`socket2::SockRef`].
#[derive(Clone, Copy, Debug)]
pub struct SockRef<'s>(&'s OwnedFd);

/// Errors of a connection that the network reports (tcp(7)).
const BROKEN: [i32; 3] = [libc::ETIMEDOUT, libc::EHOSTUNREACH, libc::ECONNRESET];
/// Errors of send(2) and recv(2) after which the connection still exists.
const LACK: [i32; 2] = [libc::ENOBUFS, libc::ENOMEM];
/// Errors of accept(2) that concern a connection that is gone.
const GONE: [i32; 4] = [libc::ECONNABORTED, libc::EPROTO, libc::EPERM, libc::EHOSTUNREACH];
/// Errors of accept(2) that leave the connection in the queue.
const EXHAUSTED: [i32; 5] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EINTR];

impl World {
    pub(crate) fn socket(&self, fd: RawFd) -> usize {
        match self.object(fd) {
            Object::Socket(socket) => socket,
            other => panic!("descriptor {fd} is no socket, but {other:?}"),
        }
    }

    /// Two receivers at the same time would reorder the bytes.
    pub(crate) fn assert_sole_receiver(&self, socket: usize) {
        let receives = self.ring.receives(socket);
        assert!(!receives, "peer {socket}: it is read while a multishot receive is in flight");
    }

    /// signal(7): a call that would block may be interrupted.
    pub(crate) fn interrupts(&mut self) -> bool {
        self.liberty() && self.rng.u8(..) < 16
    }

    /// An error for an operation on a connection, rarely: it breaks, or the system lacks memory for the call.
    pub(crate) fn failure(&mut self, socket: usize) -> Option<i32> {
        if !self.fails() {
            return None;
        }
        if self.rng.bool() {
            let error = self.pick(&LACK);
            self.sockets[socket].excuse = Some("a call failed for lack of memory");
            self.told(socket, Told::Broken);
            return Some(error);
        }
        let error = self.pick(&BROKEN);
        self.breaks_connection(socket, error);
        self.told(socket, Told::Broken);
        self.sockets[socket].take_error()
    }
}

impl TcpStream {
    /// See [`mio::net::TcpStream::from_std`](https://docs.rs/mio).
    #[must_use]
    pub fn from_std(stream: Self) -> Self {
        stream
    }

    /// Takes the pending error (SO_ERROR).
    ///
    /// # Errors
    ///
    /// None.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        system_call();
        let error = with(|world| {
            let socket = world.socket(self.0.0);
            let error = world.sockets[socket].take_error();
            if error.is_some() {
                world.told(socket, Told::Broken);
            }
            error
        });
        Ok(error.map(io::Error::from_raw_os_error))
    }

    /// Sends FIN; the programs shut nothing else down.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` on a broken connection.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        assert_eq!(how, Shutdown::Write);
        system_call();
        with(|world| {
            let socket = world.socket(self.0.0);
            let result = world.shut_down(socket);
            trace!(world, "shutdown({}) of peer {socket}: {result:?}", self.0.0);
            result.map_err(io::Error::from_raw_os_error)
        })
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        system_call();
        with(|world| {
            let socket = world.socket(self.0.0);
            world.assert_sole_receiver(socket);
            let result = match world.failure(socket) {
                Some(error) => Err(error),
                None if world.interrupts() => Err(libc::EINTR),
                None => world.receive(socket, buffer.len()),
            };
            trace!(world, "recv({}, {}) of peer {socket}: {result:?}", self.0.0, buffer.len());
            let (start, count) = result.map_err(io::Error::from_raw_os_error)?;
            buffer[..count].copy_from_slice(&world.sockets[socket].wire[start..start + count]);
            Ok(count)
        })
    }
}

impl Read for TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for &TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        system_call();
        with(|world| {
            let socket = world.socket(self.0.0);
            let owed = bytes.len();
            assert!(owed <= world.sockets[socket].limit, "peer {socket}: {owed} bytes are owed");
            world.attempts(socket, bytes.len());
            let result = match world.failure(socket) {
                Some(error) => Err(error),
                None if world.interrupts() => Err(libc::EINTR),
                None => world.transmit(socket, bytes),
            };
            trace!(world, "send({}, {}) to peer {socket}: {result:?}", self.0.0, bytes.len());
            result.map_err(io::Error::from_raw_os_error)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TcpListener {
    /// A listener, before the program starts.
    #[must_use]
    pub fn listening() -> Self {
        with(|world| {
            world.listeners.push(Listener::default());
            Self(OwnedFd(world.open(Object::Listener(world.listeners.len() - 1))))
        })
    }

    /// See [`mio::net::TcpListener::from_std`](https://docs.rs/mio).
    #[must_use]
    pub fn from_std(listener: Self) -> Self {
        listener
    }

    /// Its address.
    ///
    /// # Errors
    ///
    /// None.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok((Ipv4Addr::LOCALHOST, 7).into())
    }

    /// Accepts a connection.
    ///
    /// # Errors
    ///
    /// Those of accept(2).
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        system_call();
        let result = with(|world| {
            let result = world.accept(self.0.0);
            trace!(world, "accept({}): {result:?}", self.0.0);
            result
        });
        let (fd, peer) = result.map_err(io::Error::from_raw_os_error)?;
        Ok((TcpStream(OwnedFd(fd)), peer))
    }
}

impl World {
    fn accept(&mut self, fd: RawFd) -> Result<(RawFd, SocketAddr), i32> {
        let Object::Listener(listener) = self.object(fd) else { panic!("accept of no listener") };
        if self.listeners[listener].queue.is_empty() {
            return Err(libc::EAGAIN);
        }
        if self.fails() {
            if self.rng.u8(..) < 200 {
                return Err(self.pick(&EXHAUSTED));
            }
            let socket = self.listeners[listener].queue.remove(0);
            let tcp = &mut self.sockets[socket];
            (tcp.closed, tcp.excuse) = (true, Some("accept failed"));
            self.breaks_connection(socket, libc::ECONNRESET);
            return Err(self.pick(&GONE));
        }
        let socket = self.listeners[listener].queue.remove(0);
        let tcp: &mut Tcp = &mut self.sockets[socket];
        (tcp.accepted, tcp.active_at) = (true, self.waited_at);
        let peer = tcp.peer;
        Ok((self.open(Object::Socket(socket)), peer))
    }
}

/// The pending error (SO_ERROR).
///
/// # Errors
///
/// None.
pub fn pending_error(stream: &TcpStream) -> io::Result<Option<io::Error>> {
    stream.take_error()
}

/// See [`libc::FIONREAD`].
#[must_use]
pub fn received(stream: &TcpStream) -> usize {
    system_call();
    with(|world| {
        let socket = world.socket(stream.0.0);
        let tcp = &mut world.sockets[socket];
        tcp.delivered_at_end.get_or_insert(tcp.delivered_at_wait);
        tcp.received()
    })
}

/// See [`libc::TIOCOUTQ`].
#[must_use]
pub fn unacknowledged(stream: &TcpStream) -> usize {
    system_call();
    with(|world| world.sockets[world.socket(stream.0.0)].unacknowledged())
}

impl<'s> From<&'s TcpStream> for SockRef<'s> {
    fn from(stream: &'s TcpStream) -> Self {
        Self(&stream.0)
    }
}

impl<'s> From<&'s TcpListener> for SockRef<'s> {
    fn from(listener: &'s TcpListener) -> Self {
        Self(&listener.0)
    }
}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "those of socket2::Socket")]
impl SockRef<'_> {
    pub fn set_linger(&self, time: Option<Duration>) -> io::Result<()> {
        with(|world| {
            let socket = world.socket(self.0.0);
            world.sockets[socket].resets_when_closed = time == Some(Duration::ZERO);
        });
        Ok(())
    }

    pub fn set_out_of_band_inline(&self, inline: bool) -> io::Result<()> {
        with(|world| {
            let socket = world.socket(self.0.0);
            world.sockets[socket].oob_inline = inline;
        });
        Ok(())
    }

    pub fn set_tcp_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    pub fn set_tcp_keepalive(&self, _: &TcpKeepalive) -> io::Result<()> {
        Ok(())
    }

    pub fn set_keepalive(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    /// Nothing is set on a listener, as with socket activation, so connections inherit nothing.
    pub fn keepalive(&self) -> io::Result<bool> {
        Ok(false)
    }

    pub fn tcp_keepalive_time(&self) -> io::Result<Duration> {
        Ok(Duration::ZERO)
    }

    pub fn tcp_keepalive_interval(&self) -> io::Result<Duration> {
        Ok(Duration::ZERO)
    }

    pub fn tcp_keepalive_retries(&self) -> io::Result<u32> {
        Ok(0)
    }

    pub fn tcp_nodelay(&self) -> io::Result<bool> {
        Ok(false)
    }

    pub fn out_of_band_inline(&self) -> io::Result<bool> {
        Ok(false)
    }
}

impl From<TcpStream> for OwnedFd {
    fn from(stream: TcpStream) -> Self {
        stream.0
    }
}

impl From<TcpListener> for OwnedFd {
    fn from(listener: TcpListener) -> Self {
        listener.0
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0
    }
}

impl Source for TcpStream {}
impl Source for TcpListener {}
