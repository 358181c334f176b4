//! One event loop of the load: makes connections, keeps messages in flight on them, and measures.

mod connecting;
mod turn;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::pacing::Alarm;
use super::plan::Length;
use super::record::{Record, Tally};
use super::ring::Ring;
use super::seat::{Link, Seat};
use super::{Message, Shared};
use crate::Error;
use crate::system::thread_cpu_time;

/// The token of the alarm; the others are those of the seats.
const ALARM: Token = Token(usize::MAX);
/// What is sent or received at once.
const BUFFER: usize = 64 * 1024;
/// Sockets reported at once.
const EVENTS: usize = 1024;
/// How often timeouts are looked at, and with them whether to stop.
const SWEEP: Duration = Duration::from_millis(100);

/// An event loop and its seats.
pub(super) struct Worker<'a> {
    shared: &'a Shared<'a>,
    index: usize,
    messages: Sender<Message>,
    poll: Poll,
    /// What connections that are made send and receive through, unless by readiness.
    ring: Option<Ring>,
    alarm: Alarm,
    /// What the alarm is set to.
    alarm_set_to: Option<u64>,
    seats: Vec<Seat>,
    /// Seats whose connection is to be made, and how many are at it.
    opening: VecDeque<usize>,
    connecting: usize,
    /// Seats whose first connection is neither there nor has failed.
    unresolved: usize,
    first_failure: Option<io::Error>,
    /// Seats by when their next message is due.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    buffer: Vec<u8>,
    /// Bytes of a message on the wire.
    wire_size: u64,
    stage: Stage,
    /// All times are counted from here: when the run began to send.
    epoch: Instant,
    last_sweep: u64,
    record: Record,
    tally: Tally,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Making the first connections.
    Opening,
    /// Sending, and measuring nothing yet.
    WarmUp,
    /// Sending and measuring.
    Measuring,
    /// Sending nothing more; what is in flight still counts as a sample.
    Draining,
}

impl<'a> Worker<'a> {
    /// A worker for every `shared.plan.threads`-th seat, from `index` on.
    pub(super) fn new(
        shared: &'a Shared<'a>,
        index: usize,
        messages: Sender<Message>,
        ring: Option<Ring>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let alarm = Alarm::new(&poll, ALARM)?;
        let plan = shared.plan;
        let numbers = (index..plan.connections).step_by(shared.threads);
        let seats: Vec<_> = numbers.map(|number| Seat::new(plan, number)).collect();
        Ok(Self {
            shared,
            index,
            messages,
            poll,
            ring,
            alarm,
            alarm_set_to: None,
            opening: VecDeque::new(),
            connecting: 0,
            unresolved: seats.len(),
            first_failure: None,
            due: BinaryHeap::new(),
            buffer: vec![0; BUFFER],
            wire_size: shared.wire_size,
            stage: Stage::Opening,
            epoch: Instant::now(),
            last_sweep: 0,
            record: Record::new(plan.rate.is_some()),
            tally: Tally::default(),
            seats,
        })
    }

    /// The whole run. The last message that it sends is [`Message::Done`].
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        if let Some(Err(error)) = self.ring.as_mut().map(|ring| ring.begin(&self.poll)) {
            self.give_up(error);
        }
        (0..self.seats.len()).for_each(|key| self.open(key));
        while self.unresolved > 0 && !self.shared.stop.is_stopped() {
            self.turn(&mut events, SWEEP);
        }
        let connected = self.seats.iter().any(|seat| matches!(seat.link, Link::Up(_)));
        let failure = self.first_failure.take();
        self.say(Message::Ready { connected, failure });
        if let Some(begin) = self.shared.gate.wait() {
            self.epoch = begin;
            self.last_sweep = 0;
            self.load(&mut events);
            self.drain(&mut events);
        }
        let record = std::mem::replace(&mut self.record, Record::new(false));
        let (worker, tally) = (self.index, Box::new(std::mem::take(&mut self.tally)));
        self.say(Message::Done { worker, record, tally });
    }

    /// Nothing can be sent or received.
    fn give_up(&mut self, error: io::Error) {
        self.seats.clear();
        self.unresolved = 0;
        self.first_failure = Some(error);
    }

    /// Nobody listens only where the run is given up.
    fn say(&self, message: Message) {
        let _ = self.messages.send(message);
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Sends and measures until it is over.
    fn load(&mut self, events: &mut Events) {
        let plan = self.shared.plan;
        let warmup = plan.warmup.as_nanos() as u64;
        let end = match plan.length {
            Length::Duration(duration) => warmup + duration.as_nanos() as u64,
            Length::Messages(_) => u64::MAX,
        };
        let interval = (plan.interval.as_nanos() as u64).max(1);
        let mut mark = warmup;
        let (mut began, mut cpu_before) = (0, None);
        self.stage = Stage::WarmUp;
        for (key, seat) in self.seats.iter_mut().enumerate() {
            seat.begin();
            self.due.push(Reverse((0, key)));
        }
        loop {
            let now = self.now();
            if now >= mark.min(end) {
                if self.stage == Stage::WarmUp {
                    self.stage = Stage::Measuring;
                    (began, cpu_before) = (now, thread_cpu_time());
                } else if now < end {
                    self.hand_in((mark - warmup) / interval - 1);
                }
                // A loop that was held up passes over what it has missed.
                mark += interval * (now.saturating_sub(mark) / interval + 1);
            }
            let through = plan.is_counted() && self.seats.iter().all(Seat::is_through);
            if now >= end || through || self.shared.stop.is_stopped() {
                break;
            }
            self.send_what_is_due();
            let limit = Duration::from_nanos(mark.min(end).saturating_sub(now)).min(SWEEP);
            self.turn(events, limit);
        }
        let now = self.now();
        let window = Duration::from_nanos(now - began);
        self.tally.window = window;
        self.tally.echoes = self.seats.iter().map(|seat| seat.echoes).sum();
        self.tally.rate = self.tally.echoes as f64 / window.as_secs_f64().max(1e-9);
        self.tally.cpu = thread_cpu_time().zip(cpu_before).map(|(now, before)| now - before);
        self.tally.busy =
            self.tally.cpu.map(|cpu| cpu.as_secs_f64() / window.as_secs_f64().max(1e-9));
        if !plan.is_counted() {
            self.tally.unsent = self.seats.iter().map(|seat| seat.unsent(now.min(end))).sum();
        }
    }

    /// What was measured up to the end of the interval with this number.
    fn hand_in(&mut self, index: u64) {
        let fresh = Record::new(self.shared.plan.rate.is_some());
        let record = std::mem::replace(&mut self.record, fresh);
        self.say(Message::Interval { worker: self.index, index, record });
    }

    /// Waits for what is in flight, and takes leave.
    fn drain(&mut self, events: &mut Events) {
        self.stage = Stage::Draining;
        self.seats.iter_mut().for_each(Seat::stop);
        while !self.seats.iter().all(Seat::is_through) {
            self.turn(events, SWEEP);
        }
        // What has come since the last echo is none: too many bytes.
        self.turn(events, Duration::ZERO);
        for key in 0..self.seats.len() {
            if let Link::Up(lane) = &mut self.seats[key].link
                && let Err(error @ Error::Reply { .. }) = lane.receive(&mut self.buffer)
            {
                self.fail(key, &error);
            }
            self.take_down(key);
        }
        self.tally.sent = self.seats.iter().map(|seat| seat.started).sum();
        self.tally.shares = self.seats.iter().map(|seat| seat.echoes).collect();
    }
}
