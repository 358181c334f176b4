//! io_uring(7) for sockets, in safe words (Linux; elsewhere this crate is empty).
//!
//! A [`Ring`] is one `io_uring` instance with a ring of provided buffers to receive into and an arena
//! to send from. The operations have the names that liburing gives them:
//!
//! | operation | completes |
//! |---|---|
//! | [`Ring::poll_add`] | once, when one of the events is there |
//! | [`Ring::poll_multishot`] | whenever one of the events occurs |
//! | [`Ring::recv_multishot`] | with a [`RecvBuf`] for each piece of the stream that arrives |
//! | [`Ring::send`], [`Ring::send_arena`] | only if not everything was sent |
//! | [`Ring::cancel`] | only if there was nothing to cancel |
//!
//! Each is submitted with a [`UserData`], and its [`Completion`]s carry the same. What the numbers mean,
//! when to use which operation and what a connection is are the caller's business.
//!
//! ```
//! # #[cfg(target_os = "linux")]
//! # fn main() -> std::io::Result<()> {
//! use std::io::Write;
//! use std::os::fd::AsRawFd;
//! use std::os::unix::net::UnixStream;
//!
//! use echo_ring::{RingSetup, UserData};
//!
//! let setup = RingSetup {
//!     entries: 8,
//!     cq_entries: 16,
//!     buffers: 4,
//!     buffer_size: 1024,
//!     arena_size: 0,
//!     no_sqarray: false,
//! };
//! # if setup.probe().is_err() { return Ok(()) }
//! let mut ring = setup.build()?; // on any thread
//! ring.enable()?; // on the thread that uses it from now on
//!
//! let (ours, mut theirs) = UnixStream::pair()?;
//! const RECV: u8 = 0;
//! ring.recv_multishot(ours.as_raw_fd(), UserData::new(RECV, 1, 0));
//! theirs.write_all(b"hello")?;
//!
//! ring.wait(None)?; // submits the receive, and blocks until something completes
//! while let Some(completion) = ring.next_completion() {
//!     assert_eq!(completion.user_data.op(), RECV);
//!     if let Some(buf) = completion.buf {
//!         assert_eq!(ring.bytes(&buf), b"hello");
//!         ring.recycle(buf);
//!     }
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(target_os = "linux"))]
//! # fn main() {}
//! ```
//!
//! # Why it is sound
//!
//! The kernel shares memory with the program, and no compiler checks what it does there. All `unsafe` of
//! this crate refers to these invariants by their numbers:
//!
//! 1. **Entries.** A submission entry refers to descriptors and buffer groups by number. The only ones
//!    that refer to memory are sends, and they refer to memory of the ring itself: to a provided buffer
//!    or to the arena. A send has `MSG_DONTWAIT`, so the kernel carries it out, or fails it, while
//!    `io_uring_enter(2)` takes the entry from the queue, and keeps no pointer (io_send with
//!    `REQ_F_NOWAIT`). Both memories outlive the last such call. There is no kernel thread that takes
//!    entries by itself (no `SQPOLL`) and no link or drain flag that would delay an entry.
//! 2. **Calls.** What is passed to a system call by address lives until the call returns. The kernel keeps
//!    none of these addresses but that of the buffer ring, see 4.
//! 3. **Buffers.** A provided buffer belongs to the kernel from when it is published until a completion
//!    names it. From then on there is exactly one [`RecvBuf`] for it, until [`Ring::recycle`] consumes
//!    that and publishes the buffer again. A `RecvBuf` carries the number of its ring, which no other
//!    ring of the process has or will have, and another ring refuses it.
//! 4. **Registered memory.** The buffers and their ring are freed only if they could not be registered or
//!    have been unregistered. If unregistering fails, they are leaked. A multishot receive holds no buffer between two completions: it
//!    selects one, fills it and reports it, or returns it, under the ring's lock.
//! 5. **Views.** The views of the queues borrow the `IoUring`, which lives in an allocation of its own
//!    that nothing else refers to, and is dropped after them.
//! 6. **Threads.** The descriptor of an enabled ring is registered with the thread that enabled it: in
//!    another thread the same index may mean another ring. So every use of the index is preceded by a
//!    check, and fails with `EEXIST` elsewhere. Unregistering the buffers goes by the descriptor itself,
//!    for which the kernel has the same check.
//!
//! What is *not* promised: descriptors are plain numbers here, as in mio's `SourceFd`. Nothing here closes
//! one. An entry acts on what its number means at the time it is submitted, so the caller keeps a
//! descriptor open until [`Ring::has_submitted_all`], and cancels or shuts down what is in flight
//! before it is closed: an operation keeps its file open.
#![cfg(target_os = "linux")]

mod buf_ring;
mod probe;
mod ring;
mod setup;
#[cfg(test)]
mod tests;
mod user_data;

pub use buf_ring::RecvBuf;
pub use ring::{Completion, Ring};
pub use setup::RingSetup;
pub use user_data::UserData;
