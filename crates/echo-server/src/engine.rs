//! Engines: how connections are driven. Each is a module with the same `run`.
//!
//! What every engine must do:
//!
//! 1. Echo byte-exact and in order, any size, any split.
//! 2. Honour half-close: on EOF the rest is still echoed, then FIN. Never close with unread input:
//!    that sends RST, and a reset destroys the echo on its way (RFC 1122, 4.2.2.13).
//! 3. Hold no buffer for a connection that owes nothing, and a bounded one for one that does. A peer
//!    that does not read is not read from either: its TCP window closes, and nobody else notices.
//! 4. Be fair: take a bounded amount from each connection in turn.
//! 5. End a connection for its own faults only: RST, EPIPE and the like never reach another.
//! 6. Keep the deadlines: idle and write timeout, by the monotonic clock, at no cost while unset.
//! 7. On [`stop`](crate::Handle::stop), echo what was received by then, send FIN, and give the peer
//!    time to take it and to say goodbye; on [`abort`](crate::Handle::abort) or at the drain deadline,
//!    close, and count those that were still owed something.
//!
//! What it gets: an [`Acceptor`], whose connections are admitted, non-blocking and have TCP_NODELAY
//! set, a [`ShutdownListener`] that is woken when the server is to stop, and a [`Service`] to report to. What a
//! connection owes is kept by a [`Session`](crate::session::Session).

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
    /// Why not another, if the choice was left to us.
    pub(crate) reason: Option<String>,
}

/// Chooses the engine that will run where `engine` is asked for.
///
/// # Errors
///
/// The system does not have what it takes, or does not allow it. An engine that is asked for by name
/// is that one or none.
pub(crate) fn choose(engine: Engine) -> Result<Choice, BindError> {
    match engine {
        // By docs/performance.md a ring is the fastest where the system has it. A thread for each of many
        // connections costs memory and switches; there is nothing that blocking calls would gain.
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

/// Whether a ring works here. Neither the version nor the configuration of a kernel tells.
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
