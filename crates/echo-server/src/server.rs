//! The server: bind, create handles, run.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::admission::Admission;
use crate::engine;
use crate::listen::accept::Acceptor;
use crate::listen::bind::{Bound, bind};
use crate::service::Service;
use crate::shutdown::ShutdownListener;
use crate::{BindError, Config, Counters, Engine, Event, Handle, Summary};

/// An echo server whose sockets are bound and listening: peers can already connect.
pub struct Server {
    config: Config,
    choice: engine::Choice,
    addresses: Vec<SocketAddr>,
    skipped: Vec<BindError>,
    acceptors: Vec<Acceptor>,
    handle: Handle,
    shutdown: ShutdownListener,
    counters: Counters,
}

impl Server {
    /// Listens on every address that the host resolves to.
    ///
    /// # Errors
    ///
    /// The host does not resolve, an address cannot be listened on, or the engine that the configuration
    /// names does not work here. An address that this machine does not have is not an error as long as there
    /// is another one; see [`skipped`](Self::skipped).
    pub fn bind(config: Config) -> Result<Self, BindError> {
        let choice = engine::choose(config.engine)?;
        let obstacle = match choice.engine {
            // Other systems send all connections to one of the sockets, or have another option.
            _ if cfg!(not(target_os = "linux")) => Some("only Linux distributes connections"),
            Engine::Threads => Some("the engine threads has no event loops"),
            _ => None,
        };
        if let Some(reason) = obstacle.filter(|_| config.reuseport) {
            return Err(BindError::Reuseport { reason });
        }
        let Bound { groups, skipped } = bind(&config)?;
        Self::new(config, choice, groups, skipped)
    }

    /// Serves on sockets that are already listening, such as those of socket activation, instead of the
    /// configured host and port.
    ///
    /// # Errors
    ///
    /// A socket cannot be made non-blocking, the engine that the configuration names does not work here, or the
    /// configuration asks for a socket for each event loop.
    pub fn from_listeners(config: Config, listeners: Vec<TcpListener>) -> Result<Self, BindError> {
        let choice = engine::choose(config.engine)?;
        if config.reuseport {
            return Err(BindError::Reuseport {
                reason: "the sockets were opened by another program",
            });
        }
        for listener in &listeners {
            listener.set_nonblocking(true).map_err(BindError::Setup)?;
        }
        Self::new(config, choice, vec![listeners], Vec::new())
    }

    fn new(
        config: Config,
        choice: engine::Choice,
        groups: Vec<Vec<TcpListener>>,
        skipped: Vec<BindError>,
    ) -> Result<Self, BindError> {
        let addresses = groups
            .first()
            .into_iter()
            .flatten()
            .map(TcpListener::local_addr)
            .collect::<Result<_, _>>()
            .map_err(BindError::Setup)?;
        let acceptors = Acceptor::per_group(groups, &config);
        let (handle, shutdown) = Handle::new().map_err(BindError::Setup)?;
        let counters = Counters::default();
        Ok(Self { config, choice, addresses, skipped, acceptors, handle, shutdown, counters })
    }

    /// The addresses the server listens on, with the actual port if 0 was requested.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Addresses of the host that this machine does not have, with the system's errors.
    #[must_use]
    pub fn skipped(&self) -> &[BindError] {
        &self.skipped
    }

