//! Whether to stay awake for a moment when there is nothing to do.
//!
//! Falling asleep and being woken up costs processor time, on a virtual machine some 20 µs, and the news wait
//! for it. Who gets them within a moment had better stay awake; who does not has spent the moment as well. So
//! it takes experience, and a moment is never longer than the work before it: then it cannot double the cost.

use std::io;
use std::time::{Duration, Instant};

/// The longest moment. Longer ones give large messages a few more echoes, at more processor time for each.
const LONGEST: Duration = Duration::from_micros(10);
/// How many waits of a moment, more or less in a row, it takes to expect another.
const EXPECTED: u8 = 8;
/// The most that are remembered.
const REMEMBERED: u8 = 16;
/// How many of them a longer wait outweighs.
const LATE: u8 = 4;

/// The experience of a worker.
#[derive(Debug)]
pub(super) struct Vigil {
    /// Waits of a moment, less what longer ones outweigh.
    short: u8,
    /// When it last had news.
    awake_since: Instant,
}

impl Vigil {
    pub(super) fn new() -> Self {
        Self { short: 0, awake_since: Instant::now() }
    }

    /// Waits until there are news, but no longer than `timeout`, and returns whether there are. `wait` does
    /// the same, with sleep; without for [`Duration::ZERO`].
    pub(super) fn keep(
        &mut self,
        timeout: Option<Duration>,
        mut wait: impl FnMut(Option<Duration>) -> io::Result<bool>,
    ) -> io::Result<bool> {
        if timeout == Some(Duration::ZERO) {
            return wait(timeout);
        }
        let since = Instant::now();
        let moment = since.duration_since(self.awake_since).min(LONGEST);
        let mut any = false;
        while self.short >= EXPECTED && !any {
            any = wait(Some(Duration::ZERO))?;
            if since.elapsed() >= moment {
                break;
            }
        }
        let any = any || wait(timeout)?;
        self.awake_since = Instant::now();
        self.learn(self.awake_since - since < moment);
        Ok(any)
    }

    fn learn(&mut self, was_short: bool) {
        self.short = if was_short {
            REMEMBERED.min(self.short + 1)
        } else {
            self.short.saturating_sub(LATE)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a vigil waits for in a row, with news the first time that it may sleep.
    fn waits(vigil: &mut Vigil) -> Vec<Option<Duration>> {
        let mut waits = Vec::new();
        // So much work that a moment is as long as it can be.
        vigil.awake_since = Instant::now() - LONGEST;
        let news = vigil.keep(None, |timeout| {
            waits.push(timeout);
            Ok(timeout.is_none())
        });
        assert!(news.unwrap());
        waits
    }

    #[test]
    fn without_experience_it_sleeps_at_once() {
        assert_eq!(waits(&mut Vigil::new()), [None]);
    }

    #[test]
    fn after_short_waits_it_stays_awake_for_a_moment_and_after_long_ones_no_more() {
        let mut vigil = Vigil::new();
        (0..EXPECTED).for_each(|_| vigil.learn(true));
        let (sleep, looks) = waits(&mut vigil).split_last().map(|(l, r)| (*l, r.to_vec())).unwrap();
        assert!(sleep.is_none() && looks.iter().all(|&look| look == Some(Duration::ZERO)));
        assert!(!looks.is_empty());
        assert_eq!(waits(&mut vigil), [None], "the moment had passed in vain");
    }

    #[test]
    fn one_long_wait_among_many_short_ones_changes_nothing() {
        let mut vigil = Vigil::new();
        (0..REMEMBERED).for_each(|_| vigil.learn(true));
        vigil.learn(false);
        assert!(waits(&mut vigil).len() > 1);
    }

    #[test]
    fn news_in_the_moment_are_had_without_sleep() {
        let mut vigil = Vigil::new();
        (0..EXPECTED).for_each(|_| vigil.learn(true));
        vigil.awake_since = Instant::now() - LONGEST;
        let news = vigil.keep(None, |timeout| Ok(timeout == Some(Duration::ZERO)));
        assert!(news.unwrap());
    }
}
