//! Whether this machine has all of io_uring that is used here, found by using it: what a kernel can do is
//! neither told by its version (distributions change it) nor by its name for a feature (sandboxes forbid it).

use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Completion, PIECE, Ring, Sizes};

/// Receives from a pair of sockets, and sends to it until it is full.
///
/// # Errors
///
/// What the system said, or [`ErrorKind::Unsupported`] where it does not do as it should.
pub(in crate::bench) fn probe() -> io::Result<()> {
    let (ours, mut theirs) = UnixStream::pair()?;
    let sizes = Sizes { slots: 1, requests: 8, buffers: 2, buffer: 64, outbox: PIECE };
    let mut ring = Ring::new(sizes)?;
    ring.begin(&theirs)?;
    ring.add(0, &ours);
    theirs.write_all(b"hello")?;
    let mut received = 0;
    until(&mut ring, |ring, completion| {
        if let Completion::Received(_) = completion {
            received += ring.bytes().len();
        }
        received == 5
    })?;
    // By default it has room for some 200 KiB.
    let mut left = 64;
    while left > 0 && ring.send(0, PIECE, |_| {}) > 0 {
        left -= 1;
    }
    until(&mut ring, |_, completion| matches!(completion, Completion::Unsent(..)))
}

/// Waits for a completion of which `is_it` is true.
fn until(ring: &mut Ring, mut is_it: impl FnMut(&Ring, &Completion) -> bool) -> io::Result<()> {
    for _ in 0..10 {
        ring.wait(Duration::from_millis(100))?;
        while let Some(completion) = ring.next() {
            if is_it(ring, &completion) {
                return Ok(());
            }
            if let Completion::Failed(_, error) = completion {
                return Err(error);
            }
        }
    }
    Err(ErrorKind::Unsupported.into())
}
