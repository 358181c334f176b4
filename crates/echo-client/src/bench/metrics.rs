//! From what was counted to what is reported.

use std::time::Duration;

use super::Shared;
use super::plan::{Length, Plan};
use super::record::{Record, Tally};
use crate::distribution::Distribution;
use crate::run::{Fairness, Interval, Loop, Metrics, Settings};

/// From this share of its time on, a thread is taken for the bottleneck.
const BUSY: f64 = 0.95;
/// A rate that is reached to this part is taken for reached.
const REACHED: f64 = 0.99;
/// Less of the server's processor time is not known well enough: the system counts user and system time in
/// hundredths of a second, so that the sum is right to two of them.
const CPU_KNOWN: Duration = Duration::from_millis(200);
/// Samples that should lie beyond a percentile for it to mean something.
const BEYOND: f64 = 10.0;

/// What was asked for, as it is saved.
pub(super) fn settings(shared: &Shared<'_>) -> Settings {
    let Shared { config, plan, .. } = shared;
    let (duration_s, messages) = match plan.length {
        Length::Duration(duration) => (Some(duration.as_secs_f64()), None),
        Length::Messages(messages) => (None, Some(messages)),
    };
    Settings {
        host: config.host.clone(),
        address: shared.server.to_string(),
        connections: plan.connections,
        size: plan.size,
        depth: plan.depth,
        framing: plan.framing.to_string(),
        pacing: if plan.rate.is_some() { Loop::Open } else { Loop::Closed },
        rate: plan.rate,
        arrivals: plan.rate.map(|_| plan.arrivals.to_string()),
        duration_s,
        messages,
        warmup_s: plan.warmup.as_secs_f64(),
        engine: shared.engine.to_string(),
        threads: shared.threads,
        busy_poll: plan.busy_poll,
        reconnect_every: plan.reconnect_every.map(Into::into),
        timeout_s: config.timeout.as_secs_f64(),
    }
}

/// What came of a run.
pub(super) fn metrics(plan: &Plan, wire_size: u64, total: &Record, tally: Tally) -> Metrics {
    let latency = Distribution::of(&total.latency);
    let service = total.service.as_ref().map_or_else(|| latency.clone(), Distribution::of);
    let us_per_echo = |cpu: Option<Duration>| {
        cpu.filter(|_| tally.echoes > 0).map(|cpu| cpu.as_secs_f64() * 1e6 / tally.echoes as f64)
    };
    // Threads differ in when they were through: the window is that of the last.
    let seconds = tally.window.as_secs_f64();
    let rate = if seconds > 0.0 { tally.echoes as f64 / seconds } else { 0.0 };
    let server_cpu = tally.server_cpu_used();
    let mut warnings = warnings(plan, &latency, rate, &tally);
    if cfg!(debug_assertions) {
        warnings.push("this is an unoptimised build: use --release to measure".to_owned());
    }
    Metrics {
        seconds,
        echoes: tally.echoes,
        rate,
        bytes_per_second: rate * wire_size as f64,
        connect: Distribution::of(&tally.connect),
        sent: tally.sent,
        loss: tally.sent - tally.received,
        missing_bytes: tally.sent_bytes - tally.received_bytes,
        unsent: tally.unsent,
        failed: tally.failed,
        causes: tally.causes,
        fairness: fairness(&tally.shares),
        cpu_us_per_echo: us_per_echo(tally.cpu),
        busy: tally.busy,
        server_cpu_s: server_cpu.map(|cpu| cpu.as_secs_f64()),
        server_cpu_us_per_echo: us_per_echo(server_cpu),
        retransmits: tally.retransmits,
        warnings,
        incidents: tally.incidents,
        latency,
        service,
    }
}

