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
const PIECE: usize = 64 * 1024;
/// Bytes that may be under way. More than the socket buffers of a fast path hold (Linux grows them
/// to 6 MiB), so that waiting for the echo does not slow the sending down.
const MAX_IN_FLIGHT: usize = 8 * 1024 * 1024;
/// How often the receiver looks around when nothing comes.
const TICK: Duration = Duration::from_millis(50);
/// How much of a wrong answer is kept to be shown.
const BEGINNING: usize = 64;

/// What the two threads share.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    state: Mutex<State>,
    /// Signalled when there is room again, and when the receiver gives up.
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    reply: ReplyCheck,
    /// All of the input was sent.
    sent_all: bool,
    /// The message could not be read.
    input_error: Option<io::Error>,
    /// The connection took no more. Mostly the receiver sees that too, and why.
    send_error: Option<io::Error>,
    receiver_left: bool,
}

/// When an exchange is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// When as many bytes came back as went out. The connection stays open.
    Counted,
    /// When we have sent FIN after our bytes, and the server its own after the echo of them.
    HalfClosed,
}

/// Sends `input`, receives as much, compares, and writes it to `output`. Returns how much that was.
pub(crate) fn run(
    stream: &Arc<TcpStream>,
    flight: &Arc<Flight>,
    input: impl Read + Send + 'static,
    output: impl Write,
    timeout: Duration,
    ending: Ending,
) -> Result<u64, Error> {
    let before = {
        let mut state = flight.lock();
        state.sent_all = false;
        state.reply.received_total()
    };
    let sending = {
        let (flight, stream) = (Arc::clone(flight), Arc::clone(stream));
        move || send_all(&flight, &stream, input, ending)
    };
    thread::Builder::new().name("send".to_owned()).spawn(sending).map_err(Error::Setup)?;
    let result = receive_all(flight, stream, output, timeout, ending);
    if result.is_ok() {
        return result.map(|total| total - before);
    }
    flight.lock().receiver_left = true;
    flight.room.notify_all();
    // Wakes the sender from a send that nobody will ever take. The connection may be gone.
    let _ = stream.shutdown(Shutdown::Both);
    result
}

/// The sending thread.
fn send_all(flight: &Flight, mut stream: &TcpStream, mut input: impl Read, ending: Ending) {
    let mut piece = vec![0; PIECE];
    loop {
        let count = match input.read(&mut piece) {
            Ok(0) => {
                flight.lock().sent_all = true;
                if ending == Ending::HalfClosed {
                    // It fails where the connection is gone, which the receiver sees too.
                    let _ = stream.shutdown(Shutdown::Write);
                }
                return;
            }
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return flight.lock().input_error = Some(error),
        };
        let mut state = flight.lock();
        while state.reply.in_flight() + count > MAX_IN_FLIGHT && !state.receiver_left {
            state = flight.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // Noted before it is sent: the echo may be faster than this thread.
        state.reply.sent(&piece[..count]);
        drop(state);
        if let Err(error) = stream.write_all(&piece[..count]) {
            return flight.lock().send_error = Some(error);
        }
    }
}

fn receive_all(
    flight: &Flight,
    mut stream: &TcpStream,
    mut output: impl Write,
    timeout: Duration,
    ending: Ending,
) -> Result<u64, Error> {
    stream.set_read_timeout(Some(TICK.min(timeout))).map_err(Error::Setup)?;
    let mut piece = vec![0; PIECE];
    let mut silent_since = Instant::now();
    loop {
        let complete = flight.lock().complete()?;
        if let (Some(total), Ending::Counted) = (complete, ending) {
            return Ok(total);
        }
        match stream.read(&mut piece) {
            Ok(0) => return flight.lock().closed(),
            Ok(count) => {
                flight.lock().received(&piece[..count])?;
                flight.room.notify_one();
                // What has come is shown at once: a conversation waits for it.
                let written = output.write_all(&piece[..count]).and_then(|()| output.flush());
                written.map_err(Error::Output)?;
                silent_since = Instant::now();
            }
            // The read timeout is one or the other, depending on the system.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let mut state = flight.lock();
                if state.reply.in_flight() == 0 && !state.sent_all {
                    silent_since = Instant::now();
                } else if silent_since.elapsed() >= timeout {
                    return Err(state.overdue(timeout));
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(flight.lock().lost(error)),
        }
    }
}

impl Flight {
    /// Locks the shared state. Nobody panics while holding it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The number of bytes, once all were sent and all came back.
    fn complete(&mut self) -> Result<Option<u64>, Error> {
        match self.input_error.take() {
            Some(error) => Err(Error::Input(error)),
            None if self.sent_all => Ok(self.reply.finish().ok()),
            None => Ok(None),
        }
    }

    fn received(&mut self, piece: &[u8]) -> Result<(), Error> {
        let first = self.reply.received_total() == 0;
        self.reply.received(piece).map_err(|fault| {
            let beginning = first.then(|| piece[..piece.len().min(BEGINNING)].to_owned());
            Error::Reply { fault, beginning }
        })
    }

    /// The server has ended the stream: are we through?
    fn closed(&self) -> Result<u64, Error> {
        match self.reply.finish() {
            Ok(bytes) if self.sent_all => Ok(bytes),
            Ok(bytes) => Err(Error::Closed { bytes }),
            Err(fault) => Err(Error::Reply { fault, beginning: None }),
        }
    }

    fn overdue(&mut self, after: Duration) -> Error {
        if let Some(error) = self.send_error.take() {
            return self.lost(error);
        }
        let (received, sent) = (self.reply.received_total(), self.reply.sent_total());
        if received == sent {
            return Error::Unclosed { after, bytes: sent };
        }
        Error::Timeout { after, received, sent }
    }

    fn lost(&self, source: io::Error) -> Error {
        let (received, sent) = (self.reply.received_total(), self.reply.sent_total());
        Error::Lost { received, sent, source }
    }
}
