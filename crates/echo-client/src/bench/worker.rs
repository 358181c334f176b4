//! One event loop of the load: makes connections, keeps messages in flight on them, and measures.

mod connecting;
mod turn;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::pacing::Alarm;
use super::plan::{Length, Plan};
use super::record::{Record, Tally};
use super::ring::Ring;
use super::seat::{Link, Seat};
use super::{Message, Shared};
use crate::Error;
use crate::system::{process_cpu_time, thread_cpu_time};

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
    messages: SyncSender<Message>,
    poll: Poll,
    /// What connections that are made send and receive through, unless by readiness.
    ring: Option<Ring>,
    /// Seats that have something to send through it.
    sending: Vec<usize>,
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
    times: Times,
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
    /// Sending nothing that was not due before; what comes still counts as a sample.
    Draining,
    /// The same where nothing was measured.
    Leaving,
}

/// When what is over, in nanoseconds since the run began to send.
#[derive(Debug)]
struct Times {
    warmup: u64,
    interval: u64,
    end: u64,
    /// The end of the warm-up, and then of each interval.
    mark: u64,
    /// When measuring began, and the processor time of this thread and of the server by then.
    began: u64,
    cpu_before: Option<Duration>,
    server_cpu_before: Option<Duration>,
}

impl<'a> Worker<'a> {
    /// A worker for every `shared.plan.threads`-th seat, from `index` on.
    pub(super) fn new(
        shared: &'a Shared<'a>,
        index: usize,
        messages: SyncSender<Message>,
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
            sending: Vec::new(),
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
            times: Times::of(plan),
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
        self.times = Times::of(plan);
        self.stage = Stage::WarmUp;
        for (key, seat) in self.seats.iter_mut().enumerate() {
            seat.begin();
            self.due.push(Reverse((0, key)));
        }
        loop {
            self.keep_time();
            let now = self.now();
            let through = plan.is_counted() && self.seats.iter().all(Seat::is_through);
            if now >= self.times.end || through || self.shared.stop.is_stopped() {
                return self.close_window(now);
            }
            self.send_what_is_due();
            let left = self.times.next().saturating_sub(now);
            self.turn(events, Duration::from_nanos(left).min(SWEEP));
        }
    }

    /// Notices that the warm-up or an interval is over. It is asked after each wait and before anything is
    /// done: what came while this loop was held up is not of the interval before.
    fn keep_time(&mut self) {
        let now = self.now();
        if self.stage < Stage::WarmUp || self.stage > Stage::Measuring || now < self.times.next() {
            return;
        }
        let Times { warmup, interval, mark, end, .. } = self.times;
        if self.stage == Stage::WarmUp {
            self.stage = Stage::Measuring;
            (self.times.began, self.times.cpu_before) = (now, thread_cpu_time());
            self.times.server_cpu_before = self.server_cpu_time();
        } else if now < end {
            self.hand_in((mark - warmup) / interval - 1);
        }
        // Intervals in which this loop was held up are passed over, and are empty.
        self.times.mark += interval * (now.saturating_sub(mark) / interval + 1);
    }

    /// Measures no longer.
    fn close_window(&mut self, now: u64) {
        if self.stage == Stage::Measuring {
            let window = Duration::from_nanos(now - self.times.began);
            self.tally.window = window;
            self.tally.echoes = self.seats.iter().map(|seat| seat.echoes).sum();
            let cpu = thread_cpu_time().zip(self.times.cpu_before);
            self.tally.cpu = cpu.map(|(now, before)| now - before);
            let busy = |cpu: Duration| cpu.as_secs_f64() / window.as_secs_f64().max(1e-9);
            self.tally.busy = self.tally.cpu.map(busy);
            let server_cpu = self.times.server_cpu_before.zip(self.server_cpu_time());
            self.tally.server_cpu = server_cpu.map(|(before, now)| before..now);
            self.stage = Stage::Draining;
        } else {
            // There is no window, so nothing that still comes is a sample.
            self.stage = Stage::Leaving;
        }
        self.times.end = self.times.end.min(now);
    }

    fn server_cpu_time(&self) -> Option<Duration> {
        process_cpu_time(self.shared.plan.server_pid?).ok()
    }

    /// What was measured up to the end of the interval with this number.
    fn hand_in(&mut self, index: u64) {
        let fresh = Record::new(self.shared.plan.rate.is_some());
        let record = std::mem::replace(&mut self.record, fresh);
        let message = Message::Interval { worker: self.index, index, record };
        // Where whoever collects is held up, the next interval has it all.
        let told = self.messages.try_send(message);
        if let Err(TrySendError::Full(Message::Interval { record, .. })) = told {
            self.record = record;
        }
    }

    /// Waits for what is in flight, sends what was due before the end and could not be sent by then, and takes
    /// leave. Without the latter the users who came in a stall at the end would be in no figure.
    fn drain(&mut self, events: &mut Events) {
        let (began, end) = (self.now(), self.times.end);
        let interrupted = self.shared.stop.is_stopped();
        for seat in &mut self.seats {
            if interrupted { seat.stop() } else { seat.stop_at(end) }
        }
        let timeout = self.shared.config.timeout;
        let backlog = match self.shared.plan.length {
            Length::Duration(duration) => duration.min(timeout),
            Length::Messages(_) => Duration::ZERO,
        };
        while !self.seats.iter().all(Seat::is_through) {
            let draining = Duration::from_nanos(self.now() - began);
            if draining >= backlog {
                // Sending all that is left would take as long again as the run, or longer.
                self.seats.iter_mut().for_each(Seat::stop);
                self.due.clear();
            }
            if draining >= timeout || self.shared.stop.is_stopped() && !interrupted {
                break;
            }
            self.send_what_is_due();
            self.turn(events, SWEEP);
        }
        // What has come since the last echo is none: too many bytes.
        self.turn(events, Duration::ZERO);
        for key in 0..self.seats.len() {
            self.say_goodbye(key);
        }
        self.tally.sent = self.seats.iter().map(|seat| seat.started).sum();
        self.tally.shares = self.seats.iter().map(|seat| seat.echoes).collect();
        self.tally.unsent = self.seats.iter().map(|seat| seat.unsent(end)).sum();
    }

    /// A connection has done its part.
    fn say_goodbye(&mut self, key: usize) {
        let late = !self.seats[key].is_through() && !self.shared.stop.is_stopped();
        if let Link::Up(stream) = &mut self.seats[key].link {
            let (after, received, sent) =
                (self.shared.config.timeout, stream.received(), stream.sent());
            match stream.receive(&mut self.buffer) {
                Err(error @ Error::Reply { .. }) => return self.fail(key, &error),
                _ if late => return self.fail(key, &Error::Timeout { after, received, sent }),
                _ => {}
            }
        }
        self.take_down(key);
    }
}

impl Times {
    fn of(plan: &Plan) -> Self {
        let warmup = plan.warmup.as_nanos() as u64;
        let end = match plan.length {
            Length::Duration(duration) => warmup + duration.as_nanos() as u64,
            Length::Messages(_) => u64::MAX,
        };
        let interval = (plan.interval.as_nanos() as u64).max(1);
        Self {
            warmup,
            interval,
            end,
            mark: warmup,
            began: 0,
            cpu_before: None,
            server_cpu_before: None,
        }
    }

    /// When there is something to be noticed next.
    fn next(&self) -> u64 {
        self.mark.min(self.end)
    }
}
