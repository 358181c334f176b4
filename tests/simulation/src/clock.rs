//! The simulated clock. It never goes back, may stand still, and may jump while the program is suspended.

use std::ops::{Add, Sub};
use std::time::Duration;

use crate::world::{block, with};

/// A simulated [`std::time::Instant`]: nanoseconds of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// See [`std::time::Instant::now`].
    #[must_use]
    pub fn now() -> Self {
        with(|world| {
            // A clock with a coarse resolution may show the same time twice, but not forever.
            if world.rng.bool() {
                world.now += world.rng.u64(..4000);
            }
            Self(world.now)
        })
    }

    /// See [`std::time::Instant::elapsed`].
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Self::now() - *self
    }

    /// See [`std::time::Instant::duration_since`].
    #[must_use]
    pub fn duration_since(&self, earlier: Self) -> Duration {
        *self - earlier
    }

    /// See [`std::time::Instant::saturating_duration_since`].
    #[must_use]
    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        *self - earlier
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + nanos(time))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A simulated CPU time of the thread, which never rests.
#[must_use]
pub fn thread_cpu_time() -> Option<Duration> {
    Some(Duration::from_nanos(Instant::now().0))
}

/// A simulated [`std::thread::sleep`].
pub fn sleep(time: Duration) {
    let until = with(|world| {
        world.sleeps = true;
        world.now + nanos(time)
    });
    block(Some(until), |_| false);
    with(|world| world.sleeps = false);
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}
