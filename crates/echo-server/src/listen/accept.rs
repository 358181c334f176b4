//! Accepting connections, and never stopping to do so.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use socket2::SockRef;

use crate::linger::reset_when_closed;
use crate::listen::socket_options::SocketOptions;
use crate::service::Service;
use crate::shutdown::{Phase, ShutdownListener};
use crate::{Config, Event, RefuseReason};

/// How long to leave the queue alone when the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(200);
/// Exhaustion is told at most this often, however often it comes and goes.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// Connections taken from one listener before the others have their turn.
const TURN: usize = 64;
/// Errors of single connections in one turn that are taken for what they seem.
const MAX_ERRORS: usize = 16;

/// The listening sockets.
pub(crate) struct Acceptor {
    listeners: Vec<TcpListener>,
    /// More than a listener's queue can hold: Linux lets one more in than was asked for, other
    /// systems half as many again (tcp(4) of BSD).
    queue: usize,
    /// What each connection is given, if it does not have it from its listener, which saves calls.
    options: Option<SocketOptions>,
    exhaustion_told: Option<Instant>,
    /// Connections accepted, whether or not they were let in.
    accepted: u64,
}

/// A connection that was let in.
pub(crate) struct Incoming {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    /// Its number among all that were accepted, from 0.
    pub(crate) number: u64,
}

/// When to look at the queues again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptState {
    /// When somebody comes or the server is to stop, but no later than this.
    Wait(Option<Duration>),
    /// Never: nobody else is to be let in.
    Over,
}

/// How a look at one listener's queue ended.
enum Turn {
    /// Nobody is waiting.
    Empty,
    /// Somebody may still be waiting.
    More,
    /// The system has no room for another connection.
    Exhausted,
    /// The caller wants no more.
    Enough,
}

/// What to do about an error of accept(2).
#[derive(Debug, PartialEq, Eq)]
enum ErrorAction {
    /// It concerns one connection, which is gone: take the next.
    Next,
    /// Wait for room, or for whatever it is to pass.
    Pause,
    /// The listener is broken.
    Fail,
}

impl Acceptor {
    /// Accepts on `listeners`, which are non-blocking.
    pub(crate) fn new(listeners: Vec<std::net::TcpListener>, config: &Config) -> Self {
        let listeners: Vec<_> = listeners.into_iter().map(TcpListener::from_std).collect();
        let queue = 2 * usize::from(config.backlog) + TURN;
        let options = SocketOptions { keepalive: config.keepalive };
        let inherited = listeners.iter().all(|listener| options.are_inherited_from(listener));
        let options = (!inherited).then_some(options);
        Self { listeners, queue, options, exhaustion_told: None, accepted: 0 }
    }

    /// For whoever watches them. It is enough to tell when a connection comes.
    pub(crate) fn listeners(&mut self) -> &mut [TcpListener] {
        &mut self.listeners
    }

    /// For whoever has registered them, to close them.
    pub(crate) fn into_listeners(self) -> Vec<TcpListener> {
        self.listeners
    }

