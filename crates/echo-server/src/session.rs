//! What one connection owes its peer, without any I/O: bytes in, the echo out.

use echo_proto::{Decoder, Frame, FrameError};

use crate::Config;

/// The state of one connection, driven by an engine.
pub(crate) struct Session {
    /// With framing, what finds the messages; raw bytes need nobody to understand them.
    framed: Option<Framed>,
}

struct Framed {
    decoder: Decoder,
    messages: u64,
    broken: Option<FrameError>,
}

impl Session {
    pub(crate) fn new(config: &Config) -> Self {
        let framed = config.framing.is_framed().then(|| Framed {
            decoder: Decoder::new(config.framing, config.max_frame),
            messages: 0,
            broken: None,
        });
        Self { framed }
    }

    /// Takes bytes off the front of `piece`, which the peer has sent, and gives what is to be sent
    /// back now: with framing, the messages that are whole. `None` when there is no more of it.
    pub(crate) fn next_echo<'m, 'i: 'm>(&'m mut self, piece: &mut &'i [u8]) -> Option<&'m [u8]> {
        match &mut self.framed {
            Some(framed) => framed.next_echo(piece),
            None => Some(std::mem::take(piece)).filter(|bytes| !bytes.is_empty()),
        }
    }

    /// The peer has no more to send.
    pub(crate) fn end_of_input(&mut self) {
        if let Some(framed) = &mut self.framed
            && framed.broken.is_none()
        {
            framed.broken = framed.decoder.finish().err();
        }
    }

    /// How the peer broke the framing, if it did: nothing it sends from there on can be echoed.
    pub(crate) fn broken(&self) -> Option<FrameError> {
        self.framed.as_ref()?.broken
    }

    /// Whole messages given back so far; none without framing.
    pub(crate) fn messages(&self) -> u64 {
        self.framed.as_ref().map_or(0, |framed| framed.messages)
    }
}

impl Framed {
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

    fn session(framing: Framing) -> Session {
        Session::new(&Config { framing, max_frame: 4, ..Config::default() })
    }

    /// All that a session gives back for one piece.
    fn echo(session: &mut Session, mut piece: &[u8]) -> Vec<u8> {
        let mut echo = Vec::new();
        while let Some(bytes) = session.next_echo(&mut piece) {
            echo.extend_from_slice(bytes);
        }
        echo
    }

    #[test]
    fn raw_bytes_go_back_as_they_come() {
        let mut session = session(Framing::Raw);
        assert_eq!(echo(&mut session, b"longer than a frame"), b"longer than a frame");
        session.end_of_input();
        assert_eq!((session.broken(), session.messages()), (None, 0));
    }

    #[test]
    fn only_whole_messages_go_back() {
        let mut session = session(Framing::Line);
        for (piece, whole) in [("a", ""), ("b\nc", "ab\n"), ("\n\nd", "c\n\n"), ("\n", "d\n")] {
            assert_eq!(echo(&mut session, piece.as_bytes()), whole.as_bytes());
        }
        session.end_of_input();
        assert_eq!((session.broken(), session.messages()), (None, 4));
    }

    #[test]
    fn messages_before_a_broken_one_go_back_and_nothing_after_it() {
        let mut session = session(Framing::Length);
        assert_eq!(echo(&mut session, b"\0\0\0\x01a\0\0\0\x05"), b"\0\0\0\x01a");
        let too_large = Some(FrameError::FrameTooLarge { len: 5, max: 4 });
        assert_eq!(session.broken(), too_large);
        assert_eq!(echo(&mut session, b"\0\0\0\x01b"), b"");
        session.end_of_input();
        assert_eq!((session.broken(), session.messages()), (too_large, 1));
    }

    #[test]
    fn an_end_inside_a_message_breaks_the_framing() {
        let mut session = session(Framing::Length);
        assert_eq!(echo(&mut session, b"\0\0"), b"");
        session.end_of_input();
        assert_eq!(session.broken(), Some(FrameError::Truncated { received: 2, missing: 2 }));
    }
}
