//! What one connection owes its peer, without any I/O: bytes in, the echo out, and what comes next.
//!
//! ```text
//!            received            input is over,         peer's FIN
//!   Read ───────────────> Write  all was echoed
//!     ^ <───────────────    │ ─────────────────> Finish ──────────> Close
//!            flushed                              │  ^ FIN sent      ^
//!                                                 └> Discard ────────┘
//! ```
//!
//! With faults on purpose there is a `Hold` before each `Write`, until that may be; and after a last `Write`
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
/// An engine gives it what it receives and a way to send that takes as much as there is room for;
/// [`state`](Self::state) then says what the connection waits for. It is small, because a server holds
/// one for each connection, and one that owes nothing holds no buffer.
pub(crate) struct Session {
    /// Raw bytes that nobody harms have none.
    pipeline: Option<Box<Pipeline>>,
    owed: Option<Box<SendBuffer>>,
    input: Input,
    fin_sent: bool,
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
    /// Nothing, on purpose: it is neither read from nor written to any more.
    Stall,
    /// All that it gets is sent: reset the connection, on purpose.
    Reset,
    /// All is echoed and nothing more will be: send FIN, then call [`Session::fin_sent`].
    Finish,
    /// The peer has our FIN but may still be sending: drop what comes, until its own.
    Discard,
    /// Both have said goodbye.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Open,
    /// What the peer still sends will not be echoed: the server stops, the framing is broken, or the
    /// echo ends here on purpose.
    Refused,
    /// What the peer still sends will not even be taken, on purpose.
    Stalled,
    /// The connection is to be reset, on purpose.
    Reset,
    /// The peer has sent FIN.
    Ended,
}

/// What stands between the bytes that come and those that go back.
struct Pipeline {
    /// With framing, what finds the messages; raw bytes need nobody to understand them.
    framed: Option<Framed>,
    /// With faults on purpose, what does them.
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
        let mut session = Self { pipeline, owed: None, input: Input::Open, fin_sent: false };
        session.inject_termination();
        session
    }

    pub(crate) fn state(&self) -> State {
        match (self.input, self.fin_sent) {
            _ if self.owed.is_some() => match self.injector() {
                Some(injector) if injector.released() == 0 => State::Hold,
                _ => State::Write,
            },
            (Input::Open, _) => State::Read,
            (Input::Stalled, _) => State::Stall,
            (Input::Reset, _) => State::Reset,
            (Input::Refused | Input::Ended, false) => State::Finish,
            (Input::Refused, true) => State::Discard,
            (Input::Ended, true) => State::Close,
        }
    }

    /// Takes what the peer has sent and gives the echo of it to `send`, which returns how many bytes
    /// it took; the rest is owed. With framing that is the messages which are whole now. Returns how
    /// many bytes were sent.
    ///
    /// # Errors
    ///
    /// Those of `send`: the connection is broken.
    pub(crate) fn received(
        &mut self,
        mut piece: &[u8],
        mut send: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let Some(pipeline) = &mut self.pipeline else {
            return SendBuffer::send_or_keep(&mut self.owed, piece, send);
        };
        let mut sent = 0;
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
        if self.broken().is_some() && self.input == Input::Open {
            self.refuse_input();
        }
        Ok(sent)
    }

    /// Decides whether the next bytes that are [held back](State::Hold) may go now. Returns whether they may;
    /// if not, [`due`](Self::due) says when.
    pub(crate) fn release(&mut self, now: Instant) -> bool {
        let owed = self.owed.as_ref().map_or(0, |owed| owed.rest().len());
        self.injector_mut().is_none_or(|injector| injector.release(owed, now))
    }

    /// When the next bytes that are held back may go, if that is decided.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.injector()?.due()
    }

    /// Holds nothing back from now on.
    pub(crate) fn release_all(&mut self) {
        if let Some(injector) = self.injector_mut() {
            injector.release_all();
        }
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
        let sent =
            send(&rest[..injector.as_ref().map_or(rest.len(), |injector| injector.released())])?;
        owed.sent(sent);
        if let Some(injector) = injector {
            injector.sent(sent);
        }
        if owed.rest().is_empty() {
            self.owed = None;
        }
        Ok(sent)
    }

    /// The peer has sent FIN.
    pub(crate) fn peer_ended(&mut self) {
        if self.input == Input::Open
            && let Some(framed) =
                self.pipeline.as_mut().and_then(|pipeline| pipeline.framed.as_mut())
        {
            framed.finish();
        }
        self.input = Input::Ended;
    }

    /// Echo nothing more than what was received by now.
    pub(crate) fn refuse_input(&mut self) {
        if matches!(self.input, Input::Open | Input::Stalled) {
            self.input = Input::Refused;
        }
    }

    /// Ends the echo where it is to end on purpose.
    fn inject_termination(&mut self) {
        let termination = self.injector().and_then(FaultInjector::termination);
        if let (Input::Open, Some(termination)) = (self.input, termination) {
            self.input = match termination {
                Termination::Reset => Input::Reset,
                Termination::Close => Input::Refused,
                Termination::Stall => Input::Stalled,
            };
        }
    }

    /// Our FIN is on its way.
    pub(crate) fn fin_sent(&mut self) {
        self.fin_sent = true;
    }

    /// Whether what the peer sends next goes back byte for byte, behind nothing that is owed.
    pub(crate) fn is_passthrough(&self) -> bool {
        self.pipeline.is_none() && self.state() == State::Read
    }

    /// Whether bytes were taken from the peer that could not be sent back yet.
    pub(crate) fn owes(&self) -> bool {
        self.owed.is_some()
    }

    /// How the peer broke the framing, if it did: nothing it sends from there on can be echoed.
    pub(crate) fn broken(&self) -> Option<FrameError> {
        self.framed()?.broken
    }

    /// Whole messages taken so far; none without framing.
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
