//! The report for reading: the lines of ping(8).

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use echo_client::Error;
use echo_client::distribution::Distribution;
use echo_client::ping::{Event, NOT_SENT, Outage, OutageRecord, PingMetrics, PingRun};
use echo_proto::one_line;

use super::report::Report;
use crate::print::{fit_stderr, fit_stdout, gate_line, print_line};

/// Percentiles are shown from this many replies on.
const MIN_FOR_PERCENTILES: u64 = 100;

impl Report {
    pub(super) fn text_event(&mut self, event: &Event) -> io::Result<()> {
        let size = self.ping.size;
        match event {
            Event::Connected { peer, took } => {
                let (server, took) = (self.server(*peer), ms(*took));
                self.line(&format!("PING {server}: {size} bytes, connected in {took} ms"))
            }
            Event::Recovered { outage } => {
                let Outage { duration, first, last, .. } = outage;
                let (duration, lost) = (seconds(duration.as_secs_f64()), last + 1 - first);
                let peer = self.peer.expect("an echo comes on a connection");
                self.line(&format!("{peer} echoes again after {duration} s, {lost} lost"))
            }
            Event::Reply { seq, time } if !self.quiet => {
                let peer = self.peer.expect("a reply comes on a connection");
                self.line(&format!("{size} bytes from {peer}: seq={seq} time={} ms", ms(*time)))
            }
            Event::Failed { seq, error, .. } if !self.quiet => {
                let text = error.as_ref().map_or(NOT_SENT.to_owned(), Error::to_string);
                self.line(&format!("seq={seq} lost: {text}"))?;
                self.print_hint(error.as_ref());
                Ok(())
            }
            Event::Reply { .. } | Event::Failed { .. } | Event::Sending { .. } => Ok(()),
        }
    }

    /// The name, if it has one, and the address.
    fn server(&self, peer: SocketAddr) -> String {
        let host = &self.config.host;
        let is_name = !host.is_empty() && host.parse::<IpAddr>().is_err();
        if is_name { format!("{} ({peer})", one_line(host)) } else { peer.to_string() }
    }

    /// Prints a hint with the first failure, unless there has been an echo: then the settings are
    /// right and it is an outage.
    fn print_hint(&mut self, error: Option<&Error>) {
        if self.summary.received == 0
            && let Some(hint) = error.and_then(Error::hint)
            && !std::mem::replace(&mut self.has_hinted, true)
        {
            let _ = writeln!(io::stderr(), "{}", fit_stderr(&format!("hint: {hint}")));
        }
    }

    fn line(&self, line: &str) -> io::Result<()> {
        if !self.timestamps {
            return print_line(&fit_stdout(line));
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (seconds, us) = (now.as_secs(), now.subsec_micros());
        print_line(&fit_stdout(&format!("[{seconds}.{us:06}] {line}")))
    }

    /// One line on stderr, as ping(8) answers SIGQUIT.
    pub(super) fn print_status(&self) {
        let metrics = PingMetrics::of(&self.summary, self.clock.elapsed());
        let PingMetrics { transmitted, echoes, latency, .. } = &metrics;
        let mut line = format!("{echoes}/{transmitted} messages, {} loss", loss(&metrics));
        if *echoes > 0 {
            line += &format!(", min/avg/max = {} ms", min_avg_max(latency));
        }
        // If stderr is closed, there is nowhere to report to.
        let _ = writeln!(io::stderr(), "{line}");
    }

    pub(super) fn text_summary(&self, run: &PingRun) -> io::Result<()> {
        let PingMetrics { seconds, transmitted, echoes, latency, connect, outage, .. } =
            &run.result;
        if let Some(peer) = self.peer {
            print_line("")?;
            print_line(&format!("--- {} ping statistics ---", self.server(peer)))?;
        }
        print_line(&fit_stdout(&format!(
            "{transmitted} messages transmitted, {echoes} received, {} loss, time {:.0} ms",
            loss(&run.result),
            seconds * 1e3
        )))?;
        if *echoes > 0 {
            let (times, mdev) = (min_avg_max(latency), ms_of_us(latency.stdev_us));
            print_line(&format!("rtt min/avg/max/mdev = {times}/{mdev} ms"))?;
        }
        if *echoes >= MIN_FOR_PERCENTILES {
            let percentiles = [latency.p50_us, latency.p99_us].map(ms_of_us).join("/");
            print_line(&format!("rtt p50/p99 = {percentiles} ms"))?;
        }
        match connect.count {
            0 => {}
            1 => print_line(&format!("connect = {} ms", ms_of_us(connect.max_us)))?,
            count => {
                let times = min_avg_max(connect);
                print_line(&format!("connect min/avg/max = {times} ms, {count} connections"))?;
            }
        }
        run.outages.iter().try_for_each(|outage| print_line(&outage_line(outage)))?;
        let omitted = outage.count - run.outages.len() as u64;
        if omitted > 0 {
            print_line(&format!("and {omitted} more"))?;
        }
        let gates = run.gates.iter().map(|gate| format!("gate {}", gate_line(gate)));
        gates.into_iter().try_for_each(|gate| print_line(&fit_stdout(&gate)))
    }
}

fn outage_line(outage: &OutageRecord) -> String {
    let OutageRecord { started, duration_us, first, last, is_over } = outage;
    let seconds = seconds(duration_us / 1e6);
    let line = format!("outage {seconds} s from {started}, seq {first} to {last}");
    if *is_over { line } else { line + ", not over yet" }
}

/// The share of messages that were lost. However many there were, a loss is not shown as none, and
/// an echo is not shown as no echo.
fn loss(metrics: &PingMetrics) -> String {
    let (lost, transmitted) = (u128::from(metrics.loss), u128::from(metrics.transmitted.max(1)));
    if lost * 100 % transmitted == 0 {
        return format!("{}%", lost * 100 / transmitted);
    }
    let thousandths = (lost * 100_000 + transmitted / 2) / transmitted;
    format!("{:.3}%", thousandths.clamp(1, 99_999) as f64 / 1e3)
}

fn min_avg_max(times: &Distribution) -> String {
    [times.min_us, times.mean_us, times.max_us].map(ms_of_us).join("/")
}

/// The length of an outage: milliseconds, and microseconds if it is short.
fn seconds(seconds: f64) -> String {
    if seconds < 0.01 { format!("{seconds:.6}") } else { format!("{seconds:.3}") }
}

fn ms(time: Duration) -> String {
    ms_of_us(time.as_nanos() as f64 / 1e3)
}

/// Three decimals, as in ping(8).
fn ms_of_us(us: f64) -> String {
    format!("{:.3}", us / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(loss: u64, transmitted: u64) -> String {
        super::loss(&PingMetrics { loss, transmitted, ..PingMetrics::default() })
    }

    #[test]
    fn no_outage_is_shown_as_none() {
        let shown = [0.000_401, 0.01, 1.5].map(seconds);
        assert_eq!(shown, ["0.000401", "0.010", "1.500"]);
    }

    #[test]
    fn no_loss_is_shown_as_none_and_no_echo_as_a_total_loss() {
        assert_eq!(loss(1, 300_000), "0.001%");
        assert_eq!(loss(299_999, 300_000), "99.999%");
        assert_eq!([loss(0, 0), loss(0, 7), loss(7, 7), loss(1, 2)], ["0%", "0%", "100%", "50%"]);
        assert_eq!([loss(1, 6), loss(2, 3)], ["16.667%", "66.667%"]);
    }
}
