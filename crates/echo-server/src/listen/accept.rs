//! Accepting connections and handling the errors of accept(2).

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::linger::reset_when_closed;
use crate::listen::accept_error::{ErrorAction, error_action};
use crate::listen::socket_options::SocketOptions;
use crate::platform::{Instant, SockRef, TcpListener, blocking};
use crate::service::Service;
use crate::shutdown::{Phase, ShutdownListener};
use crate::{Config, Event, RefuseReason};

/// How long to pause accepting when the system has no resources for another connection.
const BACKOFF: Duration = Duration::from_millis(200);
/// The shortest time between two reports of exhaustion.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// Connections accepted from one listener before the next one is served.
const ACCEPTS_PER_RUN: usize = if cfg!(simulation) { 2 } else { 64 };
/// Errors of single connections that are skipped in one run before accepting pauses.
const MAX_ERRORS: usize = if cfg!(simulation) { 2 } else { 16 };

/// The listening sockets.
pub(crate) struct Acceptor {
    listeners: Vec<TcpListener>,
    /// More than a listener's queue can hold: Linux queues one more than the backlog, other systems half
    /// as many again (tcp(4) of BSD).
    queue: usize,
    /// Set on each connection; `None` if connections inherit the options from their listener.
    options: Option<SocketOptions>,
    shared: Arc<Shared>,
}

/// What the acceptors of a server share.
#[derive(Default)]
struct Shared {
    /// Connections accepted, admitted or not.
    accepted: AtomicU64,
    exhaustion_reported: Mutex<Option<Instant>>,
}

/// A connection that was admitted.
pub(crate) struct Incoming {
    pub(crate) stream: blocking::TcpStream,
    pub(crate) peer: SocketAddr,
    /// Its number among all accepted connections, from 0.
    pub(crate) number: u64,
}

/// When to accept again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptState {
    /// When a connection arrives or the server is stopped, at the latest after this time.
    Wait(Option<Duration>),
    /// Never: no more connections are to be served.
    Finished,
}

/// The result of accepting from one listener.
enum AcceptOutcome {
    /// The queue is empty.
    Empty,
    /// The queue may hold more connections.
    More,
    /// The system has no resources for another connection.
    Exhausted,
    /// The caller wants no more connections.
    Enough,
}

impl Acceptor {
    /// One acceptor for each of `groups`, the non-blocking listeners of one event loop.
    pub(crate) fn per_group(groups: Vec<Vec<blocking::TcpListener>>, config: &Config) -> Vec<Self> {
        let shared = Arc::default();
        let new = |listeners| Self::new(listeners, config, Arc::clone(&shared));
        groups.into_iter().map(new).collect()
    }

    fn new(listeners: Vec<blocking::TcpListener>, config: &Config, shared: Arc<Shared>) -> Self {
        let listeners: Vec<_> = listeners.into_iter().map(TcpListener::from_std).collect();
        let queue = 2 * usize::from(config.backlog) + ACCEPTS_PER_RUN;
        let options = SocketOptions { keepalive: config.keepalive };
        let inherited = listeners.iter().all(|listener| options.are_inherited_from(listener));
        let options = (!inherited).then_some(options);
        Self { listeners, queue, options, shared }
    }

    /// The listeners, to be registered.
    pub(crate) fn listeners(&mut self) -> &mut [TcpListener] {
        &mut self.listeners
    }

    /// The listeners, to be deregistered and closed.
    pub(crate) fn into_listeners(self) -> Vec<TcpListener> {
        self.listeners
    }

