//! The sockets of a worker, as a ring reports on them, and in which of two ways.
//!
//! - **Look**: a poll says, once, that there is something to read, and whoever has the connection receives
//!   by itself, over one large buffer that stays in the cache. The next poll goes to the kernel with the call
//!   that waits. It takes no memory meanwhile, and is best for large messages and for few connections. Every
//!   connection begins with it, and one that stops or found the pool empty comes back to it.
//! - **Receive**: a multishot receive delivers what comes in small buffers of a pool, and they go back as
//!   further operations: no system call for a message at all. That is best for small ones on many
//!   connections; see [`CALM_TURNS`], [`FULL_PIECES`] and [`Sizes::crowd`](super::Sizes::crowd).
//!
//! A connection that owes something is not received for in either way, but waits for **Room**. That poll
//! goes on (multishot) and so reports what *changes*: one that reports what is there would find the end of
//! the peer's stream, which every poll of a ring asks for too, again and again.
//!
//! What keeps the bytes in order:
//!
//! 1. A connection has one of these operations in flight. To change, that is cancelled, and only its last
//!    completion starts the other.
//! 2. It has one send in flight at most. That does not wait for room, so it is over when it is submitted;
//!    what completes for the connection before that is certain is held until after it.
//! 3. A descriptor is closed only when no entry that names it is still to be submitted: it may be another
//!    connection's at once.

mod slot;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use echo_ring::{Completion, RecvBuf, Ring, UserData};
use mio::net::{TcpListener, TcpStream};

use self::slot::{Slot, Unread, Way};
use super::PIECE;
use super::operation::Operation;
use crate::engine::event_loop::{Event, Interest, Poller};

/// There is something to read, if only the end of the stream.
const READABLE: u32 = (libc::POLLIN | libc::POLLRDHUP) as u32;
/// There is room to write.
const WRITABLE: u32 = libc::POLLOUT as u32;
/// The connection is broken.
const BROKEN: i32 = (libc::POLLERR | libc::POLLHUP) as i32;
/// After so many turns with little to echo, a connection of a crowd is received for.
const CALM_TURNS: u8 = 8;
/// After so many full buffers one behind the other, it is not any more.
const FULL_PIECES: u8 = 2;

/// The sockets of a worker.
pub(super) struct Sockets {
    ring: Ring,
    wake_fd: Arc<OwnedFd>,
    /// By their index. Their polls go on.
    listeners: Vec<RawFd>,
    /// As many connections as it takes for being received for.
    crowd: usize,
    /// By the key of the connection.
    slots: Vec<Slot>,
    /// How many of them are in use.
    watched: usize,
    /// The generation of the connection that came last.
    generation: u32,
    /// Pieces on their way back, and to which connection: its key and its generation.
    sending: Vec<(usize, u32, RecvBuf)>,
    /// What followed from completions that were looked at.
    news: VecDeque<Event<RecvBuf>>,
    /// Completions to be looked at.
    completed: VecDeque<Completion>,
    /// Completions that have to wait for a send.
    held: Vec<Completion>,
    /// What was received for connections that have no room for it, in order: key, generation, buffer. No more
    /// than the pool has, whatever the peers do; while it is out of buffers, connections receive by themselves.
    unread: VecDeque<(usize, u32, RecvBuf)>,
    /// Counts how often everything was submitted, modulo 2¹⁶.
    turn: u16,
    /// To be closed when all is submitted.
    closing: Vec<OwnedFd>,
}

impl Sockets {
    pub(super) fn new(ring: Ring, wake_fd: Arc<OwnedFd>, crowd: usize) -> Self {
        let mut sockets = Self {
            ring,
            wake_fd,
            listeners: Vec::new(),
            crowd,
            slots: Vec::new(),
            watched: 0,
            generation: 0,
            sending: Vec::new(),
            news: VecDeque::new(),
            completed: VecDeque::new(),
            held: Vec::new(),
            unread: VecDeque::new(),
            turn: 0,
            closing: Vec::new(),
        };
        sockets.poll_wake_fd();
        sockets
    }

    fn poll_wake_fd(&mut self) {
        let wake = Operation::Wake.of(0, 0);
        self.ring.poll_multishot(self.wake_fd.as_raw_fd(), libc::POLLIN as u32, wake);
    }

