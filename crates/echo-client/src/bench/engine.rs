//! How a worker sends and receives.

use std::fmt;
use std::io;
use std::str::FromStr;

use super::ring::{Ring, Sizes, probe};
use crate::Error;

/// The I/O interface that moves the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// io_uring where it works, otherwise readiness.
    #[default]
    Auto,
    /// One system call per send and receive, on sockets reported as ready (epoll, kqueue).
    Readiness,
    /// One system call for all pending operations (Linux `io_uring(7)`).
    Uring,
}

impl Engine {
    /// Names for [`str::parse`] and the command line.
    pub const NAMES: [&str; 3] = ["auto", "readiness", "uring"];
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        let engines = [Self::Auto, Self::Readiness, Self::Uring];
        let named = engines.into_iter().find(|engine| Self::NAMES[*engine as usize] == name);
        named.ok_or_else(|| UnknownEngine(name.to_owned()))
    }
}

/// The name is not one of [`Engine::NAMES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownEngine(String);

impl fmt::Display for UnknownEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no engine is called {:?}: there are {}", self.0, Engine::NAMES.join(", "))
    }
}

impl std::error::Error for UnknownEngine {}

/// One ring per worker, sized for its connections and the bytes in flight on each. Empty if
/// readiness is to be used.
///
/// # Errors
///
/// io_uring was requested by name and does not work here.
pub(super) fn rings(
    engine: Engine,
    workers: usize,
    connections: usize,
    bytes: u64,
) -> Result<Vec<Ring>, Error> {
    if engine == Engine::Readiness {
        return Ok(Vec::new());
    }
    let rings = probe().and_then(|()| {
        let sizes = Sizes::of(connections, bytes);
        (0..workers).map(|_| Ring::new(sizes)).collect::<io::Result<Vec<_>>>()
    });
    match rings {
        Err(error) if engine == Engine::Uring => Err(Error::Uring(error)),
        rings => Ok(rings.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_parsed_from_their_names() {
        for name in Engine::NAMES {
            assert_eq!(name.parse::<Engine>().unwrap().to_string(), name);
        }
        assert!("epoll".parse::<Engine>().is_err());
    }
}
