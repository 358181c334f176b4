//! Faults on purpose: what a server does wrong when it is told to, so that people can see what their clients
//! make of it.
//!
//! What is left to chance follows from a seed, the number of the connection and the offset in its echo, and
//! from nothing else: not from how the bytes arrive, nor from the engine.

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;

/// What a server does wrong. The default is nothing.
///
/// Offsets count the bytes of a connection's echo, from 0; with framing, that is whole messages as they stand
/// on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Holds each piece of the echo back.
    pub delay: Option<Delay>,
    /// Bytes a second that a connection gets back at the most.
    pub rate_limit: Option<NonZero<u64>>,
    /// Sends the echo in pieces of a random size in this range, in bytes.
    pub slice: Option<RangeInclusive<u64>>,
    /// Echoes so many bytes, and then neither takes nor echoes any more, but keeps the connection.
    pub stall_after: Option<u64>,
    /// Echoes so many bytes, and then resets the connection (RST). As far as the system tells, which only
    /// Linux does, the peer's system has all of them by then.
    pub reset_after: Option<u64>,
    /// Echoes so many bytes, and then ends the connection (FIN).
    pub close_after: Option<u64>,
    /// Changes each byte with this probability.
    pub corrupt: Probability,
    /// Resets this share of connections when they are accepted.
    pub refuse: Probability,
    /// Where all chances come from: with the same one, the connections that are accepted in the same order
    /// have the same faults at the same offsets.
    pub seed: u64,
}

/// For how long a piece of the echo is deferred back: a random time, evenly spread around a mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// The middle of the range, up to a day.
    pub mean: Duration,
    /// How far it reaches to each side; no more than the mean.
    pub jitter: Duration,
}

impl Delay {
    /// The longest delay: more would be beyond the end of some systems' clocks.
    pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
}

/// A probability, or a share of a multishot_threshold: 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Probability(f64);

impl Probability {
    /// `None` for what is no probability.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    /// The same as a number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

/// It is never NaN.
impl Eq for Probability {}

/// What chance decides about a connection. Each has a generator of its own, so that no decision depends on how
/// many others there were.
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

    /// Decides one thing about the connection with this number.
    pub(crate) fn generator(&self, connection: u64, chance: RngStream) -> Rng {
        let of_chance = mix(self.seed) ^ chance as u64;
        Rng::with_seed(mix(mix(of_chance) ^ connection))
    }
}

/// A number far from those of its neighbours. Generators whose seeds are near each other roll much the same.
pub(crate) fn mix(number: u64) -> u64 {
    Rng::with_seed(number).u64(..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_is_asked_for_is_refused_and_the_seed_says_which() {
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
    fn what_is_no_probability_is_none() {
        for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Probability::new(share), None, "{share}");
        }
    }
}
