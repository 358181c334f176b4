//! A safe interface to io_uring(7) for sockets (Linux; elsewhere this crate is empty).
//!
//! A [`Ring`] is one `io_uring` instance with a ring of provided buffers to receive into and an arena
//! to send from. The operations have their liburing names:
//!
//! | operation | completes |
//! |---|---|
//! | [`Ring::poll_add`] | once, when one of the events is pending |
//! | [`Ring::poll_multishot`] | whenever one of the events occurs |
//! | [`Ring::recv_multishot`] | with a [`RecvBuf`] for each piece of the stream |
//! | [`Ring::send`], [`Ring::send_arena`] | only if not everything was sent |
//! | [`Ring::cancel`] | only if there was nothing to cancel |
//!
//! Each is submitted with a [`UserData`], which its [`Completion`]s carry. The caller decides what the
//! numbers mean and when to use which operation.
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
//! # Soundness
//!
//! The kernel shares memory with the program, which the compiler cannot check. All `unsafe` code in this
//! crate refers to these invariants by number:
//!
//! 1. **Entries.** Submission entries refer to descriptors and buffer groups by number. Only sends refer to
//!    memory, and that memory belongs to the ring: a provided buffer or the arena. A send has
//!    `MSG_DONTWAIT`, so the kernel completes or fails it while `io_uring_enter(2)` consumes the entry,
//!    and keeps no pointer (io_send with `REQ_F_NOWAIT`). Buffers and arena outlive the last such call.
//!    No kernel thread consumes entries (no `SQPOLL`), and no link or drain flag delays an entry.
//! 2. **Calls.** Memory passed to a system call by address lives until the call returns. The kernel keeps
//!    none of these addresses except that of the buffer ring, see 4.
//! 3. **Buffers.** A provided buffer belongs to the kernel from its publication until a completion names
//!    it. From then on there is exactly one [`RecvBuf`] for it, until [`Ring::recycle`] consumes that and
//!    publishes the buffer again. A `RecvBuf` carries the number of its ring, which no other ring of the
//!    process ever has; other rings refuse it.
//! 4. **Registered memory.** The buffers and their ring are freed only if they could not be registered or
//!    have been unregistered. If unregistering fails, they are leaked. A multishot receive holds no
//!    buffer between two completions: under the ring's lock, it selects one and either fills and reports
//!    it or returns it.
//! 5. **Views.** The views of the queues borrow the `IoUring`, which lives in its own allocation that
//!    nothing else refers to, and is dropped after them.
//! 6. **Threads.** The descriptor of an enabled ring is registered with the thread that enabled it. In
//!    another thread the same index may refer to another ring, so every use of the index first checks
//!    the thread and fails with `EEXIST` in any other. Unregistering the buffers uses the descriptor
//!    itself, for which the kernel has the same check.
//!
//! What is *not* guaranteed: descriptors are plain numbers, as in mio's `SourceFd`, and this crate closes
//! none. An entry acts on the file that its number refers to when it is submitted. The caller keeps a
//! descriptor open until [`Ring::has_submitted_all`], and cancels or shuts down operations in flight
//! before closing it, because an operation keeps its file open.
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
