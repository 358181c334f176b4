//! One output stream of a program, collected while it runs.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::DEADLINE;

/// How long to wait for a stream to end after the other has.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// The output so far, and whether it has ended.
#[derive(Default)]
pub(crate) struct Captured {
    state: Mutex<Output>,
    changed: Condvar,
}

#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    ended: bool,
}

impl Captured {
    /// Reads `stream` to its end on a thread.
    pub(crate) fn follow(mut stream: impl Read + Send + 'static) -> Arc<Self> {
        let captured = Arc::new(Self::default());
        let writer = Arc::clone(&captured);
        thread::spawn(move || {
            let mut piece = [0; 4096];
            loop {
                let read = stream.read(&mut piece).unwrap_or(0);
                let mut output = writer.lock();
                output.bytes.extend_from_slice(&piece[..read]);
                output.ended = read == 0;
                writer.changed.notify_all();
                if output.ended {
                    return;
                }
            }
        });
        captured
    }

    /// Waits until the output meets the condition; `None` if it ends or the deadline passes before.
    pub(crate) fn wait_until(&self, condition: impl Fn(&str) -> bool) -> Option<String> {
        let started = Instant::now();
        let mut output = self.lock();
        loop {
            let text = String::from_utf8_lossy(&output.bytes);
            if condition(&text) {
                return Some(text.into_owned());
            }
            let left = DEADLINE.checked_sub(started.elapsed())?;
            if output.ended {
                return None;
            }
            let waited = self.changed.wait_timeout(output, left);
            output = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits briefly for the end of the stream.
    pub(crate) fn wait_briefly(&self) {
        let output = self.lock();
        // A timeout is not an error.
        drop(self.changed.wait_timeout_while(output, SETTLE_TIME, |output| !output.ended));
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    fn lock(&self) -> MutexGuard<'_, Output> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
