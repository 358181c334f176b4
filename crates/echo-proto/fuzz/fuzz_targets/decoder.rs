//! Any bytes in any chunks: the decoder does not panic, returns the same messages as from one
//! chunk, and allocates no more than a multiple of what was received.
#![no_main]

use echo_proto::{Decoder, FrameError, Framing, encode};
use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// A growing vector doubles, and while it is moved the old allocation still exists.
const GROWTH: usize = 3;
/// Minimum size of a small vector, whatever the input.
const CONSTANT: usize = 64;

fuzz_target!(|input: &[u8]| {
    // The first bytes determine how to split the rest.
    let [framing, max_frame, cut, wire @ ..] = input else { return };
    let framing = [Framing::Raw, Framing::Line, Framing::Length][usize::from(framing % 3)];
    let max_frame = if *max_frame == 255 { u64::MAX } else { u64::from(*max_frame) };
    let size = usize::from(*cut) + 1;

    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    count(framing, max_frame, wire, size);
    let used = MEMORY.peak_usage() - before;
    assert!(used <= GROWTH * wire.len() + CONSTANT, "{used} bytes for {}", wire.len());

    let (whole, end) = decode(framing, max_frame, wire, wire.len().max(1));
    let (pieces, end_of_pieces) = decode(framing, max_frame, wire, size);
    if framing == Framing::Raw {
        assert_eq!(whole.concat(), pieces.concat());
        return;
    }
    assert_eq!(whole, pieces);
    // A line that is too large is detected earlier in smaller chunks. Everything else is the same.
    match (end, end_of_pieces) {
        (Err(FrameError::FrameTooLarge { .. }), Err(FrameError::FrameTooLarge { .. })) => {}
        (end, end_of_pieces) => assert_eq!(end, end_of_pieces),
    }

    let mut encoded = Vec::new();
    for message in &whole {
        encode(framing, message, &mut encoded).expect("it was decoded from this framing");
    }
    assert!(wire.starts_with(&encoded));
});

/// Decodes and discards.
fn count(framing: Framing, max_frame: u64, wire: &[u8], size: usize) {
    let mut decoder = Decoder::new(framing, max_frame);
    for mut piece in wire.chunks(size) {
        while let Ok(Some(_)) = decoder.decode(&mut piece) {}
        if !piece.is_empty() {
            return;
        }
    }
}

fn decode(
    framing: Framing,
    max_frame: u64,
    wire: &[u8],
    size: usize,
) -> (Vec<Vec<u8>>, Result<(), FrameError>) {
    let mut decoder = Decoder::new(framing, max_frame);
    let mut messages = Vec::new();
    for mut piece in wire.chunks(size) {
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(frame)) => messages.push(frame.payload().to_vec()),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
    }
    (messages, decoder.finish())
}
