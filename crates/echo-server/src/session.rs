//! The protocol state of one connection, without I/O: takes input, produces the echo, and says what to wait for.
//!
//! ```text
//!          received, not all sent       flushed after the end of input     FIN sent
//!   Read ──────────────────────> Write ─────────────────────────────> Finish ─────────> Close
//!    │ ^ <────────────────────────┘                                   ^  │               ^
//!    │               flushed                                          │  └─> Discard ────┘
//!    └────────────────────────────────────────────────────────────────┘      the peer's FIN
//!              end of input, or input is refused
//! ```
//!
//! Input that is sent back at once leaves the session in `Read`. `Discard` follows if the peer has not sent FIN.
//!
//! With injected faults, `Hold` precedes each `Write` until the bytes may be sent, and `Stall` or `Reset` can
//! follow the last `Write`.

mod fault_injector;
mod framed;
mod send_buffer;
#[cfg(test)]
mod tests;

use std::io;

use echo_proto::FrameError;

use self::fault_injector::{FaultInjector, Termination};
use self::framed::Framed;
use self::send_buffer::SendBuffer;
use crate::platform::Instant;
use crate::{CloseReason, Config};

/// The state of one connection, driven by an engine.
///
/// An engine passes in the bytes it receives and a function that sends as much as the socket accepts;
/// [`state`](Self::state) then says what the connection waits for. Bytes received too late to be echoed may be
/// passed in too, and are dropped: on a ring, the kernel may have received them before the cancellation took
/// effect.
///
/// A server holds one session per connection, so it is kept small. One that owes nothing holds no buffer; with
/// framing, it may hold an incomplete message.
pub(crate) struct Session {
    /// `None` for raw bytes without injected faults.
    pipeline: Option<Box<Pipeline>>,
    owed: Option<Box<SendBuffer>>,
    input: Input,
    fin_sent: bool,
    /// While [draining](Input::Draining), how many more bytes are accepted from the peer.
    drain_limit: u32,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Input.
    Read,
    /// The time at which owed bytes may be sent: call [`Session::release`]. Nothing is read until then.
    Hold,
    /// Room to send owed bytes. Nothing is read until then.
    Write,
    /// Nothing: an injected fault has stopped all reading and writing.
    Stall,
    /// The peer's ACK of the echo, then reset the connection: an injected fault.
    Reset,
    /// Nothing: the echo is complete. Send FIN, then call [`Session::fin_sent`].
    Finish,
    /// The peer's FIN. Our FIN is sent; discard input until then.
    Discard,
    /// Nothing: both sides have sent FIN, or the connection is to be reset. Close it.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Open,
    /// The connection is being closed: bytes up to the drain limit are still echoed.
    Draining,
    /// Further input is not echoed: the connection was drained, the framing is broken, or an injected fault ends
    /// the echo here.
    Refused,
    /// Further input is not even read, because of an injected fault.
    Stalled,
    /// The connection is to be reset, because of an injected fault.
    Reset,
    /// The peer has sent FIN.
    Ended,
}

/// What input passes through before it is echoed.
struct Pipeline {
    framed: Option<Framed>,
    injector: Option<Box<FaultInjector>>,
}

impl Session {
    /// `number` identifies the connection; its injected faults depend on it.
    pub(crate) fn new(config: &Config, number: u64) -> Self {
        let framed = config.framing.is_framed().then(|| Framed::new(config));
        let injector =
            config.faults.as_ref().map(|faults| Box::new(FaultInjector::new(faults, number)));
        let is_plain = framed.is_none() && injector.is_none();
        let pipeline = (!is_plain).then(|| Box::new(Pipeline { framed, injector }));
        let mut session =
            Self { pipeline, owed: None, input: Input::Open, fin_sent: false, drain_limit: 0 };
        session.inject_termination();
        session
    }

    pub(crate) fn state(&self) -> State {
        match (self.input, self.fin_sent) {
            _ if self.owed.is_some() => match self.injector() {
                Some(injector) if injector.released() == 0 => State::Hold,
                _ => State::Write,
            },
            (Input::Open | Input::Draining, _) => State::Read,
            (Input::Stalled, _) => State::Stall,
            (Input::Reset, false) => State::Reset,
            (Input::Refused | Input::Ended, false) => State::Finish,
            (Input::Refused, true) => State::Discard,
            (Input::Ended | Input::Reset, true) => State::Close,
        }
    }

