//! What one connection owes its peer, without any I/O: bytes in, the echo out, and what it waits for.
//!
//! ```text
//!            received            input is over,         peer's FIN
//!   Read ───────────────> Write  all was echoed
//!     ^ <───────────────    │ ─────────────────> Finish ──────────> Close
//!            flushed                              │  ^ FIN sent      ^
//!                                                 └> Discard ────────┘
//! ```
//!
//! With injected faults there is a `Hold` before each `Write`, until the bytes may go; and after a last `Write`
//! there can be a `Stall` or a `Reset`.

mod fault_injector;
mod framed;
mod send_buffer;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Instant;

use echo_proto::FrameError;

use self::fault_injector::{FaultInjector, Termination};
use self::framed::Framed;
use self::send_buffer::SendBuffer;
use crate::{CloseReason, Config};

/// The state of one connection, driven by an engine.
///
/// An engine passes in what it receives, and a way to send that takes as much as there is room for;
/// [`state`](Self::state) then says what the connection waits for. An engine may also pass in what was
/// received too late to be echoed: on a ring, bytes arrive that the kernel took before it was told to stop.
/// The session drops them, so no engine has to.
///
/// It is small, because a server holds one for each connection, and one that owes nothing holds no buffer.
pub(crate) struct Session {
    /// Raw bytes without injected faults have none.
    pipeline: Option<Box<Pipeline>>,
    owed: Option<Box<SendBuffer>>,
    input: Input,
    fin_sent: bool,
    /// While [draining](Input::Draining), how many more bytes are taken from the peer.
    drain_limit: u32,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Bytes from the peer.
    Read,
    /// The time at which owed bytes may go: [`Session::release`]. Until then nothing is read.
    Hold,
    /// Room for bytes that are owed. Until then nothing is read.
    Write,
    /// Nothing, because of an injected fault: it is neither read from nor written to any more.
    Stall,
    /// All of its echo is sent: reset the connection, because of an injected fault.
    Reset,
    /// All is echoed and nothing more will be: send FIN, then call [`Session::fin_sent`].
    Finish,
    /// The peer has our FIN but may still be sending: drop what comes, until its own.
    Discard,
    /// Both sides have sent FIN.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Open,
    /// The connection is being ended: bytes up to the drain limit are still echoed.
    Draining,
    /// What the peer still sends is not echoed: the connection was drained, the framing is broken, or
    /// an injected fault ends the echo here.
    Refused,
    /// What the peer still sends is not even read, because of an injected fault.
    Stalled,
    /// The connection is to be reset, because of an injected fault.
    Reset,
    /// The peer has sent FIN.
    Ended,
}

/// What bytes pass through between receiving and sending.
struct Pipeline {
    /// With framing, what finds the messages.
    framed: Option<Framed>,
    injector: Option<Box<FaultInjector>>,
}

impl Session {
    /// `number` tells the connection apart from all others: its faults depend on it.
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

    /// Takes what the peer has sent and passes the echo of it to `send`, which returns how many bytes
    /// it took; the rest is owed. With framing the echo consists of the messages that are complete now.
    /// Returns how many bytes were sent.
    ///
    /// Nothing is echoed once input has been refused, and nothing beyond the drain limit.
    ///
    /// # Errors
    ///
    /// Those of `send`: the connection is broken.
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
                if self.broken().is_some() {
                    self.refuse_input();
                }
            }
        }
        if self.input == Input::Draining {
            // It is no more than the limit, which has 32 bits.
            self.drain_limit -= taken as u32;
            if self.drain_limit == 0 {
                self.refuse_input();
            }
        }
        Ok(sent)
    }

    /// Takes bytes back that were [passed through](Self::is_passthrough) and that there was no room for.
    /// They are owed whatever has become of the input meanwhile: they were accepted before.
    pub(crate) fn unsent(&mut self, bytes: &[u8]) {
        debug_assert!(self.pipeline.is_none(), "nothing passes it by");
        self.owed.get_or_insert_default().push(bytes);
    }

    /// Decides whether the next bytes that are [held back](State::Hold) may be sent now. Returns whether they may;
    /// if not, [`due`](Self::due) says when.
    pub(crate) fn release(&mut self, now: Instant) -> bool {
        let owed = self.owed();
        self.injector_mut().is_none_or(|injector| injector.release(owed, now))
    }

    /// When the next held-back bytes may be sent, if that is decided.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.injector()?.due()
    }

    /// Sends what is owed, as far as there is room. Returns how many bytes were sent.
    ///
    /// # Errors
    ///
    /// Those of `send`: the connection is broken.
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
        if owed.rest().is_empty() {
            self.owed = None;
        }
        Ok(sent)
    }

    /// The peer has sent FIN. A fault that holds the connection open, or is about to reset it, comes first.
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

    /// The connection is to be ended: no more than `limit` bytes from the peer are still echoed, and nothing
    /// is held back any longer. A connection that is being ended already is not affected.
    pub(crate) fn start_draining(&mut self, limit: u32) {
        if let Some(injector) = self.injector_mut() {
            injector.release_all();
        }
        match self.input {
            // Its receive queue would not have been read either.
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

    /// Echo nothing more than what was received by now.
    pub(crate) fn refuse_input(&mut self) {
        if matches!(self.input, Input::Open | Input::Draining | Input::Stalled) {
            self.input = Input::Refused;
        }
    }

    /// Ends the echo where an injected fault ends it.
    fn inject_termination(&mut self) {
        let termination = self.injector().and_then(FaultInjector::termination);
        if let (Input::Open | Input::Draining, Some(termination)) = (self.input, termination) {
            self.input = match termination {
                Termination::Reset => Input::Reset,
                Termination::Close => Input::Refused,
                // There is nothing to wait for in a connection that is being ended.
                Termination::Stall if self.input == Input::Draining => Input::Refused,
                Termination::Stall => Input::Stalled,
            };
        }
    }

    /// Our FIN is on its way, or the RST of an injected fault.
    pub(crate) fn fin_sent(&mut self) {
        self.fin_sent = true;
    }

    /// Whether what the peer sends next goes back byte for byte, and nothing is owed before it.
    pub(crate) fn is_passthrough(&self) -> bool {
        self.pipeline.is_none() && self.owed.is_none() && self.input == Input::Open
    }

    /// Bytes that were taken from the peer and have not been sent back yet.
    pub(crate) fn owed(&self) -> usize {
        self.owed.as_ref().map_or(0, |owed| owed.rest().len())
    }

    /// How the peer broke the framing, if it did: nothing it sends from there on can be echoed.
    pub(crate) fn broken(&self) -> Option<FrameError> {
        self.framed()?.broken
    }

    /// Complete messages taken so far; none without framing.
    pub(crate) fn messages(&self) -> u64 {
        self.framed().map_or(0, |framed| framed.messages)
    }

    /// Why it has ended, if nothing else has ended it.
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
