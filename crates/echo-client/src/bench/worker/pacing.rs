//! Waking up in time for the next due message.

mod wake_timer;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::time::Duration;

use self::wake_timer::WakeTimer;
use crate::platform::{Instant, Poll, Token};

/// The due times of a worker's connections, and the timer that meets them. Times are nanoseconds
/// since the start of the run.
pub(super) struct Pacer {
    /// Connections by the time their next message is due.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    timer: WakeTimer,
    /// What the timer is armed for.
    armed_for: Option<u64>,
}

impl Pacer {
    /// Expiry of the timer is reported to `poll` as an event with this token.
    pub(super) fn new(poll: &Poll, token: Token) -> io::Result<Self> {
        let timer = WakeTimer::new(poll, token)?;
        Ok(Self { due: BinaryHeap::new(), timer, armed_for: None })
    }

    pub(super) fn push(&mut self, due: u64, key: usize) {
        self.due.push(Reverse((due, key)));
    }

    /// Takes the next connection with a due message, and the current time.
    pub(super) fn pop(&mut self, start: Instant) -> Option<(usize, u64)> {
        let &Reverse((due, key)) = self.due.peek()?;
        let now = start.elapsed().as_nanos() as u64;
        (due <= now).then(|| self.due.pop())?;
        Some((key, now))
    }

    /// Forgets all due times.
    pub(super) fn clear(&mut self) {
        self.due.clear();
    }

    /// Time until the next message is due.
    pub(super) fn until_next(&self, start: Instant) -> Option<Duration> {
        let &Reverse((due, _)) = self.due.peek()?;
        Some(Duration::from_nanos(due).saturating_sub(start.elapsed()))
    }

    /// Arms the timer for the next due message. Returns the timeout to use for the poll, at most
    /// `limit`.
    pub(super) fn arm(&mut self, start: Instant, limit: Duration) -> Duration {
        let next = self.due.peek().map(|Reverse((due, _))| *due);
        let Some(after) = self.until_next(start) else { return limit };
        if limit.is_zero() || self.armed_for == next {
            return limit;
        }
        let limit = self.timer.arm(after, limit);
        let is_armed = !limit.is_zero() && after < limit;
        self.armed_for = next.filter(|_| is_armed);
        limit
    }

    /// The timer has expired.
    pub(super) fn expired(&mut self) {
        self.armed_for = None;
    }
}
