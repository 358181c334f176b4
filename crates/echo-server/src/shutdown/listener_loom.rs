//! The surface of `listener.rs` for loom, without listeners or timeouts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use loom::sync::{Condvar, Mutex};

use crate::platform::TcpListener;

/// A flag to wait for, as an eventfd is.
#[derive(Clone, Default)]
pub(crate) struct Waker(Arc<(Mutex<bool>, Condvar)>);

pub(crate) struct ShutdownListener(Waker);

impl Waker {
    pub(crate) fn wake(&self) {
        *self.0.0.lock().expect("no thread panics") = true;
        self.0.1.notify_one();
    }

    /// Waits until woken, if that has not happened since the last wait.
    pub(crate) fn wait(&self) {
        let mut woken = self.0.0.lock().expect("no thread panics");
        while !std::mem::take(&mut *woken) {
            woken = self.0.1.wait(woken).expect("no thread panics");
        }
    }
}

impl ShutdownListener {
    #[allow(clippy::unnecessary_wraps, reason = "the other one can fail")]
    pub(super) fn new() -> io::Result<(Self, Waker)> {
        let waker = Waker::default();
        Ok((Self(waker.clone()), waker))
    }

    pub(crate) fn watch(&mut self, _: &mut [TcpListener]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[allow(clippy::unnecessary_wraps, reason = "the other one can fail")]
    pub(crate) fn sleep(&mut self, _: Option<Duration>) -> io::Result<()> {
        self.0.wait();
        Ok(())
    }
}
