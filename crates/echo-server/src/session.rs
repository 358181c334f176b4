//! What one connection owes its peer, without any I/O: bytes in, the echo out, and what comes next.
//!
//! ```text
//!            received            input is over,         peer's FIN
//!   Read ───────────────> Write  all was echoed
//!     ^ <───────────────    │ ─────────────────> Finish ──────────> Close
//!            flushed                              │  ^ FIN sent      ^
//!                                                 └> Discard ────────┘
//! ```

use std::io;

use echo_proto::{Decoder, Frame, FrameError};

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

/// Bytes that the peer has no room for yet.
struct Owed {
    bytes: Vec<u8>,
    /// How many of them were sent meanwhile.
    sent: usize,
}

struct Framed {
    decoder: Decoder,
    messages: u64,
    broken: Option<FrameError>,
}

impl Session {
    pub(crate) fn new(config: &Config) -> Self {
        let framed = config.framing.is_framed().then(|| {
            let decoder = Decoder::new(config.framing, config.max_frame);
            Box::new(Framed { decoder, messages: 0, broken: None })
        });
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
        let sent = send(&owed.bytes[owed.sent..])?;
        owed.sent += sent;
        if owed.sent == owed.bytes.len() {
            self.owed = None;
        }
        Ok(sent)
    }

