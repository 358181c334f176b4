//! Engines: how connections are driven. Each engine is a module with the same `run`.
//!
//! What every engine must do:
//!
//! 1. Echo byte-exact and in order, whatever the sizes and however the stream is split. Refused input is refused
//!    as a whole: no part of a broken message is echoed, and nothing after a byte that was not echoed.
//! 2. Honour half-close: on EOF, echo the rest, then send FIN. Never close with unread input: that sends RST,
//!    and a reset destroys the echo in flight (RFC 1122, 4.2.2.13).
//! 3. Hold no buffer for a connection that owes nothing. For a peer that does not read, hold at most 64 KiB (with
//!    framing, one message of up to `max_frame`), including what the engine itself has received ahead. Then
//!    apply backpressure: stop reading, so that the peer's TCP window closes. Other connections are not affected.
//! 4. Be fair: read a bounded amount from each connection before running the next one.
//! 5. Keep accepting: errors of single connections are skipped, a shortage of descriptors or memory pauses
//!    accepting briefly, and only a broken listener is fatal. A poller that fails for good ends the server with
//!    its error; a worker is never left half alive.
//! 6. Confine errors to their connection: RST, EPIPE and timeouts never affect another one.
//! 7. Enforce the deadlines (idle timeout, write timeout, maximum lifetime) by the monotonic clock, at no cost
//!    while they are unset. A peer whose bytes are waiting in the socket was not idle, even if the process was
//!    suspended meanwhile; and only real progress renews the write timeout ([`progress`](crate::progress)).
//! 8. On [`stop`](crate::Handle::stop), echo what was received by then, send FIN, and linger until the peer has
//!    acknowledged it. On [`abort`](crate::Handle::abort), or at the drain deadline, close, and count the
//!    connections that were still owed data.
//!
//! An engine is given an [`Acceptor`], or one for each event loop, whose connections are admitted, non-blocking and have
//! their [socket options](crate::listen::socket_options) set; a [`ShutdownListener`], which is woken when the server is
//! to stop; and a [`Service`] to report to. A [`Session`](crate::session::Session) keeps what a connection owes
//! its peer.

mod event_loop;
#[cfg(not(simulation))]
mod threads;

#[cfg(simulation)]
pub use self::event_loop::simulation;

use std::io;

use crate::BindError;
use crate::config::Engine;
use crate::listen::accept::Acceptor;
use crate::service::Service;
use crate::shutdown::ShutdownListener;

/// The engine that was chosen.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) engine: Engine,
    /// Why [`Engine::Auto`] did not choose io_uring.
    pub(crate) reason: Option<String>,
}

/// Resolves [`Engine::Auto`] and checks that the engine works on this machine.
///
/// # Errors
///
/// The system lacks what the engine needs, or forbids it. An engine that was requested by name is never replaced
/// by another.
pub(crate) fn choose(engine: Engine) -> Result<Choice, BindError> {
    match engine {
        // io_uring is the fastest where the system has it (docs/performance.md). A thread per connection
        // costs memory and context switches and is faster nowhere.
        Engine::Auto => Ok(match probe_uring() {
            Ok(()) => Choice { engine: Engine::Uring, reason: None },
            Err(error) => Choice { engine: Engine::Readiness, reason: Some(error.to_string()) },
        }),
        Engine::Uring => {
            probe_uring()?;
            Ok(Choice { engine, reason: None })
        }
        Engine::Threads | Engine::Readiness => Ok(Choice { engine, reason: None }),
    }
}

/// Sets up io_uring once: neither the version nor the configuration of a kernel tells whether it works.
fn probe_uring() -> Result<(), BindError> {
    #[cfg(target_os = "linux")]
    let result = event_loop::uring::probe();
    #[cfg(not(target_os = "linux"))]
    let result = Err(io::ErrorKind::Unsupported.into());
    result.map_err(|source| BindError::Engine { engine: Engine::Uring, source })
}

/// Serves until the server is stopped and every connection has ended.
pub(crate) fn run(
    engine: Engine,
    acceptors: Vec<Acceptor>,
    shutdown: ShutdownListener,
    service: &Service<'_>,
) -> io::Result<()> {
    match engine {
        #[cfg(not(simulation))]
        Engine::Threads => {
            let one: Result<[Acceptor; 1], _> = acceptors.try_into();
            let [acceptor] =
                one.ok().expect("`Server::bind` opens more sockets only for event loops");
            threads::run(acceptor, shutdown, service)
        }
        #[cfg(target_os = "linux")]
        Engine::Uring => event_loop::uring::run(acceptors, shutdown, service),
        _ => event_loop::readiness::run(acceptors, shutdown, service),
    }
}
