//! What happens in the network.

use std::net::SocketAddr;

use echo_test_support::model::{End, Model};

use super::{ACK, ECHO, ECHO_FIN, ECHO_RESET, ERR, FIN, IN, OUT, PRI, RESET, SEGMENT, Tcp};
use crate::descriptor::Object;
use crate::world::{World, trace};

impl World {
    /// A peer connects to the first listener. Returns the connection's index, or `None` if it no longer listens.
    pub fn connect(
        &mut self,
        peer: SocketAddr,
        model: Model,
        buffers: [usize; 3],
    ) -> Option<usize> {
        let listener = self.listeners.iter().position(|listener| !listener.is_closed)?;
        self.sockets.push(Tcp::new(peer, model, buffers));
        let socket = self.sockets.len() - 1;
        trace!(self, "peer {socket} connects from {peer}, with buffers of {buffers:?} bytes");
        self.listeners[listener].queue.push(socket);
        self.wake(Object::Listener(listener), IN);
        Some(socket)
    }

    /// A peer sends bytes.
    pub fn peer_sends(&mut self, socket: usize, bytes: &[u8], urgent: bool) {
        trace!(
            self,
            "peer {socket} sends {} bytes{}",
            bytes.len(),
            if urgent { ", urgent" } else { "" }
        );
        let tcp = &mut self.sockets[socket];
        tcp.wire.extend_from_slice(bytes);
        tcp.model.sent(bytes);
        if urgent {
            tcp.urgent = Some(tcp.wire.len() - 1);
        }
    }

    /// A peer sends FIN.
    pub fn peer_finishes(&mut self, socket: usize) {
        trace!(self, "peer {socket} sends FIN");
        self.sockets[socket].fin = true;
        self.sockets[socket].model.finished();
    }

    /// A peer resets its connection. What it has sent may still arrive before.
    pub fn peer_resets(&mut self, socket: usize) {
        trace!(self, "peer {socket} resets");
        self.sockets[socket].reset = true;
    }

    /// The connection breaks with an error of the network, as after a timeout.
    pub fn breaks_connection(&mut self, socket: usize, error: i32) {
        trace!(self, "the connection of peer {socket} breaks with error {error}");
        self.sockets[socket].reset = true;
        self.sockets[socket].reset_delivered = true;
        self.end_socket(socket, error, "the network broke it");
    }

    /// Performs a step that [`Tcp::possible`] has named.
    pub(crate) fn advance_socket(&mut self, socket: usize, what: u8) {
        let object = Object::Socket(socket);
        let tcp = &mut self.sockets[socket];
        match what {
            SEGMENT if tcp.closed => {
                // RFC 9293, 3.10.7.1: a segment for a connection that does not exist is answered with RST.
                tcp.delivered = tcp.wire.len();
                tcp.reset_out = true;
                trace!(self, "peer {socket}: bytes arrive at a closed socket");
            }
            SEGMENT => {
                let room = tcp.buffers[1].saturating_sub(tcp.received());
                let most = room.min(tcp.wire.len() - tcp.delivered);
                let count = if self.rng.bool() { most } else { self.rng.usize(1..=most) };
                tcp.delivered += count;
                trace!(self, "peer {socket}: {count} bytes arrive");
                self.arrived(socket);
                let urgent = if self.sockets[socket].urgent.is_some() { PRI } else { 0 };
                self.wake(object, IN | urgent);
            }
            FIN => {
                tcp.fin_delivered = true;
                trace!(self, "peer {socket}: its FIN arrives");
                self.wake(object, 0);
            }
            RESET => {
                tcp.reset_delivered = true;
                let both_finished = tcp.fin_delivered && tcp.fin_acked;
                let error =
                    if tcp.fin_delivered && !tcp.shut { libc::EPIPE } else { libc::ECONNRESET };
                trace!(self, "peer {socket}: its RST arrives");
                if !both_finished {
                    self.end_socket(socket, error, "the peer reset it");
                }
            }
            ECHO => {
                let room = tcp.buffers[2] - (tcp.arrived - tcp.read);
                let most = room.min(tcp.echo.len() - tcp.arrived);
                let count = if self.rng.bool() { most } else { self.rng.usize(1..=most) };
                tcp.arrived += count;
                if tcp.reads {
                    tcp.read = tcp.arrived;
                }
                trace!(self, "peer {socket}: {count} bytes of the echo arrive");
            }
            ECHO_FIN => {
                tcp.end = End::Eof;
                trace!(self, "peer {socket}: the server's FIN arrives");
            }
            ACK => {
                tcp.acked = tcp.arrived;
                tcp.fin_acked = tcp.end == End::Eof;
                let (arrived, wakes) = (tcp.arrived, tcp.no_space && tcp.is_writable());
                tcp.no_space &= !wakes;
                trace!(self, "peer {socket}: its ACK of {arrived} bytes arrives");
                if wakes {
                    self.wake(object, OUT);
                }
            }
            ECHO_RESET => {
                tcp.end = End::Reset;
                trace!(self, "peer {socket}: the server's RST arrives");
            }
            _ => {
                tcp.read = tcp.arrived;
            }
        }
    }

    /// The program's socket is broken: its send queue is lost, its receive queue is not (tcp_reset in Linux).
    fn end_socket(&mut self, socket: usize, error: i32, excuse: &'static str) {
        let tcp = &mut self.sockets[socket];
        tcp.excuse = Some(excuse);
        if tcp.closed {
            return;
        }
        tcp.error = error;
        tcp.dead = true;
        self.wake(Object::Socket(socket), ERR);
        self.wake(Object::Socket(socket), 0);
    }
}
