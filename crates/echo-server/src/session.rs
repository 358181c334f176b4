//! What one connection owes its peer, without any I/O: bytes in, the echo out, and what comes next.
//!
//! ```text
//!            received            input is over,         peer's FIN
//!   Read ───────────────> Write  all was echoed
//!     ^ <───────────────    │ ─────────────────> Finish ──────────> Close
//!            flushed                              │  ^ FIN sent      ^
//!                                                 └> Discard ────────┘
//! ```

mod framed;
mod owed;
#[cfg(test)]
mod tests;

use std::io;

use echo_proto::FrameError;

use self::framed::Framed;
use self::owed::Owed;
use crate::Config;

/// The state of one connection, driven by an engine.
///
/// An engine gives it what it receives and a way to send that takes as much as there is room for;
/// [`next`](Self::next) then says what the connection waits for. It is small, because a server holds
/// one for each connection, and one that owes nothing holds no buffer.
pub(crate) struct Session {
    /// With framing, what finds the messages; raw bytes need nobody to understand them.
    framed: Option<Box<Framed>>,
    owed: Option<Box<Owed>>,
    input: Input,
    fin_sent: bool,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Bytes from the peer.
    Read,
    /// Room for bytes that are owed. Until then nothing is read.
    Write,
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
    /// What the peer still sends will not be echoed: the server stops, or the framing is broken.
    Refused,
    /// The peer has sent FIN.
    Ended,
}

impl Session {
    pub(crate) fn new(config: &Config) -> Self {
        let framed = config.framing.is_framed().then(|| Box::new(Framed::new(config)));
        Self { framed, owed: None, input: Input::Open, fin_sent: false }
    }

    pub(crate) fn next(&self) -> Next {
        match (self.input, self.fin_sent) {
            _ if self.owed.is_some() => Next::Write,
            (Input::Open, _) => Next::Read,
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
        let Some(framed) = &mut self.framed else {
            return Owed::send_or_keep(&mut self.owed, piece, send);
        };
        let mut sent = 0;
        while let Some(bytes) = framed.next_echo(&mut piece) {
            sent += Owed::send_or_keep(&mut self.owed, bytes, &mut send)?;
        }
        if framed.broken.is_some() {
            self.refuse_input();
        }
        Ok(sent)
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
        let sent = send(owed.rest())?;
        owed.sent(sent);
        if owed.rest().is_empty() {
            self.owed = None;
        }
        Ok(sent)
    }

    /// The peer has sent FIN.
    pub(crate) fn peer_ended(&mut self) {
        if self.input == Input::Open
            && let Some(framed) = &mut self.framed
        {
            framed.finish();
        }
        self.input = Input::Ended;
    }

    /// Echo nothing more than what was received by now.
    pub(crate) fn refuse_input(&mut self) {
        if self.input == Input::Open {
            self.input = Input::Refused;
        }
    }

    /// Our FIN is on its way.
    pub(crate) fn fin_sent(&mut self) {
        self.fin_sent = true;
    }

    /// Whether what the peer sends next goes back byte for byte, behind nothing that is owed.
    pub(crate) fn is_transparent(&self) -> bool {
        self.framed.is_none() && self.next() == Next::Read
    }

    /// Whether bytes were taken from the peer that could not be sent back yet.
    pub(crate) fn owes(&self) -> bool {
        self.owed.is_some()
    }

    /// How the peer broke the framing, if it did: nothing it sends from there on can be echoed.
    pub(crate) fn broken(&self) -> Option<FrameError> {
        self.framed.as_ref()?.broken
    }

    /// Whole messages taken so far; none without framing.
    pub(crate) fn messages(&self) -> u64 {
        self.framed.as_ref().map_or(0, |framed| framed.messages)
    }
}
