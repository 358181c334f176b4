//! What a run has come to.

use super::{Event, Outage, Times};

/// Summary of a run so far.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Messages sent, or due while there was no connection.
    pub transmitted: u64,
    /// Messages that came back unchanged.
    pub received: u64,
    /// Their round-trip times.
    pub times: Times,
    /// Times to connect.
    pub connects: Times,
    /// The outages that have ended, at most the first hundred.
    pub outages: Vec<Outage>,
    /// Number of outages that have ended.
    pub outage_count: u64,
    /// The current outage.
    pub outage: Option<Outage>,
}

/// Outages kept in a summary.
const MAX_OUTAGES: usize = 100;

impl Summary {
    /// Adds an event to the summary.
    pub fn record(&mut self, event: &Event) {
        match event {
            Event::Connected { took, .. } => self.connects.record(*took),
            Event::Recovered { outage } => {
                self.outage = None;
                self.outage_count += 1;
                if self.outages.len() < MAX_OUTAGES {
                    self.outages.push(*outage);
                }
            }
            Event::Reply { time, .. } => {
                self.transmitted += 1;
                self.received += 1;
                self.times.record(*time);
            }
            Event::Failed { outage, .. } => {
                self.transmitted += 1;
                self.outage = Some(*outage);
            }
            Event::Sending { .. } => {}
        }
    }

    /// Messages without a correct echo.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.transmitted - self.received
    }
}
