//! A connection for round trips.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use echo_proto::TestStream;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::{Event, Ping};
use crate::connect::connect;
use crate::rearm::rearm;
use crate::verified_stream::VerifiedStream;
use crate::{Config, Error};

/// Bytes sent or received per call.
const BUFFER_LEN: usize = 64 * 1024;
/// The only token.
const CONNECTION: Token = Token(0);

/// A connection and its poll.
pub(super) struct PingConnection {
    stream: VerifiedStream,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    wire_size: u64,
}

impl PingConnection {
    /// Connects and reports it. Each `number` has its own test stream.
    pub(super) fn open(
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
        poll.registry().register(&mut stream.socket, CONNECTION, both)?;
        let (events, buffer) = (Events::with_capacity(1), vec![0; BUFFER_LEN]);
        Ok(Self { stream, poll, events, buffer, wire_size: messages.wire_size() })
    }

    /// Sends a message and waits for its echo, for at most `timeout` without a byte.
    pub(super) fn round_trip(&mut self, timeout: Duration) -> Result<Duration, Error> {
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
            let has_unsent = self.stream.sent() < end;
            rearm(self.poll.registry(), &mut self.stream.socket, CONNECTION, has_unsent)
                .map_err(Error::Setup)?;
            match self.poll.poll(&mut self.events, Some(left)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(Error::Setup(error));
                }
                _ => {}
            }
        }
    }
}
