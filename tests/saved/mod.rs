//! Saved runs for the tests of `echo-client report`.

use std::fs;
use std::path::{Path, PathBuf};

use echo_client::distribution::{Distribution, histogram};
use echo_client::run::{Builds, Fairness, Interval, Loop, Machine, Metrics, Run, Settings};
use echo_client::run_file::RunFile;
use echo_test_support::{Finished, Process, command};
use hdrhistogram::Histogram;
use serde_json::Value;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-client");

/// A directory for this test, removed when dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(test: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{test}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), content).unwrap();
    }

    pub(crate) fn run(&self, name: &str, run: &Run) {
        self.file(name, json(run));
    }

    pub(crate) fn report(&self, arguments: &[&str]) -> Finished {
        self.report_of(b"", arguments)
    }

    pub(crate) fn report_of(&self, stdin: &[u8], arguments: &[&str]) -> Finished {
        let mut client = command(PROGRAM);
        let client = client.arg("report").args(arguments).current_dir(&self.0);
        Process::run(client, stdin).unwrap()
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let finished = self.report(&[arguments, &["--format", "json"]].concat());
        assert!(finished.status.success(), "{finished:?}");
        serde_json::from_str(&finished.stdout).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The file of a single run.
pub(crate) fn json(run: &Run) -> String {
    serde_json::to_string(&RunFile::of(vec![run.clone()])).unwrap()
}

pub(crate) fn times(ns: impl IntoIterator<Item = u64>) -> Histogram<u64> {
    let mut times = histogram();
    ns.into_iter().for_each(|ns| times.record(ns).unwrap());
    times
}

/// A run of two seconds with these latencies.
pub(crate) fn run(latencies: impl IntoIterator<Item = u64>) -> Run {
    let times = times(latencies);
    let distribution = Distribution::of(&times);
    let interval = |start_s| Interval {
        start_s,
        seconds: 1.0,
        echoes: times.len() / 2,
        rate: times.len() as f64 / 2.0,
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
        settings: settings(),
        intervals: vec![interval(0.0), interval(1.0)],
        gates: Vec::new(),
        result: Metrics {
            seconds: 2.0,
            echoes: times.len(),
            rate: times.len() as f64 / 2.0,
            bytes_per_second: times.len() as f64 * 32.0,
            service: distribution.clone(),
            connect: distribution.clone(),
            latency: distribution,
            sent: times.len(),
            fairness: Fairness { min: times.len(), max: times.len(), jain: Some(1.0) },
            cpu_us_per_echo: Some(2.0),
            busy: Some(0.5),
            retransmits: Some(0),
            ..Metrics::default()
        },
    }
}

fn settings() -> Settings {
    Settings {
        host: "example".to_owned(),
        address: "192.0.2.1:65432".to_owned(),
        connections: 1,
        size: 64,
        depth: 1,
        framing: "raw".to_owned(),
        pacing: Loop::Closed,
        rate: None,
        arrivals: None,
        seed: None,
        duration_s: Some(2.0),
        messages: None,
        warmup_s: 0.0,
        engine: "readiness".to_owned(),
        threads: 1,
        busy_poll: false,
        reconnect_every: None,
        timeout_s: 10.0,
        repeat: 1,
        pause_s: None,
    }
}

/// Checks that every element is closed in order and text is escaped; returns the texts.
pub(crate) fn texts_of_well_formed(xml: &str) -> Vec<String> {
    let (mut open, mut texts) = (Vec::new(), Vec::new());
    for piece in xml.trim().split('<').skip(1) {
        let (tag, text) = piece.split_once('>').expect("a tag ends");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        match (tag.strip_prefix('/'), tag.ends_with('/')) {
            (Some(name), _) => assert_eq!(open.pop(), Some(name)),
            (None, true) => {}
            (None, false) => open.push(tag.split_whitespace().next().unwrap()),
        }
        let text = text.trim().replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
        let bare = text.replace("&amp;", "").replace("&apos;", "");
        assert!(!bare.contains('&'), "{text}");
        texts.extend(
            Some(text.replace("&apos;", "'").replace("&amp;", "&")).filter(|it| !it.is_empty()),
        );
    }
    assert_eq!(open, [""; 0]);
    texts
}
