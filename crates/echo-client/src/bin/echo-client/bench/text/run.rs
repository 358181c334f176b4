//! The report of one run.

use echo_client::distribution::Distribution;
use echo_client::percentile::Percentile;
use echo_client::run::{Fairness, Loop, Metrics, Settings};
use echo_client::units::{time, wrap};

use super::{counted_failures, failure, field, table};

/// Everything below the headline, except gates.
pub(super) fn report(
    settings: &Settings,
    result: &Metrics,
    percentiles: &[Percentile],
    width: usize,
) -> Vec<String> {
    let field = |label: &str, value: &str| field(label, value, width);
    let mut lines = Vec::new();
    let (rate, megabytes) = (result.rate, result.bytes_per_second / 1e6);
    lines.push(field("rate", &format!("{rate:.0} echoes/s, {megabytes:.2} MB/s each way")));
    lines.push(field("", &format!("{} echoes in {:.2} s", result.echoes, result.seconds)));
    lines.push(String::new());
    lines.extend(times(result, settings.pacing, percentiles, width));
    lines.push(String::new());
    let Metrics { sent, loss, missing_bytes, .. } = result;
    lines.push(field("loss", &format!("{loss} of {sent} messages, {missing_bytes} bytes")));
    let opened = result.connect.count;
    lines.push(field("connections", &format!("{opened} opened, {}", counted_failures(result))));
    if result.unsent > 0 {
        lines.push(field("unsent", &format!("{} messages", result.unsent)));
    }
    let Fairness { min, max, jain } = result.fairness;
    if let Some(jain) = jain.filter(|_| settings.connections > 1) {
        let range = format!("{min} to {max} echoes each, Jain's index {jain:.4}");
        lines.push(field("fairness", &range));
    }
    if let (Some(cpu), Some(busy)) = (result.cpu_us_per_echo, result.busy) {
        let (cpu, busy) = (time(cpu), busy * 100.0);
        let client = format!("{cpu} of CPU time per echo, busiest thread {busy:.0} %");
        lines.push(field("client", &client));
    }
    if let (Some(seconds), Some(cpu)) = (result.server_cpu_s, result.server_cpu_us_per_echo) {
        let cpu = time(cpu);
        lines.push(field("server", &format!("{cpu} of CPU time per echo, {seconds:.2} s in all")));
    }
    if let Some(retransmits) = result.retransmits {
        lines.push(field("retransmits", &format!("{retransmits} TCP segments")));
    }
    lines.extend(result.incidents.iter().map(|it| failure(it, width)));
    let omitted = result.failed - result.incidents.len() as u64;
    if omitted > 0 {
        lines.push(field("", &format!("and {omitted} more")));
    }
    let mut hints: Vec<&String> =
        result.incidents.iter().filter_map(|it| it.hint.as_ref()).collect();
    hints.dedup();
    lines.extend(hints.into_iter().map(|hint| field("hint", hint)));
    lines.extend(result.warnings.iter().map(|warning| field("warning", warning)));
    lines
}

/// The table of times.
fn times(result: &Metrics, pacing: Loop, percentiles: &[Percentile], width: usize) -> Vec<String> {
    let mut distributions = vec![("latency", &result.latency), ("connect", &result.connect)];
    let note = match pacing {
        Loop::Open => {
            distributions
                .splice(1..1, [("service", &result.service), ("send lag", &result.send_lag)]);
            "latency counts from when a message was due, service from when it was sent; send lag is \
             how late the client was"
        }
        Loop::Closed => "closed loop: messages wait for echoes, and that waiting is not measured",
    };
    let shown = percentiles.iter().map(Percentile::to_string);
    let names: Vec<String> = ["min".to_owned()]
        .into_iter()
        .chain(shown)
        .chain(["max".to_owned(), "stdev".to_owned()])
        .collect();
    let rows: Vec<_> = distributions
        .into_iter()
        .map(|(label, times)| (label.to_owned(), statistics(times, percentiles)))
        .collect();
    let mut lines = table(&names, &rows, width);
    lines.push(wrap(note, width, 0));
    lines
}

