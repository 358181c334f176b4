//! The sockets of a worker, as a ring reports on them, and in which of two ways.
//!
//! - **Poll**: a multishot poll says that there is something to read, and whoever has the connection
//!   receives by itself, over one large buffer that stays in the cache. It takes no memory meanwhile, and
//!   is best for large messages. Every connection begins with it, and one that owes something, stops or
//!   found the pool empty comes back to it.
//! - **Receive**: a multishot receive delivers what comes in small buffers of a pool, and they go back as
//!   further operations: no system call for a message at all. That is best for small ones; see
//!   [`CALM_TURNS`] and [`FULL_PIECES`].
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
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;

use self::slot::{Slot, Way};
use super::ring::{Completion, PIECE, Piece, Ring};
use super::token::{SLOTS, Token};
use crate::engine::event_loop::{News, Source};

/// Everything that can happen to a connection and matters to it.
const EVENTS: u32 = (libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP) as u32;
/// Those because of which it should look what there is to read.
const READABLE: i32 = (libc::POLLIN | libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as i32;
/// After so many turns with little to echo, a connection is received for.
const CALM_TURNS: u8 = 8;
/// After so many full buffers one behind the other, it is not any more.
const FULL_PIECES: u8 = 2;

/// The sockets of a worker.
pub(super) struct Sockets<'r> {
    ring: Ring<'r>,
    bell: Arc<OwnedFd>,
    /// By the key of the connection.
    slots: Vec<Slot>,
    /// How many of them are in use.
    watched: usize,
    /// The generation of the connection that came last.
    generation: u32,
    /// Pieces on their way back, and to which connection.
    sending: Vec<(usize, Piece)>,
    /// What could not be sent.
    unsent: VecDeque<News<Piece>>,
    /// Completions to be looked at.
    completed: VecDeque<Completion>,
    /// Completions that have to wait for a send.
    held: Vec<Completion>,
    /// Counts the waits, modulo 2¹⁶.
    turn: u16,
    /// Streams to be closed when all is submitted.
    closing: Vec<TcpStream>,
}

impl<'r> Sockets<'r> {
    pub(super) fn new(ring: Ring<'r>, bell: Arc<OwnedFd>) -> Self {
        let mut sockets = Self {
            ring,
            bell,
            slots: Vec::new(),
            watched: 0,
            generation: 0,
            sending: Vec::new(),
            unsent: VecDeque::new(),
            completed: VecDeque::new(),
            held: Vec::new(),
            turn: 0,
            closing: Vec::new(),
        };
        sockets.listen_for_the_bell();
        sockets
    }

    fn listen_for_the_bell(&mut self) {
        self.ring.poll(self.bell.as_raw_fd(), libc::POLLIN as u32, Token::Bell.pack());
    }

    /// Starts the operation that is wanted for a connection.
    fn arm(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        slot.armed = slot.wanted;
        slot.pushed_in = self.turn;
        slot.streak = 0;
        let token = slot.armed_token(key).pack();
        match slot.armed {
            Way::Poll => self.ring.poll(slot.descriptor, EVENTS, token),
            Way::Receive => self.ring.receive(slot.descriptor, token),
        }
    }

    /// Changes over, as soon as what is armed has ended.
    fn want(&mut self, key: usize, way: Way) {
        let slot = &mut self.slots[key];
        let cancelled = slot.armed != slot.wanted;
        slot.wanted = way;
        if !cancelled && slot.armed != way {
            let armed = slot.armed_token(key).pack();
            self.ring.cancel(armed, Token::Cancel.pack());
        }
    }

    /// Takes what has completed off the ring, and draws the conclusions if everything is submitted.
    fn collect(&mut self) {
        while let Some(completion) = self.ring.next() {
            match Token::unpack(completion.token) {
                Token::Send { generation, slot } => {
                    self.failed(slot, generation, completion.result)
                }
                _ => self.completed.push_back(completion),
            }
        }
        if self.ring.has_submitted_all() {
            // Whatever has not failed by now has been sent.
            for (key, piece) in self.sending.drain(..) {
                self.ring.give_back(piece);
                if let Some(slot) = self.slots.get_mut(key) {
                    slot.sending = false;
                }
            }
            self.closing.clear();
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
            _ => return self.unsent.push_back(News::Lost { key }),
        };
        let place = self.sending.iter().position(|(sender, _)| *sender == key);
        let (_, piece) = self.sending.swap_remove(place.expect("it is kept until it is sent"));
        self.slots[key].sending = false;
        self.unsent.push_back(News::Unsent { key, piece, sent });
    }

    fn news(&mut self, completion: Completion) -> Option<News<Piece>> {
        match Token::unpack(completion.token) {
            Token::Bell => {
                if !completion.more {
                    self.listen_for_the_bell();
                }
                Some(News::Knock)
            }
            Token::Poll { generation, slot } | Token::Receive { generation, slot }
                if self.is_there(slot, generation) =>
            {
                if self.slots[slot].sending {
                    self.held.push(completion);
                    None
                } else if self.slots[slot].armed == Way::Poll {
                    self.polled(slot, completion.result, completion.more)
                } else {
                    self.received(slot, completion)
                }
            }
            _ => {
                completion.piece.into_iter().for_each(|piece| self.ring.give_back(piece));
                None
            }
        }
    }

