//! A turn of the event loop: what has happened, and what is done about it.

use std::cmp::Reverse;
use std::io::ErrorKind;
use std::time::Duration;

use mio::{Events, Token};

use super::{ALARM, BUFFER, SWEEP, Stage, Worker};
use crate::bench::ring::{Completion, Ring};
use crate::bench::seat::{Link, Next};

impl Worker<'_> {
    /// Waits for events, `limit` at the most, and acts on them.
    pub(super) fn turn(&mut self, events: &mut Events, limit: Duration) {
        self.open_more();
        let is_polling = self.shared.plan.busy_poll && self.stage != Stage::Opening;
        let limit = if is_polling { Duration::ZERO } else { limit };
        match self.ring {
            None => self.turn_by_readiness(events, limit),
            Some(_) => self.turn_of_ring(events, limit),
        }
        self.sweep();
    }

    fn turn_by_readiness(&mut self, events: &mut Events, mut limit: Duration) {
        if let Some(after) = self.until_due()
            && !limit.is_zero()
        {
            limit = self.set_alarm(after, limit);
        }
        if let Err(error) = self.poll.poll(events, Some(limit))
            && error.kind() != ErrorKind::Interrupted
        {
            // It cannot be told what is ready: like a while without news, and then another try.
            std::thread::sleep(SWEEP);
        }
        self.keep_time();
        self.act_on(events);
    }

    /// Returns how long to poll at the most, so that the next message is in time.
    fn set_alarm(&mut self, after: Duration, limit: Duration) -> Duration {
        let due = self.due.peek().map(|Reverse((due, _))| *due);
        if self.alarm_set_to == due {
            return limit;
        }
        let limit = self.alarm.set(after, limit);
        let is_set = !limit.is_zero() && after < limit;
        self.alarm_set_to = due.filter(|_| is_set);
        limit
    }

    fn turn_of_ring(&mut self, events: &mut Events, limit: Duration) {
        // This timeout is as fine as the alarm.
        let limit = self.until_due().map_or(limit, |after| after.min(limit));
        // Not before all that came was looked at: nothing of it can be an echo of this.
        let mut sending = std::mem::take(&mut self.sending);
        sending.drain(..).for_each(|key| self.hand_over(key));
        self.sending = sending;
        let Some(ring) = &mut self.ring else { return };
        if ring.wait(limit).is_err() {
            std::thread::sleep(SWEEP);
        }
        self.keep_time();
        while let Some(completion) = self.ring.as_mut().and_then(Ring::next) {
            self.complete(completion, events);
        }
    }

    /// How long until the next message is due.
    fn until_due(&self) -> Option<Duration> {
        let Reverse((due, _)) = self.due.peek()?;
        Some(Duration::from_nanos(due.saturating_sub(self.now())))
    }

    /// What the poll tells.
    fn act_on(&mut self, events: &Events) {
        for event in events {
            let Token(key) = event.token();
            if event.token() == ALARM {
                self.alarm_set_to = None;
                continue;
            }
            match self.seats[key].link {
                Link::Up(_) if self.ring.is_some() => {}
                Link::Up(_) => self.serve(key, event.is_read_closed() || event.is_error()),
                Link::Connecting(..) => self.connect_on(key),
                Link::Down => {}
            }
        }
    }

    /// What the ring tells.
    fn complete(&mut self, completion: Completion, events: &mut Events) {
        let (key, result) = match completion {
            Completion::Noticed => {
                // What it cannot tell now, it tells when it is asked again: the notice is still there.
                if self.poll.poll(events, Some(Duration::ZERO)).is_ok() {
                    self.act_on(events);
                }
                return;
            }
            Completion::Writable(key) => return self.pump(key, self.now()),
            Completion::Received(key)
            | Completion::Ended(key)
            | Completion::Failed(key, _)
            | Completion::Unsent(key, _) => {
                let (Link::Up(stream), Some(ring)) = (&mut self.seats[key].link, &self.ring) else {
                    return;
                };
                let result = match completion {
                    Completion::Received(_) => stream.check(ring.bytes()),
                    Completion::Failed(_, source) => Err(stream.lost(source)),
                    Completion::Unsent(_, count) => return stream.rewind(count as u64),
                    _ => Err(stream.eof_error()),
                };
                (key, result)
            }
        };
        match result {
            Ok(()) => {
                let now = self.now();
                self.count(key, now);
                self.pump(key, now);
            }
            Err(error) => self.fail(key, &error),
        }
    }

    /// Reads what has come and sends what there is to send. `ended` says that a `recv` which leaves room
    /// in the buffer was not the last: there is an end or an error behind it.
    fn serve(&mut self, key: usize, ended: bool) {
        // One look at the clock for an echo: the next message is sent as soon as it is there.
        let mut now = None;
        loop {
            let Link::Up(stream) = &mut self.seats[key].link else { return };
            let count = match stream.receive(&mut self.buffer) {
                Ok(None) => break,
                Ok(Some(count)) => count,
                Err(error) => return self.fail(key, &error),
            };
            let now = *now.insert(self.now());
            self.count(key, now);
            if count < BUFFER && !ended {
                break;
            }
        }
        self.pump(key, now.unwrap_or_else(|| self.now()));
    }

    /// Counts the messages that are back.
    pub(super) fn count(&mut self, key: usize, now: u64) {
        let seat = &mut self.seats[key];
        let is_sample = matches!(self.stage, Stage::Measuring | Stage::Draining);
        let record = is_sample.then_some(&mut self.record);
        let whole = seat.complete(self.wire_size, now, record);
        self.tally.received += whole;
        if self.stage == Stage::Measuring {
            seat.echoes += whole;
            self.record.echoes += whole;
        }
    }

    /// Sends what a seat may send now.
    pub(super) fn pump(&mut self, key: usize, now: u64) {
        let next = self.seats[key].start(self.shared.plan, now);
        if self.ring.is_some() {
            self.sending.push(key);
        } else if let Some((stream, end)) = self.seats[key].outgoing(self.wire_size)
            && let Err(error) = stream.send(end, &mut self.buffer)
        {
            return self.fail(key, &error);
        }
        match next {
            Next::Wait => {}
            Next::Due(due) => {
                if !std::mem::replace(&mut self.seats[key].is_waiting, true) {
                    self.due.push(Reverse((due, key)));
                }
            }
            Next::Replace => self.replace(key),
        }
    }

    /// Gives what was started to the ring, as far as there is room.
    fn hand_over(&mut self, key: usize) {
        let Some((stream, end)) = self.seats[key].outgoing(self.wire_size) else { return };
        let Some(ring) = &mut self.ring else { return };
        while stream.sent() < end {
            let left = usize::try_from(end - stream.sent()).unwrap_or(usize::MAX);
            if ring.send(key, left, |piece| stream.fill(piece)) == 0 {
                break;
            }
        }
    }

    pub(super) fn send_what_is_due(&mut self) {
        while let Some(&Reverse((due, key))) = self.due.peek() {
            let now = self.now();
            if due > now {
                break;
            }
            self.due.pop();
            self.seats[key].is_waiting = false;
            self.pump(key, now);
        }
    }
}
