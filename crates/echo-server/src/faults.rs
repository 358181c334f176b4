//! Injected faults: misbehaviour on request, to test clients.
//!
//! Random decisions depend on a seed, the number of the connection and the offset in its echo, and on nothing
//! else: neither on how the bytes arrive nor on the engine.

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;

/// The faults that a server injects. The default is none.
///
/// Offsets count the bytes of a connection's echo, from 0. With framing, the echo consists of whole messages,
/// including what the framing adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Delays each piece of the echo.
    pub delay: Option<Delay>,
    /// Limits the echo of each connection to this many bytes per second.
    pub rate_limit: Option<NonZero<u64>>,
    /// Sends the echo in pieces of a random size in this range, in bytes.
    pub slice: Option<RangeInclusive<u64>>,
    /// Echoes this many bytes, then stops reading and writing but keeps the connection open.
    pub stall_after: Option<u64>,
    /// Echoes this many bytes, then resets the connection (RST). On Linux, the reset is sent once the peer's system
    /// has acknowledged all of them; other systems do not report that.
    pub reset_after: Option<u64>,
    /// Echoes this many bytes, then closes the connection (FIN).
    pub close_after: Option<u64>,
    /// Changes each byte with this probability.
    pub corrupt: Probability,
    /// Resets this share of connections when they are accepted.
    pub refuse: Probability,
    /// Seeds all random decisions: with the same seed, connections that are accepted in the same order have
    /// the same faults at the same offsets. With [`Config::reuseport`](crate::Config::reuseport) that order differs
    /// between runs.
    pub seed: u64,
}

/// How long a piece of the echo is held back: a random time, uniformly distributed around a mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// The middle of the range, up to a day.
    pub mean: Duration,
    /// The largest deviation from the mean, to either side; no more than the mean.
    pub jitter: Duration,
}

impl Delay {
    /// The longest delay: longer ones could overflow the clock of some systems.
    pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
}

/// A probability, or a share: 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Probability(f64);

impl Probability {
    /// Returns `None` for a number that is not between 0 and 1.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    /// Returns it as a number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

/// A probability is never NaN.
impl Eq for Probability {}

/// The kinds of random decision about a connection. Each has its own generator, so that none depends on how many
/// others were made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RngStream {
    Refuse,
    Slice,
    Corrupt,
    Delay,
}

impl Faults {
    /// Whether the connection with this number is reset when it is accepted.
    pub(crate) fn refuses(&self, connection: u64) -> bool {
        self.refuse.0 > 0.0 && self.generator(connection, RngStream::Refuse).f64() < self.refuse.0
    }

    /// The generator for one kind of decision about the connection with this number.
    pub(crate) fn generator(&self, connection: u64, stream: RngStream) -> Rng {
        let of_stream = mix(self.seed) ^ stream as u64;
        Rng::with_seed(mix(mix(of_stream) ^ connection))
    }
}

/// Spreads neighbouring numbers far apart: generators with similar seeds produce similar numbers.
pub(crate) fn mix(number: u64) -> u64 {
    Rng::with_seed(number).u64(..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requested_share_is_refused_and_the_seed_decides_which() {
        let refused = |share, seed| {
            let faults =
                Faults { refuse: Probability::new(share).unwrap(), seed, ..Faults::default() };
            (0..10_000).filter(|&number| faults.refuses(number)).collect::<Vec<_>>()
        };
        assert_eq!((refused(0.0, 1).len(), refused(1.0, 1).len()), (0, 10_000));
        // The standard deviation is 22.
        assert!((400..600).contains(&refused(0.05, 42).len()));
        assert_eq!(refused(0.05, 42), refused(0.05, 42));
        assert_ne!(refused(0.05, 42), refused(0.05, 43));
    }

    #[test]
    fn a_number_outside_0_to_1_is_no_probability() {
        for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Probability::new(share), None, "{share}");
        }
    }
}
