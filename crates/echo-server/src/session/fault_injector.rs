//! What becomes of one connection's echo where there are faults on purpose.
//!
//! Which bytes are changed, where it is cut into slices and where it ends is decided by the offset in the echo,
//! however the bytes arrive. When a piece may go is decided when it is the first in line.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::send_buffer::SendBuffer;
use crate::faults::{Delay, Faults, RngStream, mix};

/// How the echo of a connection ends before its peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Termination {
    Reset,
    Close,
    Stall,
}

/// The faults of one connection, as far as they have come.
pub(super) struct FaultInjector {
    /// Bytes of the echo that are owed or sent.
    taken: u64,
    /// Bytes of the echo that are sent.
    sent: u64,
    /// How many of those that are owed may go now.
    released: usize,
    /// When the next ones may, if that is decided.
    due: Option<Instant>,
    /// Nothing is deferred back any more.
    released_all: bool,
    termination: Option<(u64, Termination)>,
    corruption: Option<Corruption>,
    slices: Option<Slices>,
    delays: Option<Delays>,
    bucket: Option<TokenBucket>,
}

impl FaultInjector {
    pub(super) fn new(faults: &Faults, connection: u64) -> Self {
        let endings = [
            (faults.reset_after, Termination::Reset),
            (faults.close_after, Termination::Close),
            (faults.stall_after, Termination::Stall),
        ];
        let endings = endings.into_iter().filter_map(|(at, termination)| Some((at?, termination)));
        let generator = |chance| faults.generator(connection, chance);
        Self {
            taken: 0,
            sent: 0,
            released: 0,
            due: None,
            released_all: false,
            // The first of several at the same offset.
            termination: endings.min_by_key(|(at, _)| *at),
            corruption: Corruption::new(faults.corrupt.get(), generator(RngStream::Corrupt)),
            slices: faults
                .slice
                .clone()
                .map(|range| Slices::new(range, generator(RngStream::Slice))),
            delays: faults.delay.map(|delay| Delays::new(delay, generator(RngStream::Delay))),
            bucket: faults.rate_limit.map(|rate| TokenBucket { rate: rate.get(), free_at: None }),
        }
    }

    /// Has the connection owe the echo of `bytes`, as far as it has one, and with what is changed in it.
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

    /// How the echo ends with the bytes taken so far, if it does.
    pub(super) fn termination(&self) -> Option<Termination> {
        self.termination.filter(|(at, _)| *at == self.taken).map(|(_, termination)| termination)
    }

    /// How many of the bytes that are owed may go now.
    pub(super) fn released(&self) -> usize {
        self.released
    }

    /// When the next bytes may go, if that is decided.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Lets the next piece go if its time has come; `owed` bytes have not been sent. Returns whether some may.
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

    /// Decides when the next bytes may go, unless it is decided.
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

    /// So many of the released bytes were sent.
    pub(super) fn sent(&mut self, count: usize) {
        self.released -= count;
        self.sent += count as u64;
    }

    /// Nothing is deferred back from now on: the server stops.
    pub(super) fn release_all(&mut self) {
        self.released_all = true;
    }
}

/// Which bytes are changed.
struct Corruption {
    /// The logarithm of the probability that a byte is left as it is.
    ln_spared: f64,
    generator: Rng,
    /// The offset of the next byte that is changed.
    next: u64,
}

impl Corruption {
    fn new(probability: f64, generator: Rng) -> Option<Self> {
        let mut corruption = Self { ln_spared: (-probability).ln_1p(), generator, next: 0 };
        corruption.next = corruption.gap();
        (probability > 0.0).then_some(corruption)
    }

    /// How many bytes are spared before the next is changed. To roll the dice for this, and not for each
    /// byte, comes to the same (the geometric distribution).
    fn gap(&mut self) -> u64 {
        let roll = 1.0 - self.generator.f64();
        (roll.ln() / self.ln_spared) as u64
    }

    /// Changes bytes of the piece that begins at this offset.
    fn corrupt(&mut self, offset: u64, piece: &mut [u8]) {
        while let Some(byte) =
            usize::try_from(self.next - offset).ok().and_then(|at| piece.get_mut(at))
        {
            *byte ^= self.generator.u8(1..);
            self.next = self.next.saturating_add(1).saturating_add(self.gap());
        }
    }
}

/// Where the echo is cut.
struct Slices {
    sizes: RangeInclusive<u64>,
    generator: Rng,
    /// Where the current slice ends.
    end: u64,
}

impl Slices {
    fn new(sizes: RangeInclusive<u64>, generator: Rng) -> Self {
        let shortest = (*sizes.start()).max(1);
        let sizes = shortest..=(*sizes.end()).max(shortest);
        Self { sizes, generator, end: 0 }
    }

    /// How many of so many bytes from this offset on are in the slice that it is in.
    fn rest(&mut self, offset: u64, count: usize) -> usize {
        while self.end <= offset {
            self.end = self.end.saturating_add(self.generator.u64(self.sizes.clone()));
        }
        usize::try_from(self.end - offset).unwrap_or(usize::MAX).min(count)
    }
}

/// For how long pieces are deferred back.
struct Delays {
    delay: Delay,
    seed: u64,
    /// The bytes before this offset have had their delay. They may still have to wait for their bucket.
    had: u64,
}

impl Delays {
    fn new(delay: Delay, mut generator: Rng) -> Self {
        Self { delay, seed: generator.u64(..), had: 0 }
    }

    /// Until when to hold back the piece that begins at this offset.
    fn hold(&mut self, offset: u64, length: usize, now: Instant) -> Instant {
        if offset < self.had {
            return now;
        }
        self.had = offset + length as u64;
        let mean = self.delay.mean.min(Delay::LONGEST);
        let jitter = self.delay.jitter.min(mean);
        // By the offset, so that it does not matter how many pieces came before.
        let roll = Rng::with_seed(mix(self.seed ^ offset)).f64();
        now + (mean - jitter) + (2 * jitter).mul_f64(roll)
    }
}

/// How fast the echo may go.
struct TokenBucket {
    /// Bytes a second.
    rate: u64,
    /// When the bytes that have gone are paid for.
    free_at: Option<Instant>,
}

impl TokenBucket {
    /// What goes at once takes this long at the most, or is one byte. Whoever comes late by no more than that
    /// to send it is not made slower by it.
    const QUANTUM: Duration = Duration::from_millis(10);

    /// Lets some of so many bytes go. Returns how many.
    fn spend(&mut self, count: usize, now: Instant) -> usize {
        let most = self.rate / (1000 / Self::QUANTUM.as_millis() as u64);
        let count = usize::try_from(most.max(1)).unwrap_or(usize::MAX).min(count);
        let from = self.free_at.filter(|free_at| *free_at + Self::QUANTUM >= now).unwrap_or(now);
        self.free_at = Some(from + Duration::from_secs_f64(count as f64 / self.rate as f64));
        count
    }
}
