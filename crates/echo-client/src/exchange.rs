//! Sending and receiving at the same time.
//!
//! Sending all of a message before reading any of its echo works until the message is larger than
//! the socket buffers on its way: then the server waits for us to read, and we for the server. So
//! one thread sends while this one receives. Between them stands what is in flight.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use echo_proto::ReplyCheck;

use crate::Error;

/// What is sent or received at once.
const BUFFER_LEN: usize = 64 * 1024;
/// Bytes that may be under way. More than the socket buffers of a fast path hold (Linux grows them
/// to 6 MiB), so that waiting for the echo does not slow the sending down.
const MAX_IN_FLIGHT: usize = 8 * 1024 * 1024;
/// How often the receiver looks around when nothing comes.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How much of a wrong answer is kept to be shown.
const EXCERPT_LEN: usize = 64;

/// What the two threads share.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    state: Mutex<State>,
    /// Signalled whenever one of the threads changes what the other may wait for.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    reply: ReplyCheck,
    /// When the server began to owe us what we wait for: an echo, or its FIN.
    owed_since: Option<Instant>,
    /// All of the input was sent.
    all_sent: bool,
    /// The message could not be read.
    input_error: Option<io::Error>,
    /// The connection took no more. Mostly the receiver sees that too, and why.
    send_error: Option<io::Error>,
    receiver_done: bool,
}

/// When an exchange is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndCondition {
    /// When as many bytes came back as went out. The connection stays open.
    EchoComplete,
    /// When we have sent FIN after our bytes, and the server its own after the echo of them.
    HalfClose,
}

/// Sends `input`, receives as much, compares, and writes it to `output`. Returns how much that was.
pub(crate) fn run(
    stream: &Arc<TcpStream>,
    in_flight: &Arc<InFlight>,
    input: impl Read + Send + 'static,
    output: impl Write,
    timeout: Duration,
    end: EndCondition,
) -> Result<u64, Error> {
    let already_echoed = {
        let mut state = in_flight.lock();
        (state.all_sent, state.owed_since) = (false, None);
        state.reply.received_total()
    };
    let send = {
        let (in_flight, stream) = (Arc::clone(in_flight), Arc::clone(stream));
        move || send_all(&in_flight, &stream, input, end)
    };
    thread::Builder::new().name("send".to_owned()).spawn(send).map_err(Error::Setup)?;
    let result = receive_all(in_flight, stream, output, timeout, end);
    if result.is_ok() {
        return result.map(|total| total - already_echoed);
    }
    in_flight.lock().receiver_done = true;
    in_flight.changed.notify_all();
    // Wakes the sender from a send that nobody will ever take. The connection may be gone.
    let _ = stream.shutdown(Shutdown::Both);
    result
}

/// The sending thread.
fn send_all(in_flight: &InFlight, mut stream: &TcpStream, mut input: impl Read, end: EndCondition) {
    let mut chunk = vec![0; BUFFER_LEN];
    loop {
        let count = match input.read(&mut chunk) {
            Ok(0) => {
                let mut state = in_flight.lock();
                state.all_sent = true;
                state.owed_since.get_or_insert_with(Instant::now);
                drop(state);
                in_flight.changed.notify_all();
                if end == EndCondition::HalfClose {
                    // It fails where the connection is gone, which the receiver sees too.
                    let _ = stream.shutdown(Shutdown::Write);
                }
                return;
            }
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                in_flight.lock().input_error = Some(error);
                return in_flight.changed.notify_all();
            }
        };
        let mut state = in_flight.lock();
        while state.reply.in_flight() + count > MAX_IN_FLIGHT && !state.receiver_done {
            state = in_flight.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // Noted before it is sent: the echo may be faster than this thread.
        state.reply.sent(&chunk[..count]);
        state.owed_since.get_or_insert_with(Instant::now);
        drop(state);
        in_flight.changed.notify_all();
        if let Err(error) = stream.write_all(&chunk[..count]) {
            in_flight.lock().send_error = Some(error);
            return in_flight.changed.notify_all();
        }
    }
}

