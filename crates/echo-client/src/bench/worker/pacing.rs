//! Waking up in time for the next due message.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::time::{Duration, Instant};

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
    pub(super) fn new(poll: &mio::Poll, token: mio::Token) -> io::Result<Self> {
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

/// Wakes an event loop with microsecond precision. The timeout of epoll_wait(2) counts
/// milliseconds.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct WakeTimer {
    timer: std::os::fd::OwnedFd,
}

#[cfg(target_os = "linux")]
impl WakeTimer {
    /// Expiry is reported as an event with this token.
    fn new(poll: &mio::Poll, token: mio::Token) -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        use std::os::fd::AsRawFd;

        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let mut source = mio::unix::SourceFd(&timer.as_raw_fd());
        // Edge-triggered: arming the timer again is enough, and its count need not be read.
        poll.registry().register(&mut source, token, mio::Interest::READABLE)?;
        Ok(Self { timer })
    }

    /// Expires once, `after` from now. Returns the timeout to use for the poll.
    fn arm(&self, after: Duration, limit: Duration) -> Duration {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};

        if after >= limit {
            return limit;
        }
        if after.is_zero() {
            return after; // to the timer this would mean never
        }
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let after = Timespec { tv_sec: after.as_secs() as _, tv_nsec: after.subsec_nanos().into() };
        let time = Itimerspec { it_interval: zero, it_value: after };
        match timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time) {
            Ok(_) => limit,
            // Cannot fail for an open timer and a time in range. If it does, spinning keeps the
            // time too.
            Err(_) => Duration::ZERO,
        }
    }
}

/// The poll timeout is as precise as this system allows.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct WakeTimer;

#[cfg(not(target_os = "linux"))]
impl WakeTimer {
    fn new(_: &mio::Poll, _: mio::Token) -> io::Result<Self> {
        Ok(Self)
    }

    fn arm(&self, after: Duration, limit: Duration) -> Duration {
        after.min(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_expires_with_microsecond_precision() {
        let mut poll = mio::Poll::new().unwrap();
        let timer = WakeTimer::new(&poll, mio::Token(0)).unwrap();
        let mut events = mio::Events::with_capacity(1);
        let late = (0..50).map(|_| {
            let started = std::time::Instant::now();
            let after = Duration::from_micros(300);
            let limit = timer.arm(after, Duration::from_secs(1));
            poll.poll(&mut events, Some(limit)).unwrap();
            started.elapsed().saturating_sub(after)
        });
        // The best of many attempts, as the machine may be busy.
        assert!(late.min().unwrap() < Duration::from_micros(200));
    }
}