    /// Accepts until `take` breaks or the server stops, then closes the listeners. Sleeps while there are no
    /// connections.
    ///
    /// # Errors
    ///
    /// Only a broken listener.
    pub(crate) fn run(
        mut self,
        shutdown: &mut ShutdownListener,
        service: &Service<'_>,
        mut take: impl FnMut(Incoming) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<()> {
        shutdown.watch(&mut self.listeners)?;
        loop {
            match self.accept_ready(service, &mut take)? {
                AcceptState::Wait(backoff) => shutdown.sleep(backoff)?,
                AcceptState::Finished => return Ok(()),
            }
        }
    }

    /// Passes queued connections to `take`, up to a limit per listener, or until `take` breaks.
    ///
    /// Connections that are queued when the server stops are still accepted, because closing a listener
    /// resets them. An error of `take` means that the system lacks the resources for the connection.
    ///
    /// # Errors
    ///
    /// Only a broken listener.
    pub(crate) fn accept_ready(
        &mut self,
        service: &Service<'_>,
        mut take: impl FnMut(Incoming) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<AcceptState> {
        // Read before the queues, so that connections queued before the stop are still accepted below.
        let phase = service.phase();
        let limit = match phase {
            Phase::Running => ACCEPTS_PER_RUN,
            Phase::Draining => self.queue,
            Phase::Aborting => 0,
        };
        let mut backoff = None;
        for index in 0..self.listeners.len() {
            match self.accept_from(index, limit, service, &mut take)? {
                AcceptOutcome::Empty => {}
                AcceptOutcome::More => backoff = Some(Duration::ZERO),
                AcceptOutcome::Exhausted => backoff = backoff.or(Some(BACKOFF)),
                AcceptOutcome::Enough => return Ok(AcceptState::Finished),
            }
        }
        Ok(if phase > Phase::Running { AcceptState::Finished } else { AcceptState::Wait(backoff) })
    }

    fn accept_from(
        &mut self,
        listener: usize,
        limit: usize,
        service: &Service<'_>,
        take: &mut impl FnMut(Incoming) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<AcceptOutcome> {
        let mut errors = 0;
        for _ in 0..limit {
            match self.listeners[listener].accept() {
                Ok((stream, peer)) => {
                    let number = self.shared.accepted.fetch_add(1, Relaxed);
                    if let Err(reason) = admit(number, peer, SockRef::from(&stream), service) {
                        // Closed at once: nothing is ever written into the stream.
                        service.counters.refused(reason);
                        (service.observe)(Event::Refused { peer, reason });
                        continue;
                    }
                    if let Some(options) = &self.options {
                        // Fails only on a connection that is broken already.
                        let _ = options.set_on(SockRef::from(&stream));
                    }
                    match take(Incoming { stream: stream.into(), peer, number }) {
                        Ok(ControlFlow::Continue(())) => {}
                        Ok(ControlFlow::Break(())) => return Ok(AcceptOutcome::Enough),
                        Err(error) => {
                            service.admission.release(peer);
                            return Ok(self.exhausted(error, service));
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(AcceptOutcome::Empty);
                }
                Err(error) => match error_action(&error) {
                    // An error that leaves the connection in the queue recurs at once, so only a few are
                    // skipped without a pause.
                    ErrorAction::Skip if errors == MAX_ERRORS => {
                        return Ok(self.exhausted(error, service));
                    }
                    ErrorAction::Skip => errors += 1,
                    ErrorAction::Pause => return Ok(self.exhausted(error, service)),
                    ErrorAction::Fail => return Err(error),
                },
            }
        }
        Ok(AcceptOutcome::More)
    }

    fn exhausted(&self, error: io::Error, service: &Service<'_>) -> AcceptOutcome {
        service.counters.accept_paused();
        if self.shared.report_is_due() {
            (service.observe)(Event::AcceptPaused { error });
        }
        AcceptOutcome::Exhausted
    }
}

impl Shared {
    /// Whether no acceptor has reported exhaustion lately. If so, the caller must report it.
    fn report_is_due(&self) -> bool {
        let mut reported = self.exhaustion_reported.lock().unwrap_or_else(PoisonError::into_inner);
        let due = reported.is_none_or(|time| time.elapsed() >= LOG_INTERVAL);
        if due {
            *reported = Some(Instant::now());
        }
        due
    }
}

/// Admits a connection, unless a limit or an injected fault refuses it.
fn admit(
    number: u64,
    peer: SocketAddr,
    socket: SockRef<'_>,
    service: &Service<'_>,
) -> Result<(), RefuseReason> {
    if service.config.faults.as_ref().is_some_and(|faults| faults.refuses(number)) {
        // Reset it, whether or not the peer has sent anything yet. Fails only on a dead connection.
        let _ = reset_when_closed(socket);
        return Err(RefuseReason::Fault);
    }
    service.admission.admit(peer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn exhaustion_is_reported_once_for_all_acceptors() {
        let listen = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (listeners, reports) = ([listen(), listen()], AtomicUsize::new(0));
        let connect = |listener: &std::net::TcpListener| {
            listener.set_nonblocking(true).unwrap();
            TcpStream::connect(listener.local_addr().unwrap()).unwrap()
        };
        let _peers = listeners.each_ref().map(connect);
        let groups = listeners.map(|listener| vec![listener]).into();
        Service::for_test(&Config::default(), |service, _| {
            let count = |event| {
                assert!(matches!(event, Event::AcceptPaused { .. }));
                reports.fetch_add(1, Relaxed);
            };
            let service = Service { observe: &count, ..*service };
            for mut acceptor in Acceptor::per_group(groups, service.config) {
                let take = |_| Err(io::Error::from(ErrorKind::OutOfMemory));
                let state = acceptor.accept_ready(&service, take).unwrap();
                assert_eq!(state, AcceptState::Wait(Some(BACKOFF)));
            }
        });
        assert_eq!(reports.into_inner(), 1);
    }

    #[test]
    fn accepted_connections_send_without_delay() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        // Queued before any option can be set, as with socket activation.
        let _peer = TcpStream::connect(address).unwrap();
        let acceptors = Acceptor::per_group(vec![vec![listener]], &Config::default());
        let acceptor = acceptors.into_iter().next().unwrap();
        let take = |incoming: Incoming| {
            assert!(incoming.stream.nodelay().unwrap());
            Ok(ControlFlow::Break(()))
        };
        Service::for_test(&Config::default(), |service, mut shutdown| {
            acceptor.run(&mut shutdown, service, take)
        })
        .unwrap();
        assert!(TcpStream::connect(address).is_err(), "the listener is closed");
    }
}
