//! What follows from completions: events for the worker, and what the poller itself does next.

use echo_ring::{Completion, RecvBuf};

use super::{BROKEN, DEMOTE_AFTER, UringPoller};
use crate::engine::event_loop::Event;
use crate::engine::event_loop::uring::BUF_SIZE;
use crate::engine::event_loop::uring::operation::Operation;
use crate::engine::event_loop::uring::slot::{Op, Unread};

impl UringPoller {
    /// Takes completions off the ring, and concludes what follows if everything is submitted.
    pub(super) fn collect(&mut self) {
        while let Some(completion) = self.ring.next_completion() {
            let of = completion.user_data;
            match Operation::with(of) {
                Operation::Send => self.send_failed(of.slot(), of.generation(), completion.result),
                _ => self.completed.push_back(completion),
            }
        }
        if self.ring.has_submitted_all() {
            // Before anything is pushed below: that belongs to the next submission.
            self.closing.clear();
            self.submission = self.submission.wrapping_add(1);
            self.unread_due = false;
            // What has not failed by now has been sent.
            let mut sending = std::mem::take(&mut self.sending);
            for (key, generation, buf) in sending.drain(..) {
                self.ring.recycle(buf);
                if self.is_there(key, generation) {
                    self.slots[key].sending = false;
                    if self.slots[key].unread != Unread::None && !self.redeliver(key) {
                        self.want(key, Op::PollIn);
                    }
                }
            }
            self.sending = sending;
        }
    }

    /// A buffer was not sent, or not all of it.
    fn send_failed(&mut self, key: usize, generation: u32, result: i32) {
        if !self.is_there(key, generation) {
            return;
        }
        let sent = match result {
            sent @ 0.. => sent as usize,
            error if error == -libc::EAGAIN => 0,
            _ => return self.events.push_back(Event::Lost { key }),
        };
        let place =
            self.sending.iter().position(|(to, whose, _)| (*to, *whose) == (key, generation));
        let Some(place) = place else {
            // A send that completes twice: what became of its bytes cannot be known.
            return self.events.push_back(Event::Lost { key });
        };
        let (_, _, buf) = self.sending.swap_remove(place);
        self.slots[key].sending = false;
        self.events.push_back(Event::ShortWrite { key, buf, sent });
    }

    /// The event that follows from a completion, if any does.
    pub(super) fn event(&mut self, completion: Completion) -> Option<Event<RecvBuf>> {
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
                    self.poll_listener(slot);
                }
                Some(Event::AcceptReady)
            }
            Operation::PollIn | Operation::PollOut | Operation::RecvMultishot
                if self.is_there(slot, generation) =>
            {
                if self.slots[slot].sending {
                    self.deferred.push(completion);
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
                completion.buf.into_iter().for_each(|buf| self.ring.recycle(buf));
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
            // What is waited for next is set after the connection has run. One that reads finds an error
            // itself; one that does not read has to be told.
            events @ 0.. => {
                Some(Event::Ready { key, readable, ended: !readable && events & BROKEN != 0 })
            }
            error if error == -libc::ECANCELED => {
                let wanted = self.slots[key].wanted;
                self.want(key, wanted.unwrap_or(Op::PollIn));
                None
            }
            _ => Some(Event::Lost { key }),
        }
    }

    fn received(&mut self, key: usize, completion: Completion) -> Option<Event<RecvBuf>> {
        let Completion { result, buf, more, .. } = completion;
        let slot = &mut self.slots[key];
        let readable = Event::Ready { key, readable: true, ended: false };
        let Some(buf) = buf else {
            // The end of the stream, an empty pool, or a cancellation: the connection reads by itself.
            slot.wanted = None;
            let ended = [0, -libc::ENOBUFS, -libc::ECANCELED].contains(&result);
            return Some(if ended { readable } else { Event::Lost { key } });
        };
        if !more {
            self.events.push_back(readable);
        }
        if slot.unread != Unread::None {
            self.unread.push_back(key, buf);
            return None;
        }
        slot.votes = if buf.len() == BUF_SIZE { slot.votes + 1 } else { 0 };
        if slot.votes == DEMOTE_AFTER || self.registered < self.multishot_threshold {
            slot.votes = 0;
            self.want(key, Op::PollIn);
        }
        Some(Event::Received { key, buf })
    }

    /// Reports the next of the buffers again that the connection at `key` had no room for, unless it still has
    /// to take the one before. Returns whether there are any.
    pub(super) fn redeliver(&mut self, key: usize) -> bool {
        let slot = &self.slots[key];
        if slot.unread == Unread::Reported || slot.sending {
            // One at a time: the next follows when this one is taken, or sent.
            return true;
        }
        let Some(buf) = self.unread.pop(key) else {
            self.slots[key].unread = Unread::None;
            return false;
        };
        self.slots[key].unread = Unread::Reported;
        self.events.push_back(Event::Received { key, buf });
        true
    }

    /// Drops what a connection had no room for.
    pub(super) fn drop_unread(&mut self, key: usize) {
        while let Some(buf) = self.unread.pop(key) {
            self.ring.recycle(buf);
        }
        for event in std::mem::take(&mut self.events) {
            match event {
                Event::Received { key: receiver, buf } if receiver == key => self.ring.recycle(buf),
                event => self.events.push_back(event),
            }
        }
    }
}
