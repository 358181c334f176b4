//! What happened on a connection, as the simulated system has noted it. Times are nanoseconds of the world.

use echo_simulation::{Active, Tcp, Told};

/// A clock reading is late by at most as much, and so is what follows from it.
pub(super) const CLOCK: u64 = 4_000;

/// A TCP connection that the worker has opened, or tried to open.
pub(super) struct Link<'w> {
    /// The number of the client's connection that it belongs to; `None` if it was never registered.
    pub(super) number: Option<usize>,
    /// Its index in the world.
    pub(super) index: usize,
    pub(super) tcp: &'w Tcp,
    pub(super) active: &'w Active,
    /// When each message was started: when the call was made that was first given all of it.
    pub(super) started: Vec<u64>,
    /// When the worker had received the last byte of each echo.
    pub(super) completed: Vec<u64>,
    /// Bytes that came back unchanged.
    pub(super) correct: usize,
}

impl<'w> Link<'w> {
    pub(super) fn of(index: usize, tcp: &'w Tcp, wire_size: usize) -> Self {
        let active = tcp.active.as_deref().expect("all connections are the worker's");
        let mut started = Vec::new();
        for (end, at) in &active.attempts {
            assert_eq!(end % wire_size, 0, "connection {index}: a part of a message is sent");
            started.resize(started.len().max(end / wire_size), *at);
        }
        let correct = match active.told {
            Some((Told::Changed(offset), ..)) => offset,
            Some((Told::Surplus, _, sent)) => sent,
            _ => tcp.consumed,
        };
        let mut completed = Vec::new();
        for (end, at) in &active.receipts {
            completed.resize(completed.len().max(correct.min(*end) / wire_size), *at);
        }
        Self { number: active.token, index, tcp, active, started, completed, correct }
    }

    /// Whether a message in flight has not come back.
    pub(super) fn is_owed(&self) -> bool {
        self.completed.len() < self.started.len()
    }

    /// When the time began anew that it has for the next byte: with each byte, and with a message that is the only
    /// one in flight. In order, and whether it is a byte.
    pub(super) fn renewals(&self) -> Vec<(u64, bool)> {
        let mut renewals: Vec<_> = self.active.receipts.iter().map(|(_, at)| (*at, true)).collect();
        for (number, at) in self.started.iter().enumerate() {
            let is_alone = number == 0
                || self.completed.get(number - 1).is_some_and(|completed| completed <= at);
            if is_alone {
                renewals.push((*at, false));
            }
        }
        renewals.sort_unstable_by_key(|(at, is_byte)| (*at, !is_byte));
        renewals
    }

    /// When the first byte arrived that the worker has not received.
    pub(super) fn unread_since(&self) -> Option<u64> {
        let consumed = self.tcp.consumed;
        self.active.arrivals.iter().find(|(end, _)| *end > consumed).map(|(_, at)| *at)
    }
}

/// A count that is known, or between two bounds where the order of simultaneous events decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) least: u64,
    pub(super) most: u64,
}

impl Count {
    /// One more, certainly or possibly.
    pub(super) fn add(&mut self, least: bool, most: bool) {
        self.least += u64::from(least);
        self.most += u64::from(most);
    }

    pub(super) fn allows(self, count: u64) -> bool {
        (self.least..=self.most).contains(&count)
    }

    /// So many of `times` are between two times; those at the ends may be.
    pub(super) fn between(times: impl Iterator<Item = u64>, from: u64, to: u64) -> Self {
        let mut count = Self::default();
        times.for_each(|at| count.add(from < at && at < to, from <= at && at <= to));
        count
    }
}
