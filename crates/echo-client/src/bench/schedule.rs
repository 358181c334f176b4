//! When the messages of a connection are due.

use fastrand::Rng;

use super::workload::{Arrivals, Workload};

/// When the messages of one connection are due, in nanoseconds since the start of the run.
#[derive(Clone, Debug)]
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
                // A multiple of an odd constant keeps neighbouring seeds and numbers apart.
                let seed = workload.seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let mut schedule = Self { period, due: 0.0, random: Some(Rng::with_seed(seed)) };
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

    /// Messages of connection `number` that are due in this time.
    pub(super) fn due_between(workload: &Workload, number: usize, from: u64, to: u64) -> u64 {
        let until = |end| Self::new(workload, number).map_or(0, |it| it.left_until(end));
        until(to) - until(from)
    }

    /// Messages due before `end`, from the next one on.
    pub(super) fn left_until(&self, end: u64) -> u64 {
        if self.random.is_some() {
            let (mut ahead, mut count) = (self.clone(), 0);
            while ahead.due < end as f64 {
                ahead.advance();
                count += 1;
            }
            return count;
        }
        let left = (end as f64 - self.due) / self.period;
        if left <= 0.0 { 0 } else { left.ceil() as u64 }
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
    fn random_arrivals_differ_by_seed_and_connection_and_a_seed_repeats_them() {
        let due = |seed, number| {
            let workload =
                Workload { rate: Some(1.0), arrivals: Arrivals::Poisson, seed, ..workload() };
            let mut schedule = Schedule::new(&workload, number).unwrap();
            [(); 8].map(|()| {
                schedule.advance();
                schedule.due()
            })
        };
        assert_eq!(due(7, 1), due(7, 1));
        let different = [due(7, 0), due(7, 1), due(8, 0), due(8, 1), due(0, 7)];
        for (index, one) in different.iter().enumerate() {
            assert!(different[..index].iter().all(|other| other != one), "{different:?}");
        }
    }

    #[test]
    fn random_arrivals_in_a_window_are_counted_exactly() {
        let workload =
            Workload { rate: Some(1000.0), arrivals: Arrivals::Poisson, seed: 3, ..workload() };
        let (from, to) = (1_000_000_000, 2_000_000_000);
        let mut schedule = Schedule::new(&workload, 0).unwrap();
        let mut counted = 0;
        while schedule.due() < to {
            counted += u64::from(schedule.due() >= from);
            schedule.advance();
        }
        assert_eq!(Schedule::due_between(&workload, 0, from, to), counted);
    }

    #[test]
    fn due_messages_that_were_not_sent_are_counted() {
        let workload = Workload { connections: 1, rate: Some(1000.0), ..workload() };
        let schedule = Schedule::new(&workload, 0).unwrap();
        assert_eq!(schedule.left_until(10_000_000), 10, "at 0, 1, ... 9 ms");
        assert_eq!(schedule.left_until(0), 0);
    }
}
