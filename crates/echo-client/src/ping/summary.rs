//! What a run has come to.

use std::time::{Duration, Instant};

use super::{Event, Outage, Ping, Times};

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
    /// The longest of them.
    pub longest_outage: Duration,
    /// Their sum.
    pub outage_time: Duration,
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
                self.longest_outage = self.longest_outage.max(outage.duration);
                self.outage_time += outage.duration;
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

    /// Ends the run: counts what is still undecided. `latest` is the last message begun, and when it
    /// was due. During an outage each message that is due by now is lost; otherwise the one in
    /// flight is, if it has taken longer than any echo did.
    pub fn finish(&mut self, ping: &Ping, latest: Option<(u64, Instant)>) {
        let now = Instant::now();
        if let Some(outage) = &mut self.outage {
            outage.duration = now.saturating_duration_since(outage.since);
        }
        let Some((seq, due)) = latest.filter(|(seq, _)| *seq > self.transmitted) else { return };
        let Some(waited) = now.checked_duration_since(due) else { return };
        if self.outage.is_some() {
            let intervals = waited.as_nanos().checked_div(ping.interval.as_nanos()).unwrap_or(0);
            let last = seq.saturating_add(u64::try_from(intervals).unwrap_or(u64::MAX));
            self.transmitted = last.min(ping.count.unwrap_or(u64::MAX));
        } else if waited > Duration::from_nanos(self.times.max_ns()) {
            self.transmitted += 1;
        }
    }

    /// Messages without a correct echo.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.transmitted - self.received
    }
}