    fn listen_at(&mut self, index: usize) {
        let accept = Operation::Accept.of(0, index);
        self.ring.poll_multishot(self.listeners[index], libc::POLLIN as u32, accept);
    }

    /// Has a connection watched in this way, and in no other, as soon as what is armed has ended.
    fn want(&mut self, key: usize, way: Way) {
        let slot = &mut self.slots[key];
        let cancelled = slot.armed != slot.wanted;
        slot.wanted = Some(way);
        match slot.armed {
            None => self.arm(key, way),
            Some(armed) if armed != way && !cancelled => {
                let armed = slot.user_data(armed, key);
                self.ring.cancel(armed, Operation::Cancel.of(0, 0));
            }
            Some(_) => {}
        }
    }

    fn arm(&mut self, key: usize, way: Way) {
        let slot = &mut self.slots[key];
        slot.armed = Some(way);
        slot.pushed_in = self.turn;
        let (descriptor, user_data) = (slot.descriptor, slot.user_data(way, key));
        match way {
            Way::Look => self.ring.poll_add(descriptor, READABLE, user_data),
            Way::Room => self.ring.poll_multishot(descriptor, WRITABLE, user_data),
            Way::Receive => self.ring.recv_multishot(descriptor, user_data),
        }
    }

    /// Takes what has completed off the ring, and draws the conclusions if everything is submitted.
    fn collect(&mut self) {
        while let Some(completion) = self.ring.next_completion() {
            let of = completion.user_data;
            match Operation::with(of) {
                Operation::Send => self.failed(of.slot(), of.generation(), completion.result),
                _ => self.completed.push_back(completion),
            }
        }
        if self.ring.has_submitted_all() {
            // Whatever has not failed by now has been sent.
            let mut sending = std::mem::take(&mut self.sending);
            for (key, generation, piece) in sending.drain(..) {
                self.ring.recycle(piece);
                if self.is_there(key, generation) {
                    self.slots[key].sending = false;
                    if self.slots[key].unread != Unread::None && !self.redeliver(key) {
                        self.want(key, Way::Look);
                    }
                }
            }
            self.sending = sending;
            self.closing.clear();
            self.turn = self.turn.wrapping_add(1);
        }
    }

    /// A piece was not sent, or not all of it.
    fn failed(&mut self, key: usize, generation: u32, result: i32) {
        if !self.is_there(key, generation) {
            return;
        }
        let sent = match result {
            sent @ 0.. => sent as usize,
            error if error == -libc::EAGAIN => 0,
            _ => return self.news.push_back(Event::Lost { key }),
        };
        let place =
            self.sending.iter().position(|(to, whose, _)| (*to, *whose) == (key, generation));
        let Some(place) = place else {
            // A send that completes twice: what became of its bytes cannot be known.
            return self.news.push_back(Event::Lost { key });
        };
        let (_, _, piece) = self.sending.swap_remove(place);
        self.slots[key].sending = false;
        self.news.push_back(Event::ShortWrite { key, buf: piece, sent });
    }

    fn news(&mut self, completion: Completion) -> Option<Event<RecvBuf>> {
        let operation = Operation::with(completion.user_data);
        let (generation, slot) = (completion.user_data.generation(), completion.user_data.slot());
        match operation {
            Operation::Wake => {
                if !completion.more {
                    self.poll_wake_fd();
                }
                Some(Event::Wake)
            }
            Operation::Accept => {
                if !completion.more && slot < self.listeners.len() {
                    self.listen_at(slot);
                }
                Some(Event::AcceptReady)
            }
            Operation::PollIn | Operation::PollOut | Operation::RecvMultishot
                if self.is_there(slot, generation) =>
            {
                if self.slots[slot].sending {
                    self.held.push(completion);
                    return None;
                }
                if !completion.more {
                    self.slots[slot].armed = None;
                }
                if operation == Operation::RecvMultishot {
                    self.received(slot, completion)
                } else {
                    self.polled(slot, operation == Operation::PollIn, completion.result)
                }
            }
            _ => {
                completion.buf.into_iter().for_each(|piece| self.ring.recycle(piece));
                None
            }
        }
    }

    /// Whether a completion is about the connection that is at `key` now.
    fn is_there(&self, key: usize, generation: u32) -> bool {
        let slot = self.slots.get(key);
        slot.is_some_and(|slot| slot.generation == generation && slot.descriptor >= 0)
    }

