//! Turns counters into the reported metrics.

use std::time::Duration;

use clap::ValueEnum;

use super::Shared;
use super::stats::{IntervalStats, Totals};
use super::workload::{Arrivals, RunLimit, Workload};
use crate::distribution::Distribution;
use crate::metric::{PERCENTILES, SAMPLES_BEYOND, too_few_samples};
use crate::percentile::Percentile;
use crate::run::{BUSY_SHARE, Fairness, Interval, Loop, Metrics, Settings};

/// A rate counts as reached from this share of it on.
const REACHED_SHARE: f64 = 0.99;
/// With less server CPU time than this, the metric is too coarse: the system counts user and system
/// time in hundredths of a second each, so the sum is accurate to 0.02 s.
const MIN_SERVER_CPU: Duration = Duration::from_millis(200);

/// The settings as saved with the run.
pub(super) fn settings(shared: &Shared<'_>) -> Settings {
    let Shared { config, workload, .. } = shared;
    let (duration_s, messages) = match workload.limit {
        RunLimit::Duration(duration) => (Some(duration.as_secs_f64()), None),
        RunLimit::Messages(messages) => (None, Some(messages)),
    };
    Settings {
        host: config.host.clone(),
        address: shared.server.to_string(),
        connections: workload.connections,
        size: workload.size,
        depth: workload.depth,
        framing: workload.framing.to_string(),
        pacing: if workload.rate.is_some() { Loop::Open } else { Loop::Closed },
        rate: workload.rate,
        arrivals: workload.rate.map(|_| name(workload.arrivals)),
        seed: (workload.rate.is_some() && workload.arrivals == Arrivals::Poisson)
            .then_some(workload.seed),
        duration_s,
        messages,
        warmup_s: workload.warmup.as_secs_f64(),
        engine: name(shared.engine),
        threads: shared.threads,
        busy_poll: workload.busy_poll,
        reconnect_every: workload.reconnect_every.map(Into::into),
        timeout_s: config.timeout.as_secs_f64(),
        repeat: 1,
        pause_s: None,
    }
}

/// The name of a value on the command line and in the JSON.
fn name(value: impl ValueEnum) -> String {
    let value = value.to_possible_value().expect("no value is skipped");
    value.get_name().to_owned()
}

/// The metrics of a run.
pub(super) fn metrics(
    workload: &Workload,
    wire_size: u64,
    total: &IntervalStats,
    totals: Totals,
) -> Metrics {
    let latency = Distribution::of(&total.latency);
    let (service, send_lag) = match &total.open {
        Some(open) => (Distribution::of(&open.service), Distribution::of(&open.send_lag)),
        None => (latency.clone(), Distribution::default()),
    };
    let us_per_echo = |cpu: Option<Duration>| {
        cpu.filter(|_| totals.echoes > 0).map(|cpu| cpu.as_secs_f64() * 1e6 / totals.echoes as f64)
    };
    // Threads do not finish at the same moment: the window ends with the last one.
    let seconds = totals.window.as_secs_f64();
    let rate = if seconds > 0.0 { totals.echoes as f64 / seconds } else { 0.0 };
    let server_cpu = totals.server_cpu_used();
    let mut warnings = warnings(workload, &latency, rate, &totals);
    if cfg!(debug_assertions) {
        warnings.push("this is an unoptimised build: use --release to measure".to_owned());
    }
    Metrics {
        seconds,
        echoes: totals.echoes,
        rate,
        bytes_per_second: rate * wire_size as f64,
        connect: Distribution::of(&totals.connect),
        sent: totals.sent,
        loss: totals.sent - totals.received,
        missing_bytes: totals.sent_bytes - totals.received_bytes,
        unsent: totals.unsent,
        rate_reached: workload.rate.map(|requested| is_reached(workload, requested, rate, &totals)),
        failed: totals.failed,
        causes: totals.causes,
        fairness: fairness(&totals.shares),
        cpu_us_per_echo: us_per_echo(totals.cpu),
        busy: totals.busy,
        server_cpu_s: server_cpu.map(|cpu| cpu.as_secs_f64()),
        server_cpu_us_per_echo: us_per_echo(server_cpu),
        retransmits: totals.retransmits,
        warnings,
        incidents: totals.incidents,
        latency,
        service,
        send_lag,
    }
}

