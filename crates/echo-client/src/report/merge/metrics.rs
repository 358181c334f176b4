//! The merged metrics of several runs.

use hdrhistogram::Histogram;

use crate::distribution::Distribution;
use crate::run::{Causes, Failure, Fairness, Metrics, Run};

/// Adds up the metrics. The histograms are those of latency, service, send lag and
/// connect times.
pub(super) fn metrics(
    runs: &[&Run],
    histograms: [&Histogram<u64>; 4],
    warnings: Vec<String>,
) -> Metrics {
    let all = || runs.iter().map(|run| &run.result);
    let echoes = all().map(|result| result.echoes).sum();
    let cpu_us: Option<f64> =
        all().map(|result| Some(result.cpu_us_per_echo? * result.echoes as f64)).sum();
    let [latency, service, send_lag, connect] = histograms.map(Distribution::of);
    Metrics {
        seconds: all().map(|result| result.seconds).fold(0.0, f64::max),
        echoes,
        rate: all().map(|result| result.rate).sum(),
        bytes_per_second: all().map(|result| result.bytes_per_second).sum(),
        latency,
        service,
        send_lag,
        connect,
        sent: all().map(|result| result.sent).sum(),
        loss: all().map(|result| result.loss).sum(),
        missing_bytes: all().map(|result| result.missing_bytes).sum(),
        unsent: all().map(|result| result.unsent).sum(),
        rate_reached: all()
            .filter_map(|result| result.rate_reached)
            .reduce(|one, other| one && other),
        failed: all().map(|result| result.failed).sum(),
        causes: all().map(|result| result.causes).fold(Causes::default(), Causes::plus),
        incidents: incidents(runs),
        fairness: fairness(runs),
        cpu_us_per_echo: cpu_us.filter(|_| echoes > 0).map(|us| us / echoes as f64),
        // If the loads shared a server, each part has measured all of its CPU time: neither a part
        // nor the sum is known to be right.
        server_cpu_s: None,
        server_cpu_us_per_echo: None,
        busy: all().filter_map(|result| result.busy).reduce(f64::max),
        retransmits: all().map(|result| result.retransmits).sum(),
        warnings,
    }
}

/// All failures by time. Connections are numbered consecutively over the runs.
fn incidents(runs: &[&Run]) -> Vec<Failure> {
    let mut incidents = Vec::new();
    let mut before = 0;
    for run in runs {
        incidents.extend(
            run.result
                .incidents
                .iter()
                .cloned()
                .map(|failure| Failure { connection: before + failure.connection, ..failure }),
        );
        before += run.settings.connections;
    }
    incidents.sort_by_key(|failure| failure.at_us);
    incidents
}

/// Jain's index is (Σx)²/(nΣx²). For each run Σx² follows from the index, n and Σx, which is its
/// number of echoes; the sums can be added.
fn fairness(runs: &[&Run]) -> Fairness {
    let (mut n, mut echoes, mut squares) = (0.0, 0.0, 0.0);
    for run in runs {
        let connections = run.settings.connections as f64;
        let sum = run.result.echoes as f64;
        n += connections;
        echoes += sum;
        if sum > 0.0 {
            squares += sum * sum / (connections * run.result.fairness.jain.unwrap_or(1.0));
        }
    }
    let all = || runs.iter().map(|run| run.result.fairness);
    Fairness {
        min: all().map(|fairness| fairness.min).min().unwrap_or_default(),
        max: all().map(|fairness| fairness.max).max().unwrap_or_default(),
        // Without an echo the index is undefined.
        jain: (echoes > 0.0).then(|| echoes * echoes / (n * squares)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::run;

    /// Jain's index by its definition.
    fn jain(echoes: &[f64]) -> f64 {
        let sum: f64 = echoes.iter().sum();
        sum * sum / (echoes.len() as f64 * echoes.iter().map(|x| x * x).sum::<f64>())
    }

    #[test]
    fn fairness_is_that_of_all_connections() {
        let parts = [&[10.0, 20.0, 30.0][..], &[100.0, 1.0][..], &[0.0][..]];
        let runs = parts.map(|echoes| {
            let mut run = run(echoes.len(), []);
            run.result.echoes = echoes.iter().sum::<f64>() as u64;
            // Without an echo the index is 0/0, and the saved value must not matter.
            run.result.fairness = Fairness {
                min: echoes.iter().copied().fold(f64::MAX, f64::min) as u64,
                max: echoes.iter().copied().fold(0.0, f64::max) as u64,
                jain: (run.result.echoes > 0).then(|| jain(echoes)),
            };
            run
        });
        let found = fairness(&runs.each_ref());
        assert!((found.jain.unwrap() - jain(&parts.concat())).abs() < 1e-12, "{found:?}");
        assert_eq!((found.min, found.max), (0, 100));
        assert_eq!(fairness(&[&runs[2], &runs[2]]).jain, None);
    }

    #[test]
    fn failures_are_sorted_by_time_and_renumbered() {
        let failure = |connection, at_us| Failure {
            connection,
            at_us,
            offset: 0,
            cause: "closed".to_owned(),
            text: String::new(),
            hint: None,
        };
        let (mut first, mut second) = (run(3, []), run(2, []));
        first.result.incidents = vec![failure(3, 50)];
        second.result.incidents = vec![failure(1, 20)];
        assert_eq!(incidents(&[&first, &second]), [failure(4, 20), failure(3, 50)]);
    }

    #[test]
    fn counters_are_added() {
        let counted = |times: u64| {
            let mut run = run(1, []);
            let result = &mut run.result;
            result.bytes_per_second = 64.0 * times as f64;
            (result.sent, result.loss, result.missing_bytes) = (times, 2 * times, 3 * times);
            (result.unsent, result.failed) = (4 * times, 5 * times);
            result.retransmits = Some(6 * times);
            result.causes = Causes {
                connect: times,
                changed: 2 * times,
                surplus: 3 * times,
                closed: 4 * times,
                lost: 5 * times,
                timeout: 6 * times,
            };
            run
        };
        let (first, second, both) = (counted(1), counted(10), counted(11));
        let empty = crate::distribution::histogram();
        let mut found = metrics(&[&first, &second], [&empty; 4], Vec::new());
        // Tested separately.
        (found.fairness, found.cpu_us_per_echo) =
            (both.result.fairness, both.result.cpu_us_per_echo);
        assert_eq!(found, both.result);
    }

    #[test]
    fn cpu_time_is_weighted_by_echoes() {
        let (mut first, mut second) = (run(1, 1..=30), run(1, 1..=10));
        first.result.cpu_us_per_echo = Some(2.0);
        second.result.cpu_us_per_echo = Some(6.0);
        let empty = crate::distribution::histogram();
        let cpu = |runs: &[&Run]| metrics(runs, [&empty; 4], Vec::new()).cpu_us_per_echo;
        assert_eq!(cpu(&[&first, &second]), Some(3.0));
        second.result.cpu_us_per_echo = None;
        assert_eq!(cpu(&[&first, &second]), None);
    }
}