/// The minimum, the percentiles, the maximum and the standard deviation.
fn statistics(times: &Distribution, percentiles: &[Percentile]) -> Vec<String> {
    let known = |us: f64| (times.count > 0).then_some(us);
    let histogram = times.decode();
    let at = |percentile: &Percentile| {
        percentile.value_in(histogram.as_ref()?).map(|ns| ns as f64 / 1e3)
    };
    let mut values = vec![known(times.min_us)];
    values.extend(percentiles.iter().map(at));
    values.extend([known(times.max_us), known(times.stdev_us)]);
    values.into_iter().map(|us| us.map_or("-".to_owned(), time)).collect()
}

#[cfg(test)]
mod tests {
    use echo_client::distribution::histogram;
    use echo_client::metric::PERCENTILES;
    use echo_client::run::{Builds, Causes, Failure, GateResult, Interval, Machine, Run};
    use echo_client::run_file::RunFile;

    use super::*;

    /// A distribution with this minimum.
    fn distribution(count: u64, us: u64) -> Distribution {
        let mut times = histogram();
        let mut left = count;
        for (times_us, share) in [(1, 0.3), (2, 0.4), (3, 0.25), (4, 0.045), (50, 0.0045)] {
            let some = (count as f64 * share) as u64;
            times.record_n(times_us * us * 1_000, some).unwrap();
            left -= some;
        }
        times.record_n(60 * us * 1_000, left.saturating_sub(1)).unwrap();
        times.record_n(70 * us * 1_000, left.min(1)).unwrap();
        Distribution::of(&times)
    }

    fn report(run: Run, width: usize) -> String {
        let gates = run.gates.clone();
        let percentiles = PERCENTILES.map(|name| name.parse().unwrap());
        super::super::report(&RunFile { gates, ..RunFile::of(vec![run]) }, &percentiles, width)
    }

    fn run() -> Run {
        let settings = serde_json::json!({
            "host": "example", "address": "192.0.2.1:65432", "connections": 50, "size_bytes": 64,
            "depth": 1, "framing": "line", "loop": "open", "rate": 2000.0, "arrivals": "poisson",
            "duration_s": 10.0, "messages": null, "warmup_s": 1.0, "engine": "uring", "threads": 2,
            "busy_poll": true, "reconnect_every": 100, "timeout_s": 10.0,
        });
        let result = |gate: &str, value, limit, is_time, failed| {
            let gate = gate.to_owned();
            GateResult {
                gate,
                value: Some(value),
                values: vec![Some(value)],
                limit,
                is_time,
                failed,
            }
        };
        Run {
            program: "echo-client 0.1.0".to_owned(),
            label: Some("a label".to_owned()),
            started: "2026-01-02T03:04:05Z".to_owned(),
            measured_from: None,
            measured_until: None,
            machine: Machine {
                os: String::new(),
                kernel: String::new(),
                cpu: String::new(),
                cpus: 2,
                is_virtual: None,
                congestion_control: None,
                somaxconn: None,
            },
            builds: Builds::default(),
            settings: serde_json::from_value(settings).unwrap(),
            result: Metrics {
                seconds: 10.0,
                echoes: 19_994,
                rate: 1999.4,
                bytes_per_second: 129_961.0,
                latency: distribution(19_994, 17),
                service: distribution(19_994, 15),
                send_lag: distribution(18_000, 2),
                connect: distribution(251, 120),
                sent: 21_996,
                loss: 2,
                missing_bytes: 130,
                unsent: 4,
                rate_reached: Some(true),
                failed: 3,
                causes: Causes { closed: 1, timeout: 2, ..Causes::default() },
                incidents: vec![Failure {
                    connection: 7,
                    at_us: 1_234_567,
                    offset: 6500,
                    cause: "closed".to_owned(),
                    text: "the reply was cut short: 0 of 65 bytes came back".to_owned(),
                    hint: Some("the server may have been stopped".to_owned()),
                }],
                fairness: Fairness { min: 390, max: 410, jain: Some(0.999_876) },
                cpu_us_per_echo: Some(12.25),
                busy: Some(0.97),
                server_cpu_s: Some(0.2),
                server_cpu_us_per_echo: Some(10.003),
                retransmits: Some(0),
                warnings: vec!["the machine was busy".to_owned()],
            },
            intervals: Vec::new(),
            gates: vec![
                result("p99>20us", 68.0, 20.0, true, true),
                result("loss>0", 2.0, 0.0, false, true),
            ],
        }
    }

