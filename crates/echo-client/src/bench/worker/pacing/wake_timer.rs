//! Waking an event loop at a given time, as precisely as the system allows.

use std::io;
use std::time::Duration;

use crate::platform::{Poll, Token};

/// Wakes an event loop with microsecond precision. The timeout of epoll_wait(2) counts
/// milliseconds.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(super) struct WakeTimer {
    timer: crate::platform::OwnedFd,
}

#[cfg(target_os = "linux")]
impl WakeTimer {
    /// Expiry is reported as an event with this token.
    pub(super) fn new(poll: &Poll, token: Token) -> io::Result<Self> {
        use crate::platform::{Interest, SourceFd, timerfd_create};
        use rustix::time::{TimerfdClockId, TimerfdFlags};
        use std::os::fd::AsRawFd;

        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let mut source = SourceFd(&timer.as_raw_fd());
        // Edge-triggered: arming the timer again is enough, and its count need not be read.
        poll.registry().register(&mut source, token, Interest::READABLE)?;
        Ok(Self { timer })
    }

    /// Expires once, `after` from now. Returns the timeout to use for the poll.
    pub(super) fn arm(&self, after: Duration, limit: Duration) -> Duration {
        use crate::platform::timerfd_settime;
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec};

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

/// Waits in whole milliseconds and polls without pause for the last stretch: that is the unit of
/// `GetQueuedCompletionStatusEx`, which ends a wait at a tick of the system's timer.
#[cfg(windows)]
#[derive(Debug)]
pub(super) struct WakeTimer {
    _tick: crate::system::FastTick,
}

#[cfg(windows)]
impl WakeTimer {
    /// Longer than a tick, plus the time to wake up.
    const SPIN: Duration = Duration::from_millis(2);

    pub(super) fn new(_: &Poll, _: Token) -> io::Result<Self> {
        Ok(Self { _tick: crate::system::FastTick::start() })
    }

    /// Returns the timeout to use for the poll, to be asked for again after it.
    pub(super) fn arm(&self, after: Duration, limit: Duration) -> Duration {
        let millis = after.saturating_sub(Self::SPIN).as_millis();
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)).min(limit)
    }
}

/// The timeout of kevent(2) counts nanoseconds.
#[cfg(not(any(target_os = "linux", windows)))]
#[derive(Debug)]
pub(super) struct WakeTimer;

#[cfg(not(any(target_os = "linux", windows)))]
impl WakeTimer {
    pub(super) fn new(_: &Poll, _: Token) -> io::Result<Self> {
        Ok(Self)
    }

    pub(super) fn arm(&self, after: Duration, limit: Duration) -> Duration {
        after.min(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_loop_wakes_up_in_time_for_a_message() {
        let mut poll = mio::Poll::new().unwrap();
        let timer = WakeTimer::new(&poll, mio::Token(0)).unwrap();
        let mut events = mio::Events::with_capacity(1);
        for after in [Duration::from_micros(300), Duration::from_micros(5700)] {
            let late = (0..50).map(|_| {
                let started = Instant::now();
                loop {
                    let left = after.saturating_sub(started.elapsed());
                    if left.is_zero() {
                        return started.elapsed() - after;
                    }
                    let limit = timer.arm(left, Duration::from_secs(1));
                    poll.poll(&mut events, Some(limit)).unwrap();
                }
            });
            // The best of many attempts, as the machine may be busy.
            assert!(late.min().unwrap() < Duration::from_micros(200), "{after:?}");
        }
    }
}