    /// The peer has sent FIN.
    pub(crate) fn peer_ended(&mut self) {
        if self.input == Input::Open
            && let Some(framed) = &mut self.framed
        {
            framed.broken = framed.decoder.finish().err();
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

impl Owed {
    /// Sends `bytes` behind what is owed already, and keeps what there is no room for.
    fn send_or_keep(
        owed: &mut Option<Box<Self>>,
        bytes: &[u8],
        mut send: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if let Some(owed) = owed {
            owed.bytes.extend_from_slice(bytes);
            return Ok(0);
        }
        let sent = send(bytes)?;
        if sent < bytes.len() {
            *owed = Some(Box::new(Self { bytes: bytes[sent..].to_vec(), sent: 0 }));
        }
        Ok(sent)
    }
}

impl Framed {
    /// Takes bytes off the front of `piece` and gives the next bytes to be sent back.
    fn next_echo<'m, 'i: 'm>(&'m mut self, piece: &mut &'i [u8]) -> Option<&'m [u8]> {
        if self.decoder.buffered() > 0 {
            // Its beginning came with an earlier piece, so it goes back from the decoder's memory.
            let frame = settle(self.decoder.decode(piece), &mut self.broken)?;
            self.messages += 1;
            return Some(frame.wire());
        }
        // Those that follow lie one behind the other in the piece and go back together.
        let whole = *piece;
        let mut length = 0;
        while self.broken.is_none()
            && let Some(frame) = settle(self.decoder.decode(piece), &mut self.broken)
        {
            self.messages += 1;
            length += frame.wire().len();
        }
        (length > 0).then(|| &whole[..length])
    }
}

/// Keeps the error of a broken stream, which is told once, when all that was whole is on its way.
fn settle<'a>(
    decoded: Result<Option<Frame<'a>>, FrameError>,
    broken: &mut Option<FrameError>,
) -> Option<Frame<'a>> {
    decoded.unwrap_or_else(|error| {
        *broken = Some(error);
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use echo_proto::Framing;

    /// What can happen to a session, with how much room there is for sending.
    enum Does {
        Sends(&'static str, usize),
        HasRoom(usize),
        Ends,
        IsRefused,
        GetsFin,
    }
    use Does::{Ends, GetsFin, HasRoom, IsRefused, Sends};

    /// Runs a table of events, what is sent because of each, and what the session then waits for.
    fn run(framing: Framing, table: &[(Does, &str, Next)]) -> Session {
        let config = Config { framing, max_frame: 4, ..Config::default() };
        let mut session = Session::new(&config);
        assert_eq!(session.next(), Next::Read);
        for (row, (event, echo, next)) in table.iter().enumerate() {
            let mut sent = Vec::new();
            let mut room = match event {
                Sends(_, room) | HasRoom(room) => *room,
                Ends | IsRefused | GetsFin => 0,
            };
            let mut send = |bytes: &[u8]| {
                let count = bytes.len().min(room);
                room -= count;
                sent.extend_from_slice(&bytes[..count]);
                Ok(count)
            };
            let count = match event {
                Sends(piece, _) => session.received(piece.as_bytes(), &mut send).unwrap(),
                HasRoom(_) => session.flush(&mut send).unwrap(),
                Ends => (session.peer_ended(), 0).1,
                IsRefused => (session.refuse_input(), 0).1,
                GetsFin => (session.fin_sent(), 0).1,
            };
            assert_eq!(str::from_utf8(&sent).unwrap(), *echo, "row {row}");
            assert_eq!((count, session.next()), (echo.len(), *next), "row {row}");
        }
        session
    }

    #[test]
    fn bytes_go_back_as_they_come_until_both_have_said_goodbye() {
        let session = run(
            Framing::Raw,
            &[
                (Sends("longer than a frame", 99), "longer than a frame", Next::Read),
                (Ends, "", Next::Finish),
                (GetsFin, "", Next::Close),
            ],
        );
        assert_eq!((session.broken(), session.messages(), session.owes()), (None, 0, false));
    }

    #[test]
    fn what_there_is_no_room_for_is_owed_and_nothing_is_read_meanwhile() {
        run(
            Framing::Raw,
            &[
                (Sends("Hello", 2), "He", Next::Write),
                (HasRoom(0), "", Next::Write),
                (HasRoom(1), "l", Next::Write),
                (HasRoom(9), "lo", Next::Read),
                (Sends("again", 0), "", Next::Write),
                (HasRoom(5), "again", Next::Read),
            ],
        );
    }

    #[test]
    fn half_close_waits_for_the_owed_bytes_before_the_fin() {
        run(
            Framing::Raw,
            &[
                (Sends("Hello", 1), "H", Next::Write),
                (Ends, "", Next::Write),
                (HasRoom(3), "ell", Next::Write),
                (HasRoom(3), "o", Next::Finish),
                (GetsFin, "", Next::Close),
            ],
        );
    }

    #[test]
    fn a_stop_echoes_what_is_owed_and_drops_the_rest() {
        run(
            Framing::Raw,
            &[
                (Sends("Hello", 1), "H", Next::Write),
                (IsRefused, "", Next::Write),
                (HasRoom(9), "ello", Next::Finish),
                (GetsFin, "", Next::Discard),
                (Ends, "", Next::Close),
            ],
        );
    }

    #[test]
    fn a_peer_that_ended_is_not_waited_for_when_the_server_stops() {
        run(
            Framing::Raw,
            &[(Ends, "", Next::Finish), (IsRefused, "", Next::Finish), (GetsFin, "", Next::Close)],
        );
    }

    #[test]
    fn only_whole_messages_go_back() {
        let session = run(
            Framing::Line,
            &[
                (Sends("a", 9), "", Next::Read),
                (Sends("b\nc", 9), "ab\n", Next::Read),
                (Sends("\n\nd", 9), "c\n\n", Next::Read),
                (Sends("\nx\ny\n", 1), "d", Next::Write),
                (HasRoom(9), "\nx\ny\n", Next::Read),
                (Ends, "", Next::Finish),
            ],
        );
        assert_eq!((session.broken(), session.messages()), (None, 6));
    }

    #[test]
    fn messages_before_a_broken_one_go_back_and_nothing_after_it() {
        let session = run(
            Framing::Length,
            &[
                (Sends("\0\0\0\x01a\0\0\0\x05", 9), "\0\0\0\x01a", Next::Finish),
                (Sends("\0\0\0\x01b", 9), "", Next::Finish),
                (GetsFin, "", Next::Discard),
                (Ends, "", Next::Close),
            ],
        );
        let too_large = Some(FrameError::FrameTooLarge { len: 5, max: 4 });
        assert_eq!((session.broken(), session.messages()), (too_large, 1));
    }

    #[test]
    fn an_end_inside_a_message_breaks_the_framing_and_a_stop_there_does_not() {
        let truncated = Some(FrameError::Truncated { received: 2, missing: 2 });
        let cut = [(Sends("\0\0", 9), "", Next::Read), (Ends, "", Next::Finish)];
        assert_eq!(run(Framing::Length, &cut).broken(), truncated);
        let stopped = run(
            Framing::Length,
            &[
                (Sends("\0\0", 9), "", Next::Read),
                (IsRefused, "", Next::Finish),
                (Ends, "", Next::Finish),
            ],
        );
        assert_eq!(stopped.broken(), None);
    }
}
