//! Deadlines and timers.
//!
//! Deadlines have no timers of their own. A periodic sweep over all connections is cheaper than reordering timers
//! with every echo, and it costs nothing while no connection has a deadline.

use std::time::Duration;

use super::Worker;
use crate::CloseReason;
use crate::engine::event_loop::edges::MAY_HAVE_UNREPORTED_ROOM;
use crate::engine::event_loop::{Interest, Poller};
use crate::linger;
use crate::platform::Instant;
use crate::session::State;
use crate::system::release_memory;

/// The shortest time between two sweeps.
const MIN_SWEEP_PERIOD: Duration = Duration::from_millis(10);
/// The longest time between two sweeps while a connection owes bytes or has a limited lifetime.
const MAX_SWEEP_PERIOD: Duration = Duration::from_secs(1);

impl<P: Poller> Worker<'_, P> {
    /// How long to wait for events.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let busy_poll = self.service.config.busy_poll;
        if !self.run_queue.is_empty()
            || !busy_poll.is_zero() && self.last_event.elapsed() < busy_poll
        {
            return Some(Duration::ZERO);
        }
        let sweep = || self.sweep_period().saturating_sub(self.last_sweep.elapsed());
        let until = |time: Instant| time.saturating_duration_since(Instant::now());
        let times = self.timers.next().into_iter().chain(self.accept_at).map(until);
        self.keeps_time().then(sweep).into_iter().chain(times).min()
    }

    /// Whether any connection has a deadline. If none has, `now` is not kept up to date.
    pub(super) fn keeps_time(&self) -> bool {
        let config = self.service.config;
        self.backpressured > 0
            || self.trim_pending
            || !self.connections.is_empty()
                && (config.idle_timeout.is_some() || config.max_lifetime.is_some())
    }

    /// A quarter of the shortest deadline that any connection can have now: no deadline is noticed later than that.
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

    /// Runs connections whose timer has expired.
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

    /// Checks every deadline, if a sweep is due.
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
            // Only in a sweep: if backpressure comes and goes, returning memory each time would cost more than
            // keeping it.
            self.trim_pending = false;
            self.run_queue.shrink_to_fit();
            self.connections.shrink_to_fit();
            self.scratch.pipes.trim();
            release_memory();
        }
    }

    fn check_deadlines(&mut self, key: usize) {
        if MAY_HAVE_UNREPORTED_ROOM && self.connections[key].session.state() == State::Write {
            // A slow peer may have taken less than what the system reports, so try to send.
            self.ready(key, false);
        }
        let Some(reason) = self.overdue(key) else { return };
        // The peer may not have been idle: while the process was suspended, its bytes were not read. If the poller
        // receives for the connection, it reports what it has before the connection reads from its socket.
        let looks = reason != CloseReason::Stalled;
        if looks {
            if self.poller.receives(key) {
                return self.poller.set_interest(key, Interest::Readable, 0);
            }
            // By recv(2): splicing does not receive urgent data.
            self.connections[key].ended = true;
            self.ready(key, true);
        }
        let Some(reason) = self.overdue(key) else { return };
        if !looks && reason != CloseReason::Stalled {
            // The peer has acknowledged everything meanwhile: the next sweep looks before it closes the connection.
            return;
        }
        // Otherwise it lingers: its FIN was sent for this reason.
        let is_open = self.connections[key].reason.is_none();
        match reason {
            CloseReason::Idle if is_open => {
                let connection = &mut self.connections[key];
                connection.reason = Some(reason);
                connection.session.refuse_input();
                self.ready(key, false);
            }
            CloseReason::Expired if is_open => self.start_draining(key, reason),
            _ => self.close(key, reason),
        }
    }

    fn overdue(&mut self, key: usize) -> Option<CloseReason> {
        let connection = self.connections.get_mut(key)?;
        if self.poller.sends(key) {
            // The bytes are sent later than they were received: a submission has failed, or they were unread.
            connection.active = self.now;
        }
        connection.overdue(self.service, self.now)
    }
}