/// The metrics of one interval.
pub(super) fn interval(part: &IntervalStats) -> Interval {
    let start_s = Duration::from_nanos(part.span.start).as_secs_f64();
    let seconds = Duration::from_nanos(part.span.end.saturating_sub(part.span.start)).as_secs_f64();
    let us = |ns: u64| (!part.latency.is_empty()).then_some(ns as f64 / 1e3);
    Interval {
        start_s,
        seconds,
        echoes: part.echoes,
        rate: if seconds > 0.0 { part.echoes as f64 / seconds } else { 0.0 },
        p50_us: us(part.latency.value_at_quantile(0.5)),
        p99_us: us(part.latency.value_at_quantile(0.99)),
        max_us: us(part.latency.max()),
    }
}

fn fairness(shares: &[u64]) -> Fairness {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    Fairness {
        min: shares.iter().min().copied().unwrap_or(0),
        max: shares.iter().max().copied().unwrap_or(0),
        jain: (squares > 0.0).then(|| sum * sum / (shares.len() as f64 * squares)),
    }
}

/// Reasons to doubt the metrics.
fn warnings(
    workload: &Workload,
    latency: &Distribution,
    rate: f64,
    totals: &Totals,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if totals.window.is_zero() {
        warnings.push("the run ended before measuring began".to_owned());
        return warnings;
    }
    if let RunLimit::Duration(duration) = workload.limit
        && totals.window.as_secs_f64() < REACHED_SHARE * duration.as_secs_f64()
    {
        let (measured, requested) = (totals.window.as_secs_f64(), duration.as_secs_f64());
        let measured = format!("{measured:.3} s of {requested} s were measured");
        warnings.push(if totals.is_interrupted {
            format!("interrupted: {measured}")
        } else if workload.rate.is_some() {
            // What was due while the thread was delayed is sent when measuring begins.
            format!(
                "measuring began late: {measured}, and echoes of earlier messages are in the rate"
            )
        } else {
            format!("measuring began late: {measured}")
        });
    }
    if let Some(requested) = workload.rate
        && !is_reached(workload, requested, rate, totals)
    {
        warnings.push(format!("the rate was not reached: {rate:.0}/s of {requested:.0}/s"));
    }
    if totals.unsent > 0 {
        warnings.push(format!(
            "{} messages were not sent; their waiting time is in no metric",
            totals.unsent
        ));
    }
    if let Some(busy) = totals.busy
        && busy >= BUSY_SHARE
        && !workload.busy_poll
    {
        warnings.push(format!(
            "the client may be the bottleneck: its busiest thread ran {:.0} % of the time; try more \
             --threads or a second machine",
            busy * 100.0
        ));
    }
    warnings.extend(workload.server_pid.and_then(|pid| server_warning(pid, totals)));
    // The median needs no more than the others.
    let is_thin = |name: &&str| {
        let percentile: Percentile = name.parse().expect("it is a percentile");
        latency.count < percentile.samples_for(SAMPLES_BEYOND)
    };
    let thin: Vec<_> = PERCENTILES.into_iter().skip(1).filter(is_thin).collect();
    if latency.count > 0 && !thin.is_empty() {
        warnings.push(too_few_samples(&thin.join(", "), latency.count));
    }
    warnings
}

/// Whether messages were sent at the requested rate. In a given time some may be due early or late
/// by chance, and echoes come later than messages: what matters is whether a backlog was left. One
/// message per connection may wait for the echo before it.
fn is_reached(workload: &Workload, requested: f64, rate: f64, totals: &Totals) -> bool {
    if workload.is_counted() {
        return workload.arrivals == Arrivals::Poisson || rate >= REACHED_SHARE * requested;
    }
    let waiting = totals.backlog.saturating_sub(workload.connections as u64);
    waiting as f64 <= (1.0 - REACHED_SHARE) * totals.due as f64
}

