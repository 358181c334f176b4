//! When messages are due.

use std::time::{Duration, Instant};

/// With a shorter interval messages are in effect sent one after the other, and an outage would be
/// over before all that were due in it are counted.
const MIN_FIXED: Duration = Duration::from_micros(10);

/// The next message and its due time.
pub(super) struct Schedule {
    /// Number of the next message, from 1.
    pub(super) seq: u64,
    /// When it is due. While a message is under way, when its successor is.
    pub(super) due: Instant,
    interval: Duration,
}

impl Schedule {
    /// The first message is due now.
    pub(super) fn new(interval: Duration) -> Self {
        Self { seq: 1, due: Instant::now(), interval }
    }

    /// Begins to send the message. Its successor is due at the next multiple of the interval: what
    /// was due before is not made up for, and lateness does not add up.
    pub(super) fn begin(&mut self) -> Instant {
        let now = Instant::now();
        self.pass(now);
        now
    }

    /// The message is not sent; its successor is the next.
    pub(super) fn skip(&mut self) {
        self.due += self.interval;
    }

    /// The message came back before it was due.
    pub(super) fn finish_early(&mut self) {
        self.seq += 1;
        self.due += self.interval;
    }

    /// When the message is due; `None` if messages are due whenever the previous one is done.
    pub(super) fn fixed_due(&self) -> Option<Instant> {
        (self.interval >= MIN_FIXED).then_some(self.due)
    }

    fn pass(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.due).as_nanos();
        let passed = late.checked_div(self.interval.as_nanos()).map_or(0, |passed| passed + 1);
        let nanoseconds = passed.saturating_mul(self.interval.as_nanos());
        let step = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.due = self.due.checked_add(step).unwrap_or(now + self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_does_not_add_up_and_is_not_made_up_for() {
        let ms = Duration::from_millis;
        let mut schedule = Schedule::new(ms(10));
        let start = schedule.due;
        for (sent, next) in [(0, 10), (11, 20), (20, 30), (57, 60)] {
            schedule.pass(start + ms(sent));
            assert_eq!(schedule.due, start + ms(next), "sent at {sent}");
        }
    }

    #[test]
    fn without_an_interval_a_message_is_due_at_once() {
        let mut schedule = Schedule::new(Duration::ZERO);
        let sent = schedule.begin();
        assert!(schedule.due <= sent && schedule.fixed_due().is_none());
    }
}
