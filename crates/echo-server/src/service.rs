//! What all engines share: settings, phase, counters, limits and the observer.

use std::net::SocketAddr;
use std::time::Duration;

use crate::admission::Admission;
use crate::session::Session;
use crate::shutdown::{Handle, Phase};
use crate::stats::Counters;
use crate::{CloseReason, Config, Event};

/// The parts of a running server that do not depend on the engine.
pub(crate) struct Service<'a> {
    pub(crate) config: &'a Config,
    pub(crate) handle: &'a Handle,
    pub(crate) counters: &'a Counters,
    pub(crate) admission: &'a Admission,
    pub(crate) observe: &'a (dyn Fn(Event) + Sync),
}

impl Service<'_> {
    /// Runs a test with a service that has no observer, and with its shutdown listener.
    #[cfg(test)]
    pub(crate) fn for_test<T>(
        config: &Config,
        test: impl FnOnce(&Service<'_>, crate::shutdown::ShutdownListener) -> T,
    ) -> T {
        let (handle, shutdown) = Handle::new().unwrap();
        let service = Service {
            config,
            handle: &handle,
            counters: &Counters::default(),
            admission: &Admission::new(config),
            observe: &|_| {},
        };
        test(&service, shutdown)
    }

    pub(crate) fn phase(&self) -> Phase {
        self.handle.phase()
    }

    /// Reports that a connection is being served.
    pub(crate) fn connected(&self, peer: SocketAddr) {
        self.counters.connected();
        (self.observe)(Event::Connected { peer });
    }

    /// Reports that the peer broke the framing, if it did. Called before the FIN is sent.
    pub(crate) fn finishing(&self, peer: SocketAddr, session: &Session) {
        if let Some(error) = session.broken() {
            (self.observe)(Event::FramingBroken { peer, error });
        }
    }

    /// Reports that a connection has ended.
    pub(crate) fn closed(
        &self,
        peer: SocketAddr,
        messages: u64,
        bytes: u64,
        duration: Duration,
        reason: CloseReason,
    ) {
        self.admission.release(peer);
        self.counters.closed(messages, reason);
        (self.observe)(Event::Closed { peer, bytes, duration, reason });
    }
}
