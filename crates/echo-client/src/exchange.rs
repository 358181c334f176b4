//! Sends and receives at the same time.
//!
//! Sending a whole message before reading its echo works until the message exceeds the socket
//! buffers on the path: then the server waits for us to read, and we wait for the server. Therefore
//! one thread sends while another receives. They share the bytes in flight.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use echo_proto::ReplyCheck;

use crate::Error;

/// Bytes sent or received per call.
const BUFFER_LEN: usize = 64 * 1024;
/// Bytes that may be in flight. More than the socket buffers of a fast path hold (Linux grows them
/// to 6 MiB), so that waiting for the echo does not slow down sending.
const MAX_IN_FLIGHT: usize = 8 * 1024 * 1024;
/// How often the receiver checks the shared state while nothing arrives.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// State shared by the two threads.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    state: Mutex<State>,
    /// Notified when one thread changes what the other may wait for.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    reply: ReplyCheck,
    /// Since when the server owes an echo or its FIN.
    owed_since: Option<Instant>,
    /// All of the input has been sent.
    all_sent: bool,
    /// Reading the input failed.
    input_error: Option<io::Error>,
    /// Sending failed. Usually the receiver sees the failure too, with its cause.
    send_error: Option<io::Error>,
    receiver_done: bool,
}

/// When an exchange is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndCondition {
    /// When as many bytes have come back as were sent. The connection stays open.
    EchoComplete,
    /// When the server has closed its side after our half-close.
    HalfClose,
}

/// Sends `input`, receives and checks its echo, and writes it to `output`. Returns the number of
/// bytes echoed.
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
    // Unblocks a sender whose data will never be read. Fails if the connection is gone.
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
                    // Fails if the connection is gone, which the receiver sees too.
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
        if state.receiver_done {
            // Its result stands; what is sent now would exceed what may be in flight.
            return;
        }
        // Noted before sending: the echo may arrive before this thread runs again.
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
    stream: &TcpStream,
    mut output: impl Write,
    timeout: Duration,
    end: EndCondition,
) -> Result<u64, Error> {
    stream.set_read_timeout(Some(POLL_INTERVAL.min(timeout))).map_err(Error::Setup)?;
    let mut chunk = vec![0; BUFFER_LEN];
    // Usually the input is available at once, and an empty one is complete without waiting.
    drop(in_flight.wait_until(|state| state.owed_since.is_some() || state.input_error.is_some()));
    loop {
        let complete = in_flight.lock().complete()?;
        if let (Some(total), EndCondition::EchoComplete) = (complete, end) {
            return Ok(total);
        }
        match read(stream, &mut chunk) {
            Ok(0) => return in_flight.closed(),
            Ok(count) => {
                in_flight.lock().received(&chunk[..count])?;
                in_flight.changed.notify_all();
                // Written at once: a conversation waits for it.
                let written = output.write_all(&chunk[..count]).and_then(|()| output.flush());
                written.map_err(Error::Output)?;
                // Time spent writing to a slow output does not count against the server.
                in_flight.lock().restart_clock();
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => in_flight.lock().check_deadline(timeout)?,
                ErrorKind::Interrupted => {}
                _ => return Err(in_flight.lock().lost(error)),
            },
        }
    }
}

/// `recv`. Fails with `WouldBlock` at the socket's timeout.
#[cfg(unix)]
fn read(mut stream: &TcpStream, chunk: &mut [u8]) -> io::Result<usize> {
    stream.read(chunk)
}

/// `recv`. Fails with `WouldBlock` at the socket's timeout, which is for waiting and not for the call: after a call
/// that has timed out, the state of a socket is indeterminate ([SO_RCVTIMEO]).
///
/// [SO_RCVTIMEO]: https://learn.microsoft.com/windows/win32/winsock/sol-socket-socket-options
#[cfg(windows)]
fn read(mut stream: &TcpStream, chunk: &mut [u8]) -> io::Result<usize> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let timeout = stream.read_timeout()?.map(Timespec::try_from);
    let timeout = timeout.transpose().map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(&stream, PollFlags::IN)], timeout.as_ref())? {
        0 => Err(ErrorKind::WouldBlock.into()),
        _ => stream.read(chunk),
    }
}

impl InFlight {
    /// Locks the shared state. No thread panics while holding the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the other thread, for at most one poll interval.
    fn wait_until(&self, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waited =
            self.changed.wait_timeout_while(self.lock(), POLL_INTERVAL, |state| !condition(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// The server has closed its side: is the exchange complete?
    fn closed(&self) -> Result<u64, Error> {
        // A reset that the sender has seen appears here as the end of the stream.
        let mut state = self.wait_until(|state| state.all_sent || state.send_error.is_some());
        match (state.reply.finish(), state.send_error.take()) {
            (Ok(bytes), _) if state.all_sent => Ok(bytes),
            (_, Some(error)) => Err(state.lost(error)),
            (Ok(bytes), None) => Err(Error::Closed { bytes }),
            (Err(fault), None) => Err(Error::reply(fault, None)),
        }
    }
}

impl State {
    /// The number of bytes, once everything was sent and came back.
    fn complete(&mut self) -> Result<Option<u64>, Error> {
        match self.input_error.take() {
            Some(error) => Err(Error::Input(error)),
            None if self.all_sent => Ok(self.reply.finish().ok()),
            None => Ok(None),
        }
    }

    fn received(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let is_first = self.reply.received_total() == 0;
        let result = self.reply.received(chunk);
        result.map_err(|fault| Error::reply(fault, is_first.then_some(chunk)))?;
        self.restart_clock();
        Ok(())
    }

    /// Restarts the timeout, if the server owes anything.
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
