//! Progress of a run on the terminal.

use std::io::{self, IsTerminal};
use std::time::Duration;

use echo_client::bench::{RunLimit, Workload};
use echo_client::run::Interval;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::print::time;

/// A status line on stderr that is overwritten in place.
pub(super) struct ProgressLine {
    bar: Option<ProgressBar>,
    warmup: Duration,
    limit: RunLimit,
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
        Self { bar, warmup: workload.warmup, limit: workload.limit }
    }

    pub(super) fn start(&self) {
        if let Some(bar) = &self.bar {
            let warming = if self.warmup.is_zero() { "running" } else { "warming up" };
            bar.set_message(warming);
        }
    }

    pub(super) fn tell(&self, interval: &Interval) {
        let (rate, p99) = (interval.rate, interval.p99_us.map_or("-".to_owned(), time));
        if let Some(bar) = &self.bar {
            let of = match self.limit {
                RunLimit::Duration(duration) => format!("of {:.0} s", duration.as_secs_f64()),
                RunLimit::Messages(messages) => format!("s, {messages} messages"),
            };
            let at = interval.start_s + interval.seconds;
            bar.set_message(format!("{at:.0} {of}: {rate:.0} echoes/s, p99 {p99}"));
        }
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
