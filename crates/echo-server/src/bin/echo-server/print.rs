//! Lines for people and programs, printed without ever holding up the service.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use echo_server::{FrameError, Summary};

/// Lines that may wait for a slow terminal or pipe. Those beyond are lost, and counted.
const QUEUE: usize = 4096;
/// Bytes of lines that are written at once, about.
const BATCH: usize = 16 * 1024;
/// How long the end of the program waits for lines still queued.
const FINISH: Duration = Duration::from_secs(1);

/// An output stream with a thread of its own, so that a full, slow or closed one loses lines and
/// nothing else.
pub(crate) struct Lines {
    queue: SyncSender<String>,
    /// Disconnects when the thread has written all it could.
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

    fn to(stream: impl Write + Send + 'static) -> Self {
        let (queue, lines) = mpsc::sync_channel(QUEUE);
        let (finishing, finished) = mpsc::channel();
        let written = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&written);
        let write = move || {
            write_lines(stream, &lines, &counter);
            drop(finishing);
        };
        // Without the thread every line is lost: the service goes on.
        let _ = thread::Builder::new().name("print".to_owned()).spawn(write);
        Self { queue, finished: Mutex::new(finished), printed: AtomicU64::new(0), written }
    }

    /// Queues a line, or loses it where too many wait already.
    pub(crate) fn print(&self, mut line: String) {
        line.push('\n');
        self.printed.fetch_add(1, Relaxed);
        // Full or closed: the line is lost.
        let _ = self.queue.try_send(line);
    }

    /// Waits for the queued lines, but not for a reader that does not read. Returns how many were
    /// lost.
    pub(crate) fn finish(self) -> u64 {
        drop(self.queue);
        if let Ok(finished) = self.finished.into_inner() {
            // Nothing is ever sent: it ends with the thread or with the time.
            let _ = finished.recv_timeout(FINISH);
        }
        self.printed.load(Relaxed) - self.written.load(Relaxed)
    }
}

/// Writes lines as they come, those that wait together in one go.
fn write_lines(mut stream: impl Write, lines: &Receiver<String>, written: &AtomicU64) {
    while let Ok(mut batch) = lines.recv() {
        let mut count = 1;
        while batch.len() < BATCH
            && let Ok(line) = lines.try_recv()
        {
            batch += &line;
            count += 1;
        }
        match stream.write_all(batch.as_bytes()).and_then(|()| stream.flush()) {
            Ok(()) => _ = written.fetch_add(count, Relaxed),
            // The reader has left for good. The queue closes, which loses the lines to come.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return,
            // A full disk may have room again for the next lines.
            Err(_) => {}
        }
    }
}

/// A peer's address in the notation of Python's `socket`: a tuple of address and port, and for IPv6
/// also flow label and scope.
pub(crate) fn peer_name(peer: SocketAddr) -> String {
    match peer {
        SocketAddr::V4(peer) => format!("('{}', {})", peer.ip(), peer.port()),
        SocketAddr::V6(peer) => {
            let (flow, scope) = (peer.flowinfo(), peer.scope_id());
            format!("('{}', {}, {flow}, {scope})", peer.ip(), peer.port())
        }
    }
}

/// How a peer broke the framing, and what follows from it.
pub(crate) fn framing_broken_line(peer: SocketAddr, error: FrameError) -> String {
    let limit = match error {
        FrameError::FrameTooLarge { .. } => " (--max-frame)",
        _ => "",
    };
    format!("{}: {error}{limit}; connection closed", peer_name(peer))
}

/// What a run amounted to, in one line.
pub(crate) fn summary_line(summary: &Summary, framed: bool, lost: u64) -> String {
    let mut line = format!("stopped: {} served, ", count(summary.connections, "connection"));
    if framed {
        line += &format!("{} of ", count(summary.messages, "message"));
    }
    line += &format!("{} echoed", count(summary.bytes, "byte"));
    if summary.cut > 0 {
        line += &format!(", {} cut before all was echoed", count(summary.cut, "connection"));
    }
    if lost > 0 {
        line += &format!(", {} of output could not be printed", count(lost, "line"));
    }
    line
}

fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
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

    #[test]
    fn a_summary_counts_in_the_singular_and_the_plural() {
        assert_eq!(count(1, "byte"), "1 byte");
        assert_eq!(count(0, "byte"), "0 bytes");
    }

    /// A reader that does not read: it blocks until the gate opens.
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
    fn a_blocked_output_loses_lines_and_blocks_nobody() {
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().unwrap();
        let lines = Lines::to(Blocked(Arc::clone(&gate)));
        for _ in 0..3 * QUEUE {
            lines.print("Connected by …".to_owned());
        }
        drop(closed);
        let lost = lines.finish();
        assert!(lost > 0 && lost <= 2 * QUEUE as u64, "{lost}");
    }
}