    fn polled(&mut self, key: usize, readable: bool, result: i32) -> Option<Event<RecvBuf>> {
        match result {
            // What comes next follows from the turn that the connection has now. Who reads in it hears of
            // an error; who does not has to be told.
            events @ 0.. => {
                Some(Event::Ready { key, readable, ended: !readable && events & BROKEN != 0 })
            }
            error if error == -libc::ECANCELED => {
                let wanted = self.slots[key].wanted;
                self.want(key, wanted.unwrap_or(Way::Look));
                None
            }
            _ => Some(Event::Lost { key }),
        }
    }

    fn received(&mut self, key: usize, completion: Completion) -> Option<Event<RecvBuf>> {
        let Completion { result, buf, more, .. } = completion;
        let slot = &mut self.slots[key];
        let look = Event::Ready { key, readable: true, ended: false };
        let Some(piece) = buf else {
            // The end of the stream, an empty pool or another way: whoever has it looks for itself.
            slot.wanted = None;
            let over = [0, -libc::ENOBUFS, -libc::ECANCELED].contains(&result);
            return Some(if over { look } else { Event::Lost { key } });
        };
        if !more {
            self.news.push_back(look);
        }
        slot.streak = if piece.len() == PIECE { slot.streak + 1 } else { 0 };
        let unread = slot.unread != Unread::None;
        if slot.streak == FULL_PIECES || self.watched < self.crowd {
            slot.streak = 0;
            self.want(key, Way::Look);
        }
        if unread {
            self.unread.push_back((key, self.slots[key].generation, piece));
            return None;
        }
        Some(Event::Received { key, buf: piece })
    }

    /// Reports the next of the buffers again that the connection at `key` had no room for. Returns whether
    /// there was one.
    fn redeliver(&mut self, key: usize) -> bool {
        let next = self.unread.iter().position(|(whose, ..)| *whose == key);
        let Some((_, _, buf)) = next.and_then(|next| self.unread.remove(next)) else {
            self.slots[key].unread = Unread::None;
            return false;
        };
        self.slots[key].unread = Unread::Redelivered;
        self.news.push_back(Event::Received { key, buf });
        true
    }

    /// Drops what a connection had no room for.
    fn discard_unread(&mut self, key: usize) {
        let (news, unread) = (std::mem::take(&mut self.news), std::mem::take(&mut self.unread));
        for event in news {
            match event {
                Event::Received { key: whose, buf } if whose == key => self.ring.recycle(buf),
                event => self.news.push_back(event),
            }
        }
        for (whose, generation, buf) in unread {
            if whose == key {
                self.ring.recycle(buf);
            } else {
                self.unread.push_back((whose, generation, buf));
            }
        }
    }

    /// How a connection is to be watched that waits for its peer, after it has echoed so many bytes.
    fn way_to_receive(&mut self, key: usize, echoed: u64) -> Way {
        let slot = &mut self.slots[key];
        if slot.wanted == Some(Way::Receive) {
            return Way::Receive;
        }
        if self.unread.len() >= self.ring.buffers() / 2 {
            // Peers that do not read hold most of the pool.
            slot.streak = 0;
            return Way::Look;
        }
        if echoed > 0 {
            let little = echoed < PIECE as u64 && self.watched >= self.crowd;
            slot.streak = if little { slot.streak + 1 } else { 0 };
        }
        if slot.streak < CALM_TURNS {
            return Way::Look;
        }
        slot.streak = 0;
        Way::Receive
    }
}

impl Poller for Sockets {
    type Buf = RecvBuf;

    fn listen(&mut self, listeners: &mut [TcpListener]) -> io::Result<()> {
        self.listeners = listeners.iter().map(AsRawFd::as_raw_fd).collect();
        (0..listeners.len()).for_each(|index| self.listen_at(index));
        Ok(())
    }

    fn stop_listening(&mut self, listeners: Vec<TcpListener>) {
        self.listeners.clear();
        for index in 0..listeners.len() {
            self.ring.cancel(Operation::Accept.of(0, index), Operation::Cancel.of(0, 0));
        }
        // A poll keeps its socket open, and so listening, until the kernel has completed it: that has to be
        // before they are closed. If it fails, so does the next wait, and only a moment is lost.
        let _ = self.ring.wait(Some(Duration::ZERO));
        if !self.ring.has_submitted_all() {
            let descriptors = listeners.into_iter().map(std::net::TcpListener::from);
            self.closing.extend(descriptors.map(OwnedFd::from));
        }
    }

