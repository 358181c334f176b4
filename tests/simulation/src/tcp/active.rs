//! Connections that the program opens, and what happened on them and when. Times are nanoseconds of the world.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use echo_test_support::model::{End, Model, Rules};

use super::{OUT, Tcp};
use crate::descriptor::{Object, OwnedFd};
use crate::sockets::TcpStream;
use crate::world::{World, system_call, trace, with};

/// What the program was told that ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It could not be opened.
    Unopened,
    /// The error of a call.
    Broken,
    /// The end of the stream.
    Eof,
    /// The byte at this offset differs from what was sent.
    Changed(usize),
    /// There are more bytes than were sent.
    Surplus,
}

/// What happened on a connection that the program has opened.
#[derive(Debug)]
pub struct Active {
    /// The token that it was registered with.
    pub token: Option<usize>,
    /// When the call was made that started it, and when it was established.
    pub started_at: u64,
    /// See [`started_at`](Self::started_at).
    pub established_at: Option<u64>,
    /// When the program had set it up.
    pub up_at: Option<u64>,
    /// For each call that sends: where the bytes end that it was given, and when it was called.
    pub attempts: Vec<(usize, u64)>,
    /// How many bytes had arrived in the receive queue, and when.
    pub arrivals: Vec<(usize, u64)>,
    /// How many bytes the program had received, and when.
    pub receipts: Vec<(usize, u64)>,
    /// What the program was told first that ends the connection, when, and how many bytes it had sent by then.
    pub told: Option<(Told, u64, usize)>,
    /// When the program closed it, after how many waits.
    pub closed: Option<(u64, u64)>,
    /// What TCP_INFO says.
    pub retransmits: u64,
}

/// Starts to connect, as a non-blocking connect(2) does.
///
/// # Errors
///
/// Those of socket(2) and connect(2).
pub fn start_connect(_: SocketAddr, _: Option<SocketAddr>) -> io::Result<TcpStream> {
    system_call();
    with(|world| {
        let socket = world.open_active();
        if world.fails() {
            let error = world.pick(&[libc::EMFILE, libc::EADDRNOTAVAIL, libc::ENOBUFS]);
            world.sockets[socket].closed = true;
            world.sockets[socket].end = End::Reset;
            world.told(socket, Told::Unopened);
            world.closes_active(socket);
            return Err(io::Error::from_raw_os_error(error));
        }
        Ok(TcpStream(OwnedFd(world.open(Object::Socket(socket)))))
    })
}

/// See `tcpi_total_retrans` in Linux's `linux/tcp.h`.
#[must_use]
pub fn retransmits(stream: &TcpStream) -> Option<u64> {
    with(|world| {
        let socket = world.socket(stream.0.0);
        world.sockets[socket].active.as_ref().map(|active| active.retransmits)
    })
}

/// What a program asks of a connection that it opens.
impl TcpStream {
    /// See [`std::net::TcpStream::peer_addr`].
    ///
    /// # Errors
    ///
    /// `ENOTCONN` while it is being opened, and when it is broken.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        system_call();
        with(|world| {
            let tcp = &world.sockets[world.socket(self.0.0)];
            let is_connected = !tcp.is_connecting() && !tcp.is_broken();
            is_connected.then_some(tcp.peer).ok_or(io::ErrorKind::NotConnected.into())
        })
    }

    /// See [`std::net::TcpStream::local_addr`].
    ///
    /// # Errors
    ///
    /// None.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok((Ipv4Addr::LOCALHOST, self.0.0 as u16 + 1024).into())
    }

    /// The program sets up a connection that it has opened.
    ///
    /// # Errors
    ///
    /// None.
    pub fn set_nodelay(&self, _: bool) -> io::Result<()> {
        with(|world| {
            let (now, socket) = (world.now, world.socket(self.0.0));
            if let Some(active) = &mut world.sockets[socket].active {
                active.up_at = Some(now);
            }
        });
        Ok(())
    }
}

impl Tcp {
    /// Whether the program has opened it, and it is neither established nor broken.
    #[must_use]
    pub fn is_connecting(&self) -> bool {
        let waits = |active: &Active| active.established_at.is_none();
        !self.dead && self.active.as_deref().is_some_and(waits)
    }
}

impl World {
    fn open_active(&mut self) -> usize {
        let buffers = self.settings.buffers.map(|most| self.rng.usize(1..most));
        let peer = (Ipv4Addr::LOCALHOST, 7).into();
        let mut tcp = Tcp::new(peer, Model::new(Rules::default()), buffers);
        tcp.active = Some(Box::new(Active {
            token: None,
            started_at: self.called_at,
            established_at: None,
            up_at: None,
            attempts: Vec::new(),
            arrivals: Vec::new(),
            receipts: Vec::new(),
            told: None,
            closed: None,
            retransmits: self.rng.u64(..4),
        }));
        self.sockets.push(tcp);
        let socket = self.sockets.len() - 1;
        trace!(self, "connection {socket} is started, with buffers of {buffers:?} bytes");
        socket
    }

    /// A connection that the program has started is established.
    pub fn establish(&mut self, socket: usize) {
        trace!(self, "connection {socket} is established");
        let now = self.now;
        if let Some(active) = &mut self.sockets[socket].active {
            active.established_at = Some(now);
        }
        self.wake(Object::Socket(socket), OUT);
    }

    /// The program is told something that ends a connection which it has opened.
    pub(crate) fn told(&mut self, socket: usize, what: Told) {
        let (now, tcp) = (self.now, &mut self.sockets[socket]);
        let sent = tcp.echo.len();
        if let Some(active) = &mut tcp.active {
            let what = if active.up_at.is_none() { Told::Unopened } else { what };
            active.told.get_or_insert((what, now, sent));
        }
    }

    /// The program sends so many bytes, or tries to.
    pub(crate) fn attempts(&mut self, socket: usize, count: usize) {
        let (at, tcp) = (self.called_at, &mut self.sockets[socket]);
        let end = tcp.echo.len() + count;
        if let Some(active) = &mut tcp.active {
            let told = active.told;
            assert!(told.is_none(), "connection {socket}: it sends after it was told {told:?}");
            active.attempts.push((end, at));
        }
    }

    /// Bytes have arrived in the receive queue.
    pub(crate) fn arrived(&mut self, socket: usize) {
        let (now, tcp) = (self.now, &mut self.sockets[socket]);
        if let Some(active) = &mut tcp.active {
            active.arrivals.push((tcp.delivered, now));
        }
    }

    /// The program is given bytes, from `start` on.
    pub(crate) fn receipt(&mut self, socket: usize, start: usize) {
        let (now, tcp) = (self.now, &mut self.sockets[socket]);
        let Some(active) = &mut tcp.active else { return };
        let told = active.told;
        assert!(told.is_none(), "connection {socket}: it receives after it was told {told:?}");
        active.receipts.push((tcp.consumed, now));
        let end = tcp.consumed.min(tcp.echo.len());
        let (found, sent) = (&tcp.wire[start..end.max(start)], &tcp.echo[start.min(end)..end]);
        if let Some(at) = found.iter().zip(sent).position(|(found, sent)| found != sent) {
            self.told(socket, Told::Changed(start + at));
        } else if tcp.consumed > tcp.echo.len() {
            self.told(socket, Told::Surplus);
        }
    }

    /// The program closes a connection.
    pub(crate) fn closes_active(&mut self, socket: usize) {
        let (now, waits) = (self.now, self.waits);
        if let Some(active) = &mut self.sockets[socket].active {
            active.closed.get_or_insert((now, waits));
        }
    }
}
