//! The report of a run as text.

use echo_client::distribution::Distribution;
use echo_client::run::{Fairness, Interval, Loop, Metrics, Run, Settings};
use echo_client::units::{time, wrap};

use crate::print::gate_line;

/// Columns of a label, and of a time.
const LABEL: usize = 13;
const TIME: usize = 9;

/// The complete report, in lines of at most `width` columns.
pub(super) fn report(run: &Run, width: usize) -> String {
    let Run { settings, result, gates, .. } = run;
    let field = |label: &str, value: String| {
        wrap(&format!("{label:<LABEL$}{}", value.trim_end()), width, LABEL)
    };
    let mut lines = vec![wrap(&headline(run), width, 0), String::new()];
    let (rate, megabytes) = (result.rate, result.bytes_per_second / 1e6);
    lines.push(field("rate", format!("{rate:.0} echoes/s, {megabytes:.2} MB/s each way")));
    lines.push(field("", format!("{} echoes in {:.2} s", result.echoes, result.seconds)));
    lines.push(String::new());
    lines.extend(times(result, settings.pacing, width));
    lines.push(String::new());
    let Metrics { sent, loss, missing_bytes, .. } = result;
    lines.push(field("loss", format!("{loss} of {sent} messages, {missing_bytes} bytes")));
    lines.push(field(
        "connections",
        format!("{} opened, {}", result.connect.count, failures(result)),
    ));
    if result.unsent > 0 {
        lines.push(field("unsent", format!("{} messages", result.unsent)));
    }
    let Fairness { min, max, jain } = result.fairness;
    if let Some(jain) = jain.filter(|_| settings.connections > 1) {
        lines
            .push(field("fairness", format!("{min} to {max} echoes each, Jain's index {jain:.4}")));
    }
    if let (Some(cpu), Some(busy)) = (result.cpu_us_per_echo, result.busy) {
        let (cpu, busy) = (time(cpu), busy * 100.0);
        lines.push(field(
            "client",
            format!("{cpu} of CPU time per echo, busiest thread {busy:.0} %"),
        ));
    }
    if let (Some(seconds), Some(cpu)) = (result.server_cpu_s, result.server_cpu_us_per_echo) {
        let cpu = time(cpu);
        lines.push(field("server", format!("{cpu} of CPU time per echo, {seconds:.2} s in all")));
    }
    if let Some(retransmits) = result.retransmits {
        lines.push(field("retransmits", format!("{retransmits} TCP segments")));
    }
    for failure in &result.incidents {
        let (connection, at) = (failure.connection, failure.at_us as f64 / 1e6);
        let place = format!("connection {connection} at {at:.3} s, offset {}", failure.offset);
        lines.push(field("failure", format!("{place}: {}", failure.text)));
    }
    let omitted = result.failed - result.incidents.len() as u64;
    if omitted > 0 {
        lines.push(field("", format!("and {omitted} more")));
    }
    let mut hints: Vec<&String> =
        result.incidents.iter().filter_map(|it| it.hint.as_ref()).collect();
    hints.dedup();
    lines.extend(hints.into_iter().map(|hint| field("hint", hint.clone())));
    lines.extend(result.warnings.iter().map(|warning| field("warning", warning.clone())));
    lines.extend(gates.iter().map(|result| field("gate", gate_line(result))));
    lines.join("\n") + "\n"
}

/// The line for one interval.
pub(super) fn interval(interval: &Interval, width: usize) -> String {
    let Interval { start_s, seconds, rate, .. } = interval;
    let times = [interval.p50_us, interval.p99_us, interval.max_us];
    let [p50, p99, max] = times.map(|us| us.map_or("-".to_owned(), time));
    let end = start_s + seconds;
    let line = format!(
        "{start_s:6.2}-{end:.2} s {rate:9.0} echoes/s  p50 {p50:>7}  p99 {p99:>7}  max {max:>7}"
    );
    wrap(&line, width, 7)
}

/// What was run, in one paragraph.
fn headline(Run { label, settings, .. }: &Run) -> String {
    let Settings { address, connections, size, depth, threads, engine, .. } = settings;
    let connections = counted(*connections, "connection");
    let name = label.as_ref().map(|label| format!("{label}, ")).unwrap_or_default();
    let mut parts = vec![format!("{name}{address}: {connections} x {size} bytes, depth {depth}")];
    if settings.framing != "raw" {
        parts.push(format!("framing {}", settings.framing));
    }
    match (settings.rate, &settings.arrivals) {
        (Some(rate), Some(arrivals)) => {
            parts.push(format!("{rate}/s {arrivals}"));
            parts.extend(settings.seed.map(|seed| format!("seed {seed}")));
        }
        _ => parts.push("closed loop".to_owned()),
    }
    parts.push(counted(*threads, "thread"));
    parts.push(format!("engine {engine}"));
    if settings.busy_poll {
        parts.push("busy polling".to_owned());
    }
    if let Some(messages) = settings.reconnect_every {
        parts.push(format!("a new connection every {}", counted(messages as usize, "message")));
    }
    let mut limit = match (settings.duration_s, settings.messages) {
        (_, Some(messages)) => format!("{messages} messages"),
        (duration, _) => format!("{} s", duration.unwrap_or_default()),
    };
    if settings.warmup_s > 0.0 {
        limit += &format!(" after {} s of warm-up", settings.warmup_s);
    }
    parts.push(limit);
    parts.join(", ")
}

fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// The name of a statistic, and where it is.
type Statistic = (&'static str, fn(&Distribution) -> f64);

/// The table of times, in parts if it is wider than `width`.
fn times(result: &Metrics, pacing: Loop, width: usize) -> Vec<String> {
    const LABEL: usize = 8;
    let statistics: [Statistic; 8] = [
        ("min", |it| it.min_us),
        ("p50", |it| it.p50_us),
        ("p90", |it| it.p90_us),
        ("p99", |it| it.p99_us),
        ("p99.9", |it| it.p99_9_us),
        ("p99.99", |it| it.p99_99_us),
        ("max", |it| it.max_us),
        ("stdev", |it| it.stdev_us),
    ];
    let mut rows = vec![("latency", &result.latency), ("connect", &result.connect)];
    let note = match pacing {
        Loop::Open => {
            rows.insert(1, ("service", &result.service));
            "latency counts from when a message was due, service from when it was sent"
        }
        Loop::Closed => "closed loop: messages wait for echoes, and that waiting is not measured",
    };
    let mut lines = Vec::new();
    for columns in statistics.chunks((width.saturating_sub(LABEL) / TIME).max(1)) {
        let cells = |cell: &dyn Fn(&Statistic) -> String| {
            columns.iter().map(|column| format!("{:>TIME$}", cell(column))).collect::<String>()
        };
        lines.push(format!("{:LABEL$}{}", "", cells(&|(name, _)| (*name).to_owned())));
        for (label, times) in &rows {
            let show = |us: Option<f64>| us.map_or("-".to_owned(), time);
            let cell = cells(&|(_, value)| show((times.count > 0).then(|| value(times))));
            lines.push(format!("{label:LABEL$}{cell}"));
        }
    }
    lines.push(wrap(note, width, 0));
    lines
}

fn failures(result: &Metrics) -> String {
    let causes = &result.causes;
    let named = [
        ("not connected", causes.connect),
        ("changed", causes.changed),
        ("sent too much", causes.surplus),
        ("closed by the server", causes.closed),
        ("lost", causes.lost),
        ("timed out", causes.timeout),
    ];
    let named = named.into_iter().filter(|(_, count)| *count > 0);
    let named: Vec<_> = named.map(|(name, count)| format!("{count} {name}")).collect();
    if named.is_empty() {
        return "no failure".to_owned();
    }
    let failures = counted(result.failed as usize, "failure");
    format!("{failures}: {}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use echo_client::run::{Builds, Causes, Failure, GateResult, Machine};

    use super::*;

    /// A distribution with this minimum.
    fn distribution(count: u64, us: f64) -> Distribution {
        Distribution {
            count,
            min_us: us,
            p50_us: 2.0 * us,
            p90_us: 3.0 * us,
            p99_us: 4.0 * us,
            p99_9_us: 50.0 * us,
            p99_99_us: 60.0 * us,
            max_us: 70.0 * us,
            stdev_us: us / 2.0,
            ..Distribution::default()
        }
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
                latency: distribution(19_994, 17.0),
                service: distribution(19_994, 15.0),
                connect: distribution(251, 120.0),
                sent: 21_996,
                loss: 2,
                missing_bytes: 130,
                unsent: 4,
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
latency   17.0 µs  34.0 µs  51.0 µs  68.0 µs   850 µs  1.02 ms  1.19 ms  8.50 µs
service   15.0 µs  30.0 µs  45.0 µs  60.0 µs   750 µs   900 µs  1.05 ms  7.50 µs
connect    120 µs   240 µs   360 µs   480 µs  6.00 ms  7.20 ms  8.40 ms  60.0 µs
latency counts from when a message was due, service from when it was sent

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
        assert_eq!(report(&run(), 80), OPEN);
    }

    const CLOSED: &str = "\
192.0.2.1:65432: 1 connection x 64 bytes, depth 1, closed loop, 1 thread, engine
uring, 1000 messages

rate         20000 echoes/s, 1.28 MB/s each way
             1000 echoes in 0.05 s

              min      p50      p90      p99    p99.9   p99.99      max    stdev
latency   17.0 µs  34.0 µs  51.0 µs  68.0 µs   850 µs  1.02 ms  1.19 ms  8.50 µs
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
            latency: distribution(1000, 17.0),
            sent: 1000,
            ..Metrics::default()
        };
        assert_eq!(report(&run, 80), CLOSED);
    }

    #[test]
    fn no_line_of_a_report_is_wider_than_the_terminal() {
        for width in [60, 80, 120] {
            let report = report(&run(), width);
            let widest = report.lines().map(|line| line.chars().count()).max();
            assert!(widest.is_some_and(|widest| widest <= width), "{width}: {report}");
            assert!(report.contains("p99.99") && report.contains("8.50 µs"), "{report}");
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
            interval(&part, width)
        };
        assert!(interval(80).chars().count() <= 80);
        assert_eq!(interval(60).lines().count(), 2);
    }
}
