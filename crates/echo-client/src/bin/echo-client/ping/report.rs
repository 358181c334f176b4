//! What has happened in a run, and in which format it is reported.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use echo_client::Config;
use echo_client::gates::Gate;
use echo_client::ping::{
    Event, OutageRecord, Ping, PingMetric, PingMetrics, PingRun, PingStart, RunClock, Summary,
};

use crate::cli::{Format, PingOptions};

/// The report of a run.
pub(super) struct Report {
    pub(super) config: Config,
    pub(super) ping: Ping,
    format: Format,
    pub(super) quiet: bool,
    pub(super) timestamps: bool,
    pub(super) summary: Summary,
    pub(super) clock: RunClock,
    pub(super) peer: Option<SocketAddr>,
    pub(super) has_hinted: bool,
}

impl Report {
    pub(super) fn new(config: &Config, ping: &Ping, options: &PingOptions) -> Self {
        Self {
            config: config.clone(),
            ping: ping.clone(),
            format: options.format,
            quiet: options.quiet,
            timestamps: options.timestamps,
            summary: Summary::default(),
            clock: RunClock::start(),
            peer: None,
            has_hinted: false,
        }
    }

    /// Reports an event as it comes.
    pub(super) fn event(&mut self, event: &Event) -> io::Result<()> {
        self.summary.record(event);
        if let Event::Connected { peer, .. } = event
            && self.peer.replace(*peer).is_some()
        {
            // A reopened connection is reported once it echoes.
            return Ok(());
        }
        match self.format {
            Format::Text => self.text_event(event),
            Format::Json => Ok(()),
            Format::Jsonl => self.json_lines(event),
        }
    }

    /// The whole run, at its end. `latest` is the last message begun, and when it was due.
    pub(super) fn finish(
        &mut self,
        latest: Option<(u64, Instant)>,
        gates: &[Gate<PingMetric>],
    ) -> PingRun {
        self.summary.finish(&self.ping, latest);
        let result = PingMetrics::of(&self.summary, self.clock.elapsed());
        let gates = gates.iter().map(|gate| gate.check(&result)).collect();
        let outages = OutageRecord::all(&self.summary, &self.clock);
        PingRun { start: self.start(), result, outages, gates }
    }

    /// Reports the run at its end.
    pub(super) fn end(&self, run: &PingRun) -> io::Result<()> {
        match self.format {
            Format::Text => self.text_summary(run),
            Format::Json => super::json::print_document(run),
            Format::Jsonl => super::json::print_end(run),
        }
    }

    pub(super) fn start(&self) -> PingStart {
        let address = self.peer.map(|peer| peer.to_string());
        PingStart::new(&self.config, &self.ping, address, &self.clock)
    }
}
