//! What the load generator's event loop uses of the system: sockets, readiness, timers and the clock.
//!
//! With `--cfg simulation`, the same names are those of `echo_simulation`, where a seed decides what the system
//! does (CONTRIBUTING.md, "Simulation"). Otherwise they are the system's own, and this module adds nothing to them.

#[cfg(simulation)]
pub(crate) use echo_simulation::{
    Completion, Events, Instant, Interest, OwnedFd, Poll, RecvBuf, Registry, Ring, RingSetup,
    SourceFd, TcpStream, Token, retransmits, sleep, start_connect, timerfd_create, timerfd_settime,
};

#[cfg(not(simulation))]
pub(crate) use self::system::*;

#[cfg(not(simulation))]
mod system {
    #[cfg(target_os = "linux")]
    pub(crate) use std::os::fd::OwnedFd;
    pub(crate) use std::thread::sleep;
    pub(crate) use std::time::Instant;

    #[cfg(target_os = "linux")]
    pub(crate) use echo_ring::{Completion, RecvBuf, Ring, RingSetup};
    pub(crate) use mio::net::TcpStream;
    #[cfg(target_os = "linux")]
    pub(crate) use mio::unix::SourceFd;
    pub(crate) use mio::{Events, Interest, Poll, Registry, Token};
    #[cfg(target_os = "linux")]
    pub(crate) use rustix::time::{timerfd_create, timerfd_settime};

    pub(crate) use crate::connect::start_connect;
    pub(crate) use crate::system::retransmits;
}
