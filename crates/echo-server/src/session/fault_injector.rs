//! The injected faults of one connection.
//!
//! Which bytes are changed, where the echo is split into slices and where it ends depends only on the offset in the
//! echo, not on how the bytes arrive. When a piece may be sent is decided when it is the next to be sent.

use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;

use super::send_buffer::SendBuffer;
use crate::faults::{Delay, Faults, RngStream, mix};
use crate::platform::Instant;

/// How a fault ends the echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Termination {
    Reset,
    Close,
    Stall,
}

/// The state of the injected faults of one connection.
pub(super) struct FaultInjector {
    /// Bytes of the echo, owed or sent.
    taken: u64,
    /// Bytes of the echo that have been sent.
    sent: u64,
    /// How many of the owed bytes may be sent now.
    released: usize,
    /// When the next bytes may be sent, once decided.
    due: Option<Instant>,
    /// Set when the connection is drained: nothing is held back any more.
    released_all: bool,
    termination: Option<(u64, Termination)>,
    corruption: Option<Corruption>,
    slices: Option<Slices>,
    delays: Option<Delays>,
    bucket: Option<TokenBucket>,
}

impl FaultInjector {
    pub(super) fn new(faults: &Faults, connection: u64) -> Self {
        let terminations = [
            (faults.reset_after, Termination::Reset),
            (faults.close_after, Termination::Close),
            (faults.stall_after, Termination::Stall),
        ];
        let terminations =
            terminations.into_iter().filter_map(|(at, termination)| Some((at?, termination)));
        let generator = |chance| faults.generator(connection, chance);
        Self {
            taken: 0,
            sent: 0,
            released: 0,
            due: None,
            released_all: false,
            // At the same offset, the first in this list wins.
            termination: terminations.min_by_key(|(at, _)| *at),
            corruption: Corruption::new(faults.corrupt.get(), generator(RngStream::Corrupt)),
            slices: faults
                .slice
                .clone()
                .map(|range| Slices::new(range, generator(RngStream::Slice))),
            delays: faults.delay.map(|delay| Delays::new(delay, generator(RngStream::Delay))),
            bucket: faults.rate_limit.map(|rate| TokenBucket { rate: rate.get(), free_at: None }),
        }
    }

    /// Adds the echo of `bytes` to `owed`, corrupted and cut off where a termination ends it.
    pub(super) fn take(&mut self, bytes: &[u8], owed: &mut Option<Box<SendBuffer>>) {
        let room = self.termination.map_or(u64::MAX, |(at, _)| at - self.taken);
        let bytes = &bytes[..usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len())];
        if bytes.is_empty() {
            return;
        }
        let taken = owed.get_or_insert_default().push(bytes);
        if let Some(corruption) = &mut self.corruption {
            corruption.corrupt(self.taken, taken);
        }
        self.taken += bytes.len() as u64;
    }

    /// How the echo ends at the current offset, if it does.
    pub(super) fn termination(&self) -> Option<Termination> {
        self.termination.filter(|(at, _)| *at == self.taken).map(|(_, termination)| termination)
    }

    /// How many of the owed bytes may be sent now.
    pub(super) fn released(&self) -> usize {
        self.released
    }

    /// When the next bytes may be sent, once decided.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Releases the next piece if it is due. `owed` is the number of unsent bytes. Returns whether any may be sent.
    pub(super) fn release(&mut self, owed: usize, now: Instant) -> bool {
        if self.released > 0 || self.hold(now) > now && !self.released_all {
            return self.released > 0;
        }
        self.due = None;
        let mut piece = owed;
        if let Some(slices) = &mut self.slices {
            piece = slices.rest(self.sent, piece);
        }
        if let Some(bucket) = self.bucket.as_mut().filter(|_| !self.released_all) {
            piece = bucket.spend(piece, now);
        }
        self.released = piece;
        true
    }

    /// Decides when the next bytes may be sent, unless already decided.
    fn hold(&mut self, now: Instant) -> Instant {
        let (slices, sent, taken) = (&mut self.slices, self.sent, self.taken);
        *self.due.get_or_insert_with(|| {
            let delayed = self.delays.as_mut().map_or(now, |delays| {
                let owed = usize::try_from(taken - sent).unwrap_or(usize::MAX);
                let slice = slices.as_mut().map_or(owed, |slices| slices.rest(sent, owed));
                delays.hold(sent, slice, now)
            });
            let paced = self.bucket.as_ref().and_then(|bucket| bucket.free_at);
            delayed.max(paced.unwrap_or(now))
        })
    }

    /// Records that `count` of the released bytes were sent.
    pub(super) fn sent(&mut self, count: usize) {
        self.released -= count;
        self.sent += count as u64;
    }

    /// Stops holding bytes back, because the connection is being drained.
    pub(super) fn release_all(&mut self) {
        self.released_all = true;
    }
}

