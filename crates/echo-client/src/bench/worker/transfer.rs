//! A turn of the event loop: what has happened, and what is done about it.

use std::cmp::Reverse;
use std::io::ErrorKind;
use std::time::Duration;

use mio::{Events, Token};

use super::{BUFFER_LEN, SWEEP_INTERVAL, Stage, TIMER, Worker};
use crate::bench::connection::{LinkState, NextStep};
use crate::bench::ring::{Completion, Ring};

impl Worker<'_> {
    /// Waits for events, `limit` at the most, and acts on them.
    pub(super) fn run_once(&mut self, events: &mut Events, limit: Duration) {
        self.start_connects();
        let is_polling = self.shared.workload.busy_poll && self.stage != Stage::Connecting;
        let limit = if is_polling { Duration::ZERO } else { limit };
        match self.ring {
            None => self.run_once_readiness(events, limit),
            Some(_) => self.run_once_uring(events, limit),
        }
        self.sweep();
    }

    fn run_once_readiness(&mut self, events: &mut Events, mut limit: Duration) {
        if let Some(after) = self.until_due()
            && !limit.is_zero()
        {
            limit = self.arm_timer(after, limit);
        }
        if let Err(error) = self.poll.poll(events, Some(limit))
            && error.kind() != ErrorKind::Interrupted
        {
            // It cannot be told what is ready: like a while without news, and then another try.
            std::thread::sleep(SWEEP_INTERVAL);
        }
        self.update_stage();
        self.handle_events(events);
    }

    /// Returns how long to poll at the most, so that the next message is in time.
    fn arm_timer(&mut self, after: Duration, limit: Duration) -> Duration {
        let due = self.due.peek().map(|Reverse((due, _))| *due);
        if self.timer_armed_for == due {
            return limit;
        }
        let limit = self.timer.arm(after, limit);
        let is_set = !limit.is_zero() && after < limit;
        self.timer_armed_for = due.filter(|_| is_set);
        limit
    }

    fn run_once_uring(&mut self, events: &mut Events, limit: Duration) {
        // This timeout is as fine as the alarm.
        let limit = self.until_due().map_or(limit, |after| after.min(limit));
        // Not before all that came was looked at: nothing of it can be an echo of this.
        let mut sending = std::mem::take(&mut self.sending);
        sending.drain(..).for_each(|key| self.submit_sends(key));
        self.sending = sending;
        let Some(ring) = &mut self.ring else { return };
        if ring.wait(limit).is_err() {
            std::thread::sleep(SWEEP_INTERVAL);
        }
        self.update_stage();
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
    fn handle_events(&mut self, events: &Events) {
        for event in events {
            let Token(key) = event.token();
            if event.token() == TIMER {
                self.timer_armed_for = None;
                continue;
            }
            match self.connections[key].link {
                LinkState::Up(_) if self.ring.is_some() => {}
                LinkState::Up(_) => {
                    self.on_readable(key, event.is_read_closed() || event.is_error())
                }
                LinkState::Connecting(..) => self.on_connect_event(key),
                LinkState::Down => {}
            }
        }
    }

    /// What the ring tells.
    fn complete(&mut self, completion: Completion, events: &mut Events) {
        let (key, result) = match completion {
            Completion::Noticed => {
                // What it cannot tell now, it tells when it is asked again: the notice is still there.
                if self.poll.poll(events, Some(Duration::ZERO)).is_ok() {
                    self.handle_events(events);
                }
                return;
            }
            Completion::Writable(key) => return self.pump(key, self.now()),
            Completion::Received(key)
            | Completion::Ended(key)
            | Completion::Failed(key, _)
            | Completion::Unsent(key, _) => {
                let (LinkState::Up(stream), Some(ring)) =
                    (&mut self.connections[key].link, &self.ring)
                else {
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
                self.count_echoes(key, now);
                self.pump(key, now);
            }
            Err(error) => self.fail(key, &error),
        }
    }

    /// Reads what has come and sends what there is to send. `ended` says that a `recv` which leaves room
    /// in the buffer was not the last: there is an end or an error behind it.
    fn on_readable(&mut self, key: usize, ended: bool) {
        // One look at the clock for an echo: the next message is sent as soon as it is there.
        let mut now = None;
        loop {
            let LinkState::Up(stream) = &mut self.connections[key].link else { return };
            let count = match stream.receive(&mut self.buffer) {
                Ok(None) => break,
                Ok(Some(count)) => count,
                Err(error) => return self.fail(key, &error),
            };
            let now = *now.insert(self.now());
            self.count_echoes(key, now);
            if count < BUFFER_LEN && !ended {
                break;
            }
        }
        self.pump(key, now.unwrap_or_else(|| self.now()));
    }

    /// Counts the messages that are back.
    pub(super) fn count_echoes(&mut self, key: usize, now: u64) {
        let connection = &mut self.connections[key];
        let is_sample = matches!(self.stage, Stage::Measuring | Stage::Draining);
        let stats = is_sample.then_some(&mut self.stats);
        let whole = connection.complete(self.wire_size, now, stats);
        self.totals.received += whole;
        if self.stage == Stage::Measuring {
            connection.echoes += whole;
            self.stats.echoes += whole;
        }
    }

    /// Sends what a seat may send now.
    pub(super) fn pump(&mut self, key: usize, now: u64) {
        let next = self.connections[key].start(self.shared.workload, now);
        if self.ring.is_some() {
            self.sending.push(key);
        } else if let Some((stream, end)) = self.connections[key].outgoing(self.wire_size)
            && let Err(error) = stream.send(end, &mut self.buffer)
        {
            return self.fail(key, &error);
        }
        match next {
            NextStep::Wait => {}
            NextStep::Due(due) => {
                if !std::mem::replace(&mut self.connections[key].is_scheduled, true) {
                    self.due.push(Reverse((due, key)));
                }
            }
            NextStep::Replace => self.replace(key),
        }
    }

    /// Gives what was started to the ring, as far as there is room.
    fn submit_sends(&mut self, key: usize) {
        let Some((stream, end)) = self.connections[key].outgoing(self.wire_size) else { return };
        let Some(ring) = &mut self.ring else { return };
        while stream.sent() < end {
            let left = usize::try_from(end - stream.sent()).unwrap_or(usize::MAX);
            if ring.send(key, left, |piece| stream.fill(piece)) == 0 {
                break;
            }
        }
    }

    pub(super) fn send_due(&mut self) {
        while let Some(&Reverse((due, key))) = self.due.peek() {
            let now = self.now();
            if due > now {
                break;
            }
            self.due.pop();
            self.connections[key].is_scheduled = false;
            self.pump(key, now);
        }
    }
}
