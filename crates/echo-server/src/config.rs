//! What a server is told to do: plain data.

use std::time::Duration;

use echo_proto::Framing;

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
    /// The unit of echo: whatever arrives, or whole messages only.
    pub framing: Framing,
    /// The longest message, in bytes without what the framing adds. A connection that sends a longer
    /// one is ended. Also the most that a connection's unfinished message holds of memory.
    pub max_frame: u64,
    /// After [`Handle::stop`](crate::Handle::stop), how long to wait for the peers to take the
    /// bytes that are owed to them.
    pub drain_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 65432,
            backlog: 4096,
            once: false,
            framing: Framing::Raw,
            max_frame: 1024 * 1024,
            drain_timeout: Duration::from_secs(10),
        }
    }
}
