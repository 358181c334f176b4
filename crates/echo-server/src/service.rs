//! What every engine works with and reports to.

use std::net::SocketAddr;
use std::time::Duration;

use crate::admission::Admission;
use crate::session::Session;
use crate::shutdown::{Handle, Phase};
use crate::stats::Counters;
use crate::{CloseReason, Config, Event};

/// A running server, apart from how its connections are driven.
pub(crate) struct Service<'a> {
    pub(crate) config: &'a Config,
    pub(crate) handle: &'a Handle,
    pub(crate) counters: &'a Counters,
    pub(crate) admission: &'a Admission,
    pub(crate) observe: &'a (dyn Fn(Event) + Sync),
}

impl Service<'_> {
    /// Gives a test a service of its own, which nobody observes, and whom it wakes.
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

    /// A connection is being served.
    pub(crate) fn connected(&self, peer: SocketAddr) {
        self.counters.connected();
        (self.observe)(Event::Connected { peer });
    }

    /// Tells of a broken framing, when its peer is about to get our FIN.
    pub(crate) fn finishing(&self, peer: SocketAddr, session: &Session) {
        if let Some(error) = session.broken() {
            (self.observe)(Event::FramingBroken { peer, error });
        }
    }

    /// A connection has ended.
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
