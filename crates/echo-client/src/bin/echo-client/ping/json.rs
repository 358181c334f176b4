//! The report as JSON: one document at the end, or one line per event.

use std::io;

use echo_client::ping::{Event, OutageRecord, PingLine, PingRun};

use super::report::Report;
use crate::print::print_line;

impl Report {
    /// Prints what has happened, in at most two lines.
    pub(super) fn json_lines(&self, event: &Event) -> io::Result<()> {
        let at_us = self.clock.at_us();
        match event {
            Event::Connected { .. } => print(&PingLine::Start(self.start())),
            Event::Sending { .. } => Ok(()),
            Event::Reply { .. } if self.quiet => Ok(()),
            Event::Reply { seq, time } => {
                let latency_us = time.as_nanos() as f64 / 1e3;
                print(&PingLine::Reply { at_us, seq: *seq, latency_us })
            }
            Event::Failed { seq, error, outage } => {
                if *seq == outage.first {
                    print(&PingLine::OutageBegin { at_us, seq: *seq })?;
                }
                if self.quiet {
                    return Ok(());
                }
                print(&PingLine::lost(at_us, *seq, error.as_ref()))
            }
            Event::Recovered { outage } => {
                let outage = OutageRecord::new(outage, true, &self.clock);
                print(&PingLine::OutageEnd { at_us, outage })
            }
        }
    }
}

fn print(line: &PingLine) -> io::Result<()> {
    print_line(&serde_json::to_string(line)?)
}

pub(super) fn print_end(run: &PingRun) -> io::Result<()> {
    print(&PingLine::End(Box::new(run.clone())))
}

pub(super) fn print_document(run: &PingRun) -> io::Result<()> {
    print_line(&serde_json::to_string_pretty(run)?)
}