/// Changes bytes at random.
struct Corruption {
    /// The logarithm of the probability that a byte is left unchanged.
    ln_unchanged: f64,
    generator: Rng,
    /// The offset of the next byte to change.
    next: u64,
}

impl Corruption {
    fn new(probability: f64, generator: Rng) -> Option<Self> {
        let mut corruption = Self { ln_unchanged: (-probability).ln_1p(), generator, next: 0 };
        corruption.next = corruption.gap();
        (probability > 0.0).then_some(corruption)
    }

    /// Draws the number of unchanged bytes before the next change: geometrically distributed, which is the same
    /// as deciding for each byte.
    fn gap(&mut self) -> u64 {
        let sample = 1.0 - self.generator.f64();
        (sample.ln() / self.ln_unchanged) as u64
    }

    /// Changes bytes of `piece`, which begins at `offset`.
    fn corrupt(&mut self, offset: u64, piece: &mut [u8]) {
        while let Some(byte) =
            usize::try_from(self.next - offset).ok().and_then(|at| piece.get_mut(at))
        {
            *byte ^= self.generator.u8(1..);
            self.next = self.next.saturating_add(1).saturating_add(self.gap());
        }
    }
}

/// Splits the echo into slices of random sizes.
struct Slices {
    sizes: RangeInclusive<u64>,
    generator: Rng,
    /// The offset at which the current slice ends.
    end: u64,
}

impl Slices {
    fn new(sizes: RangeInclusive<u64>, generator: Rng) -> Self {
        let shortest = (*sizes.start()).max(1);
        let sizes = shortest..=(*sizes.end()).max(shortest);
        Self { sizes, generator, end: 0 }
    }

    /// How many of `count` bytes from `offset` on belong to the same slice.
    fn rest(&mut self, offset: u64, count: usize) -> usize {
        while self.end <= offset {
            self.end = self.end.saturating_add(self.generator.u64(self.sizes.clone()));
        }
        usize::try_from(self.end - offset).unwrap_or(usize::MAX).min(count)
    }
}

/// Decides how long pieces are held back.
struct Delays {
    delay: Delay,
    seed: u64,
    /// Bytes before this offset have been delayed. They may still have to wait for the token bucket.
    delayed: u64,
}

impl Delays {
    fn new(delay: Delay, mut generator: Rng) -> Self {
        Self { delay, seed: generator.u64(..), delayed: 0 }
    }

    /// Until when to hold back the piece that begins at `offset`.
    fn hold(&mut self, offset: u64, length: usize, now: Instant) -> Instant {
        if offset < self.delayed {
            return now;
        }
        self.delayed = offset + length as u64;
        let mean = self.delay.mean.min(Delay::LONGEST);
        let jitter = self.delay.jitter.min(mean);
        // Seeded by the offset, so that it does not depend on how many pieces came before.
        let sample = Rng::with_seed(mix(self.seed ^ offset)).f64();
        now + (mean - jitter) + (2 * jitter).mul_f64(sample)
    }
}

/// Limits the rate of the echo.
struct TokenBucket {
    /// Bytes per second.
    rate: u64,
    /// When the next byte may be sent.
    free_at: Option<Instant>,
}

impl TokenBucket {
    /// The burst that may be sent at once, as time at the rate; at least one byte. Sending late by no more than
    /// this does not lower the rate.
    const QUANTUM: Duration = Duration::from_millis(10);

    /// Takes tokens for up to `count` bytes. Returns how many may be sent.
    fn spend(&mut self, count: usize, now: Instant) -> usize {
        let burst = self.rate / (1000 / Self::QUANTUM.as_millis() as u64);
        let count = usize::try_from(burst.max(1)).unwrap_or(usize::MAX).min(count);
        let from = self.free_at.filter(|free_at| *free_at + Self::QUANTUM >= now).unwrap_or(now);
        self.free_at = Some(from + Duration::from_secs_f64(count as f64 / self.rate as f64));
        count
    }
}
