//! The report for people.

use std::fmt::Write;

use echo_client::distribution::Distribution;
use echo_client::run::{Fairness, Figures, Interval, Loop, Run, Settings};

use crate::print::{gate_line, time};

/// All of the report, in lines.
pub(super) fn report(run: &Run) -> String {
    let mut text = String::new();
    // Writing to memory does not fail.
    let _ = write_report(run, &mut text);
    text
}

fn write_report(run: &Run, text: &mut String) -> std::fmt::Result {
    let Run { settings, result, gates, .. } = run;
    let Figures { seconds, rate, bytes_per_second, echoes, sent, loss, .. } = result;
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
    for incident in &result.incidents {
        let (connection, text_of, offset) = (incident.connection, &incident.text, incident.offset);
        let at = incident.at_us as f64 / 1e6;
        writeln!(
            text,
            "failure      connection {connection} at {at:.3} s, offset {offset}: {text_of}"
        )?;
    }
    let untold = result.failed - result.incidents.len() as u64;
    if untold > 0 {
        writeln!(text, "             and {untold} more")?;
    }
    for warning in &result.warnings {
        writeln!(text, "warning      {warning}")?;
    }
    for verdict in gates {
        writeln!(text, "gate         {}", gate_line(verdict))?;
    }
    Ok(())
}

/// A line for an interval.
pub(super) fn interval(interval: &Interval) -> String {
    let Interval { start_s, seconds, rate, .. } = interval;
    let times = [interval.p50_us, interval.p99_us, interval.max_us];
    let [p50, p99, max] = times.map(|us| us.map_or("-".to_owned(), time));
    let end = start_s + seconds;
    format!(
        "{start_s:6.2}-{end:.2} s {rate:10.0} echoes/s  p50 {p50:>6}  p99 {p99:>6}  max {max:>6}"
    )
}

/// What was done, in a line.
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
fn times(result: &Figures, pacing: Loop, text: &mut String) -> std::fmt::Result {
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
    let figures = [
        times.min_us,
        times.p50_us,
        times.p90_us,
        times.p99_us,
        times.p99_9_us,
        times.p99_99_us,
        times.max_us,
        times.stdev_us,
    ];
    figures.map(|us| format!("{:>9}", time(us))).concat()
}

fn failures(result: &Figures) -> String {
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
