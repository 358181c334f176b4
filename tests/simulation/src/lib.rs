//! A simulated system for the event loops: sockets, epoll, io_uring and the clock, in one thread, driven by a seed.
//!
//! The types have the names and methods of those they replace: std's `Instant`, mio's and socket2's sockets, mio's
//! `Poll`, `echo_ring`'s `Ring`. A program that imports them from here instead runs unmodified. Each thread has a
//! [`World`] of its own; a [`Driver`] decides what happens outside of the program: what peers do, when it is stopped.
//!
//! While the program waits, and within any of its system calls, the world performs *steps*: a segment arrives, a
//! peer acts, an operation completes, time passes. Which one is left to chance. What a kernel guarantees is kept,
//! and nothing beyond that: each liberty that the world takes is commented with its source, a man page, the kernel
//! or a report of the behaviour.
//!
//! A violation is a panic, and the seed repeats it. What is checked here, whatever the program:
//!
//! - No system call names a descriptor that is closed, and none is closed while a queued entry names it.
//! - A socket has one receiver at a time.
//! - Each provided buffer is recycled exactly once, and not while an entry that sends it is queued.
//! - What is sent is what the connection's [`Model`] allows.
//! - At rest, no operation in flight keeps a closed socket open.
//!
//! [`Model`]: echo_test_support::model::Model
#![cfg(target_os = "linux")]

mod clock;
mod descriptor;
mod pipe;
mod readiness;
mod ring;
mod runner;
mod sockets;
mod tcp;
mod timer;
mod world;

pub use clock::{Instant, sleep, thread_cpu_time};
pub use descriptor::{OwnedFd, eventfd, write};
pub use pipe::Pipe;
pub use readiness::{Events, Interest, Poll, ReadinessEvent, Registry, Source, Token, Waker};
pub use ring::{Completion, RecvBuf, Ring, RingSetup};
pub use runner::Histories;
pub use rustix::event::EventfdFlags;
pub use sockets::{
    SockRef, TcpListener, TcpStream, blocking, pending_error, received, unacknowledged,
};
pub use tcp::Tcp;
pub use tcp::active::{Active, Told, retransmits, start_connect};
pub use timer::{SourceFd, timerfd_create, timerfd_settime};
pub use world::{Driver, Settings, World, drive, enter, settle, with};
