//! Round trips one at a time, as in ping(8).

mod connection;
mod metric;
mod record;
mod schedule;
mod summary;
mod times;

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use echo_proto::Framing;

use self::connection::PingConnection;
pub use self::metric::PingMetric;
pub use self::record::{
    NOT_SENT, OutageMetrics, OutageRecord, PingLine, PingMetrics, PingRun, PingSettings, PingStart,
    RunClock,
};
use self::schedule::Schedule;
pub use self::summary::Summary;
pub use self::times::Times;
use crate::{Config, Error};

/// Shortest and longest pause between two attempts during an outage.
const RETRY_DELAYS: [Duration; 2] = [Duration::from_millis(2), Duration::from_secs(1)];
/// In between, the pause is this part of the outage so far: its end is then found within 1 %.
const RETRY_DIVISOR: u32 = 128;

/// What to send, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Number of messages; `None` for no limit.
    pub count: Option<u64>,
    /// Time from one message to the next. Messages are due at multiples of it, so that lateness does
    /// not add up; one whose predecessor has not come back by then is sent as soon as it has.
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
        /// When it is due; after an outage began, possibly later than now.
        due: Instant,
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
        /// What happened, or why there is no connection; `None` if the message was due while an
        /// earlier one was still awaited or a connection was being opened.
        error: Option<Error>,
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
/// From the first message that does not come back until the next echo, there is an outage. It is
/// probed at once and then at growing pauses, whatever the interval: a message may be sent before
/// it is due. Lost are the messages that were due meanwhile, however many attempts were made.
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
    let connection = Some(PingConnection::open(config, ping, 0, &mut observe)?);
    let mut run = Run {
        config,
        ping,
        observe,
        connection,
        connections: 1,
        schedule: Schedule::new(ping.interval),
        outage: None,
        cause: None,
        retry_at: Instant::now(),
    };
    while run.schedule.seq <= ping.count.unwrap_or(u64::MAX) {
        let control = if run.outage.is_some() { run.retry() } else { run.ping() };
        if control.is_break() {
            break;
        }
    }
    Ok(())
}

struct Run<'a, F> {
    config: &'a Config,
    ping: &'a Ping,
    observe: F,
    connection: Option<PingConnection>,
    /// Attempts to connect so far.
    connections: u64,
    schedule: Schedule,
    outage: Option<Outage>,
    /// Why the last attempt during the outage failed, until it is reported.
    cause: Option<Error>,
    /// When to try again during the outage.
    retry_at: Instant,
}

impl<F: FnMut(Event) -> ControlFlow<()>> Run<'_, F> {
    /// Sends the next message when it is due.
    fn ping(&mut self) -> ControlFlow<()> {
        sleep_until(self.schedule.due);
        let (seq, sent_at) = (self.schedule.seq, self.schedule.begin());
        let _ = (self.observe)(Event::Sending { seq, due: sent_at });
        let connection = self.connection.as_mut().expect("without an outage there is one");
        match connection.round_trip(self.config.timeout) {
            Ok(time) => {
                self.schedule.seq += 1;
                (self.observe)(Event::Reply { seq, time })
            }
            Err(error) => {
                self.connection = None;
                self.retry_at = Instant::now();
                self.outage = Some(Outage {
                    since: sent_at,
                    duration: Duration::ZERO,
                    first: seq,
                    last: seq,
                });
                self.count_lost(Some(error))
            }
        }
    }

    /// Waits until it is time for another attempt or the next message is due, and makes the attempt
    /// or counts the message as lost.
    fn retry(&mut self) -> ControlFlow<()> {
        let due = self.schedule.fixed_due();
        sleep_until(due.map_or(self.retry_at, |due| due.min(self.retry_at)));
        if due.is_some_and(|due| due <= Instant::now()) {
            self.schedule.skip();
            let cause = self.cause.take();
            return self.count_lost(cause);
        }
        let seq = self.schedule.seq;
        let _ = (self.observe)(Event::Sending { seq, due: self.schedule.due });
        if self.connection.is_none() {
            self.connections += 1;
            let number = self.connections;
            match PingConnection::open(self.config, self.ping, number, &mut self.observe) {
                // Messages that were due while it was opened are lost before one is sent.
                Ok(connection) => {
                    self.connection = Some(connection);
                    self.retry_at = Instant::now();
                    return ControlFlow::Continue(());
                }
                Err(error) => return self.failed_again(error),
            }
        }
        let connection = self.connection.as_mut().expect("it has just been checked");
        match connection.round_trip(self.config.timeout) {
            Ok(time) => {
                self.recover();
                self.schedule.finish_early();
                (self.observe)(Event::Reply { seq, time })
            }
            Err(error) => self.failed_again(error),
        }
    }

    /// Plans the next attempt.
    fn failed_again(&mut self, error: Error) -> ControlFlow<()> {
        self.connection = None;
        let so_far = self.outage.map_or(Duration::ZERO, |outage| outage.since.elapsed());
        let [shortest, longest] = RETRY_DELAYS;
        // An attempt for each message that is due, at the least.
        let longest = self.ping.interval.clamp(shortest, longest);
        self.retry_at = Instant::now() + (so_far / RETRY_DIVISOR).clamp(shortest, longest);
        if self.schedule.fixed_due().is_none() {
            // Each attempt is a message.
            return self.count_lost(Some(error));
        }
        self.cause = Some(error);
        ControlFlow::Continue(())
    }

    /// Counts the next message as lost.
    fn count_lost(&mut self, error: Option<Error>) -> ControlFlow<()> {
        let seq = self.schedule.seq;
        self.schedule.seq += 1;
        let outage = self.outage.as_mut().expect("a loss begins an outage");
        (outage.last, outage.duration) = (seq, outage.since.elapsed());
        let outage = *outage;
        let control = (self.observe)(Event::Failed { seq, error, outage });
        if self.ping.reconnect { control } else { ControlFlow::Break(()) }
    }

    /// Ends the outage.
    fn recover(&mut self) {
        self.cause = None;
        if let Some(outage) = self.outage.take() {
            let outage = Outage { duration: outage.since.elapsed(), ..outage };
            let _ = (self.observe)(Event::Recovered { outage });
        }
    }
}

fn sleep_until(time: Instant) {
    thread::sleep(time.saturating_duration_since(Instant::now()));
}
