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
use crate::session::Session;
use crate::shutdown::{Handle, Phase};
use crate::stats::Stats;
use crate::{Config, Event, Summary};

/// The longest that a silent connection takes to notice a stop.
const TICK: Duration = Duration::from_millis(200);
/// How long, when draining, more bytes may take to come up from the receive queue.
const DRAIN_TICK: Duration = Duration::from_millis(1);
/// After our FIN, a peer that is silent for this long has nothing under way that a close could hurt.
const FAREWELL_SILENCE: Duration = Duration::from_secs(1);
/// The longest that a peer which goes on sending after our FIN is listened to.
const FAREWELL: Duration = Duration::from_secs(5);
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
        // Some systems hand out accepted sockets as non-blocking as their listener.
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
        let session = Session::new(self.config);
        let mut connection =
            Connection { stream, peer, engine: self, session, echoed: 0, owing: false };
        // A connection that breaks ends, and that is all: nobody else is concerned.
        let _ = connection.serve();
        let cut = connection.owing && self.handle.phase() == Phase::Cutting;
        self.stats.ended(connection.echoed, connection.session.messages(), cut);
        let mut open = self.open();
        open.streams.remove(&number);
        if open.streams.is_empty() {
            self.handle.wake();
        }
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
                    // The read timeout is one or the other, depending on the system.
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(None),
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
            self.owing = false;
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
    /// Closing at once would reset the connection, and the reset could overtake the echo. So what
    /// still comes is taken and dropped, until the peer's FIN, some silence, or enough of it.
    fn farewell(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.tell_if_broken();
        self.stream.shutdown(Shutdown::Write)?;
        self.stream.set_read_timeout(Some(FAREWELL_SILENCE))?;
        let since = Instant::now();
        while self.engine.handle.phase() < Phase::Cutting && since.elapsed() < FAREWELL {
            match self.receive(buffer)? {
                Some(0) | None => break,
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn tell_if_broken(&self) {
        if let Some(error) = self.session.broken() {
            (self.engine.observe)(Event::FramingBroken { peer: self.peer, error });
        }
    }
}
