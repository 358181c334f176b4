//! What the event loops use of the system: sockets, readiness, io_uring and the clock.
//!
//! With `--cfg simulation`, the same names are those of `echo_simulation`, where a seed decides what the system
//! does (CONTRIBUTING.md, "Simulation"). Otherwise they are the system's own, and this module adds nothing to them.

#[cfg(simulation)]
pub(crate) use echo_simulation::{
    Completion, EventfdFlags, Events, Instant, Interest, OwnedFd, Pipe, Poll, ReadinessEvent,
    RecvBuf, Ring, RingSetup, SockRef, TcpListener, TcpStream, Token, Waker, blocking, eventfd,
    pending_error, received, sleep, thread_cpu_time, unacknowledged, write,
};

#[cfg(not(simulation))]
pub(crate) use self::system::*;

#[cfg(not(simulation))]
mod system {
    pub(crate) use std::thread::sleep;
    pub(crate) use std::time::Instant;

    #[cfg(target_os = "linux")]
    pub(crate) use std::os::fd::OwnedFd;

    #[cfg(target_os = "linux")]
    pub(crate) use echo_ring::{Completion, RecvBuf, Ring, RingSetup};
    pub(crate) use mio::event::Event as ReadinessEvent;
    pub(crate) use mio::net::{TcpListener, TcpStream};
    pub(crate) use mio::{Events, Interest, Poll, Token, Waker};
    #[cfg(target_os = "linux")]
    pub(crate) use rustix::event::{EventfdFlags, eventfd};
    #[cfg(target_os = "linux")]
    pub(crate) use rustix::io::write;
    pub(crate) use socket2::SockRef;

    #[cfg(target_os = "linux")]
    pub(crate) use crate::pipe::Pipe;
    #[cfg(not(target_os = "linux"))]
    pub(crate) use crate::pipe_absent::Pipe;
    pub(crate) use crate::system::{pending_error, received, thread_cpu_time, unacknowledged};

    /// Sockets that are accepted, or passed in, before an event loop takes them.
    pub(crate) mod blocking {
        pub(crate) use std::net::{TcpListener, TcpStream};
    }
}