fn server_warning(pid: u32, totals: &Totals) -> Option<String> {
    match totals.server_cpu_used() {
        None => {
            Some(format!("the server's CPU time is unknown: process {pid} ended during the run"))
        }
        Some(cpu) if cpu < MIN_SERVER_CPU => Some(format!(
            "the server used {:.2} s of CPU time, accurate to 0.02 s: measure longer",
            cpu.as_secs_f64()
        )),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::workload::tests::workload;
    use crate::distribution::histogram;

    #[test]
    fn fairness_is_jains_index() {
        let even = fairness(&[5, 5, 5, 5]);
        assert_eq!((even.min, even.max, even.jain), (5, 5, Some(1.0)));
        assert_eq!(fairness(&[8, 0, 0, 0]).jain, Some(0.25), "one of four has all");
        assert_eq!(fairness(&[0, 0]).jain, None, "there is nothing to share");
    }

    #[test]
    fn doubtful_metrics_have_a_warning() {
        let mut times = histogram();
        times.record_n(1000, 100_000).unwrap();
        let good = Distribution::of(&times);
        let open = Workload { rate: Some(1000.0), ..workload() };
        let window = Duration::from_secs(1);
        let totals =
            |unsent, busy| Totals { window, unsent, busy: Some(busy), ..Totals::default() };
        assert!(warnings(&open, &good, 1000.0, &totals(0, 0.5)).is_empty());
        let behind = Totals { due: 1000, backlog: 12, ..totals(0, 0.5) };
        assert!(warnings(&open, &good, 980.0, &behind)[0].contains("980/s of 1000/s"));
        let by_chance = Totals { due: 940, backlog: 1, ..totals(0, 0.5) };
        assert!(warnings(&open, &good, 940.0, &by_chance).is_empty(), "fewer were due");
        assert!(
            warnings(&open, &good, 1000.0, &totals(20, 0.5))[0].contains("20 messages were not")
        );
        assert!(
            warnings(&workload(), &good, 9.0, &totals(0, 0.96))[0].contains("96 % of the time")
        );
        let early = warnings(&open, &good, 0.0, &Totals::default());
        assert_eq!(early, ["the run ended before measuring began"]);
        let polling = Workload { busy_poll: true, ..workload() };
        assert!(warnings(&polling, &good, 9.0, &totals(0, 1.0)).is_empty());

        let mut times = histogram();
        times.record_n(1000, 1000).unwrap();
        let few = Distribution::of(&times);
        let warnings = warnings(&workload(), &few, 1000.0, &totals(0, 0.5));
        assert_eq!(
            warnings,
            ["too few samples for p99.9, p99.99: fewer than 10 of 1000 lie beyond"]
        );
    }

    #[test]
    fn a_run_that_began_late_was_not_interrupted() {
        let mut times = histogram();
        times.record_n(1000, 100_000).unwrap();
        let good = Distribution::of(&times);
        let short = || Totals { window: Duration::from_millis(930), ..Totals::default() };
        let closed = warnings(&workload(), &good, 9.0, &short());
        assert_eq!(closed, ["measuring began late: 0.930 s of 1 s were measured"]);
        let open = Workload { rate: Some(1000.0), ..workload() };
        let open = warnings(&open, &good, 1075.0, &short());
        assert!(open[0].ends_with("measured, and echoes of earlier messages are in the rate"));
        let stopped = Totals { is_interrupted: true, ..short() };
        let stopped = warnings(&workload(), &good, 9.0, &stopped);
        assert_eq!(stopped, ["interrupted: 0.930 s of 1 s were measured"]);
    }

    #[test]
    fn an_inaccurate_cpu_time_of_the_server_has_a_warning() {
        let warning = |ms: Option<u64>| {
            let server_cpu = ms.map(|ms| Duration::ZERO..Duration::from_millis(ms));
            server_warning(7, &Totals { server_cpu, ..Totals::default() })
        };
        assert!(warning(None).unwrap().contains("process 7 ended"));
        assert!(warning(Some(190)).unwrap().contains("used 0.19 s"));
        assert_eq!(warning(Some(200)), None);
    }
}
