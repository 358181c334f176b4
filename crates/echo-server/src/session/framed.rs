//! Splitting the input of a connection into messages.

use echo_proto::{Decoder, Frame, FrameError};

use crate::Config;

/// Splits input into messages.
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

    /// Consumes bytes from the front of `piece` and returns the next bytes to be echoed.
    pub(super) fn next_echo<'m, 'i: 'm>(&'m mut self, piece: &mut &'i [u8]) -> Option<&'m [u8]> {
        if self.decoder.buffered() > 0 {
            // The message began in an earlier piece, so it is echoed from the decoder's buffer.
            let frame = record_error(self.decoder.decode(piece), &mut self.broken)?;
            self.messages += 1;
            return Some(frame.wire());
        }
        // Whole messages are contiguous in the piece and are echoed together.
        let whole = *piece;
        let mut length = 0;
        while self.broken.is_none()
            && let Some(frame) = record_error(self.decoder.decode(piece), &mut self.broken)
        {
            self.messages += 1;
            length += frame.wire().len();
        }
        (length > 0).then(|| &whole[..length])
    }

    /// Records the peer's FIN. The last message may be incomplete.
    pub(super) fn finish(&mut self) {
        self.broken = self.decoder.finish().err();
    }
}

/// Stores the error of a broken stream. It is reported once all complete messages have been echoed.
fn record_error<'a>(
    decoded: Result<Option<Frame<'a>>, FrameError>,
    broken: &mut Option<FrameError>,
) -> Option<Frame<'a>> {
    decoded.unwrap_or_else(|error| {
        *broken = Some(error);
        None
    })
}
