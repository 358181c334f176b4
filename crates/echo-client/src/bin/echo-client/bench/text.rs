//! The report of a run as text.

use std::fmt::Write;

use echo_client::distribution::Distribution;
use echo_client::run::{Fairness, Interval, Loop, Metrics, Run, Settings};

use crate::print::{gate_line, time};

/// The complete report.
pub(super) fn report(run: &Run) -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = write_report(run, &mut text);
    text
}

fn write_report(run: &Run, text: &mut String) -> std::fmt::Result {
    let Run { settings, result, gates, .. } = run;
    let Metrics { seconds, rate, bytes_per_second, echoes, sent, loss, .. } = result;
    writeln!(text, "{}", headline(run))?;
    writeln!(text)?;
    let megabytes = bytes_per_second / 1e6;
    writeln!(text, "rate         {rate:.0} echoes/s, {megabytes:.2} MB/s each way")?;
    writeln!(text, "             {echoes} echoes in {seconds:.2} s")?;
    writeln!(text)?;
    times(result, settings.pacing, text)?;
    writeln!(text)?;
    writeln!(text, "loss         {loss} of {sent} messages, {} bytes", result.missing_bytes)?;
    writeln!(text, "connections  {} made, {}", result.connect.count, failures(result))?;
    if result.unsent > 0 {
        writeln!(text, "unsent       {} messages", result.unsent)?;
    }
    let Fairness { min, max, jain } = result.fairness;
    if let Some(jain) = jain
        && settings.connections > 1
    {
        writeln!(text, "fairness     {min} to {max} echoes each, Jain's index {jain:.4}")?;
    }
    if let (Some(cpu), Some(busy)) = (result.cpu_us_per_echo, result.busy) {
        let busy = busy * 100.0;
        writeln!(
            text,
            "client       {cpu:.2} us of processor time an echo, busiest thread {busy:.0} %"
        )?;
    }
    if let (Some(seconds), Some(cpu)) = (result.server_cpu_s, result.server_cpu_us_per_echo) {
        writeln!(
            text,
            "server       {cpu:.2} us of processor time an echo, {seconds:.2} s in all"
        )?;
    }
    if let Some(retransmits) = result.retransmits {
        writeln!(text, "retransmits  {retransmits} TCP segments")?;
    }
    for failure in &result.incidents {
        let (connection, text_of, offset) = (failure.connection, &failure.text, failure.offset);
        let at = failure.at_us as f64 / 1e6;
        writeln!(
            text,
            "failure      connection {connection} at {at:.3} s, offset {offset}: {text_of}"
        )?;
    }
    let omitted = result.failed - result.incidents.len() as u64;
    if omitted > 0 {
        writeln!(text, "             and {omitted} more")?;
    }
    for warning in &result.warnings {
        writeln!(text, "warning      {warning}")?;
    }
    for result in gates {
        writeln!(text, "gate         {}", gate_line(result))?;
    }
    Ok(())
}

/// The line for one interval.
pub(super) fn interval(interval: &Interval) -> String {
    let Interval { start_s, seconds, rate, .. } = interval;
    let times = [interval.p50_us, interval.p99_us, interval.max_us];
    let [p50, p99, max] = times.map(|us| us.map_or("-".to_owned(), time));
    let end = start_s + seconds;
    format!(
        "{start_s:6.2}-{end:.2} s {rate:10.0} echoes/s  p50 {p50:>6}  p99 {p99:>6}  max {max:>6}"
    )
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
        (Some(rate), Some(arrivals)) => parts.push(format!("{rate}/s {arrivals}")),
        _ => parts.push("closed loop".to_owned()),
    }
    parts.push(counted(*threads, "thread"));
    parts.push(format!("engine {engine}"));
    if settings.busy_poll {
        parts.push("busy-polling".to_owned());
    }
    if let Some(messages) = settings.reconnect_every {
        parts.push(format!("a new connection every {}", counted(messages as usize, "message")));
    }
    let warmup = settings.warmup_s;
    let mut length = match (settings.duration_s, settings.messages) {
        (_, Some(messages)) => format!("{messages} messages"),
        (duration, _) => format!("{} s", duration.unwrap_or_default()),
    };
    if warmup > 0.0 {
        length += &format!(" after {warmup} s of warm-up");
    }
    parts.push(length);
    parts.join(", ")
}

fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// The table of times.
fn times(result: &Metrics, pacing: Loop, text: &mut String) -> std::fmt::Result {
    let columns = ["min", "p50", "p90", "p99", "p99.9", "p99.99", "max", "stdev"];
    let header: String = columns.map(|column| format!("{column:>9}")).concat();
    writeln!(text, "            {header}")?;
    writeln!(text, "latency     {}", row(&result.latency))?;
    if pacing == Loop::Open {
        writeln!(text, "service     {}", row(&result.service))?;
    }
    writeln!(text, "connect     {}", row(&result.connect))?;
    match pacing {
        Loop::Open => writeln!(
            text,
            "latency counts from when a message was due, service from when it was sent"
        ),
        Loop::Closed => writeln!(
            text,
            "closed loop: a message waits for an echo before it is sent, and that waiting is not seen here"
        ),
    }
}

fn row(times: &Distribution) -> String {
    if times.count == 0 {
        return format!("{:>9}", "-");
    }
    let metrics = [
        times.min_us,
        times.p50_us,
        times.p90_us,
        times.p99_us,
        times.p99_9_us,
        times.p99_99_us,
        times.max_us,
        times.stdev_us,
    ];
    metrics.map(|us| format!("{:>9}", time(us))).concat()
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
    use echo_client::run::{Causes, Failure, GateResult, Machine, SCHEMA_VERSION};

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
            GateResult { gate, value: Some(value), limit, is_time, failed }
        };
        Run {
            schema_version: SCHEMA_VERSION,
            program: "echo-client 0.1.0".to_owned(),
            label: Some("a label".to_owned()),
            started: "2026-01-02T03:04:05Z".to_owned(),
            machine: Machine {
                os: String::new(),
                kernel: String::new(),
                cpu: String::new(),
                cpus: 2,
            },
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
                result("p99>200us", 68.0, 200.0, true, false),
                result("loss>0", 2.0, 0.0, false, true),
            ],
        }
    }

    const OPEN: &str = "\
a label, 192.0.2.1:65432: 50 connections x 64 bytes, depth 1, framing line, 2000/s poisson, 2 threads, \
engine uring, busy-polling, a new connection every 100 messages, 10 s after 1 s of warm-up

rate         1999 echoes/s, 0.13 MB/s each way
             19994 echoes in 10.00 s

                  min      p50      p90      p99    p99.9   p99.99      max    stdev
latency        17.0us   34.0us   51.0us   68.0us    850us   1.02ms   1.19ms   8.50us
service        15.0us   30.0us   45.0us   60.0us    750us    900us   1.05ms   7.50us
connect         120us    240us    360us    480us   6.00ms   7.20ms   8.40ms   60.0us
latency counts from when a message was due, service from when it was sent

loss         2 of 21996 messages, 130 bytes
connections  251 made, 3 failures: 1 closed by the server, 2 timed out
unsent       4 messages
fairness     390 to 410 echoes each, Jain's index 0.9999
client       12.25 us of processor time an echo, busiest thread 97 %
server       10.00 us of processor time an echo, 0.20 s in all
retransmits  0 TCP segments
failure      connection 7 at 1.235 s, offset 6500: the reply was cut short: 0 of 65 bytes came back
             and 2 more
warning      the machine was busy
gate         p99>200us passed: it is 68.0us, 0.34 of the limit
gate         loss>0 failed: it is 2
";

    #[test]
    fn the_report_of_an_open_loop_is_complete() {
        assert_eq!(report(&run()), OPEN);
    }

    const CLOSED: &str = "\
192.0.2.1:65432: 1 connection x 64 bytes, depth 1, closed loop, 1 thread, engine uring, 1000 messages

rate         20000 echoes/s, 1.28 MB/s each way
             1000 echoes in 0.05 s

                  min      p50      p90      p99    p99.9   p99.99      max    stdev
latency        17.0us   34.0us   51.0us   68.0us    850us   1.02ms   1.19ms   8.50us
connect             -
closed loop: a message waits for an echo before it is sent, and that waiting is not seen here

loss         0 of 1000 messages, 0 bytes
connections  0 made, no failure
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
        assert_eq!(report(&run), CLOSED);
    }
}
