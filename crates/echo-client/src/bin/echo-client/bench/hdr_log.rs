//! The interval log of all runs.

use std::io::BufWriter;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use echo_client::Config;
use echo_client::bench::Workload;
use echo_client::hdr_log::{LogWriter, run_tag};
use echo_client::run::Interval;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::Tag;

use super::lazy_truncate::LazyTruncate;

/// An HdrHistogram interval log.
pub(super) struct HdrLog {
    name: String,
    /// Until the first run starts.
    file: Option<LazyTruncate>,
    log: Option<LogWriter<BufWriter<LazyTruncate>>>,
    /// Start of measuring in the first run, from which all times count, and in the current one.
    first_start: Option<Instant>,
    start: Duration,
    /// Number of the current run.
    run: u32,
    /// Whether each interval has the number of its run as a tag.
    tagged: bool,
}

impl HdrLog {
    /// The log of one run, or of several, whose intervals are tagged `run1`, `run2` and so on.
    pub(super) fn open(path: &Path, runs: u32) -> anyhow::Result<Self> {
        Ok(Self {
            name: path.display().to_string(),
            file: Some(LazyTruncate::open(path)?),
            log: None,
            first_start: None,
            start: Duration::ZERO,
            run: 0,
            tagged: runs > 1,
        })
    }

    /// Begins a run, whose times count from the end of its warm-up.
    pub(super) fn begin(&mut self, config: &Config, workload: &Workload) -> anyhow::Result<()> {
        let start = Instant::now() + workload.warmup;
        self.start = start - *self.first_start.get_or_insert(start);
        self.run += 1;
        let Some(file) = self.file.take() else { return Ok(()) };
        let comment =
            format!("echo-client bench, {} port {}, nanoseconds", config.host, config.port);
        let started = SystemTime::now() + workload.warmup;
        let log = LogWriter::new(BufWriter::new(file), started, &comment);
        self.log = Some(log.with_context(|| format!("cannot write {}", self.name))?);
        Ok(())
    }

    pub(super) fn write(
        &mut self,
        interval: &Interval,
        latency: &Histogram<u64>,
    ) -> anyhow::Result<()> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let start = self.start + Duration::from_secs_f64(interval.start_s);
        let length = Duration::from_secs_f64(interval.seconds);
        let name = run_tag(self.run);
        let tag = if self.tagged { Tag::new(&name) } else { None };
        let result = log.write(latency, start, length, tag);
        result.with_context(|| format!("cannot write {}", self.name))
    }
}
