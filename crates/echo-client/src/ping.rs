//! Round trips one at a time, as in ping(8).

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use echo_proto::{Framing, TestStream};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::client::connect;
use crate::distribution::histogram;
use crate::verified_stream::VerifiedStream;
use crate::{Config, Error};

/// Bytes sent or received per call.
const BUFFER_LEN: usize = 64 * 1024;
/// Shortest time between two attempts to connect again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// What to send, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Number of messages; `None` for no limit.
    pub count: Option<u64>,
    /// Time from one message to the next, if the echo has arrived by then.
    pub interval: Duration,
    /// Bytes per message; at least 1.
    pub size: u32,
    /// How messages are delimited on the wire.
    pub framing: Framing,
    /// Connect again after a failure instead of ending the run.
    pub reconnect: bool,
}

/// Progress of a run.
#[derive(Debug)]
pub enum Event {
    /// A connection was opened. It may still not echo.
    Connected {
        /// The server.
        peer: SocketAddr,
        /// How long connecting took.
        took: Duration,
    },
    /// A message came back after others had failed.
    Recovered {
        /// The outage that has ended.
        outage: Outage,
    },
    /// A message is about to be sent. Time spent in the observer delays it.
    Sending {
        /// Number of the message, from 1.
        seq: u64,
    },
    /// A message came back unchanged.
    Reply {
        /// Number of the message, from 1.
        seq: u64,
        /// From before it was sent until its whole echo had arrived.
        time: Duration,
    },
    /// A message did not come back, or came back wrong. Its connection is closed: what arrived on
    /// it later would be taken for the echo of another message.
    Failed {
        /// Number of the message, from 1.
        seq: u64,
        /// What happened, or why there is no connection.
        error: Error,
        /// The messages that failed since the last echo.
        outage: Outage,
    },
}

/// A time without an echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When the first message without an echo was sent or due.
    pub since: Instant,
    /// From then until the next echo, or until now.
    pub duration: Duration,
    /// Number of the first message without an echo.
    pub first: u64,
    /// Number of the last one.
    pub last: u64,
}

/// Sends messages and waits for the echo of each, until `count` is reached or `observe` breaks.
///
/// # Errors
///
/// The first connection fails, or the system refuses a resource. Later failures are reported as an
/// [`Event`].
pub fn run(
    config: &Config,
    ping: &Ping,
    mut observe: impl FnMut(Event) -> ControlFlow<()>,
) -> Result<(), Error> {
    let mut connection = Some(PingConnection::open(config, ping, 0, &mut observe)?);
    let mut outage: Option<Outage> = None;
    let mut due = Instant::now();
    for seq in 1..=ping.count.unwrap_or(u64::MAX) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let sent_at = Instant::now();
        due = sent_at + ping.interval;
        let _ = observe(Event::Sending { seq });
        let result = match &mut connection {
            Some(connection) => connection.round_trip(config.timeout),
            None => PingConnection::open(config, ping, seq, &mut observe)
                .and_then(|opened| connection.insert(opened).round_trip(config.timeout)),
        };
        let control = match result {
            Ok(time) => {
                if let Some(outage) = outage.take() {
                    let duration = outage.since.elapsed();
                    let _ = observe(Event::Recovered { outage: Outage { duration, ..outage } });
                }
                observe(Event::Reply { seq, time })
            }
            Err(error) => {
                connection = None;
                due = due.max(sent_at + RETRY_DELAY);
                let so_far = outage.get_or_insert(Outage::of(seq, sent_at));
                (so_far.last, so_far.duration) = (seq, so_far.since.elapsed());
                let control = observe(Event::Failed { seq, error, outage: *so_far });
                if ping.reconnect { control } else { ControlFlow::Break(()) }
            }
        };
        if control.is_break() {
            break;
        }
    }
    Ok(())
}

impl Outage {
    /// An outage that starts with the message `seq`.
    fn of(seq: u64, since: Instant) -> Self {
        Self { since, duration: Duration::ZERO, first: seq, last: seq }
    }
}

