//! The tutorial's loop, with one thread per connection: `recv` and `sendall` until the end of the stream.
//!
//! Blocking calls make this the engine to read first. Their drawback is stopping: a thread that is blocked in
//! `recv` cannot check a flag. Each call therefore blocks for at most [`TICK`], which costs a busy connection
//! nothing and an idle one five wake-ups per second. [`abort`](crate::Handle::abort) shuts down the sockets, which
//! wakes blocked threads at once.

mod blocking;
mod buffer;
mod connection;
mod faults;

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use self::buffer::Heap;
use self::connection::Connection;
use crate::listen::accept::{Acceptor, Incoming};
use crate::service::Service;
use crate::session::Session;
use crate::shutdown::{Phase, ShutdownListener};

/// The longest delay before an idle connection notices a stop.
const TICK: Duration = Duration::from_millis(200);
/// Stack size of a connection's thread. Its call chain is short, and large buffers are on the heap.
const STACK: usize = 128 * 1024;

/// Serves until stopped, or one connection with [`Config::once`](crate::Config::once).
pub(crate) fn run(
    acceptor: Acceptor,
    mut shutdown: ShutdownListener,
    service: &Service<'_>,
) -> io::Result<()> {
    let engine = Engine { service, open: Mutex::default(), heap: Heap::new() };
    thread::scope(|scope| {
        // The scope joins every thread: if the observer panics, their connections must end.
        let _guard = AbortOnPanic(&engine);
        let accepted = acceptor.run(&mut shutdown, service, |incoming| {
            engine.start(scope, incoming)?;
            let once = service.config.once;
            Ok(if once { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        if accepted.is_err() {
            // The listener is broken. Open connections are still drained.
            service.handle.stop();
        }
        engine.wait_for_the_last(&mut shutdown);
        accepted
    })
}

struct Engine<'a> {
    service: &'a Service<'a>,
    open: Mutex<Open>,
    heap: Heap,
}

/// The connections being served, so that they can be aborted.
#[derive(Default)]
struct Open {
    /// By number: a descriptor is reused as soon as it is closed.
    streams: HashMap<u64, Arc<TcpStream>>,
}

impl Engine<'_> {
    /// Starts the thread that serves a connection.
    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        incoming: Incoming,
    ) -> io::Result<()> {
        let Incoming { stream, peer, number } = incoming;
        // The acceptor's sockets are non-blocking, for the event loops.
        blocking::prepare(&stream)?;
        let stream = Arc::new(stream);
        self.open().streams.insert(number, Arc::clone(&stream));
        let thread = thread::Builder::new().name("connection".to_owned()).stack_size(STACK);
        let started = thread.spawn_scoped(scope, move || {
            let _registration = Registration { engine: self, number };
            self.service.connected(peer);
            let session = Session::new(self.service.config, number);
            Connection::new(self, &stream, peer, session).run();
        });
        if let Err(error) = started {
            self.open().streams.remove(&number);
            return Err(error);
        }
        Ok(())
    }

    /// Waits until every connection has ended; once stopping, for the drain timeout at most.
    fn wait_for_the_last(&self, shutdown: &mut ShutdownListener) {
        let mut draining_since = None;
        while !self.open().streams.is_empty() {
            let mut left = None;
            if self.service.phase() > Phase::Running {
                let since = *draining_since.get_or_insert_with(Instant::now);
                left = Some(self.service.config.drain_timeout.saturating_sub(since.elapsed()));
            }
            if left == Some(Duration::ZERO) || self.service.phase() == Phase::Aborting {
                return self.abort();
            }
            if shutdown.sleep(left).is_err() {
                thread::sleep(left.map_or(TICK, |left| left.min(TICK)));
            }
        }
    }

    /// Ends every connection, even if data is still owed to it.
    fn abort(&self) {
        self.service.handle.abort();
        for stream in self.open().streams.values() {
            // Wakes its thread with an error. Fails if the connection has ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Locks the table of connections. Nothing panics while holding it.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Aborts the connections when the accepting thread panics.
struct AbortOnPanic<'a>(&'a Engine<'a>);

impl Drop for AbortOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.abort();
        }
    }
}

/// Removes a connection from the table when its thread returns or panics.
struct Registration<'a> {
    engine: &'a Engine<'a>,
    number: u64,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut open = self.engine.open();
        open.streams.remove(&self.number);
        // The main thread waits for the last connection only after accepting has ended.
        let service = self.engine.service;
        if open.streams.is_empty() && (service.config.once || service.phase() > Phase::Running) {
            service.handle.wake();
        }
    }
}
