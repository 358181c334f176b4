//! The surface of `pipe.rs` on systems without splice(2).

use std::convert::Infallible;
use std::io;

/// A pipe that cannot be created.
#[derive(Debug)]
pub(crate) struct Pipe(Infallible);

impl Pipe {
    /// # Errors
    ///
    /// Always.
    pub(crate) fn new() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn fill<S>(&self, _: &S, _: usize) -> io::Result<usize> {
        match self.0 {}
    }

    pub(crate) fn drain<S>(&self, _: &S, _: usize) -> io::Result<usize> {
        match self.0 {}
    }
}
