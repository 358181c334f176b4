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

mod fate;
mod framed;
mod owed;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Instant;

use echo_proto::FrameError;

use self::fate::{Ending, Fate};
use self::framed::Framed;
use self::owed::Owed;
use crate::{CloseReason, Config};

/// The state of one connection, driven by an engine.
///
/// An engine gives it what it receives and a way to send that takes as much as there is room for;
/// [`next`](Self::next) then says what the connection waits for. It is small, because a server holds
/// one for each connection, and one that owes nothing holds no buffer.
pub(crate) struct Session {
    /// Raw bytes that nobody harms have none.
    detour: Option<Box<Detour>>,
    owed: Option<Box<Owed>>,
    input: Input,
    fin_sent: bool,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
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
struct Detour {
    /// With framing, what finds the messages; raw bytes need nobody to understand them.
    framed: Option<Framed>,
    /// With faults on purpose, what does them.
    fate: Option<Box<Fate>>,
}

impl Session {
    /// `number` tells the connection apart from all others: its faults depend on it.
    pub(crate) fn new(config: &Config, number: u64) -> Self {
        let framed = config.framing.is_framed().then(|| Framed::new(config));
        let fate = config.faults.as_ref().map(|faults| Box::new(Fate::new(faults, number)));
        let is_plain = framed.is_none() && fate.is_none();
        let detour = (!is_plain).then(|| Box::new(Detour { framed, fate }));
        let mut session = Self { detour, owed: None, input: Input::Open, fin_sent: false };
        session.end_on_purpose();
        session
    }

    pub(crate) fn next(&self) -> Next {
        match (self.input, self.fin_sent) {
            _ if self.owed.is_some() => match self.fate() {
                Some(fate) if fate.released() == 0 => Next::Hold,
                _ => Next::Write,
            },
            (Input::Open, _) => Next::Read,
            (Input::Stalled, _) => Next::Stall,
            (Input::Reset, _) => Next::Reset,
            (Input::Refused | Input::Ended, false) => Next::Finish,
            (Input::Refused, true) => Next::Discard,
            (Input::Ended, true) => Next::Close,
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
        let Some(detour) = &mut self.detour else {
            return Owed::send_or_keep(&mut self.owed, piece, send);
        };
        let mut sent = 0;
        let mut pass = |bytes: &[u8]| match &mut detour.fate {
            None => Owed::send_or_keep(&mut self.owed, bytes, &mut send).map(|count| sent += count),
            Some(fate) => {
                fate.take(bytes, &mut self.owed);
                Ok(())
            }
        };
        match &mut detour.framed {
            None => pass(piece)?,
            Some(framed) => {
                while let Some(bytes) = framed.next_echo(&mut piece) {
                    pass(bytes)?;
                }
            }
        }
        self.end_on_purpose();
        if self.broken().is_some() && self.input == Input::Open {
            self.refuse_input();
        }
        Ok(sent)
    }

    /// Decides whether the next bytes that are [held back](Next::Hold) may go now. Returns whether they may;
    /// if not, [`due`](Self::due) says when.
    pub(crate) fn release(&mut self, now: Instant) -> bool {
        let owed = self.owed.as_ref().map_or(0, |owed| owed.rest().len());
        self.fate_mut().is_none_or(|fate| fate.release(owed, now))
    }

    /// When the next bytes that are held back may go, if that is decided.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.fate()?.due()
    }

    /// Holds nothing back from now on.
    pub(crate) fn hurry(&mut self) {
        if let Some(fate) = self.fate_mut() {
            fate.hurry();
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
        let fate = self.detour.as_mut().and_then(|detour| detour.fate.as_mut());
        let rest = owed.rest();
        let sent = send(&rest[..fate.as_ref().map_or(rest.len(), |fate| fate.released())])?;
        owed.sent(sent);
        if let Some(fate) = fate {
            fate.sent(sent);
        }
        if owed.rest().is_empty() {
            self.owed = None;
        }
        Ok(sent)
    }

    /// The peer has sent FIN.
    pub(crate) fn peer_ended(&mut self) {
        if self.input == Input::Open
            && let Some(framed) = self.detour.as_mut().and_then(|detour| detour.framed.as_mut())
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
    fn end_on_purpose(&mut self) {
        let ending = self.fate().and_then(Fate::ending);
        if let (Input::Open, Some(ending)) = (self.input, ending) {
            self.input = match ending {
                Ending::Reset => Input::Reset,
                Ending::Close => Input::Refused,
                Ending::Stall => Input::Stalled,
            };
        }
    }

    /// Our FIN is on its way.
    pub(crate) fn fin_sent(&mut self) {
        self.fin_sent = true;
    }

    /// Whether what the peer sends next goes back byte for byte, behind nothing that is owed.
    pub(crate) fn is_transparent(&self) -> bool {
        self.detour.is_none() && self.next() == Next::Read
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
        match self.fate().and_then(Fate::ending) {
            Some(Ending::Reset | Ending::Close) => CloseReason::Fault,
            _ if self.broken().is_some() => CloseReason::Framing,
            _ => CloseReason::Done,
        }
    }

    fn framed(&self) -> Option<&Framed> {
        self.detour.as_ref()?.framed.as_ref()
    }

    fn fate(&self) -> Option<&Fate> {
        self.detour.as_ref()?.fate.as_deref()
    }

    fn fate_mut(&mut self) -> Option<&mut Fate> {
        self.detour.as_mut()?.fate.as_deref_mut()
    }
}