    const OPEN: &str = "\
a label, 192.0.2.1:65432: 50 connections x 64 bytes, depth 1, framing line,
2000/s poisson, 2 threads, engine uring, busy polling, a new connection every
100 messages, 10 s after 1 s of warm-up

rate         1999 echoes/s, 0.13 MB/s each way
             19994 echoes in 10.00 s

              min      p50      p90      p99    p99.9   p99.99      max    stdev
latency   17.0 µs  34.0 µs  51.0 µs  68.0 µs   850 µs  1.02 ms  1.19 ms  61.7 µs
service   15.0 µs  30.0 µs  45.0 µs  60.0 µs   750 µs   900 µs  1.05 ms  54.4 µs
send lag  2.00 µs  4.00 µs  6.00 µs  8.00 µs   100 µs   120 µs   140 µs  7.15 µs
connect    120 µs   240 µs   360 µs  6.00 ms  8.40 ms  8.40 ms  8.40 ms   770 µs
latency counts from when a message was due, service from when it was sent; send
lag is how late the client was

loss         2 of 21996 messages, 130 bytes
connections  251 opened, 3 failures: 1 closed by the server, 2 timed out
unsent       4 messages
fairness     390 to 410 echoes each, Jain's index 0.9999
client       12.2 µs of CPU time per echo, busiest thread 97 %
server       10.0 µs of CPU time per echo, 0.20 s in all
retransmits  0 TCP segments
failure      connection 7 at 1.235 s, offset 6500: the reply was cut short: 0 of
             65 bytes came back
             and 2 more
hint         the server may have been stopped
warning      the machine was busy
gate         p99>20us failed: it is 68.0 µs, 3.40 times the limit
gate         loss>0 failed: it is 2
";

    #[test]
    fn the_report_of_an_open_loop_is_complete() {
        assert_eq!(report(run(), 80), OPEN);
    }

    const CLOSED: &str = "\
192.0.2.1:65432: 1 connection x 64 bytes, depth 1, closed loop, 1 thread, engine
uring, 1000 messages

rate         20000 echoes/s, 1.28 MB/s each way
             1000 echoes in 0.05 s

              min      p50      p90      p99    p99.9   p99.99      max    stdev
latency   17.0 µs  34.0 µs  51.0 µs  68.0 µs   850 µs  1.19 ms  1.19 ms  64.7 µs
connect         -        -        -        -        -        -        -        -
closed loop: messages wait for echoes, and that waiting is not measured

loss         0 of 1000 messages, 0 bytes
connections  0 opened, no failure
";

    #[test]
    fn the_report_of_a_closed_loop_omits_what_does_not_apply() {
        let mut run = run();
        (run.label, run.gates) = (None, Vec::new());
        let settings = &mut run.settings;
        (settings.connections, settings.threads, settings.warmup_s) = (1, 1, 0.0);
        (settings.pacing, settings.rate, settings.arrivals) = (Loop::Closed, None, None);
        (settings.duration_s, settings.messages) = (None, Some(1000));
        (settings.busy_poll, settings.reconnect_every) = (false, None);
        settings.framing = "raw".to_owned();
        run.result = Metrics {
            seconds: 0.05,
            echoes: 1000,
            rate: 20_000.0,
            bytes_per_second: 1_280_000.0,
            latency: distribution(1000, 17),
            sent: 1000,
            ..Metrics::default()
        };
        assert_eq!(report(run, 80), CLOSED);
    }

    #[test]
    fn no_line_of_a_report_is_wider_than_the_terminal() {
        for width in [60, 80, 120] {
            let report = report(run(), width);
            let widest = report.lines().map(|line| line.chars().count()).max();
            assert!(widest.is_some_and(|widest| widest <= width), "{width}: {report}");
            assert!(report.contains("p99.99") && report.contains("61.7 µs"), "{report}");
        }
        let interval = |width| {
            let us = Some(999.0);
            let part = Interval {
                start_s: 9998.0,
                seconds: 1.0,
                echoes: 0,
                rate: 123_456.0,
                p50_us: us,
                p99_us: us,
                max_us: us,
            };
            super::super::interval(&part, width)
        };
        assert!(interval(80).chars().count() <= 80);
        assert_eq!(interval(60).lines().count(), 2);
    }
}
