//! One iteration of the event loop: waits for events and moves bytes.

use std::io::ErrorKind;
use std::time::Duration;

use super::{BUFFER_LEN, SWEEP_INTERVAL, Stage, TIMER, Worker};
use crate::bench::connection::{LinkState, NextStep};
use crate::bench::ring::{Completion, Ring};
use crate::platform::{Events, Token, sleep};
use crate::rearm::rearm;

impl Worker<'_> {
    /// Waits for events for at most `limit` and handles them.
    pub(super) fn run_once(&mut self, events: &mut Events, limit: Duration) {
        self.start_connects();
        let is_polling = self.shared.workload.busy_poll && self.meter.stage != Stage::Connecting;
        let limit = if is_polling { Duration::ZERO } else { limit };
        match self.ring {
            None => self.run_once_readiness(events, limit),
            Some(_) => self.run_once_uring(events, limit),
        }
        self.sweep(events);
    }

    fn run_once_readiness(&mut self, events: &mut Events, limit: Duration) {
        let limit = self.pacer.arm(self.start, limit);
        if let Err(error) = self.poll.poll(events, Some(limit))
            && error.kind() != ErrorKind::Interrupted
        {
            // The poll failed, so readiness is unknown: pause, then try again.
            sleep(SWEEP_INTERVAL);
        }
        self.update_stage();
        self.handle_events(events);
    }

    pub(super) fn run_once_uring(&mut self, events: &mut Events, limit: Duration) {
        // The ring's timeout is as precise as the timer.
        let limit = self.pacer.until_next(self.start).map_or(limit, |after| after.min(limit));
        // Only after all completions are handled: none of them can be an echo of this.
        let mut sending = std::mem::take(&mut self.sending);
        if !sending.is_empty() {
            // All of them are sent by the call below, or earlier where the arena is full.
            let now = self.now();
            sending.drain(..).for_each(|key| self.submit_sends(key, now));
        }
        self.sending = sending;
        let Some(ring) = &mut self.ring else { return };
        if ring.wait(limit).is_err() {
            sleep(SWEEP_INTERVAL);
        }
        self.update_stage();
        while let Some(completion) = self.ring.as_mut().and_then(Ring::next) {
            self.complete(completion, events);
        }
    }

    /// Handles readiness events.
    fn handle_events(&mut self, events: &Events) {
        for event in events {
            let Token(key) = event.token();
            if event.token() == TIMER {
                self.pacer.expired();
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

    /// Handles a completion of the ring.
    fn complete(&mut self, completion: Completion, events: &mut Events) {
        let (key, result) = match completion {
            Completion::Woken => {
                // If the poll fails, its descriptor is still readable and is reported again.
                if self.poll.poll(events, Some(Duration::ZERO)).is_ok() {
                    self.handle_events(events);
                }
                return;
            }
            Completion::Writable(key) => return self.pump(key, self.now()),
            Completion::Received(key)
            | Completion::Ended(key)
            | Completion::Failed(key, _)
            | Completion::ShortWrite(key, _) => {
                let (LinkState::Up(stream), Some(ring)) =
                    (&mut self.connections[key].link, &self.ring)
                else {
                    return;
                };
                let result = match completion {
                    Completion::Received(_) => stream.check(ring.bytes()),
                    Completion::Failed(_, source) => Err(stream.lost(source)),
                    Completion::ShortWrite(_, count) => return stream.rewind(count as u64),
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

    /// Reads what has arrived and sends what is due. With `ended`, a short read does not mean that
    /// the socket is empty: an end of stream or an error follows.
    pub(super) fn on_readable(&mut self, key: usize, ended: bool) {
        // The clock is read once per echo: the next message is sent as soon as it has arrived.
        let mut now = None;
        loop {
            let LinkState::Up(stream) = &mut self.connections[key].link else { return };
            let count = match stream.receive(&mut self.buffer) {
                Ok(None) => {
                    // The process may have been suspended in this call.
                    now = None;
                    break;
                }
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

    /// Records the messages that came back.
    pub(super) fn count_echoes(&mut self, key: usize, now: u64) {
        let (connection, wire_size) = (&mut self.connections[key], self.shared.wire_size);
        let echoes = connection.complete(wire_size, now, self.meter.samples());
        if self.meter.count(echoes) {
            connection.echoes += echoes;
        }
    }

    /// Sends what may be sent now: nothing before the run, whatever is reported for a connection.
    pub(super) fn pump(&mut self, key: usize, now: u64) {
        if self.meter.stage == Stage::Connecting {
            return;
        }
        let connection = &mut self.connections[key];
        let next = connection.start(self.shared.workload, now);
        if self.ring.is_some() {
            self.sending.push(key);
        } else {
            connection.stamp(now);
            if let Some((stream, end)) = connection.outgoing(self.shared.wire_size) {
                let sent = stream.send(end, &mut self.buffer);
                let rearmed = sent.and_then(|()| {
                    let (registry, has_unsent) = (self.poll.registry(), stream.sent() < end);
                    let rearmed = rearm(registry, &mut stream.socket, Token(key), has_unsent);
                    rearmed.map_err(|source| stream.lost(source))
                });
                if let Err(error) = rearmed {
                    return self.fail(key, &error);
                }
            }
        }
        match next {
            NextStep::Wait => {}
            NextStep::Due(due) => {
                if !std::mem::replace(&mut self.connections[key].is_scheduled, true) {
                    self.pacer.push(due, key);
                }
            }
            NextStep::Replace => self.replace(key),
        }
    }

    /// Submits started messages to the ring, as far as there is room.
    fn submit_sends(&mut self, key: usize, now: u64) {
        self.connections[key].stamp(now);
        let Some((stream, end)) = self.connections[key].outgoing(self.shared.wire_size) else {
            return;
        };
        let Some(ring) = &mut self.ring else { return };
        while stream.sent() < end {
            let left = usize::try_from(end - stream.sent()).unwrap_or(usize::MAX);
            if ring.send(key, left, |piece| stream.fill(piece)) == 0 {
                break;
            }
        }
    }

    pub(super) fn send_due(&mut self) {
        while let Some((key, now)) = self.pacer.pop(self.start) {
            self.connections[key].is_scheduled = false;
            self.pump(key, now);
        }
    }
}
