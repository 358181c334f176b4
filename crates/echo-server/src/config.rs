//! Settings of a server, as plain data.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use echo_proto::Framing;

use crate::Faults;

/// Settings of a [`Server`](crate::Server). The defaults are those of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// A numeric address, a name, `""` for every IPv4 interface or `"::"` for every interface.
    /// Every address that a name resolves to is bound.
    pub host: String,
    /// TCP port; 0 lets the system pick a free one, the same for every address.
    pub port: u16,
    /// Connections that the kernel may queue before they are accepted (`listen(2)`). It silently
    /// uses a smaller number where its own limit is lower (Linux: `net.core.somaxconn`).
    pub backlog: u16,
    /// Serve one connection and return.
    pub once: bool,
    /// How connections are driven.
    pub engine: Engine,
    /// Number of event loops, for the engines that have them; at least one.
    pub threads: usize,
    /// A listening socket for each event loop, among which the system distributes the connections (SO_REUSEPORT). Linux
    /// only, and for the engines that have event loops. With [`once`](Self::once) there is only one socket.
    pub reuseport: bool,
    /// How long an event loop polls after the last event before it sleeps, which trades CPU time for latency.
    /// With zero it polls for at most 30 µs, and only if that costs at most 1.25 times the CPU time of sleeping.
    pub busy_poll: Duration,
    /// Concurrent connections; further ones are closed at once. `None` for as many as the system allows.
    pub max_connections: Option<usize>,
    /// Concurrent connections from one peer: an IPv4 address, or an IPv6 prefix of
    /// [`peer_prefix_v6`](Self::peer_prefix_v6) bits.
    pub max_per_peer: Option<usize>,
    /// Leading bits of an IPv6 address that identify a peer, 1 to 128. A site is given at least a /64
    /// (RFC 6177), so any host can use 2⁶⁴ addresses.
    pub peer_prefix_v6: u8,
    /// Pipes per event loop, each of two descriptors, through which the kernel moves large messages without copying
    /// them to user space (splice(2), Linux). A pipe is in use only while bytes are moved or owed; further connections
    /// are copied. Raw bytes without injected faults only.
    pub max_pipes: usize,
    /// Closes a connection that is silent for this long and is owed nothing. More than zero.
    pub idle_timeout: Option<Duration>,
    /// Closes a connection whose peer takes less than 1 KiB in this long although more is owed to it. More
    /// than zero.
    pub write_timeout: Option<Duration>,
    /// Closes a connection gracefully when it is this old. More than zero.
    pub max_lifetime: Option<Duration>,
    /// Sends a keepalive probe to a peer that has been silent for this long (RFC 9293, 3.8.4), then every 10 s, up
    /// to 6 times where the system lets a program choose. In whole seconds.
    pub keepalive: Option<Duration>,
    /// The unit of echo: bytes as they arrive, or whole messages only.
    pub framing: Framing,
    /// The longest message, in bytes, without what the framing adds. A connection that sends a longer one is
    /// closed. This also bounds the memory held for an unfinished message.
    pub max_frame: u64,
    /// After [`Handle::stop`](crate::Handle::stop), how long to wait for peers to receive the bytes owed to them.
    pub drain_timeout: Duration,
    /// Injected faults, to test clients with.
    pub faults: Option<Faults>,
}

/// How connections are driven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// [`Uring`](Self::Uring) where it works, else [`Readiness`](Self::Readiness).
    #[default]
    Auto,
    /// Blocking calls, one thread per connection.
    Threads,
    /// Event loops on readiness events: epoll, kqueue or IOCP.
    Readiness,
    /// Event loops on `io_uring`, Linux 6.6 and later.
    Uring,
}

impl Engine {
    /// The names of the engines, for [`str::parse`] and on command lines.
    pub const NAMES: [&str; 4] = ["auto", "threads", "readiness", "uring"];
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        let engines = [Self::Auto, Self::Threads, Self::Readiness, Self::Uring];
        let named = engines.into_iter().find(|engine| Self::NAMES[*engine as usize] == name);
        named.ok_or_else(|| UnknownEngine(name.to_owned()))
    }
}

/// The name is not one of [`Engine::NAMES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownEngine(String);

impl fmt::Display for UnknownEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown engine {:?}: expected one of {}", self.0, Engine::NAMES.join(", "))
    }
}

impl std::error::Error for UnknownEngine {}

impl Config {
    /// The longest [`keepalive`](Self::keepalive); a longer one counts as this (Linux's `MAX_TCP_KEEPIDLE`).
    pub const MAX_KEEPALIVE: Duration = Duration::from_secs(32767);
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 65432,
            backlog: 4096,
            once: false,
            engine: Engine::Auto,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            reuseport: false,
            busy_poll: Duration::ZERO,
            max_connections: None,
            max_per_peer: None,
            peer_prefix_v6: 64,
            max_pipes: 16,
            idle_timeout: None,
            write_timeout: Some(Duration::from_secs(60)),
            max_lifetime: None,
            keepalive: Some(Duration::from_secs(60)),
            framing: Framing::Raw,
            max_frame: 1024 * 1024,
            drain_timeout: Duration::from_secs(10),
            faults: None,
        }
    }
}