/// A connection and its poll.
struct PingConnection {
    stream: VerifiedStream,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    wire_size: u64,
}

impl PingConnection {
    /// Connects and reports it. Each `number` has its own test stream.
    fn open(
        config: &Config,
        ping: &Ping,
        number: u64,
        observe: &mut impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Self, Error> {
        let started = Instant::now();
        let (stream, peer) = connect(config)?;
        let took = started.elapsed();
        let messages = TestStream::new(number, ping.framing, ping.size);
        let connection = Self::new(stream, messages).map_err(Error::Setup)?;
        // The observer decides with the first reply whether to go on.
        let _ = observe(Event::Connected { peer, took });
        Ok(connection)
    }

    fn new(stream: std::net::TcpStream, messages: TestStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let poll = Poll::new()?;
        let mut stream = VerifiedStream::new(TcpStream::from_std(stream), messages);
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream.socket, Token(0), both)?;
        let (events, buffer) = (Events::with_capacity(1), vec![0; BUFFER_LEN]);
        Ok(Self { stream, poll, events, buffer, wire_size: messages.wire_size() })
    }

    /// Sends a message and waits for its echo, for at most `timeout` without a byte.
    fn round_trip(&mut self, timeout: Duration) -> Result<Duration, Error> {
        // What has arrived since the last echo is surplus, or the end of the stream.
        self.stream.receive(&mut self.buffer)?;
        let end = self.stream.sent() + self.wire_size;
        let started = Instant::now();
        let mut last_byte_at = started;
        loop {
            self.stream.send(end, &mut self.buffer)?;
            while self.stream.receive(&mut self.buffer)?.is_some() {
                last_byte_at = Instant::now();
                // Return without another `receive`: the server may close right after its echo.
                if self.stream.received() == end {
                    return Ok(last_byte_at - started);
                }
            }
            let left = timeout.saturating_sub(last_byte_at.elapsed());
            if left.is_zero() {
                return Err(self.stream.timeout(timeout));
            }
            match self.poll.poll(&mut self.events, Some(left)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(Error::Setup(error));
                }
                _ => {}
            }
        }
    }
}

/// Summary of a run so far.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Messages sent, or due while there was no connection.
    pub transmitted: u64,
    /// Messages that came back unchanged.
    pub received: u64,
    /// Their round-trip times.
    pub times: Times,
    /// Times to connect.
    pub connects: Times,
    /// The outages that have ended, at most the first hundred.
    pub outages: Vec<Outage>,
    /// Number of outages that have ended.
    pub outage_count: u64,
    /// The current outage.
    pub outage: Option<Outage>,
}

/// Times in nanoseconds.
#[derive(Clone, Debug)]
pub struct Times {
    /// All times, with three significant digits.
    pub histogram: Histogram<u64>,
    /// Shortest time, exactly; 0 without a time.
    pub min_ns: u64,
    /// Longest time, exactly.
    pub max_ns: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { histogram: histogram(), min_ns: 0, max_ns: 0 }
    }
}

impl Times {
    fn record(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.min_ns = if self.histogram.is_empty() { ns } else { self.min_ns.min(ns) };
        self.max_ns = self.max_ns.max(ns);
        self.histogram.saturating_record(ns);
    }
}

/// Outages kept in a summary.
const MAX_OUTAGES: usize = 100;

impl Summary {
    /// Adds an event to the summary.
    pub fn record(&mut self, event: &Event) {
        match event {
            Event::Connected { took, .. } => self.connects.record(*took),
            Event::Recovered { outage } => {
                self.outage = None;
                self.outage_count += 1;
                if self.outages.len() < MAX_OUTAGES {
                    self.outages.push(*outage);
                }
            }
            Event::Reply { time, .. } => {
                self.transmitted += 1;
                self.received += 1;
                self.times.record(*time);
            }
            Event::Failed { outage, .. } => {
                self.transmitted += 1;
                self.outage = Some(*outage);
            }
            Event::Sending { .. } => {}
        }
    }

    /// Messages without a correct echo.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.transmitted - self.received
    }
}
