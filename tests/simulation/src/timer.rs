//! A simulated timerfd_create(2): an event that comes at its time, or later.

use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};

use crate::clock::nanos;
use crate::descriptor::{Object, OwnedFd, next_event};
use crate::readiness::Source;
use crate::world::{World, system_call, trace, with};

/// A simulated `mio::unix::SourceFd`.
#[derive(Debug)]
pub struct SourceFd<'a>(pub &'a RawFd);

impl AsRawFd for SourceFd<'_> {
    fn as_raw_fd(&self) -> RawFd {
        *self.0
    }
}

impl Source for SourceFd<'_> {}

/// A simulated timerfd_create(2).
///
/// # Errors
///
/// None: descriptors do not run out before the program has started.
pub fn timerfd_create(_: TimerfdClockId, _: TimerfdFlags) -> rustix::io::Result<OwnedFd> {
    let number = next_event();
    Ok(with(|world| OwnedFd(world.open(Object::Event(number)))))
}

/// A simulated timerfd_settime(2), for a timer that expires once.
///
/// # Errors
///
/// None.
///
/// # Panics
///
/// The time is 0, which would disarm the timer, or the timer is periodic.
pub fn timerfd_settime(
    timer: &OwnedFd,
    _: TimerfdTimerFlags,
    time: &Itimerspec,
) -> rustix::io::Result<Itimerspec> {
    system_call();
    let after = Duration::try_from(time.it_value).expect("a time in range");
    assert!(!after.is_zero(), "a timer is disarmed");
    assert_eq!((time.it_interval.tv_sec, time.it_interval.tv_nsec), (0, 0));
    with(|world| {
        let event = world.object(timer.0);
        let at = world.now + nanos(after);
        trace!(world, "{event:?}: set for {:.3} ms", at as f64 / 1e6);
        world.timers.retain(|(_, other)| *other != event);
        world.timers.push((at, event));
    });
    Ok(time.clone())
}

impl World {
    /// Lets the timers expire whose time has come.
    pub(crate) fn expire_timers(&mut self) {
        while let Some(index) = self.timers.iter().position(|(at, _)| *at <= self.now) {
            let (_, event) = self.timers.swap_remove(index);
            trace!(self, "{event:?}: expires");
            self.set_event(event);
        }
    }

    /// The earlier of a deadline and the next expiry.
    pub(crate) fn next_time(&self, deadline: Option<u64>) -> Option<u64> {
        self.timers.iter().map(|(at, _)| *at).chain(deadline).min()
    }
}