fn receive_all(
    in_flight: &InFlight,
    mut stream: &TcpStream,
    mut output: impl Write,
    timeout: Duration,
    end: EndCondition,
) -> Result<u64, Error> {
    stream.set_read_timeout(Some(POLL_INTERVAL.min(timeout))).map_err(Error::Setup)?;
    let mut chunk = vec![0; BUFFER_LEN];
    // Most messages are there at once: an empty one is over before anything is waited for.
    drop(in_flight.wait_until(|state| state.owed_since.is_some() || state.input_error.is_some()));
    loop {
        let complete = in_flight.lock().complete()?;
        if let (Some(total), EndCondition::EchoComplete) = (complete, end) {
            return Ok(total);
        }
        match stream.read(&mut chunk) {
            Ok(0) => return in_flight.closed(),
            Ok(count) => {
                in_flight.lock().received(&chunk[..count])?;
                in_flight.changed.notify_all();
                // What has come is shown at once: a conversation waits for it.
                let written = output.write_all(&chunk[..count]).and_then(|()| output.flush());
                written.map_err(Error::Output)?;
                // The time that a slow reader of the output took is not the server's.
                in_flight.lock().restart_clock();
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => in_flight.lock().check_deadline(timeout)?,
                // So Windows calls the read timeout; elsewhere it is a server that is gone.
                ErrorKind::TimedOut if cfg!(windows) => in_flight.lock().check_deadline(timeout)?,
                ErrorKind::Interrupted => {}
                _ => return Err(in_flight.lock().lost(error)),
            },
        }
    }
}

impl InFlight {
    /// Locks the shared state. Nobody panics while holding it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the other thread, a moment at most.
    fn wait_until(&self, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waited =
            self.changed.wait_timeout_while(self.lock(), POLL_INTERVAL, |state| !condition(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// The server has ended the stream: are we through?
    fn closed(&self) -> Result<u64, Error> {
        // A reset that the sender runs into looks like an end from here.
        let mut state = self.wait_until(|state| state.all_sent || state.send_error.is_some());
        match (state.reply.finish(), state.send_error.take()) {
            (Ok(bytes), _) if state.all_sent => Ok(bytes),
            (_, Some(error)) => Err(state.lost(error)),
            (Ok(bytes), None) => Err(Error::Closed { bytes }),
            (Err(fault), None) => Err(Error::Reply { fault, excerpt: None }),
        }
    }
}

impl State {
    /// The number of bytes, once all were sent and all came back.
    fn complete(&mut self) -> Result<Option<u64>, Error> {
        match self.input_error.take() {
            Some(error) => Err(Error::Input(error)),
            None if self.all_sent => Ok(self.reply.finish().ok()),
            None => Ok(None),
        }
    }

    fn received(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let is_first = self.reply.received_total() == 0;
        self.reply.received(chunk).map_err(|fault| {
            let excerpt = is_first.then(|| chunk[..chunk.len().min(EXCERPT_LEN)].to_owned());
            Error::Reply { fault, excerpt }
        })?;
        self.restart_clock();
        Ok(())
    }

    /// Counts what the server owes us, if it does, as owed from now on.
    fn restart_clock(&mut self) {
        let owed = self.reply.in_flight() > 0 || self.all_sent;
        self.owed_since = owed.then(Instant::now);
    }

    fn check_deadline(&mut self, timeout: Duration) -> Result<(), Error> {
        if self.owed_since.is_none_or(|since| since.elapsed() < timeout) {
            return Ok(());
        }
        if let Some(error) = self.send_error.take() {
            return Err(self.lost(error));
        }
        let (received, sent) = (self.reply.received_total(), self.reply.sent_total());
        Err(if received == sent {
            Error::CloseTimeout { after: timeout, bytes: sent }
        } else {
            Error::Timeout { after: timeout, received, sent }
        })
    }

    fn lost(&self, source: io::Error) -> Error {
        let (received, sent) = (self.reply.received_total(), self.reply.sent_total());
        Error::Lost { received, sent, source }
    }
}
