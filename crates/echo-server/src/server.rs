//! A server's life: bind, hand out a handle, run.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::accept::Acceptor;
use crate::admission::Admission;
use crate::bind::{Bound, bind};
use crate::engine;
use crate::service::Service;
use crate::shutdown::Sleeper;
use crate::{BindError, Config, Counters, Engine, Event, Handle, Summary};

/// An echo server whose sockets are bound and listening, so that peers can connect already.
pub struct Server {
    config: Config,
    choice: engine::Choice,
    addresses: Vec<SocketAddr>,
    skipped: Vec<BindError>,
    acceptor: Acceptor,
    handle: Handle,
    sleeper: Sleeper,
    counters: Counters,
}

impl Server {
    /// Listens on every address that the host stands for.
    ///
    /// # Errors
    ///
    /// The host does not resolve, or an address cannot be listened on. An address that this machine
    /// does not have is passed over as long as another one is left; see [`skipped`](Self::skipped).
    /// Or the engine that the configuration names does not work here.
    pub fn bind(config: Config) -> Result<Self, BindError> {
        let choice = engine::choose(config.engine)?;
        let Bound { listeners, skipped } = bind(&config)?;
        Self::new(config, choice, listeners, skipped)
    }

    /// Serves on sockets that somebody else has bound and that listen, instead of the configured host and
    /// port.
    ///
    /// # Errors
    ///
    /// A socket cannot be waited for, or the engine that is asked for cannot run.
    pub fn on(config: Config, listeners: Vec<TcpListener>) -> Result<Self, BindError> {
        let choice = engine::choose(config.engine)?;
        for listener in &listeners {
            listener.set_nonblocking(true).map_err(BindError::Setup)?;
        }
        Self::new(config, choice, listeners, Vec::new())
    }

    fn new(
        config: Config,
        choice: engine::Choice,
        listeners: Vec<TcpListener>,
        skipped: Vec<BindError>,
    ) -> Result<Self, BindError> {
        let addresses = listeners
            .iter()
            .map(TcpListener::local_addr)
            .collect::<Result<_, _>>()
            .map_err(BindError::Setup)?;
        let acceptor = Acceptor::new(listeners, config.backlog);
        let (handle, sleeper) = Handle::new().map_err(BindError::Setup)?;
        let counters = Counters::default();
        Ok(Self { config, choice, addresses, skipped, acceptor, handle, sleeper, counters })
    }

    /// The addresses it listens on, with the real port where 0 was asked for.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Addresses of the host that this machine does not have, and what the system said.
    #[must_use]
    pub fn skipped(&self) -> &[BindError] {
        &self.skipped
    }

    /// What stops it, from any thread.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The engine that will drive the connections; never [`Engine::Auto`].
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.choice.engine
    }

    /// Why [`Engine::Auto`] did not become another engine; `None` where one was named.
    #[must_use]
    pub fn engine_reason(&self) -> Option<&str> {
        self.choice.reason.as_deref()
    }

    /// Its counters, to be read from any thread while it runs.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.clone()
    }

    /// Serves until it is stopped, or with [`Config::once`] until one connection has ended.
    ///
    /// `observe` is called on the threads that serve: it must not block.
    ///
    /// # Errors
    ///
    /// A listening socket broke. Nothing that a peer does is an error here.
    pub fn run(self, observe: impl Fn(Event) + Send + Sync) -> io::Result<Summary> {
        let service = Service {
            config: &self.config,
            handle: &self.handle,
            counters: &self.counters,
            admission: &Admission::new(&self.config),
            observe: &observe,
        };
        engine::run(self.choice.engine, self.acceptor, self.sleeper, &service)?;
        Ok(self.counters.read())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}