    /// Echoes input with `send`, which returns how many bytes it accepted; the rest is owed. With framing, the
    /// echo consists of the messages that are complete now. Returns how many bytes were sent.
    ///
    /// Nothing is echoed once input has been refused, and nothing beyond the drain limit.
    ///
    /// # Errors
    ///
    /// Returns the error of `send`; the connection is then unusable.
    pub(crate) fn received(
        &mut self,
        bytes: &[u8],
        mut send: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut piece = match self.input {
            Input::Open => bytes,
            Input::Draining => &bytes[..bytes.len().min(self.drain_limit as usize)],
            Input::Refused | Input::Stalled | Input::Reset | Input::Ended => return Ok(0),
        };
        let taken = piece.len();
        let mut sent = 0;
        match &mut self.pipeline {
            None => sent = SendBuffer::send_or_keep(&mut self.owed, piece, send)?,
            Some(pipeline) => {
                let mut pass = |bytes: &[u8]| match &mut pipeline.injector {
                    None => SendBuffer::send_or_keep(&mut self.owed, bytes, &mut send)
                        .map(|count| sent += count),
                    Some(injector) => {
                        injector.take(bytes, &mut self.owed);
                        Ok(())
                    }
                };
                match &mut pipeline.framed {
                    None => pass(piece)?,
                    Some(framed) => {
                        while let Some(bytes) = framed.next_echo(&mut piece) {
                            pass(bytes)?;
                        }
                    }
                }
                self.inject_termination();
                // A fault that ends the echo before the broken message takes precedence, however the bytes arrive.
                if self.broken().is_some() && self.input != Input::Stalled {
                    self.refuse_input();
                }
            }
        }
        if self.input == Input::Draining {
            // At most the limit, which is a u32.
            self.drain_limit -= taken as u32;
            if self.drain_limit == 0 {
                self.refuse_input();
            }
        }
        Ok(sent)
    }

    /// Appends to the owed bytes those that were [passed through](Self::is_passthrough) and could not be sent, even
    /// if input has been refused meanwhile: they were accepted before.
    pub(crate) fn unsent(&mut self, bytes: &[u8]) {
        debug_assert!(self.pipeline.is_none(), "a session with a pipeline passes nothing through");
        self.owed.get_or_insert_default().push(bytes);
    }

    /// Releases the next [held-back](State::Hold) bytes if they are due. Returns whether any may be sent now; if
    /// not, [`due`](Self::due) says when.
    pub(crate) fn release(&mut self, now: Instant) -> bool {
        let owed = self.owed();
        self.injector_mut().is_none_or(|injector| injector.release(owed, now))
    }