/// A part of a run: what was measured in `length` from `start` on.
pub(super) fn interval(start: Duration, length: Duration, part: &Record) -> Interval {
    let seconds = length.as_secs_f64();
    let us = |ns: u64| (!part.latency.is_empty()).then_some(ns as f64 / 1e3);
    Interval {
        start_s: start.as_secs_f64(),
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

/// What should be known before the figures are believed.
fn warnings(plan: &Plan, latency: &Distribution, rate: f64, tally: &Tally) -> Vec<String> {
    let mut warnings = Vec::new();
    if tally.window.is_zero() {
        warnings.push("it ended before measuring began".to_owned());
        return warnings;
    }
    if let Length::Duration(duration) = plan.length
        && tally.window.as_secs_f64() < REACHED * duration.as_secs_f64()
    {
        let (measured, asked) = (tally.window.as_secs_f64(), duration.as_secs_f64());
        warnings.push(format!("it was interrupted: {measured:.2} s of {asked} s were measured"));
    }
    if let Some(asked) = plan.rate
        && rate < REACHED * asked
    {
        warnings.push(format!("the rate was not reached: {rate:.0}/s of {asked:.0}/s"));
    }
    if tally.unsent > 0 {
        warnings.push(format!(
            "{} messages were not sent, and their waiting is in no figure here",
            tally.unsent
        ));
    }
    if let Some(busy) = tally.busy
        && busy >= BUSY
        && !plan.busy_poll
    {
        warnings.push(format!(
            "the client may be the bottleneck: its busiest thread was running {:.0} % of the time; \
             more --threads, or a second machine, would show",
            busy * 100.0
        ));
    }
    warnings.extend(plan.server_pid.and_then(|pid| server_warning(pid, tally)));
    let percentiles = [("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];
    let thin: Vec<_> = percentiles
        .into_iter()
        // Of 100 samples, one lies beyond the 99th percentile; the small term is for rounding.
        .filter(|(_, quantile)| latency.count as f64 * (1.0 - quantile) + 1e-6 < BEYOND)
        .map(|(name, _)| name)
        .collect();
    if latency.count > 0 && !thin.is_empty() {
        warnings.push(format!(
            "too few samples for {}: of {} fewer than 10 lie beyond",
            thin.join(", "),
            latency.count
        ));
    }
    warnings
}

fn server_warning(pid: u32, tally: &Tally) -> Option<String> {
    match tally.server_cpu_used() {
        None => {
            Some(format!("the server's processor time is not known: process {pid} ended meanwhile"))
        }
        Some(cpu) if cpu < CPU_KNOWN => Some(format!(
            "the server used {:.2} s of processor time, which is known to 0.02 s: measure longer",
            cpu.as_secs_f64()
        )),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::tests::plan;
    use crate::distribution::histogram;

    #[test]
    fn fairness_is_that_of_jain() {
        let even = fairness(&[5, 5, 5, 5]);
        assert_eq!((even.min, even.max, even.jain), (5, 5, Some(1.0)));
        assert_eq!(fairness(&[8, 0, 0, 0]).jain, Some(0.25), "one of four has all");
        assert_eq!(fairness(&[0, 0]).jain, None, "there is nothing to share");
    }

    #[test]
    fn figures_that_should_not_be_believed_come_with_a_warning() {
        let mut times = histogram();
        times.record_n(1000, 100_000).unwrap();
        let good = Distribution::of(&times);
        let open = Plan { rate: Some(1000.0), ..plan() };
        let window = Duration::from_secs(1);
        let tally = |unsent, busy| Tally { window, unsent, busy: Some(busy), ..Tally::default() };
        assert!(warnings(&open, &good, 1000.0, &tally(0, 0.5)).is_empty());
        assert!(warnings(&open, &good, 980.0, &tally(0, 0.5))[0].contains("980/s of 1000/s"));
        assert!(
            warnings(&open, &good, 1000.0, &tally(20, 0.5))[0].contains("20 messages were not")
        );
        assert!(warnings(&plan(), &good, 9.0, &tally(0, 0.96))[0].contains("96 % of the time"));
        let early = warnings(&open, &good, 0.0, &Tally::default());
        assert_eq!(early, ["it ended before measuring began"]);
        let polling = Plan { busy_poll: true, ..plan() };
        assert!(warnings(&polling, &good, 9.0, &tally(0, 1.0)).is_empty());

        let mut times = histogram();
        times.record_n(1000, 1000).unwrap();
        let few = Distribution::of(&times);
        let warnings = warnings(&plan(), &few, 1000.0, &tally(0, 0.5));
        assert_eq!(
            warnings,
            ["too few samples for p99.9, p99.99: of 1000 fewer than 10 lie beyond"]
        );
    }

    #[test]
    fn the_servers_processor_time_comes_with_a_warning_unless_it_is_well_known() {
        let warning = |ms: Option<u64>| {
            let server_cpu = ms.map(|ms| Duration::ZERO..Duration::from_millis(ms));
            server_warning(7, &Tally { server_cpu, ..Tally::default() })
        };
        assert!(warning(None).unwrap().contains("process 7 ended"));
        assert!(warning(Some(190)).unwrap().contains("used 0.19 s"));
        assert_eq!(warning(Some(200)), None);
    }
}
