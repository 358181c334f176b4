//! The seed's loop, a thread for each connection: `recv`, `sendall`, until the peer has no more.
//!
//! Blocking calls make this the engine to read first. What they make hard is to stop: a thread
//! asleep in `recv` sees no flag. So each sleeps for [`TICK`] at most, which costs a running echo
//! nothing, and [`cut`](crate::Handle::cut) shuts the sockets down underneath the sleepers.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::accept::Acceptor;
use crate::shutdown::{Handle, Phase};
use crate::stats::Stats;
use crate::{Config, Event, Summary};

/// The longest that a silent connection takes to notice a stop.
const TICK: Duration = Duration::from_millis(200);
/// How long, when draining, more bytes may take to come up from the receive queue.
const DRAIN_TICK: Duration = Duration::from_millis(1);
/// After our FIN, a peer that is silent for this long has nothing under way that a close could hurt.
const LINGER: Duration = Duration::from_secs(1);
/// What one `recv` takes at most. Also all that a connection holds.
const BUFFER: usize = 64 * 1024;
/// A connection's thread calls little and keeps its buffer on the heap.
const STACK: usize = 128 * 1024;

/// Serves until stopped, or one connection with [`Config::once`].
pub(crate) fn run(
    mut acceptor: Acceptor,
    handle: &Handle,
    config: &Config,
    observe: &(dyn Fn(Event) + Sync),
) -> io::Result<Summary> {
    let engine = Engine { handle, stats: Stats::default(), open: Mutex::default() };
    thread::scope(|scope| {
        let accepted = acceptor.run(handle, observe, |stream, peer| {
            engine.start(scope, stream, peer, observe)?;
            Ok(if config.once { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        if accepted.is_err() {
            // The listener broke: those who are connected still get what is owed to them.
            handle.stop();
        }
        engine.wait_for_the_last(&mut acceptor, config.drain_timeout);
        accepted
    })?;
    Ok(engine.stats.summary())
}

struct Engine<'a> {
    handle: &'a Handle,
    stats: Stats,
    open: Mutex<Open>,
}

/// The connections being served, to cut them.
#[derive(Default)]
struct Open {
    streams: HashMap<u64, Arc<TcpStream>>,
    /// Tells connections apart; a descriptor is reused as soon as it is closed.
    next_number: u64,
}

/// What a connection amounts to so far.
#[derive(Default)]
struct Progress {
    echoed: u64,
    /// Bytes were taken from the peer that it has not got back.
    owing: bool,
}

impl Engine<'_> {
    /// Starts the thread that serves `stream`.
    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        stream: TcpStream,
        peer: SocketAddr,
        observe: &dyn Fn(Event),
    ) -> io::Result<()> {
        // Some systems hand out accepted sockets as non-blocking as their listener.
        stream.set_nonblocking(false)?;
        let stream = Arc::new(stream);
        let number = self.open().add(Arc::clone(&stream));
        let thread = thread::Builder::new().name("connection".to_owned()).stack_size(STACK);
        let started = thread.spawn_scoped(scope, move || self.serve(number, &stream));
        if let Err(error) = started {
            self.open().streams.remove(&number);
            return Err(error);
        }
        self.stats.connected();
        observe(Event::Connected { peer });
        Ok(())
    }

    /// A connection's thread.
    fn serve(&self, number: u64, stream: &TcpStream) {
        let mut progress = Progress::default();
        // A connection that breaks ends, and that is all: nobody else is concerned.
        let _ = self.echo(stream, &mut progress);
        let cut = progress.owing && self.handle.phase() == Phase::Cutting;
        self.stats.ended(progress.echoed, cut);
        let mut open = self.open();
        open.streams.remove(&number);
        if open.streams.is_empty() {
            self.handle.wake();
        }
    }

    /// Echoes until the peer has sent all it wants to, or the server is told to stop.
    fn echo(&self, stream: &TcpStream, progress: &mut Progress) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        stream.set_read_timeout(Some(TICK))?;
        while self.handle.phase() == Phase::Running {
            match receive(stream, &mut buffer)? {
                Some(0) => return finish(stream),
                Some(count) => send(stream, &buffer[..count], progress)?,
                None => {}
            }
        }
        self.drain(stream, &mut buffer, progress)
    }

    /// Echoes what had been received when the stop came, and takes leave.
    fn drain(
        &self,
        stream: &TcpStream,
        buffer: &mut [u8],
        progress: &mut Progress,
    ) -> io::Result<()> {
        stream.set_read_timeout(Some(DRAIN_TICK))?;
        // The receive queue cannot have held more than this; what comes later is not ours to echo,
        // and a peer that never pauses must not keep the server from stopping.
        let mut owed = SockRef::from(stream).recv_buffer_size()?;
        while owed > 0 {
            let limit = buffer.len().min(owed);
            match receive(stream, &mut buffer[..limit])? {
                Some(0) => return finish(stream),
                Some(count) => {
                    send(stream, &buffer[..count], progress)?;
                    owed -= count;
                }
                None => break,
            }
        }
        finish(stream)?;
        // Closing while the peer still sends would reset the connection, and the reset could
        // overtake the echo. It has our FIN; its own, silence, or the cut ends the wait.
        stream.set_read_timeout(Some(LINGER))?;
        while self.handle.phase() < Phase::Cutting {
            match receive(stream, buffer) {
                Ok(Some(0) | None) | Err(_) => break,
                Ok(Some(_)) => {}
            }
        }
        Ok(())
    }

    /// Waits until every connection has ended; once stopping, for the drain timeout at most.
    fn wait_for_the_last(&self, acceptor: &mut Acceptor, drain_timeout: Duration) {
        let mut draining_since = None;
        while !self.open().streams.is_empty() {
            let mut patience = None;
            if self.handle.phase() > Phase::Running {
                let since = *draining_since.get_or_insert_with(Instant::now);
                patience = Some(drain_timeout.saturating_sub(since.elapsed()));
            }
            if patience == Some(Duration::ZERO) || self.handle.phase() == Phase::Cutting {
                self.handle.cut();
                for stream in self.open().streams.values() {
                    // Wakes its thread with an error. Fails where the peer was quicker.
                    let _ = stream.shutdown(Shutdown::Both);
                }
                return;
            }
            if acceptor.wait(patience).is_err() {
                thread::sleep(TICK);
            }
        }
    }

    /// Locks the table of connections. Nobody panics while holding it.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn add(&mut self, stream: Arc<TcpStream>) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.streams.insert(number, stream);
        number
    }
}

/// One `recv`: a count of bytes, 0 at the end of the stream, `None` if none came in time.
fn receive(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match stream.read(buffer) {
            Ok(count) => return Ok(Some(count)),
            // The read timeout is one or the other, depending on the system.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Python's `sendall`. A peer that does not read blocks it, and so is not read from.
fn send(mut stream: &TcpStream, bytes: &[u8], progress: &mut Progress) -> io::Result<()> {
    progress.owing = true;
    stream.write_all(bytes)?;
    progress.owing = false;
    progress.echoed += bytes.len() as u64;
    Ok(())
}

/// Sends FIN, after everything echoed so far.
fn finish(stream: &TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)
}