    /// Whether a completion is about the connection that is at `key` now.
    fn is_there(&self, key: usize, generation: u32) -> bool {
        let slot = self.slots.get(key);
        slot.is_some_and(|slot| slot.generation == generation && slot.descriptor >= 0)
    }

    fn polled(&mut self, key: usize, events: i32, more: bool) -> Option<News<Piece>> {
        if events < 0 && events != -libc::ECANCELED {
            return Some(News::Lost { key });
        }
        if !more {
            // Because it was cancelled, or there was no room for its completion.
            self.arm(key);
        }
        let slot = &mut self.slots[key];
        if events < 0 || slot.armed == Way::Receive {
            return None;
        }
        let readable = std::mem::take(&mut slot.look) || events & READABLE != 0;
        // A poll reports what has woken it, and that speaks of urgent data whatever has come. So those
        // who read have to go on until there is nothing more.
        Some(News::Ready { key, readable, ended: readable })
    }

    fn received(&mut self, key: usize, completion: Completion) -> Option<News<Piece>> {
        let Completion { result, piece, more, .. } = completion;
        if !more {
            if piece.is_none() {
                // The end of the stream, for which it has to look, an empty pool, or it was cancelled.
                self.slots[key].wanted = Way::Poll;
            }
            self.slots[key].look = true;
            self.arm(key);
        }
        match piece {
            Some(piece) => {
                let slot = &mut self.slots[key];
                slot.streak = if piece.length() == PIECE { slot.streak + 1 } else { 0 };
                if slot.streak == FULL_PIECES {
                    slot.streak = 0;
                    self.want(key, Way::Poll);
                }
                Some(News::Received { key, piece })
            }
            None if [0, -libc::ENOBUFS, -libc::ECANCELED].contains(&result) => None,
            None => Some(News::Lost { key }),
        }
    }
}

impl Source for Sockets<'_> {
    type Piece = Piece;

    fn watch(&mut self, key: usize, stream: &mut TcpStream) -> io::Result<()> {
        if key >= SLOTS {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        if self.slots.len() <= key {
            self.slots.resize(key + 1, Slot::VACANT);
        }
        self.generation = self.generation.wrapping_add(1);
        let (descriptor, generation) = (stream.as_raw_fd(), self.generation);
        self.slots[key] = Slot { descriptor, generation, ..Slot::VACANT };
        self.watched += 1;
        self.arm(key);
        Ok(())
    }

    fn forget(&mut self, key: usize, stream: TcpStream) {
        let watched = self.slots.get_mut(key).filter(|slot| slot.descriptor >= 0);
        let Some(slot) = watched else { return };
        let slot = std::mem::replace(slot, Slot::VACANT);
        if slot.pushed_in == self.turn {
            self.closing.push(stream);
        }
        if slot.armed == slot.wanted {
            // Without this, what is in flight would keep the socket open after it is closed.
            self.ring.cancel(slot.armed_token(key).pack(), Token::Cancel.pack());
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
        self.turn = self.turn.wrapping_add(1);
        let nothing = self.completed.is_empty() && self.unsent.is_empty();
        let result = self.ring.wait(if nothing { timeout } else { Some(Duration::ZERO) });
        self.collect();
        result?;
        Ok(!self.completed.is_empty() || !self.unsent.is_empty())
    }

    fn next(&mut self) -> Option<News<Piece>> {
        loop {
            if let Some(news) = self.unsent.pop_front() {
                return Some(news);
            }
            let completion = self.completed.pop_front()?;
            if let Some(news) = self.news(completion) {
                return Some(news);
            }
        }
    }

    fn receives(&self, key: usize) -> bool {
        self.slots[key].armed == Way::Receive || self.slots[key].sending
    }

    fn turned(&mut self, key: usize, calm: bool, echoed: u64) {
        let slot = &mut self.slots[key];
        if !calm {
            return self.want(key, Way::Poll);
        }
        if slot.wanted == Way::Poll && echoed > 0 {
            slot.streak = if echoed < PIECE as u64 { slot.streak + 1 } else { 0 };
            if slot.streak == CALM_TURNS {
                slot.streak = 0;
                self.want(key, Way::Receive);
            }
        }
    }

    fn bytes<'a>(&'a self, piece: &'a Piece) -> &'a [u8] {
        self.ring.bytes(piece)
    }

    fn give_back(&mut self, piece: Piece) {
        self.ring.give_back(piece);
    }

    fn send_back(&mut self, key: usize, piece: Piece) {
        let slot = &mut self.slots[key];
        slot.sending = true;
        slot.pushed_in = self.turn;
        let token = Token::Send { generation: slot.generation, slot: key };
        self.ring.send(slot.descriptor, &piece, token.pack());
        self.sending.push((key, piece));
    }
}
