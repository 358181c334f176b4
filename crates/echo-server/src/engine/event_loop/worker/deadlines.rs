//! When a worker has to do something by itself: deadlines and timers.
//!
//! There is no timer for each deadline. Going through all connections now and then is cheaper than keeping
//! timers in order with every echo, and it costs nothing while no deadline can pass.

use std::time::{Duration, Instant};

use super::Worker;
use crate::CloseReason;
use crate::engine::event_loop::{Interest, Poller};
use crate::linger;
use crate::session::State;
use crate::system::release_memory;

/// Deadlines are not checked more often than this.
const MIN_SWEEP_PERIOD: Duration = Duration::from_millis(10);
/// They are checked at least this often while a connection owes something, or has a limited lifetime.
const MAX_SWEEP_PERIOD: Duration = Duration::from_secs(1);

impl<P: Poller> Worker<'_, P> {
    /// How long to wait for events.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let busy_poll = self.service.config.busy_poll;
        if !self.more.is_empty() || !busy_poll.is_zero() && self.last_event.elapsed() < busy_poll {
            return Some(Duration::ZERO);
        }
        let sweep = || self.sweep_period().saturating_sub(self.last_sweep.elapsed());
        let until = |time: Instant| time.saturating_duration_since(Instant::now());
        let times = self.timers.next().into_iter().chain(self.accept_at).map(until);
        self.keeps_time().then(sweep).into_iter().chain(times).min()
    }

    /// Whether any connection has a deadline. If not, the clock is not read for one.
    pub(super) fn keeps_time(&self) -> bool {
        let config = self.service.config;
        self.backpressured > 0
            || self.trim_pending
            || !self.connections.is_empty()
                && (config.idle_timeout.is_some() || config.max_lifetime.is_some())
    }

    /// A quarter of the shortest deadline that any connection can have now, so that none is late by more.
    fn sweep_period(&self) -> Duration {
        let config = self.service.config;
        let mut period = config.idle_timeout.map_or(MAX_SWEEP_PERIOD, |idle| idle / 4);
        if config.max_lifetime.is_some() || self.backpressured > 0 || self.trim_pending {
            period = period.min(MAX_SWEEP_PERIOD);
        }
        let lifetime = config.max_lifetime;
        let [write, linger] = match self.backpressured {
            0 => [None, None],
            _ => [config.write_timeout, Some(linger::LINGER_TIMEOUT)],
        };
        let quarters = [lifetime, write, linger].into_iter().flatten().map(|deadline| deadline / 4);
        quarters.fold(period, Duration::min).max(MIN_SWEEP_PERIOD)
    }

    /// Runs the connections whose time has come.
    pub(super) fn fire_expired(&mut self) {
        if self.timers.next().is_some() {
            let now = Instant::now();
            while let Some(key) = self.timers.expired(now) {
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.timer_set = false;
                }
                self.ready(key, false);
            }
        }
    }

    /// Checks every deadline, if it is time to.
    pub(super) fn sweep(&mut self) {
        if !self.keeps_time() || self.last_sweep.elapsed() < self.sweep_period() {
            return;
        }
        self.last_sweep = Instant::now();
        self.update_now();
        for key in self.keys() {
            self.check_deadlines(key);
        }
        if self.trim_pending && self.backpressured == 0 {
            // Here and not at once: where it comes and goes, giving back would cost more than keeping.
            self.trim_pending = false;
            self.more.shrink_to_fit();
            self.connections.shrink_to_fit();
            release_memory();
        }
    }

    fn check_deadlines(&mut self, key: usize) {
        if self.connections[key].session.state() == State::Write {
            // The system reports room when a third of the send buffer is free; a slow peer may
            // have taken less in all this time, but it has taken some.
            self.ready(key, false);
        }
        let Some(reason) = self.overdue(key) else { return };
        // The silence may be ours: when the process was suspended, what arrived meanwhile has not been read.
        // What the poller has received it reports before it lets the connection read by itself.
        if reason != CloseReason::Stalled {
            if self.poller.receives(key) {
                return self.poller.set_interest(key, Interest::Readable, 0);
            }
            self.ready(key, true);
        }
        let Some(reason) = self.overdue(key) else { return };
        match reason {
            CloseReason::Idle => {
                let connection = &mut self.connections[key];
                connection.reason = Some(reason);
                connection.session.refuse_input();
                self.ready(key, false);
            }
            CloseReason::Expired => self.start_draining(key, reason),
            _ => self.close(key, reason),
        }
    }

    fn overdue(&mut self, key: usize) -> Option<CloseReason> {
        let connection = self.connections.get_mut(key)?;
        let reason = connection.overdue(self.service, self.now)?;
        let sending = reason == CloseReason::Idle && self.poller.sends(key);
        (!sending).then_some(reason)
    }
}
