//! The decoder compared with `tokio_util::codec::LengthDelimitedCodec` on the same bytes: `cargo
//! bench -p echo-proto`.

use bytes::{BufMut, BytesMut};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use echo_proto::{Decoder, Framing, Pattern, encode};
use tokio_util::codec::{Decoder as _, LengthDelimitedCodec};

/// Bytes per message.
const LENGTHS: [usize; 2] = [64, 64 * 1024];
/// Bytes per stream.
const STREAM: usize = 8 * 1024 * 1024;
/// Bytes that one `recv` might return.
const READ_SIZE: usize = 64 * 1024;

fn main() {
    divan::main();
}

fn stream(framing: Framing, length: usize) -> Vec<u8> {
    let mut message = vec![0; length];
    Pattern::new(0).fill(0, &mut message);
    message.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
    let mut wire = Vec::new();
    for _ in 0..STREAM / length {
        encode(framing, &message, &mut wire).expect("it is short, and one line");
    }
    wire
}

/// The stream arrives in chunks; copying each one simulates the `recv` into the buffer.
mod in_chunks {
    use super::*;

    #[divan::bench(args = LENGTHS)]
    fn ours(bencher: Bencher<'_, '_>, length: usize) {
        let wire = stream(Framing::Length, length);
        let mut buffer = vec![0; READ_SIZE];
        bencher.counter(BytesCount::of_slice(&wire)).bench_local(|| {
            let mut decoder = Decoder::new(Framing::Length, u64::MAX);
            let mut messages = 0;
            for chunk in wire.chunks(READ_SIZE) {
                buffer[..chunk.len()].copy_from_slice(chunk);
                let mut input = &buffer[..chunk.len()];
                while let Some(frame) = decoder.decode(&mut input).expect("it is well-formed") {
                    black_box(frame.payload());
                    messages += 1;
                }
            }
            assert_eq!(messages, STREAM / length);
        });
    }

    #[divan::bench(args = LENGTHS)]
    fn tokio_util(bencher: Bencher<'_, '_>, length: usize) {
        let wire = stream(Framing::Length, length);
        bencher.counter(BytesCount::of_slice(&wire)).bench_local(|| {
            let mut codec = codec();
            let mut buffer = BytesMut::with_capacity(READ_SIZE);
            let mut messages = 0;
            for chunk in wire.chunks(READ_SIZE) {
                buffer.reserve(READ_SIZE);
                buffer.put_slice(chunk);
                while let Some(frame) = codec.decode(&mut buffer).expect("it is well-formed") {
                    black_box(&frame[..]);
                    messages += 1;
                }
            }
            assert_eq!(messages, STREAM / length);
        });
    }
}

/// The whole stream is available at once, in each decoder's preferred buffer: nothing is copied.
mod at_once {
    use super::*;

    #[divan::bench(args = LENGTHS)]
    fn ours(bencher: Bencher<'_, '_>, length: usize) {
        let wire = stream(Framing::Length, length);
        bencher.counter(BytesCount::of_slice(&wire)).bench_local(|| {
            let mut decoder = Decoder::new(Framing::Length, u64::MAX);
            let mut input = wire.as_slice();
            let mut messages = 0;
            while let Some(frame) = decoder.decode(&mut input).expect("it is well-formed") {
                black_box(frame.payload());
                messages += 1;
            }
            assert_eq!(messages, STREAM / length);
        });
    }

    #[divan::bench(args = LENGTHS)]
    fn tokio_util(bencher: Bencher<'_, '_>, length: usize) {
        let wire = stream(Framing::Length, length);
        let bencher = bencher.counter(BytesCount::of_slice(&wire));
        bencher.with_inputs(|| BytesMut::from(wire.as_slice())).bench_local_refs(|buffer| {
            let mut codec = codec();
            let mut messages = 0;
            while let Some(frame) = codec.decode(buffer).expect("it is well-formed") {
                black_box(&frame[..]);
                messages += 1;
            }
            assert_eq!(messages, STREAM / length);
        });
    }
}

/// Finding line breaks is most of the work for lines.
#[divan::bench(args = LENGTHS)]
fn lines(bencher: Bencher<'_, '_>, length: usize) {
    let wire = stream(Framing::Line, length);
    bencher.counter(BytesCount::of_slice(&wire)).bench_local(|| {
        let mut decoder = Decoder::new(Framing::Line, u64::MAX);
        let mut input = wire.as_slice();
        let mut messages = 0;
        while let Some(frame) = decoder.decode(&mut input).expect("it is well-formed") {
            black_box(frame.payload());
            messages += 1;
        }
        assert_eq!(messages, STREAM / length);
    });
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(usize::MAX).new_codec()
}
