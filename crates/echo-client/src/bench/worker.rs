//! The event loop of one load thread: opens connections, keeps messages in flight and measures.

mod connecting;
mod transfer;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::connection::{ClientConnection, LinkState};
use super::pacing::WakeTimer;
use super::ring::Ring;
use super::stats::{IntervalStats, Totals};
use super::workload::{RunLimit, Workload};
use super::{Shared, Update};
use crate::Error;
use crate::system::{process_cpu_time, thread_cpu_time};

/// Token of the timer. The other tokens are indices of connections.
const TIMER: Token = Token(usize::MAX);
/// Bytes sent or received per call.
const BUFFER_LEN: usize = 64 * 1024;
/// Readiness events per poll.
const EVENT_CAPACITY: usize = 1024;
/// How often timeouts and the stop flag are checked.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// An event loop and its connections.
pub(super) struct Worker<'a> {
    shared: &'a Shared<'a>,
    index: usize,
    updates: SyncSender<Update>,
    poll: Poll,
    /// The ring that established connections use; `None` for readiness.
    ring: Option<Ring>,
    /// Connections with data to submit to the ring.
    sending: Vec<usize>,
    timer: WakeTimer,
    /// What the timer is armed for.
    timer_armed_for: Option<u64>,
    connections: Vec<ClientConnection>,
    /// Connections waiting to connect, and how many connects are pending.
    connect_queue: VecDeque<usize>,
    connecting: usize,
    /// Connections whose first connect has neither succeeded nor failed.
    unresolved: usize,
    first_failure: Option<io::Error>,
    /// Connections by the time their next message is due.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    buffer: Vec<u8>,
    /// Bytes of a message on the wire.
    wire_size: u64,
    stage: Stage,
    times: Times,
    /// Start of the run: times count from here.
    epoch: Instant,
    last_sweep: u64,
    stats: IntervalStats,
    totals: Totals,
}

/// Stage of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Opening the first connections.
    Connecting,
    /// Sending without measuring.
    WarmUp,
    /// Sending and measuring.
    Measuring,
    /// Sending only what was due before the end. Echoes still count as samples.
    Draining,
    /// Finishing a run that measured nothing.
    Closing,
}

/// When each stage ends, in nanoseconds since the start of the run.
#[derive(Debug)]
struct Times {
    warmup: u64,
    interval: u64,
    end: u64,
    /// End of the warm-up, then of each interval.
    next_mark: u64,
    /// When measuring began, and the CPU time of this thread and of the server by then.
    started_at: u64,
    cpu_before: Option<Duration>,
    server_cpu_before: Option<Duration>,
}

impl<'a> Worker<'a> {
    /// A worker for every `shared.threads`-th connection, from `index` on.
    pub(super) fn new(
        shared: &'a Shared<'a>,
        index: usize,
        updates: SyncSender<Update>,
        ring: Option<Ring>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = WakeTimer::new(&poll, TIMER)?;
        let workload = shared.workload;
        let numbers = (index..workload.connections).step_by(shared.threads);
        let connections: Vec<_> =
            numbers.map(|number| ClientConnection::new(workload, number)).collect();
        Ok(Self {
            shared,
            index,
            updates,
            poll,
            ring,
            sending: Vec::new(),
            timer,
            timer_armed_for: None,
            connect_queue: VecDeque::new(),
            connecting: 0,
            unresolved: connections.len(),
            first_failure: None,
            due: BinaryHeap::new(),
            buffer: vec![0; BUFFER_LEN],
            wire_size: shared.wire_size,
            stage: Stage::Connecting,
            times: Times::of(workload),
            epoch: Instant::now(),
            last_sweep: 0,
            stats: IntervalStats::new(workload.rate.is_some()),
            totals: Totals::default(),
            connections,
        })
    }

