//! Progress of a run on the terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use echo_client::bench::{RunLimit, Workload};
use echo_client::distribution::histogram;
use echo_client::run::Interval;
use echo_client::units::time;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A status line on stderr that is overwritten in place, and the interim metrics.
pub(super) struct ProgressLine {
    bar: Option<ProgressBar>,
    interim: Mutex<Interim>,
}

/// What the current run has measured so far.
struct Interim {
    /// What precedes the progress of this run.
    title: String,
    warmup: Duration,
    limit: RunLimit,
    seconds: f64,
    echoes: u64,
    latency: Histogram<u64>,
}

impl ProgressLine {
    pub(super) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {msg}");
            bar.set_style(style.expect("the template is well-formed"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let (title, limit) = (String::new(), RunLimit::Messages(0));
        let (warmup, seconds, echoes, latency) = (Duration::ZERO, 0.0, 0, histogram());
        let interim = Interim { title, warmup, limit, seconds, echoes, latency };
        Self { bar, interim: Mutex::new(interim) }
    }

    /// A run begins; `title` tells it from others.
    pub(super) fn begin(&self, title: &str, workload: &Workload) {
        let mut interim = self.interim();
        interim.title = if title.is_empty() { String::new() } else { format!("{title}: ") };
        (interim.warmup, interim.limit) = (workload.warmup, workload.limit);
        (interim.seconds, interim.echoes) = (0.0, 0);
        interim.latency.reset();
        self.show(&interim, "connecting");
    }

    pub(super) fn start(&self) {
        let interim = self.interim();
        self.show(&interim, if interim.warmup.is_zero() { "running" } else { "warming up" });
    }

    fn show(&self, interim: &Interim, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}{message}", interim.title));
        }
    }

    fn interim(&self) -> MutexGuard<'_, Interim> {
        self.interim.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn interval(&self, interval: &Interval, latency: &Histogram<u64>) {
        let end = interval.start_s + interval.seconds;
        let mut interim = self.interim();
        let of = match interim.limit {
            RunLimit::Duration(duration) => format!("of {:.0} s", duration.as_secs_f64()),
            RunLimit::Messages(messages) => format!("s, {messages} messages"),
        };
        let p99 = interval.p99_us.map_or("-".to_owned(), time);
        self.show(&interim, &format!("{end:.0} {of}: {:.0} echoes/s, p99 {p99}", interval.rate));
        (interim.seconds, interim.echoes) = (end, interim.echoes + interval.echoes);
        interim.latency.add(latency).expect("all histograms have the same bounds");
    }

    /// Prints the interim metrics to stderr.
    pub(super) fn print_interim(&self) {
        let interim = self.interim();
        let Interim { title, seconds, echoes, latency, .. } = &*interim;
        let line = if *echoes == 0 {
            "nothing has been measured yet".to_owned()
        } else {
            let at = |quantile| time(latency.value_at_quantile(quantile) as f64 / 1e3);
            let (rate, p50, p99, max) = (*echoes as f64 / seconds, at(0.5), at(0.99), at(1.0));
            format!("{title}{seconds:.0} s: {rate:.0} echoes/s, p50 {p50}, p99 {p99}, max {max}")
        };
        self.above(|| {
            // If stderr is closed, there is nowhere to report to.
            let _ = writeln!(io::stderr(), "{line}");
        });
    }

    /// Prints output above the status line.
    pub(super) fn above<R>(&self, print: impl FnOnce() -> R) -> R {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
