//! When messages are due, and a timer precise enough for it.

use std::io;
use std::time::Duration;

use fastrand::Rng;

use super::workload::{Arrivals, Workload};

/// When the messages of one connection are due, in nanoseconds since the start of the run.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Mean time between two messages of this connection.
    period: f64,
    /// When the next message is due.
    due: f64,
    /// Generator for random arrivals.
    random: Option<Rng>,
}

impl Schedule {
    /// The schedule of connection `number`, from 0; `None` in a closed loop.
    pub(super) fn new(workload: &Workload, number: usize) -> Option<Self> {
        let period = workload.connections as f64 / workload.rate? * 1e9;
        Some(match workload.arrivals {
            // Offsets the connections so that all of them together are evenly spaced too.
            Arrivals::Constant => {
                let due = period * number as f64 / workload.connections as f64;
                Self { period, due, random: None }
            }
            Arrivals::Poisson => {
                let mut schedule =
                    Self { period, due: 0.0, random: Some(Rng::with_seed(number as u64)) };
                schedule.advance();
                schedule
            }
        })
    }

    pub(super) fn due(&self) -> u64 {
        self.due as u64
    }

    /// Moves on to the next message.
    pub(super) fn advance(&mut self) {
        let step = match &mut self.random {
            None => 1.0,
            // Inverse of the exponential distribution. 1 - f64() is never zero.
            Some(random) => -(1.0 - random.f64()).ln(),
        };
        self.due += step * self.period;
    }

    /// Messages due before `end`, from the next one on; the expected number if arrivals are random.
    pub(super) fn left_until(&self, end: u64) -> u64 {
        let left = (end as f64 - self.due) / self.period;
        if left <= 0.0 { 0 } else { left.ceil() as u64 }
    }
}

/// Wakes an event loop with microsecond precision. The timeout of epoll_wait(2) counts
/// milliseconds.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(super) struct WakeTimer {
    timer: std::os::fd::OwnedFd,
}

#[cfg(target_os = "linux")]
impl WakeTimer {
    /// Expiry is reported as an event with this token.
    pub(super) fn new(poll: &mio::Poll, token: mio::Token) -> io::Result<Self> {
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
    pub(super) fn arm(&self, after: Duration, limit: Duration) -> Duration {
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
pub(super) struct WakeTimer;

#[cfg(not(target_os = "linux"))]
impl WakeTimer {
    pub(super) fn new(_: &mio::Poll, _: mio::Token) -> io::Result<Self> {
        Ok(Self)
    }

    pub(super) fn arm(&self, after: Duration, limit: Duration) -> Duration {
        after.min(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::workload::tests::workload;

    #[test]
    fn constant_arrivals_of_all_connections_together_are_evenly_spaced() {
        let workload = Workload { connections: 4, rate: Some(1000.0), ..workload() };
        let mut due = Vec::new();
        for number in 0..4 {
            let mut schedule = Schedule::new(&workload, number).unwrap();
            for _ in 0..10 {
                due.push(schedule.due());
                schedule.advance();
            }
        }
        due.sort_unstable();
        let expected: Vec<u64> = (0..40).map(|message| message * 1_000_000).collect();
        assert_eq!(due, expected);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_their_distribution() {
        let workload = Workload {
            connections: 2,
            rate: Some(1000.0),
            arrivals: Arrivals::Poisson,
            ..workload()
        };
        let mut schedule = Schedule::new(&workload, 1).unwrap();
        let mut gaps = Vec::new();
        for _ in 0..100_000 {
            let before = schedule.due;
            schedule.advance();
            gaps.push((schedule.due - before) / 1e6);
        }
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // The standard deviation of an exponential distribution equals its mean, here 2 ms.
        assert!((mean / 2.0 - 1.0).abs() < 0.02, "{mean}");
        assert!((variance.sqrt() / 2.0 - 1.0).abs() < 0.03, "{}", variance.sqrt());
    }

    #[test]
    fn due_messages_that_were_not_sent_are_counted() {
        let workload = Workload { connections: 1, rate: Some(1000.0), ..workload() };
        let schedule = Schedule::new(&workload, 0).unwrap();
        assert_eq!(schedule.left_until(10_000_000), 10, "at 0, 1, ... 9 ms");
        assert_eq!(schedule.left_until(0), 0);
    }

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
