//! Processing completions: which events they become, and what the poller submits next.

use super::{BROKEN, DEMOTE_AFTER, UringPoller};
use crate::engine::event_loop::Event;
use crate::engine::event_loop::uring::BUF_SIZE;
use crate::engine::event_loop::uring::operation::Operation;
use crate::engine::event_loop::uring::slot::{Op, Unread};
use crate::platform::{Completion, RecvBuf};

impl UringPoller {
    /// Takes completions off the ring. If everything is submitted, also finishes sends and closes descriptors.
    pub(super) fn collect(&mut self) {
        while let Some(completion) = self.ring.next_completion() {
            let id = completion.user_data;
            match Operation::from_user_data(id) {
                Operation::Send => self.send_failed(id.slot(), id.generation(), completion.result),
                _ => self.completed.push_back(completion),
            }
        }
        if self.ring.has_submitted_all() {
            // Before anything is pushed below, which belongs to the next submission.
            self.closing.clear();
            self.submission = self.submission.wrapping_add(1);
            self.unread_due = false;
            // A send without a completion has succeeded.
            let mut sending = std::mem::take(&mut self.sending);
            for (key, generation, buf) in sending.drain(..) {
                self.ring.recycle(buf);
                if self.is_registered(key, generation) {
                    self.slots[key].sending = false;
                    if self.slots[key].unread != Unread::None && !self.redeliver(key) {
                        self.want(key, Op::PollIn);
                    }
                }
            }
            self.sending = sending;
        }
    }

    /// Handles a send that failed or was short.
    fn send_failed(&mut self, key: usize, generation: u32, result: i32) {
        if !self.is_registered(key, generation) {
            return;
        }
        let sent = match result {
            sent @ 0.. => sent as usize,
            error if error == -libc::EAGAIN => 0,
            _ => return self.events.push_back(Event::Lost { key }),
        };
        let index = self.sending.iter().position(|(to, of, _)| (*to, *of) == (key, generation));
        let Some(index) = index else {
            // The send has completed twice: how much of it was sent is unknown.
            return self.events.push_back(Event::Lost { key });
        };
        let (_, _, buf) = self.sending.swap_remove(index);
        self.slots[key].sending = false;
        self.events.push_back(Event::ShortWrite { key, buf, sent });
    }

    /// Processes a completion. Returns the event to report, if any.
    pub(super) fn event(&mut self, completion: Completion) -> Option<Event<RecvBuf>> {
        let operation = Operation::from_user_data(completion.user_data);
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
                if self.is_registered(slot, generation) =>
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

    /// Whether the connection at `key` is still the one of this generation.
    fn is_registered(&self, key: usize, generation: u32) -> bool {
        let slot = self.slots.get(key);
        slot.is_some_and(|slot| slot.generation == generation && slot.descriptor >= 0)
    }

    fn polled(&mut self, key: usize, readable: bool, result: i32) -> Option<Event<RecvBuf>> {
        match result {
            // The interest is set after the connection has run. A connection that reads finds errors by reading;
            // one that does not must be told.
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
            // End of stream, no free buffer, or cancelled: the connection reads from its socket.
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

    /// Reports the next unread buffer of the connection at `key` again, unless the one before it is still being
    /// processed. Returns whether there are any. If not, reports the connection as readable.
    pub(super) fn redeliver(&mut self, key: usize) -> bool {
        let slot = &self.slots[key];
        if slot.unread == Unread::Reported || slot.sending {
            // The next one follows when this one has been processed or sent.
            return true;
        }
        let Some(buf) = self.unread.pop(key) else {
            self.slots[key].unread = Unread::None;
            // A poll would not report that the socket is empty, for which a connection that is draining waits.
            self.events.push_back(Event::Ready { key, readable: true, ended: false });
            return false;
        };
        self.slots[key].unread = Unread::Reported;
        self.events.push_back(Event::Received { key, buf });
        true
    }

    /// Recycles the unread buffers of a connection.
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