    /// Gives each connection to `take`, until that breaks or the server is told to stop; then closes
    /// the listeners. In between it sleeps.
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
                AcceptState::Over => return Ok(()),
            }
        }
    }

    /// Gives each connection that is in a queue to `take`, until that breaks, up to a limit for each of the
    /// queues. Connections already queued when a stop comes are accepted before it is over: closing
    /// a listener resets them. An error of `take` means that there was no room for the connection.
    ///
    /// # Errors
    ///
    /// Only a broken listener.
    pub(crate) fn accept_ready(
        &mut self,
        service: &Service<'_>,
        mut take: impl FnMut(Incoming) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<AcceptState> {
        // Read before the queues: what is in them at the stop is still taken below.
        let phase = service.phase();
        let limit = match phase {
            Phase::Running => TURN,
            Phase::Draining => self.queue,
            Phase::Aborting => 0,
        };
        let mut backoff = None;
        for index in 0..self.listeners.len() {
            match self.turn(index, limit, service, &mut take)? {
                Turn::Empty => {}
                Turn::More => backoff = Some(Duration::ZERO),
                Turn::Exhausted => backoff = backoff.or(Some(PAUSE)),
                Turn::Enough => return Ok(AcceptState::Over),
            }
        }
        Ok(if phase > Phase::Running { AcceptState::Over } else { AcceptState::Wait(backoff) })
    }

    fn turn(
        &mut self,
        listener: usize,
        limit: usize,
        service: &Service<'_>,
        take: &mut impl FnMut(Incoming) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<Turn> {
        let mut errors = 0;
        for _ in 0..limit {
            match self.listeners[listener].accept() {
                Ok((stream, peer)) => {
                    let number = self.accepted;
                    self.accepted += 1;
                    if let Err(limit) = admit(number, peer, SockRef::from(&stream), service) {
                        // Closed at once: nothing is ever written into the stream.
                        service.counters.refused(limit);
                        (service.observe)(Event::Refused { peer, limit });
                        continue;
                    }
                    if let Some(options) = &self.options {
                        // It fails only on a connection that is broken already.
                        let _ = options.set_on(SockRef::from(&stream));
                    }
                    match take(Incoming { stream: stream.into(), peer, number }) {
                        Ok(ControlFlow::Continue(())) => {}
                        Ok(ControlFlow::Break(())) => return Ok(Turn::Enough),
                        Err(error) => {
                            service.admission.release(peer);
                            return Ok(self.exhausted(error, service));
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Turn::Empty),
                Err(error) => match error_action(&error) {
                    // An error that takes nothing off the queue, such as a veto of the system,
                    // comes again at once: not for long without a pause.
                    ErrorAction::Next if errors == MAX_ERRORS => {
                        return Ok(self.exhausted(error, service));
                    }
                    ErrorAction::Next => errors += 1,
                    ErrorAction::Pause => return Ok(self.exhausted(error, service)),
                    ErrorAction::Fail => return Err(error),
                },
            }
        }
        Ok(Turn::More)
    }

    fn exhausted(&mut self, error: io::Error, service: &Service<'_>) -> Turn {
        service.counters.accept_paused();
        if self.exhaustion_told.is_none_or(|told| told.elapsed() >= LOG_INTERVAL) {
            self.exhaustion_told = Some(Instant::now());
            (service.observe)(Event::AcceptPaused { error });
        }
        Turn::Exhausted
    }
}

/// Whether a connection may come in: on purpose some may not, and the others only within the limits.
fn admit(
    number: u64,
    peer: SocketAddr,
    socket: SockRef<'_>,
    service: &Service<'_>,
) -> Result<(), RefuseReason> {
    if service.config.faults.as_ref().is_some_and(|faults| faults.refuses(number)) {
        // By a reset, whether or not the peer has sent something by now. It fails only on a dead connection.
        let _ = reset_when_closed(socket);
        return Err(RefuseReason::Fault);
    }
    service.admission.admit(peer)
}

/// Sorts the errors of accept(2), whose manual says that pending network errors of the new
/// connection are passed on through it and should be treated like EAGAIN.
fn error_action(error: &io::Error) -> ErrorAction {
    #[cfg(unix)]
    match error.raw_os_error() {
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EFAULT) => {
            return ErrorAction::Fail;
        }
        Some(libc::EPROTO | libc::ENOPROTOOPT | libc::EHOSTDOWN | libc::EOPNOTSUPP) => {
            return ErrorAction::Next;
        }
        #[cfg(target_os = "linux")]
        Some(libc::ENONET) => return ErrorAction::Next,
        _ => {}
    }
    match error.kind() {
        ErrorKind::Interrupted
        | ErrorKind::ConnectionAborted
        | ErrorKind::ConnectionReset
        | ErrorKind::PermissionDenied // a firewall's veto
        | ErrorKind::NetworkDown
        | ErrorKind::NetworkUnreachable
        | ErrorKind::HostUnreachable => ErrorAction::Next,
        // EMFILE, ENFILE, ENOBUFS and ENOMEM pass when something is freed. An error that nobody
        // has heard of may pass too; if not, a pause keeps it from using up a processor.
        _ => ErrorAction::Pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_connections_send_without_delay() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        // It is in the queue before anything can be set, as with a listener that somebody else has made.
        let _peer = TcpStream::connect(address).unwrap();
        let acceptor = Acceptor::new(vec![listener], &Config::default());
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

    #[cfg(unix)]
    #[test]
    fn accept_errors_are_sorted_as_the_manual_says() {
        let sorted = |code| error_action(&io::Error::from_raw_os_error(code));
        for code in [libc::EINTR, libc::ECONNABORTED, libc::EPROTO, libc::EPERM, libc::ENETDOWN] {
            assert_eq!(sorted(code), ErrorAction::Next, "{code}");
        }
        for code in [libc::EHOSTUNREACH, libc::ENETUNREACH, libc::EHOSTDOWN, libc::EOPNOTSUPP] {
            assert_eq!(sorted(code), ErrorAction::Next, "{code}");
        }
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            assert_eq!(sorted(code), ErrorAction::Pause, "{code}");
        }
        for code in [libc::EBADF, libc::EINVAL, libc::ENOTSOCK, libc::EFAULT] {
            assert_eq!(sorted(code), ErrorAction::Fail, "{code}");
        }
    }
}
