//! Progress of a run on the terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
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
    warmup: Duration,
    limit: RunLimit,
    interim: Mutex<Interim>,
}

/// What has been measured so far.
struct Interim {
    seconds: f64,
    echoes: u64,
    latency: Histogram<u64>,
}

impl ProgressLine {
    pub(super) fn new(workload: &Workload) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {msg}");
            bar.set_style(style.expect("the template is well-formed"));
            bar.set_message("connecting");
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let interim = Mutex::new(Interim { seconds: 0.0, echoes: 0, latency: histogram() });
        Self { bar, warmup: workload.warmup, limit: workload.limit, interim }
    }

    pub(super) fn start(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message(if self.warmup.is_zero() { "running" } else { "warming up" });
        }
    }

    pub(super) fn interval(&self, interval: &Interval, latency: &Histogram<u64>) {
        let end = interval.start_s + interval.seconds;
        if let Some(bar) = &self.bar {
            let of = match self.limit {
                RunLimit::Duration(duration) => format!("of {:.0} s", duration.as_secs_f64()),
                RunLimit::Messages(messages) => format!("s, {messages} messages"),
            };
            let p99 = interval.p99_us.map_or("-".to_owned(), time);
            bar.set_message(format!("{end:.0} {of}: {:.0} echoes/s, p99 {p99}", interval.rate));
        }
        let mut interim = self.interim.lock().unwrap_or_else(PoisonError::into_inner);
        (interim.seconds, interim.echoes) = (end, interim.echoes + interval.echoes);
        interim.latency.add(latency).expect("all histograms have the same bounds");
    }

    /// Prints the interim metrics to stderr.
    pub(super) fn print_interim(&self) {
        let interim = self.interim.lock().unwrap_or_else(PoisonError::into_inner);
        let Interim { seconds, echoes, latency } = &*interim;
        let line = if *echoes == 0 {
            "nothing has been measured yet".to_owned()
        } else {
            let at = |quantile| time(latency.value_at_quantile(quantile) as f64 / 1e3);
            let (rate, p50, p99, max) = (*echoes as f64 / seconds, at(0.5), at(0.99), at(1.0));
            format!("{seconds:.0} s: {rate:.0} echoes/s, p50 {p50}, p99 {p99}, max {max}")
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