    /// Runs to the end. The last update is [`Update::Done`].
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENT_CAPACITY);
        if let Some(Err(error)) = self.ring.as_mut().map(|ring| ring.begin(&self.poll)) {
            self.abort(error);
        }
        (0..self.connections.len()).for_each(|key| self.queue_connect(key));
        while self.unresolved > 0 && !self.shared.stop.is_stopped() {
            self.run_once(&mut events, SWEEP_INTERVAL);
        }
        let connected =
            self.connections.iter().any(|connection| matches!(connection.link, LinkState::Up(_)));
        let failure = self.first_failure.take();
        self.send(Update::Ready { connected, failure });
        if let Some(start) = self.shared.barrier.wait() {
            self.epoch = start;
            self.last_sweep = 0;
            self.load(&mut events);
            self.drain(&mut events);
        }
        let stats = std::mem::replace(&mut self.stats, IntervalStats::new(false));
        let (worker, totals) = (self.index, Box::new(std::mem::take(&mut self.totals)));
        self.send(Update::Done { worker, stats, totals });
    }

    /// Gives up all connections: nothing can be sent or received.
    fn abort(&mut self, error: io::Error) {
        self.connections.clear();
        self.unresolved = 0;
        self.first_failure = Some(error);
    }

    /// Fails only if the run has been given up and the receiver is gone.
    fn send(&self, update: Update) {
        let _ = self.updates.send(update);
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Sends and measures until the limit is reached.
    fn load(&mut self, events: &mut Events) {
        let workload = self.shared.workload;
        self.times = Times::of(workload);
        self.stage = Stage::WarmUp;
        for (key, connection) in self.connections.iter_mut().enumerate() {
            connection.start_clock();
            self.due.push(Reverse((0, key)));
        }
        loop {
            self.update_stage();
            let now = self.now();
            let finished =
                workload.is_counted() && self.connections.iter().all(ClientConnection::is_finished);
            if now >= self.times.end || finished || self.shared.stop.is_stopped() {
                return self.close_window(now);
            }
            self.send_due();
            let left = self.times.next().saturating_sub(now);
            self.run_once(events, Duration::from_nanos(left).min(SWEEP_INTERVAL));
        }
    }

    /// Enters the next stage or interval when its time has come. Called after each wait and before
    /// any event is handled: what arrived while the thread was delayed does not belong to the
    /// earlier interval.
    fn update_stage(&mut self) {
        let now = self.now();
        if self.stage < Stage::WarmUp || self.stage > Stage::Measuring || now < self.times.next() {
            return;
        }
        let Times { warmup, interval, next_mark, end, .. } = self.times;
        if self.stage == Stage::WarmUp {
            self.stage = Stage::Measuring;
            (self.times.started_at, self.times.cpu_before) = (now, thread_cpu_time());
            self.times.server_cpu_before = self.server_cpu_time();
        } else if now < end {
            self.submit_interval((next_mark - warmup) / interval - 1);
        }
        // Intervals that passed while the thread was delayed stay empty.
        self.times.next_mark += interval * (now.saturating_sub(next_mark) / interval + 1);
    }

    /// Ends the measuring window.
    fn close_window(&mut self, now: u64) {
        if self.stage == Stage::Measuring {
            let window = Duration::from_nanos(now - self.times.started_at);
            self.totals.window = window;
            self.totals.echoes = self.connections.iter().map(|connection| connection.echoes).sum();
            let cpu = thread_cpu_time().zip(self.times.cpu_before);
            self.totals.cpu = cpu.map(|(now, before)| now - before);
            let busy = |cpu: Duration| cpu.as_secs_f64() / window.as_secs_f64().max(1e-9);
            self.totals.busy = self.totals.cpu.map(busy);
            let server_cpu = self.times.server_cpu_before.zip(self.server_cpu_time());
            self.totals.server_cpu = server_cpu.map(|(before, now)| before..now);
            self.stage = Stage::Draining;
        } else {
            // Without a window no later echo is a sample.
            self.stage = Stage::Closing;
        }
        self.times.end = self.times.end.min(now);
    }

    fn server_cpu_time(&self) -> Option<Duration> {
        process_cpu_time(self.shared.workload.server_pid?).ok()
    }

    /// Hands over what was measured in the interval `index`.
    fn submit_interval(&mut self, index: u64) {
        let empty = IntervalStats::new(self.shared.workload.rate.is_some());
        let stats = std::mem::replace(&mut self.stats, empty);
        let update = Update::Interval { worker: self.index, index, stats };
        // If the collecting thread is behind, this interval's samples go into the next one.
        let sent = self.updates.try_send(update);
        if let Err(TrySendError::Full(Update::Interval { stats, .. })) = sent {
            self.stats = stats;
        }
    }

    /// Waits for the messages in flight and sends those that were due before the end but could not
    /// be sent in time. Otherwise a stall at the end of a run would be missing from the latencies.
    fn drain(&mut self, events: &mut Events) {
        let (started_at, end) = (self.now(), self.times.end);
        let interrupted = self.shared.stop.is_stopped();
        for connection in &mut self.connections {
            if interrupted { connection.stop() } else { connection.stop_at(end) }
        }
        let timeout = self.shared.config.timeout;
        let backlog = match self.shared.workload.limit {
            RunLimit::Duration(duration) => duration.min(timeout),
            RunLimit::Messages(_) => Duration::ZERO,
        };
        while !self.connections.iter().all(ClientConnection::is_finished) {
            let draining = Duration::from_nanos(self.now() - started_at);
            if draining >= backlog {
                // Sending the rest would take as long as the run again, or longer.
                self.connections.iter_mut().for_each(ClientConnection::stop);
                self.due.clear();
            }
            if draining >= timeout || self.shared.stop.is_stopped() && !interrupted {
                break;
            }
            self.send_due();
            self.run_once(events, SWEEP_INTERVAL);
        }
        // Bytes that arrive after the last echo are surplus.
        self.run_once(events, Duration::ZERO);
        for key in 0..self.connections.len() {
            self.finish_connection(key);
        }
        self.totals.sent = self.connections.iter().map(|connection| connection.started).sum();
        self.totals.shares = self.connections.iter().map(|connection| connection.echoes).collect();
        self.totals.unsent = self.connections.iter().map(|connection| connection.unsent(end)).sum();
    }

    /// Closes a connection at the end of the run.
    fn finish_connection(&mut self, key: usize) {
        let late = !self.connections[key].is_finished() && !self.shared.stop.is_stopped();
        if let LinkState::Up(stream) = &mut self.connections[key].link {
            let (after, received, sent) =
                (self.shared.config.timeout, stream.received(), stream.sent());
            match stream.receive(&mut self.buffer) {
                Err(error @ Error::Reply { .. }) => return self.fail(key, &error),
                _ if late => return self.fail(key, &Error::Timeout { after, received, sent }),
                _ => {}
            }
        }
        self.disconnect(key);
    }
}

impl Times {
    fn of(workload: &Workload) -> Self {
        let warmup = workload.warmup.as_nanos() as u64;
        let end = match workload.limit {
            RunLimit::Duration(duration) => warmup + duration.as_nanos() as u64,
            RunLimit::Messages(_) => u64::MAX,
        };
        let interval = (workload.interval.as_nanos() as u64).max(1);
        Self {
            warmup,
            interval,
            end,
            next_mark: warmup,
            started_at: 0,
            cpu_before: None,
            server_cpu_before: None,
        }
    }

    /// When the stage or the interval has to be checked next.
    fn next(&self) -> u64 {
        self.next_mark.min(self.end)
    }
}
