//! The messages of a connection with framing.

use echo_proto::{Decoder, Frame, FrameError};

use crate::Config;

/// Finds the messages in what the peer sends.
pub(super) struct Framed {
    decoder: Decoder,
    /// Whole messages so far.
    pub(super) messages: u64,
    /// How the peer broke the framing, if it did.
    pub(super) broken: Option<FrameError>,
}

impl Framed {
    pub(super) fn new(config: &Config) -> Self {
        let decoder = Decoder::new(config.framing, config.max_frame);
        Self { decoder, messages: 0, broken: None }
    }

    /// Takes bytes off the front of `piece` and gives the next bytes to be sent back.
    pub(super) fn next_echo<'m, 'i: 'm>(&'m mut self, piece: &mut &'i [u8]) -> Option<&'m [u8]> {
        if self.decoder.buffered() > 0 {
            // Its beginning came with an earlier piece, so it goes back from the decoder's memory.
            let frame = after_turn(self.decoder.decode(piece), &mut self.broken)?;
            self.messages += 1;
            return Some(frame.wire());
        }
        // Those that follow lie one behind the other in the piece and go back together.
        let whole = *piece;
        let mut length = 0;
        while self.broken.is_none()
            && let Some(frame) = after_turn(self.decoder.decode(piece), &mut self.broken)
        {
            self.messages += 1;
            length += frame.wire().len();
        }
        (length > 0).then(|| &whole[..length])
    }

    /// The peer has sent all it wants to: the last message may not be whole.
    pub(super) fn finish(&mut self) {
        self.broken = self.decoder.finish().err();
    }
}

/// Keeps the error of a broken stream, which is told once, when all that was whole is on its way.
fn after_turn<'a>(
    decoded: Result<Option<Frame<'a>>, FrameError>,
    broken: &mut Option<FrameError>,
) -> Option<Frame<'a>> {
    decoded.unwrap_or_else(|error| {
        *broken = Some(error);
        None
    })
}
