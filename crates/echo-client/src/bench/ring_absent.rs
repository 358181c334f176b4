//! The surface of `ring` on systems without io_uring, where no ring can be created.

use std::io::{self, ErrorKind};
use std::time::Duration;

#[allow(dead_code, reason = "only a ring reports them")]
#[derive(Debug)]
pub(super) enum Completion {
    Received(usize),
    Ended(usize),
    Failed(usize, io::Error),
    ShortWrite(usize, usize),
    Writable(usize),
    Woken,
}

#[derive(Clone, Copy)]
pub(super) struct Sizes;

impl Sizes {
    pub(super) fn of(_: usize, _: u64) -> Self {
        Self
    }
}

/// There is no io_uring.
pub(super) fn probe() -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

pub(super) enum Ring {}

impl Ring {
    pub(super) fn new(_: Sizes) -> io::Result<Self> {
        Err(ErrorKind::Unsupported.into())
    }

    pub(super) fn enable<T>(&mut self, _: &T) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn add<T>(&mut self, _: usize, _: &T) {
        match *self {}
    }

    pub(super) fn remove(&mut self, _: usize) {
        match *self {}
    }

    pub(super) fn send(&mut self, _: usize, _: usize, _: impl FnOnce(&mut [u8])) -> usize {
        match *self {}
    }

    pub(super) fn wait(&mut self, _: Duration) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn next(&mut self) -> Option<Completion> {
        match *self {}
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match *self {}
    }
}
