//! Runs for the tests of reports.

use super::LoadedRun;
use crate::distribution::{Distribution, histogram};
use crate::run::{Builds, Fairness, Interval, Loop, Machine, Metrics, Run, Settings};

pub(crate) fn saved(name: &str, run: Run) -> LoadedRun {
    LoadedRun::of_run(name, run).unwrap()
}

/// A run of ten seconds with these latencies in nanoseconds, spread evenly over its connections and
/// two intervals.
pub(crate) fn run(connections: usize, latencies: impl IntoIterator<Item = u64>) -> Run {
    let mut times = histogram();
    latencies.into_iter().for_each(|ns| times.record(ns).unwrap());
    let distribution = Distribution::of(&times);
    let echoes = times.len();
    let each = echoes / connections as u64;
    let interval = |start_s| Interval {
        start_s,
        seconds: 5.0,
        echoes: echoes / 2,
        rate: echoes as f64 / 10.0,
        p50_us: Some(distribution.p50_us),
        p99_us: Some(distribution.p99_us),
        max_us: Some(distribution.max_us),
    };
    Run {
        program: "echo-client 0.1.0".to_owned(),
        label: None,
        started: "2026-01-02T03:04:05Z".to_owned(),
        measured_from: None,
        measured_until: None,
        machine: Machine {
            os: "Linux".to_owned(),
            kernel: "6.12".to_owned(),
            cpu: "a processor".to_owned(),
            cpus: 2,
            is_virtual: Some(false),
            congestion_control: Some("cubic".to_owned()),
            somaxconn: Some(4096),
        },
        builds: Builds::default(),
        settings: settings(connections),
        intervals: vec![interval(0.0), interval(5.0)],
        gates: Vec::new(),
        result: Metrics {
            seconds: 10.0,
            echoes,
            rate: echoes as f64 / 10.0,
            bytes_per_second: echoes as f64 * 6.4,
            latency: distribution.clone(),
            service: distribution.clone(),
            connect: distribution,
            sent: echoes,
            fairness: Fairness { min: each, max: each, jain: Some(1.0) },
            cpu_us_per_echo: Some(2.0),
            busy: Some(0.5),
            retransmits: Some(0),
            ..Metrics::default()
        },
    }
}

fn settings(connections: usize) -> Settings {
    Settings {
        host: "example".to_owned(),
        address: "192.0.2.1:65432".to_owned(),
        connections,
        size: 64,
        depth: 1,
        framing: "raw".to_owned(),
        pacing: Loop::Closed,
        rate: None,
        arrivals: None,
        seed: None,
        duration_s: Some(10.0),
        messages: None,
        warmup_s: 1.0,
        engine: "readiness".to_owned(),
        threads: 1,
        busy_poll: false,
        reconnect_every: None,
        timeout_s: 10.0,
        repeat: 1,
        pause_s: None,
    }
}
