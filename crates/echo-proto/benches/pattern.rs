//! Generating and checking the pattern compared with copying as many bytes: `cargo bench -p echo-proto pattern`.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use echo_proto::Pattern;

/// Bytes per call. The largest fits neither in the L1 nor the L2 cache.
const LENGTHS: [usize; 3] = [64, 16 * 1024, 4 * 1024 * 1024];

fn main() {
    divan::main();
}

#[divan::bench(args = LENGTHS)]
fn fill(bencher: Bencher<'_, '_>, length: usize) {
    let mut buffer = vec![0; length];
    let pattern = Pattern::new(7);
    bencher.counter(BytesCount::new(length)).bench_local(|| {
        pattern.fill(black_box(3_000), &mut buffer);
        black_box(&buffer);
    });
}

#[divan::bench(args = LENGTHS)]
fn check(bencher: Bencher<'_, '_>, length: usize) {
    let mut buffer = vec![0; length];
    let pattern = Pattern::new(7);
    pattern.fill(3_000, &mut buffer);
    bencher.counter(BytesCount::new(length)).bench_local(|| {
        pattern.check(3_000, black_box(&buffer)).expect("it is the pattern");
    });
}

#[divan::bench(args = LENGTHS)]
fn copy(bencher: Bencher<'_, '_>, length: usize) {
    let (source, mut buffer) = (vec![1_u8; length], vec![0; length]);
    bencher.counter(BytesCount::new(length)).bench_local(|| {
        buffer.copy_from_slice(black_box(&source));
        black_box(&buffer);
    });
}
