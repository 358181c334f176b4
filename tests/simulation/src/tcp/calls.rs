//! What system calls do with a connection.

use echo_test_support::model::End;

use super::active::Told;
use crate::descriptor::Object;
use crate::world::{World, trace};

impl World {
    /// Receives up to `room` bytes: returns where they begin and how many they are, as recv(2) would.
    pub(crate) fn receive(&mut self, socket: usize, room: usize) -> Result<(usize, usize), i32> {
        let tcp = &mut self.sockets[socket];
        let available = tcp.received();
        if available > 0 {
            if tcp.urgent == Some(tcp.consumed) && !tcp.oob_inline {
                // Out of band: it is skipped.
                tcp.consumed += 1;
                tcp.urgent = None;
                return self.receive(socket, room);
            }
            let mut count = available.min(room);
            if let Some(urgent) = tcp.urgent
                && urgent > tcp.consumed
                && urgent < tcp.consumed + count
            {
                // A recv stops before urgent data, with SO_OOBINLINE too (tcp_recvmsg_locked).
                count = urgent - tcp.consumed;
            }
            let start = tcp.consumed;
            tcp.consumed += count;
            tcp.acts(self.waited_at);
            tcp.urgent = tcp.urgent.filter(|urgent| *urgent >= tcp.consumed);
            self.receipt(socket, start);
            return Ok((start, count));
        }
        if let Some(error) = tcp.take_error() {
            self.told(socket, Told::Broken);
            return Err(error);
        }
        if tcp.fin_delivered || tcp.dead {
            let end = tcp.consumed;
            self.told(socket, Told::Eof);
            return Ok((end, 0));
        }
        Err(libc::EAGAIN)
    }

    /// Sends bytes: returns how many were taken, as send(2) would.
    pub(crate) fn transmit(&mut self, socket: usize, bytes: &[u8]) -> Result<usize, i32> {
        let less = self.liberty();
        let tcp = &mut self.sockets[socket];
        if tcp.shut || tcp.dead {
            let error = tcp.take_error().unwrap_or(libc::EPIPE);
            self.told(socket, Told::Broken);
            return Err(error);
        }
        let mut count = bytes.len().min(tcp.buffers[0].saturating_sub(tcp.queued()));
        if less && tcp.queued() > 0 && count > 0 {
            // Under memory pressure, a send may find no room in a send buffer that is not full, as long as something
            // is queued whose ACK will report room (sk_stream_wait_memory).
            count = self.rng.usize(..=count);
        } else if less && count > 0 {
            count = self.rng.usize(1..=count);
        }
        if count < bytes.len() {
            tcp.no_space = true;
            if count == 0 {
                return Err(libc::EAGAIN);
            }
        }
        let (offset, bytes) = (tcp.echo.len(), &bytes[..count]);
        if tcp.active.is_none() && !tcp.model.allows(offset, bytes) {
            let all = tcp.model.echo();
            let expected = &all[offset.min(all.len())..all.len().min(offset + count)];
            panic!("peer {socket}: at {offset}, {bytes:?} is sent instead of {expected:?}");
        }
        tcp.echo.extend_from_slice(bytes);
        tcp.acts(self.waited_at);
        tcp.sent_at.push((count, self.waited_at));
        Ok(count)
    }

    /// Sends FIN.
    pub(crate) fn shut_down(&mut self, socket: usize) -> Result<(), i32> {
        let tcp = &mut self.sockets[socket];
        if tcp.dead {
            return Err(libc::ENOTCONN);
        }
        tcp.shut = true;
        tcp.fin_out = true;
        tcp.ends(self.now);
        // tcp_shutdown: the state changes, of which pollers are told.
        self.wake(Object::Socket(socket), 0);
        Ok(())
    }

    /// Closes the last reference to a socket.
    pub(crate) fn close_socket(&mut self, socket: usize) {
        self.closes_active(socket);
        let tcp = &mut self.sockets[socket];
        if tcp.closed {
            return;
        }
        if tcp.is_connecting() {
            tcp.end = End::Reset;
        }
        tcp.closed = true;
        tcp.ends(self.now);
        if tcp.dead {
            return;
        }
        if tcp.resets_when_closed || tcp.received() > 0 {
            // SO_LINGER with no time, or unread input (RFC 1122, 4.2.2.13).
            tcp.reset_out = true;
            trace!(self, "peer {socket}: the server resets the connection");
        } else {
            tcp.fin_out = true;
        }
    }

    /// Closes a listener. Queued connections are reset.
    pub(crate) fn close_listener(&mut self, listener: usize) {
        self.listeners[listener].is_closed = true;
        for socket in std::mem::take(&mut self.listeners[listener].queue) {
            trace!(self, "peer {socket}: reset, because its listener is closed");
            self.sockets[socket].closed = true;
            self.sockets[socket].reset_out = true;
        }
    }

    /// Whether a connection is to be accepted.
    #[must_use]
    pub fn has_queued(&self) -> bool {
        self.listeners.iter().any(|listener| !listener.queue.is_empty())
    }

    /// A wait of the program returns.
    pub(crate) fn wait_returns(&mut self) {
        self.waited_at = self.now;
        self.waits += 1;
        for tcp in &mut self.sockets {
            tcp.delivered_at_wait = tcp.delivered;
        }
    }
}
