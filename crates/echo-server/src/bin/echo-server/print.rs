//! Printing lines without blocking the service.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that may be queued for a slow terminal or pipe. Further lines are lost, and counted.
const QUEUE: usize = 4096;
/// The size in bytes at which a batch of lines is written.
const BATCH: usize = 16 * 1024;
/// How long the program waits at exit for queued lines to be written.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Ends the thread. Not a possible line, because each line ends with a line break.
const END: &str = "";

/// An output stream with its own thread, so that a full, slow or closed stream loses lines but does not block
/// the service.
pub(crate) struct Lines {
    queue: SyncSender<String>,
    /// Disconnects when the thread has ended.
    finished: Mutex<Receiver<()>>,
    printed: AtomicU64,
    written: Arc<AtomicU64>,
}

impl Lines {
    pub(crate) fn to_stdout() -> Self {
        Self::to(io::stdout())
    }

    pub(crate) fn to_stderr() -> Self {
        Self::to(io::stderr())
    }

    pub(crate) fn to(stream: impl Write + Send + 'static) -> Self {
        let (queue, lines) = mpsc::sync_channel(QUEUE);
        let (finishing, finished) = mpsc::channel();
        let written = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&written);
        let write = move || {
            write_lines(stream, &lines, &counter);
            drop(finishing);
        };
        // Without the thread every line is lost, but the service is not affected.
        let _ = thread::Builder::new().name("print".to_owned()).spawn(write);
        Self { queue, finished: Mutex::new(finished), printed: AtomicU64::new(0), written }
    }

    /// Queues a line, or drops it if the queue is full.
    pub(crate) fn print(&self, mut line: String) {
        line.push('\n');
        self.printed.fetch_add(1, Relaxed);
        // Fails if the queue is full or closed: the line is lost.
        let _ = self.queue.try_send(line);
    }

    /// Waits until queued lines are written, for at most [`FINISH_TIMEOUT`]. Returns how many were lost.
    pub(crate) fn finish(&self) -> u64 {
        let started = Instant::now();
        // Queued behind the last line, as soon as there is room.
        while self
            .queue
            .try_send(END.to_owned())
            .is_err_and(|error| matches!(error, TrySendError::Full(_)))
            && started.elapsed() < FINISH_TIMEOUT
        {
            thread::sleep(Duration::from_millis(5));
        }
        if let Ok(finished) = self.finished.lock() {
            // Nothing is ever sent: this returns when the thread ends, or at the timeout.
            let _ = finished.recv_timeout(FINISH_TIMEOUT.saturating_sub(started.elapsed()));
        }
        self.printed.load(Relaxed) - self.written.load(Relaxed)
    }
}

/// Writes lines as they are queued, in batches.
fn write_lines(mut stream: impl Write, lines: &Receiver<String>, written: &AtomicU64) {
    let mut ended = false;
    while !ended && let Ok(mut batch) = lines.recv() {
        let mut count = u64::from(batch != END);
        ended = batch == END;
        while !ended
            && batch.len() < BATCH
            && let Ok(line) = lines.try_recv()
        {
            ended = line == END;
            count += u64::from(!ended);
            batch += &line;
        }
        match stream.write_all(batch.as_bytes()).and_then(|()| stream.flush()) {
            Ok(()) => _ = written.fetch_add(count, Relaxed),
            // The reader has closed the pipe. Returning closes the queue, so further lines are lost.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return,
            // A full disk may have room again later.
            Err(_) => {}
        }
    }
}

/// Columns of stderr at this time, if it is a terminal; lines elsewhere are not broken.
#[cfg(unix)]
pub(crate) fn stderr_width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0);
    columns.unwrap_or(usize::MAX)
}

/// Not implemented for this system.
#[cfg(not(unix))]
pub(crate) fn stderr_width() -> usize {
    usize::MAX
}

/// A peer's address in the notation of Python's `socket`: a tuple of address and port, for IPv6 also with flow
/// label and scope.
pub(crate) fn peer_name(peer: SocketAddr) -> String {
    match peer {
        SocketAddr::V4(peer) => format!("('{}', {})", peer.ip(), peer.port()),
        SocketAddr::V6(peer) => {
            let (flow, scope) = (peer.flowinfo(), peer.scope_id());
            format!("('{}', {}, {flow}, {scope})", peer.ip(), peer.port())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_named_as_python_names_them() {
        assert_eq!(peer_name("127.0.0.1:64623".parse().unwrap()), "('127.0.0.1', 64623)");
        assert_eq!(peer_name("[::1]:64623".parse().unwrap()), "('::1', 64623, 0, 0)");
        let mapped = "[::ffff:127.0.0.1]:64623".parse().unwrap();
        assert_eq!(peer_name(mapped), "('::ffff:127.0.0.1', 64623, 0, 0)");
    }

    /// A stream that blocks until the lock is released.
    struct Blocked(Arc<Mutex<()>>);

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            drop(self.0.lock());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_output_loses_lines_and_does_not_block() {
        let lock = Arc::new(Mutex::new(()));
        let blocked = lock.lock().unwrap();
        let lines = Lines::to(Blocked(Arc::clone(&lock)));
        for _ in 0..3 * QUEUE {
            lines.print("Connected by …".to_owned());
        }
        drop(blocked);
        let lost = lines.finish();
        assert!(lost > 0 && lost <= 2 * QUEUE as u64, "{lost}");
    }
}
