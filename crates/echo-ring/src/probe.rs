//! Probing the system by using each feature once. A kernel's version does not tell, because distributions
//! backport features; nor does its list of operations, because sandboxes restrict them.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::{Completion, Ring, RingSetup, UserData};

const POLL: u8 = 0;
const RECV: u8 = 1;
const SEND: u8 = 2;
const CANCEL: u8 = 3;

/// A Unix socket holds some 200 KiB by default.
const SEND_SIZE: usize = 64 * 1024;
const SENDS: usize = 64;

/// How long to wait for a completion that is due at once.
const TIMEOUT: Duration = Duration::from_secs(1);

impl RingSetup {
    /// Builds a ring with these options but small buffers, and uses each kind of operation: polls, receives,
    /// sends until there is no room, and cancels. Takes less than a millisecond if it succeeds.
    ///
    /// # Errors
    ///
    /// Returns the error of [`build`](Self::build) or of the operation that failed, or
    /// [`Unsupported`](ErrorKind::Unsupported) if an operation does not behave as expected.
    pub fn probe(&self) -> io::Result<()> {
        // A multishot operation ends when the completion queue overflows, so the queues have a minimum size.
        let setup = Self {
            entries: self.entries.max(8),
            cq_entries: self.cq_entries.max(16),
            buffers: 2,
            buffer_size: 64,
            arena_size: SEND_SIZE,
            ..*self
        };
        let mut ring = setup.build()?;
        ring.enable()?;
        let (ours, theirs) = UnixStream::pair()?;
        receives(&mut ring, &ours, &theirs)?;
        sends(&mut ring, &ours)?;
        cancels(&mut ring)
    }
}

fn receives(ring: &mut Ring, ours: &UnixStream, mut theirs: &UnixStream) -> io::Result<()> {
    theirs.write_all(b"?")?;
    ring.poll_multishot(ours.as_raw_fd(), libc::POLLIN as u32, user_data(POLL));
    ring.recv_multishot(ours.as_raw_fd(), user_data(RECV));
    for _ in 0..2 {
        let Completion { buf, more, .. } = succeeded(next(ring)?)?;
        let is_intact = buf.as_ref().is_none_or(|buf| ring.bytes(buf) == b"?");
        buf.into_iter().for_each(|buf| ring.recycle(buf));
        supported(more && is_intact)?;
    }
    Ok(())
}

fn sends(ring: &mut Ring, ours: &UnixStream) -> io::Result<()> {
    for _ in 0..SENDS {
        ring.send_arena(ours.as_raw_fd(), 0..SEND_SIZE, user_data(SEND));
        ring.submit()?;
        while let Some(completion) = ring.next_completion() {
            if completion.user_data.op() == SEND {
                let Completion { result, .. } = completion;
                let is_short = (0..SEND_SIZE as i32).contains(&result);
                return if result == -libc::EAGAIN { Ok(()) } else { supported(is_short) };
            }
        }
    }
    Err(ErrorKind::Unsupported.into())
}

fn cancels(ring: &mut Ring) -> io::Result<()> {
    ring.cancel(user_data(RECV), user_data(CANCEL));
    loop {
        let Completion { user_data, result, more, .. } = next(ring)?;
        match user_data.op() {
            RECV => return supported(result == -libc::ECANCELED && !more),
            CANCEL => return Err(io::Error::from_raw_os_error(-result)),
            // The multishot poll may complete meanwhile.
            _ => {}
        }
    }
}

fn user_data(op: u8) -> UserData {
    UserData::new(op, 0, 0)
}

fn next(ring: &mut Ring) -> io::Result<Completion> {
    match ring.next_completion() {
        Some(completion) => Ok(completion),
        None => {
            ring.wait(Some(TIMEOUT))?;
            ring.next_completion().ok_or_else(|| ErrorKind::Unsupported.into())
        }
    }
}

fn succeeded(completion: Completion) -> io::Result<Completion> {
    match completion.result {
        0.. => Ok(completion),
        code => Err(io::Error::from_raw_os_error(-code)),
    }
}

fn supported(is_as_expected: bool) -> io::Result<()> {
    is_as_expected.then_some(()).ok_or_else(|| ErrorKind::Unsupported.into())
}