    /// When the next held-back bytes may be sent, if known.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.injector()?.due()
    }

    /// Sends owed bytes with `send`. Returns how many were sent. Those in the [pipe](Self::piped) must have been sent.
    ///
    /// # Errors
    ///
    /// Returns the error of `send`; the connection is then unusable.
    pub(crate) fn flush(
        &mut self,
        send: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let Some(owed) = &mut self.owed else { return Ok(0) };
        let injector = self.pipeline.as_mut().and_then(|pipeline| pipeline.injector.as_mut());
        let rest = owed.rest();
        let released = injector.as_ref().map_or(rest.len(), |injector| injector.released());
        let sent = send(&rest[..released])?;
        owed.sent(sent);
        if let Some(injector) = injector {
            injector.sent(sent);
        }
        self.forget_if_flushed();
        Ok(sent)
    }

    /// Records that `count` more bytes are owed from the connection's pipe. Only for a session that is
    /// [passthrough](Self::is_passthrough): the bytes do not pass through it.
    pub(crate) fn owe_piped(&mut self, count: usize) {
        debug_assert!(self.is_passthrough(), "bytes in a pipe are echoed unchanged and in order");
        if count > 0 {
            self.owed.get_or_insert_default().push_piped(count);
        }
    }

    /// The number of owed bytes that are in the connection's pipe. They must be sent first.
    pub(crate) fn piped(&self) -> usize {
        self.owed.as_ref().map_or(0, |owed| owed.piped())
    }

    /// Records that `count` bytes of the pipe were sent.
    pub(crate) fn piped_sent(&mut self, count: usize) {
        if let Some(owed) = &mut self.owed {
            owed.piped_sent(count);
            self.forget_if_flushed();
        }
    }

    fn forget_if_flushed(&mut self) {
        self.owed.take_if(|owed| owed.len() == 0);
    }

    /// Records the peer's FIN. A fault that holds the connection open or is about to reset it takes precedence.
    pub(crate) fn peer_ended(&mut self) {
        if matches!(self.input, Input::Open | Input::Draining)
            && let Some(framed) =
                self.pipeline.as_mut().and_then(|pipeline| pipeline.framed.as_mut())
        {
            framed.finish();
        }
        if !matches!(self.input, Input::Stalled | Input::Reset) {
            self.input = Input::Ended;
        }
    }

    /// Begins a graceful close: at most `limit` more bytes are echoed, and nothing is held back any longer. A
    /// connection that is already being closed is not affected.
    pub(crate) fn start_draining(&mut self, limit: u32) {
        if let Some(injector) = self.injector_mut() {
            injector.release_all();
        }
        match self.input {
            // A stalled connection does not read its receive queue.
            Input::Stalled => self.refuse_input(),
            Input::Open => {
                (self.input, self.drain_limit) = (Input::Draining, limit);
                if limit == 0 {
                    self.refuse_input();
                }
            }
            _ => {}
        }
    }

    /// How many more bytes may be received, if the connection is being drained.
    pub(crate) fn drain_limit(&self) -> Option<usize> {
        (self.input == Input::Draining).then_some(self.drain_limit as usize)
    }

    /// Refuses further input: only what was received by now is echoed.
    pub(crate) fn refuse_input(&mut self) {
        if matches!(self.input, Input::Open | Input::Draining | Input::Stalled) {
            self.input = Input::Refused;
        }
    }

    /// Ends the echo if an injected fault ends it at the current offset.
    fn inject_termination(&mut self) {
        let termination = self.injector().and_then(FaultInjector::termination);
        if let (Input::Open | Input::Draining, Some(termination)) = (self.input, termination) {
            self.input = match termination {
                Termination::Reset => Input::Reset,
                Termination::Close => Input::Refused,
                // A connection that is being closed is not held open.
                Termination::Stall if self.input == Input::Draining => Input::Refused,
                Termination::Stall => Input::Stalled,
            };
        }
    }

    /// Records that our FIN was sent, or that an injected fault resets the connection.
    pub(crate) fn fin_sent(&mut self) {
        self.fin_sent = true;
    }

    /// Whether the next input is echoed unchanged and nothing is owed before it. An engine may then send it
    /// without passing it to the session.
    pub(crate) fn is_passthrough(&self) -> bool {
        self.pipeline.is_none() && self.owed.is_none() && self.input == Input::Open
    }

    /// The number of bytes that are owed.
    pub(crate) fn owed(&self) -> usize {
        self.owed.as_ref().map_or(0, |owed| owed.len())
    }

    /// How the peer broke the framing, if it did. Nothing after that point can be echoed.
    pub(crate) fn broken(&self) -> Option<FrameError> {
        self.framed()?.broken
    }

    /// The number of complete messages received; 0 without framing.
    pub(crate) fn messages(&self) -> u64 {
        self.framed().map_or(0, |framed| framed.messages)
    }

    /// The reason for closing, unless the engine has another one.
    pub(crate) fn reason(&self) -> CloseReason {
        match self.injector().and_then(FaultInjector::termination) {
            Some(Termination::Reset | Termination::Close) => CloseReason::Fault,
            _ if self.broken().is_some() => CloseReason::Framing,
            _ => CloseReason::Done,
        }
    }

    fn framed(&self) -> Option<&Framed> {
        self.pipeline.as_ref()?.framed.as_ref()
    }

    fn injector(&self) -> Option<&FaultInjector> {
        self.pipeline.as_ref()?.injector.as_deref()
    }

    fn injector_mut(&mut self) -> Option<&mut FaultInjector> {
        self.pipeline.as_mut()?.injector.as_deref_mut()
    }
}
