//! The seed's loop, a thread for each connection: `recv`, `sendall`, until the peer has no more.
//!
//! Blocking calls make this the engine to read first. What they make hard is to stop: a thread
//! asleep in `recv` sees no flag. So each sleeps for [`TICK`] at most, which costs a running echo
//! nothing and an idle connection five wake-ups a second, and [`cut`](crate::Handle::cut) shuts the sockets down underneath the sleepers.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::accept::Acceptor;
use crate::session::Session;
use crate::shutdown::{Handle, Phase};
use crate::stats::Stats;
use crate::unacknowledged::unacknowledged;
use crate::{Config, Event, Summary};

/// The longest that a silent connection takes to notice a stop.
const TICK: Duration = Duration::from_millis(200);
/// How long, when draining, more bytes may take to come up from the receive queue.
const DRAIN_TICK: Duration = Duration::from_millis(20);
/// After our FIN, a peer that has got everything and is silent for this long has nothing under way
/// that a close could hurt.
const SILENCE: Duration = Duration::from_millis(500);
/// The longest that a peer which has got everything but goes on sending is listened to.
const FAREWELL: Duration = Duration::from_secs(2);
/// What one `recv` takes at most. With an unfinished message, all that a connection holds.
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
    let engine =
        Engine { handle, config, observe, stats: Stats::default(), open: Mutex::default() };
    thread::scope(|scope| {
        // The scope waits for every connection: if the observer panics, they must not go on.
        let _guard = CutOnPanic(&engine);
        let accepted = acceptor.run(handle, observe, |stream, peer| {
            engine.start(scope, stream, peer)?;
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
    config: &'a Config,
    observe: &'a (dyn Fn(Event) + Sync),
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

impl Engine<'_> {
    /// Starts the thread that serves `stream`.
    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> io::Result<()> {
        // The acceptor's sockets are non-blocking, as an event loop wants them.
        stream.set_nonblocking(false)?;
        let stream = Arc::new(stream);
        let number = self.open().add(Arc::clone(&stream));
        let thread = thread::Builder::new().name("connection".to_owned()).stack_size(STACK);
        let started = thread.spawn_scoped(scope, move || self.serve(number, &stream, peer));
        if let Err(error) = started {
            self.open().streams.remove(&number);
            return Err(error);
        }
        self.stats.connected();
        (self.observe)(Event::Connected { peer });
        Ok(())
    }

    /// A connection's thread.
    fn serve(&self, number: u64, stream: &TcpStream, peer: SocketAddr) {
        let _registration = Registration { engine: self, number };
        let session = Session::new(self.config);
        let mut connection =
            Connection { stream, peer, engine: self, session, echoed: 0, owing: false };
        // A connection that breaks ends, and that is all: nobody else is concerned.
        let _ = connection.serve();
        let cut = connection.owing && self.handle.phase() == Phase::Cutting;
        self.stats.ended(connection.echoed, connection.session.messages(), cut);
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
                return self.cut();
            }
            if acceptor.wait(patience).is_err() {
                thread::sleep(TICK);
            }
        }
    }

    /// Ends every connection, whatever is owed to it.
    fn cut(&self) {
        self.handle.cut();
        for stream in self.open().streams.values() {
            // Wakes its thread with an error. Fails where the peer was quicker.
            let _ = stream.shutdown(Shutdown::Both);
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

/// Ends the connections when the thread that accepts them panics.
struct CutOnPanic<'a>(&'a Engine<'a>);

impl Drop for CutOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.cut();
        }
    }
}

/// Takes a connection out of the table when its thread ends, in whatever way.
struct Registration<'a> {
    engine: &'a Engine<'a>,
    number: u64,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut open = self.engine.open();
        open.streams.remove(&self.number);
        if open.streams.is_empty() {
            self.engine.handle.wake();
        }
    }
}

/// A connection, as its thread sees it.
struct Connection<'a> {
    stream: &'a TcpStream,
    peer: SocketAddr,
    engine: &'a Engine<'a>,
    session: Session,
    /// Bytes sent back.
    echoed: u64,
    /// Bytes were taken from the peer that it has not got back.
    owing: bool,
}

impl Connection<'_> {
    /// Echoes until the peer has sent all it wants to, or the server is told to stop.
    fn serve(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        self.stream.set_read_timeout(Some(TICK))?;
        while self.engine.handle.phase() == Phase::Running {
            match self.receive(&mut buffer)? {
                Some(0) => return self.end_of_input(),
                Some(count) => self.echo(&buffer[..count])?,
                None => {}
            }
            if self.session.broken().is_some() {
                return self.farewell(&mut buffer);
            }
        }
        self.drain(&mut buffer)
    }

    /// Echoes what had been received when the stop came, and takes leave.
    fn drain(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.stream.set_read_timeout(Some(DRAIN_TICK))?;
        // The receive queue cannot have held more than this; what comes later is not ours to echo,
        // and a peer that never pauses must not keep the server from stopping.
        let mut owed = SockRef::from(self.stream).recv_buffer_size()?;
        while owed > 0 && self.session.broken().is_none() {
            let limit = buffer.len().min(owed);
            match self.receive(&mut buffer[..limit])? {
                Some(0) => return self.end_of_input(),
                Some(count) => {
                    self.echo(&buffer[..count])?;
                    owed -= count;
                }
                None => break,
            }
        }
        self.farewell(buffer)
    }

    /// One `recv`: a count of bytes, 0 at the end of the stream, `None` if none came in time.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut stream = self.stream;
        loop {
            match stream.read(buffer) {
                Ok(count) => return Ok(Some(count)),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(None),
                    // So Windows calls the read timeout; elsewhere it is a peer that is gone.
                    ErrorKind::TimedOut if cfg!(windows) => return Ok(None),
                    ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }

    /// Python's `sendall`. A peer that does not read blocks it, and so is not read from.
    fn echo(&mut self, mut piece: &[u8]) -> io::Result<()> {
        let mut stream = self.stream;
        while let Some(bytes) = self.session.next_echo(&mut piece) {
            self.owing = true;
            stream.write_all(bytes)?;
            self.owing = unacknowledged(self.stream) > 0;
            self.echoed += bytes.len() as u64;
        }
        Ok(())
    }

    /// The peer has sent FIN and got everything back: so do we, and that is all.
    fn end_of_input(&mut self) -> io::Result<()> {
        self.session.end_of_input();
        self.tell_if_broken();
        self.stream.shutdown(Shutdown::Write)
    }

    /// Sends FIN to a peer that may still be sending.
    ///
    /// Closing at once would reset the connection, and the reset destroys what the peer has not read
    /// yet. So what still comes is taken and dropped, until the peer's FIN, or until it has got
    /// everything and is silent. A peer that goes on and on gets a limited time.
    fn farewell(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.tell_if_broken();
        self.stream.shutdown(Shutdown::Write)?;
        self.stream.set_read_timeout(Some(SILENCE))?;
        let mut all_taken_since = None;
        loop {
            let received = self.receive(buffer)?;
            self.owing = unacknowledged(self.stream) > 0;
            if received == Some(0) || self.engine.handle.phase() == Phase::Cutting {
                return Ok(());
            }
            if !self.owing {
                let since = *all_taken_since.get_or_insert_with(Instant::now);
                if received.is_none() || since.elapsed() >= FAREWELL {
                    return Ok(());
                }
            }
        }
    }

    fn tell_if_broken(&self) {
        if let Some(error) = self.session.broken() {
            (self.engine.observe)(Event::FramingBroken { peer: self.peer, error });
        }
    }
}
