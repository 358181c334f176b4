//! Settings of a client: plain data.

use std::time::Duration;

/// Settings of a [`Connection`](crate::Connection). The defaults are those of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// An address, a name, or `""` for this machine.
    pub host: String,
    /// TCP port, 1 to 65535.
    pub port: u16,
    /// How long to try each address of the host; more than zero.
    pub connect_timeout: Duration,
    /// How long to wait for the next byte of an echo; more than zero.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 65432,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
        }
    }
}
