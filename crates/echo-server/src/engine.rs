//! Engines: how connections are driven. Each engine is a module with the same `run`.
//!
//! What every engine must do:
//!
//! 1. Echo byte-exact and in order, any size, any split. What is refused is refused as a whole: no part of a
//!    broken message is echoed, and no byte behind one that was not.
//! 2. Honour half-close: on EOF the rest is still echoed, then FIN. Never close with unread input: that sends
//!    RST, and a reset destroys the echo in flight (RFC 1122, 4.2.2.13).
//! 3. Hold no buffer for a connection that owes nothing. For one whose peer does not read, hold at most 64 KiB
//!    (with framing, one message of up to `max_frame`), including what the engine itself has received ahead.
//!    Beyond that the connection is not read: the peer's TCP window closes, and other connections are not
//!    affected.
//! 4. Be fair: take a bounded amount from each connection before the next one is run.
//! 5. Keep accepting: errors of single connections are skipped, a shortage of descriptors or memory pauses
//!    accepting briefly, and only a broken listener is fatal. A poller that fails for good ends the server with
//!    its error; a worker is never left half alive.
//! 6. End a connection for its own errors only: RST, EPIPE and timeouts never affect another one.
//! 7. Keep the deadlines (idle timeout, write timeout, maximum lifetime) by the monotonic clock, at no cost
//!    while unset. A peer whose bytes are waiting in the socket was not idle, even if the process was suspended
//!    meanwhile; and only real progress renews the write timeout ([`progress`](crate::progress)).
//! 8. On [`stop`](crate::Handle::stop), echo what was received by then, send FIN, and linger until the peer has
//!    acknowledged it; on [`abort`](crate::Handle::abort) or at the drain deadline, close, and count the
//!    connections that were still owed something.
//!
//! What an engine gets: an [`Acceptor`], whose connections are admitted, non-blocking and have their
//! [socket options](crate::listen::socket_options) set; a [`ShutdownListener`] that is woken when the server is
//! to stop; and a [`Service`] to report to. What a connection owes its peer is kept by a
//! [`Session`](crate::session::Session).

mod event_loop;
mod threads;

use std::io;

use crate::BindError;
use crate::config::Engine;
use crate::listen::accept::Acceptor;
use crate::service::Service;
use crate::shutdown::ShutdownListener;

/// The engine that will run.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) engine: Engine,
    /// Why [`Engine::Auto`] did not choose another one.
    pub(crate) reason: Option<String>,
}

/// Resolves [`Engine::Auto`] and checks that the engine works on this machine.
///
/// # Errors
///
/// The system lacks what the engine needs, or forbids it. An engine that is asked for by name is never
/// replaced by another.
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

/// Tries to set up io_uring: neither the version nor the configuration of a kernel says whether it works.
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
    acceptor: Acceptor,
    shutdown: ShutdownListener,
    service: &Service<'_>,
) -> io::Result<()> {
    match engine {
        Engine::Threads => threads::run(acceptor, shutdown, service),
        #[cfg(target_os = "linux")]
        Engine::Uring => event_loop::uring::run(acceptor, shutdown, service),
        _ => event_loop::readiness::run(acceptor, shutdown, service),
    }
}
