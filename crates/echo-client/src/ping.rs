//! Round trips, one after the other, as ping(8) does them.

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

/// What is sent or received at once.
const BUFFER_LEN: usize = 64 * 1024;
/// The shortest time between two attempts to connect again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// What to send, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Messages to send; `None` for no end.
    pub count: Option<u64>,
    /// From one message to the next, if its echo is there by then.
    pub interval: Duration,
    /// Bytes of a message; at least one.
    pub size: u32,
    /// How messages are told apart on the wire.
    pub framing: Framing,
    /// Connect again after a failure instead of ending the run.
    pub reconnect: bool,
}

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// There is a connection. Whether it echoes is another matter.
    Connected {
        /// The server.
        peer: SocketAddr,
        /// How long it took to get.
        took: Duration,
    },
    /// After messages that failed, one has its echo.
    Recovered {
        /// What is over with it.
        outage: Outage,
    },
    /// A message is about to be sent. What is done about it delays it.
    Sending {
        /// The number of the message, from 1.
        seq: u64,
    },
    /// An echo came back right.
    Reply {
        /// The number of the message, from 1.
        seq: u64,
        /// From before it was sent until all of its echo was there.
        time: Duration,
    },
    /// A message has no echo, or not the right one. The connection is given up with it: whatever came on
    /// it now would be mistaken for the echo of a later message.
    Failed {
        /// The number of the message, from 1.
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
    /// When the first message was sent, or due, that had no echo.
    pub since: Instant,
    /// From then until there was an echo again, or as far as it has come.
    pub duration: Duration,
    /// The number of that message.
    pub first: u64,
    /// The number of the last one.
    pub last: u64,
}

/// Sends messages and waits for the echo of each, until `count` is reached or `observe` breaks.
///
/// # Errors
///
/// There is no connection to begin with, or the system refuses what it takes to wait for an echo.
/// What happens later is told in an [`Event`].
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
    /// One that begins with the message `seq`.
    fn of(seq: u64, since: Instant) -> Self {
        Self { since, duration: Duration::ZERO, first: seq, last: seq }
    }
}

/// A connection, and the wait for something to happen on it.
struct PingConnection {
    stream: VerifiedStream,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    wire_size: u64,
}

impl PingConnection {
    /// Connects and says so. `number` tells the connections apart.
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
        // Whether to go on is asked again with the first reply.
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

    /// Sends a message and waits for its echo, but for no longer than `timeout` without a byte of it.
    fn round_trip(&mut self, timeout: Duration) -> Result<Duration, Error> {
        // What has come since the last echo is none: too many bytes, or the end.
        self.stream.receive(&mut self.buffer)?;
        let end = self.stream.sent() + self.wire_size;
        let started = Instant::now();
        let mut last_byte_at = started;
        loop {
            self.stream.send(end, &mut self.buffer)?;
            while self.stream.receive(&mut self.buffer)?.is_some() {
                last_byte_at = Instant::now();
                // Not one `receive` more: a server may end the connection behind its echo.
                if self.stream.received() == end {
                    return Ok(last_byte_at - started);
                }
            }
            let left = timeout.saturating_sub(last_byte_at.elapsed());
            if left.is_zero() {
                let (received, sent) = (self.stream.received(), self.stream.sent());
                return Err(Error::Timeout { after: timeout, received, sent });
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

/// What a run amounts to, as far as it has come.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Messages sent, or due while there was no connection.
    pub transmitted: u64,
    /// Messages that came back right.
    pub received: u64,
    /// Their times.
    pub times: Times,
    /// The time it took to connect, for each connection.
    pub connects: Times,
    /// The times without an echo, but no more than the first hundred of them.
    pub outages: Vec<Outage>,
    /// How many there were in all.
    pub outage_count: u64,
    /// The one that has not ended.
    pub outage: Option<Outage>,
}

/// Times in nanoseconds.
#[derive(Clone, Debug)]
pub struct Times {
    /// All of them, to three digits.
    pub histogram: Histogram<u64>,
    /// The shortest, exactly; 0 if there is none.
    pub min_ns: u64,
    /// The longest, exactly.
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

/// Outages that a summary keeps.
const MAX_OUTAGES: usize = 100;

impl Summary {
    /// Takes an event into account.
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

    /// Messages without the right echo.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.transmitted - self.received
    }
}