    fn register(&mut self, key: usize, stream: &mut TcpStream) -> io::Result<()> {
        if key >= UserData::SLOTS {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        if self.slots.len() <= key {
            self.slots.resize(key + 1, Slot::VACANT);
        }
        self.generation = self.generation.wrapping_add(1);
        let (descriptor, generation) = (stream.as_raw_fd(), self.generation);
        self.slots[key] = Slot { descriptor, generation, ..Slot::VACANT };
        self.watched += 1;
        self.want(key, Way::Look);
        Ok(())
    }

    fn deregister(&mut self, key: usize, stream: TcpStream) {
        let watched = self.slots.get_mut(key).filter(|slot| slot.descriptor >= 0);
        let Some(slot) = watched else { return };
        let slot = std::mem::replace(slot, Slot::VACANT);
        if slot.unread != Unread::None {
            self.discard_unread(key);
        }
        if slot.pushed_in == self.turn {
            self.closing.push(std::net::TcpStream::from(stream).into());
        }
        if let Some(armed) = slot.armed
            && slot.wanted == slot.armed
        {
            // Without this, what is in flight would keep the socket open after it is closed.
            self.ring.cancel(slot.user_data(armed, key), Operation::Cancel.of(0, 0));
        }
        self.watched -= 1;
        if self.watched == 0 {
            // Ten thousand connections leave a large table behind.
            self.slots = Vec::new();
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.completed.extend(self.held.drain(..));
        if self.sending.len() >= self.ring.buffers() / 2 || !self.closing.is_empty() {
            // Those who go on sending meanwhile would find the pool empty; those who were closed are not
            // to wait for other news. If it fails, so does the wait.
            let _ = self.ring.submit();
            self.collect();
        }
        let nothing = self.completed.is_empty() && self.news.is_empty();
        let result = self.ring.wait(if nothing { timeout } else { Some(Duration::ZERO) });
        self.collect();
        result?;
        Ok(!self.completed.is_empty() || !self.news.is_empty())
    }

    fn next(&mut self) -> Option<Event<RecvBuf>> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Some(news);
            }
            let completion = self.completed.pop_front()?;
            if let Some(news) = self.news(completion) {
                return Some(news);
            }
        }
    }

    fn receives(&self, key: usize) -> bool {
        self.slots[key].armed == Some(Way::Receive) || self.slots[key].unread != Unread::None
    }

    fn sends(&self, key: usize) -> bool {
        self.slots[key].sending || self.slots[key].unread != Unread::None
    }

    fn received_ahead(&self) -> usize {
        self.ring.buffers() * PIECE
    }

    fn set_interest(&mut self, key: usize, interest: Interest, echoed: u64) {
        let reads = matches!(interest, Interest::Receive | Interest::Readable);
        if reads && self.slots[key].unread != Unread::None && self.redeliver(key) {
            return;
        }
        match interest {
            Interest::Receive => {
                let way = self.way_to_receive(key, echoed);
                self.want(key, way);
            }
            Interest::Readable => self.want(key, Way::Look),
            Interest::Writable => self.want(key, Way::Room),
            Interest::Unchanged => {}
        }
    }

    fn bytes<'a>(&'a self, buf: &'a RecvBuf) -> &'a [u8] {
        self.ring.bytes(buf)
    }

    fn recycle(&mut self, buf: RecvBuf) {
        self.ring.recycle(buf);
    }

    fn send(&mut self, key: usize, buf: RecvBuf) {
        let slot = &mut self.slots[key];
        slot.sending = true;
        slot.pushed_in = self.turn;
        self.ring.send(slot.descriptor, &buf, Operation::Send.of(slot.generation, key));
        self.sending.push((key, slot.generation, buf));
    }

    fn defer(&mut self, key: usize, buf: RecvBuf) {
        let slot = &mut self.slots[key];
        let entry = (key, slot.generation, buf);
        // What was reported again and could not be taken is still the first of its connection.
        match std::mem::replace(&mut slot.unread, Unread::Waiting) {
            Unread::Redelivered => self.unread.push_front(entry),
            Unread::None | Unread::Waiting => self.unread.push_back(entry),
        }
    }
}