    /// Returns a handle that stops the server, from any thread.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The engine that will drive the connections; never [`Engine::Auto`].
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.choice.engine
    }

    /// Why [`Engine::Auto`] did not choose io_uring; `None` if it did, or if an engine was named.
    #[must_use]
    pub fn engine_reason(&self) -> Option<&str> {
        self.choice.reason.as_deref()
    }

    /// The counters, which can be read from any thread while the server runs.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.clone()
    }

    /// Serves until stopped, or with [`Config::once`] until one connection has ended.
    ///
    /// `observe` is called on the threads that serve: it must not block.
    ///
    /// # Errors
    ///
    /// A listening socket or an event loop's poller has failed for good. Nothing that a peer does is an
    /// error here.
    pub fn run(self, observe: impl Fn(Event) + Send + Sync) -> io::Result<Summary> {
        let service = Service {
            config: &self.config,
            handle: &self.handle,
            counters: &self.counters,
            admission: &Admission::new(&self.config),
            observe: &observe,
        };
        engine::run(self.choice.engine, self.acceptors, self.shutdown, &service)?;
        Ok(self.counters.read())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use crate::listen::bind::listen_on_all;
    use std::net::TcpStream;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    /// For each event-loop engine that works here, a server with two workers and a second descriptor of its
    /// listener.
    fn on_event_loops() -> impl Iterator<Item = (Server, TcpListener)> {
        let start = |engine| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let other = listener.try_clone().unwrap();
            let config = Config { engine, threads: 2, ..Config::default() };
            Some((Server::from_listeners(config, vec![listener]).ok()?, other))
        };
        [Engine::Readiness, Engine::Uring].into_iter().filter_map(start)
    }

    /// The same, but each worker accepts; none where the system does not distribute connections.
    fn each_accepts() -> impl Iterator<Item = Server> {
        let bind = |engine| {
            let config =
                Config { engine, threads: 2, reuseport: true, port: 0, ..Config::default() };
            match Server::bind(config) {
                Ok(server) => Some(server),
                Err(error) => {
                    assert!(engine == Engine::Uring || cfg!(not(target_os = "linux")), "{error}");
                    None
                }
            }
        };
        [Engine::Readiness, Engine::Uring].into_iter().filter_map(bind)
    }

    #[test]
    fn sockets_for_each_event_loop_are_refused_with_a_hint() {
        let (engines, why): (&[_], _) = if cfg!(target_os = "linux") {
            (&[Engine::Threads], ": the engine threads has no event loops")
        } else {
            let engines = &[Engine::Auto, Engine::Readiness, Engine::Threads];
            (engines, ": only Linux distributes connections")
        };
        for &engine in engines {
            let config = Config { engine, reuseport: true, port: 0, ..Config::default() };
            let error = Server::bind(config).unwrap_err();
            assert!(error.to_string().ends_with(why), "{error}");
            assert!(error.hint().unwrap().starts_with("leave out --reuseport: "));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn each_event_loop_serves_every_address() {
        use std::io::{Read, Write};

        let both = ["127.0.0.1:0", "127.0.0.2:0"].map(|address| address.parse().unwrap());
        for engine in [Engine::Readiness, Engine::Uring] {
            let config = Config { engine, threads: 3, reuseport: true, ..Config::default() };
            let Ok(choice) = engine::choose(engine) else { continue };
            let Bound { groups, skipped } = listen_on_all(&both, &config).unwrap();
            let server = Server::new(config, choice, groups, skipped).unwrap();
            let (addresses, handle) = (server.local_addrs().to_vec(), server.handle());
            let running = thread::spawn(|| server.run(|_| {}));
            assert_eq!(addresses.len(), 2, "{addresses:?}");
            // By a hash: that a socket of three gets none of 30 is most unlikely.
            for address in addresses.iter().flat_map(|address| [address; 30]) {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                stream.write_all(b"Hello").unwrap();
                stream.read_exact(&mut [0; 5]).expect("its socket is served");
            }
            handle.stop();
            let summary = running.join().unwrap().unwrap();
            assert_eq!((summary.connections, summary.bytes), (60, 300), "{engine}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_broken_listener_is_an_error_and_open_connections_still_get_their_echo() {
        use std::io::{Read, Write};
        use std::net::Shutdown;

        for (server, listener) in on_event_loops() {
            let (address, engine) = (server.local_addrs()[0], server.engine());
            let running = thread::spawn(|| server.run(|_| {}));
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"Hello").unwrap();
            stream.read_exact(&mut [0; 5]).unwrap();
            // Received before the server notices: later bytes need not be echoed.
            stream.write_all(b"and more").unwrap();
            // This ends listening for every descriptor of the socket.
            socket2::SockRef::from(&listener).shutdown(Shutdown::Read).unwrap();
            let mut echo = String::new();
            stream.read_to_string(&mut echo).unwrap();
            assert_eq!(echo, "and more", "{engine}");
            drop(stream);
            let error = running.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{engine}");
        }
    }

    #[test]
    fn an_observer_that_panics_ends_the_server_every_time() {
        let one_accepts = || on_event_loops().map(|(server, _)| server);
        // The supervising thread must be woken after the phase is set. A wrong order shows only sometimes.
        for server in (0..30).flat_map(|_| one_accepts().chain(each_accepts())) {
            let address = server.local_addrs()[0];
            let (ended, end) = mpsc::channel();
            thread::spawn(move || {
                // Unlike `panic!`, this prints nothing on stderr.
                let run =
                    || server.run(|_| std::panic::resume_unwind(Box::new("a panic of the test")));
                ended.send(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err())
            });
            // The server may end before it has answered.
            let _stream = TcpStream::connect(address);
            assert_eq!(end.recv_timeout(Duration::from_secs(30)), Ok(true));
        }
    }
}
