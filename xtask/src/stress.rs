//! Stress test with hostile and well-behaved clients: a flood, a thousand peers that send and never read, a
//! hundred that send byte by byte, and a hundred well-behaved ones, whose latency is compared with that on an
//! otherwise idle server.
//!
//! The flood runs at a low priority, because real attackers would not share the server's CPUs.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use echo_client::run_file::RunFile;
use echo_test_support::{
    Process, ResourceUsage, Server, command, connect, connect_and_never_read, exchange,
};

use crate::binaries::Binaries;
use crate::engines::Engines;

const NEVER_READERS: usize = 1000;
/// Threads that connect these peers in parallel, because each takes a while to fill its buffers.
const CONNECTORS: usize = 50;
/// Peers that send byte by byte.
const SLOW_SENDERS: usize = 100;
/// The interval between two bytes of such a peer.
const BYTE_INTERVAL: Duration = Duration::from_millis(100);
/// The load of the well-behaved peers: connections, and messages per second in total.
const WELL_BEHAVED: [&str; 4] = ["--connections", "100", "--rate", "1000"];
/// The idle server is measured for this fraction of the time.
const QUIET_FRACTION: u32 = 4;
/// The allowed 99th percentile: this, or twice that on the idle server if that is more.
const P99_ALLOWED_US: f64 = 10_000.0;
/// The limit of the server's memory.
const MEMORY_MAX_KIB: u64 = 128 * 1024;

/// Options of the task.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Duration for each engine
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    time: Duration,

    #[command(flatten)]
    engines: Engines,
}

/// Stresses one engine after the other.
#[allow(clippy::print_stdout, reason = "the report is what the task is for")]
pub(crate) fn run(options: &Options) -> Result<()> {
    let binaries = Binaries::build(true)?;
    for engine in options.engines.on_this_machine(&binaries)? {
        let result = stress(&binaries, &engine, options.time);
        println!("ok    {engine}: {}", result.with_context(|| format!("FAILED {engine}"))?);
    }
    Ok(())
}

fn stress(binaries: &Binaries, engine: &str, time: Duration) -> Result<String> {
    let server = binaries.start(&["--engine", engine, "--quiet"])?;
    let (quiet, _) = well_behaved_peers(binaries, &server, time / QUIET_FRACTION)?;
    let stop = AtomicBool::new(false);
    let (stressed, usage) = thread::scope(|scope| {
        // Stops the slow senders even if this closure fails.
        let _guard = StopOnDrop(&stop);
        let stuck = never_readers(server.address);
        let slow = scope.spawn(|| send_slowly(server.address, &stop));
        let flood = flood(binaries, server.address, time)?;
        let result = well_behaved_peers(binaries, &server, time)?;
        stop.store(true, Ordering::Relaxed);
        slow.join().expect("it does not panic");
        flood.interrupt();
        let flood = flood.wait()?;
        ensure!(flood.status.success(), "the flood: {}{}", flood.stdout, flood.stderr);
        drop(stuck);
        Ok(result)
    })?;
    let allowed = (2.0 * quiet).max(P99_ALLOWED_US);
    let figures = format!("p99 {stressed} us, on an idle server {quiet} us; server peak {usage}");
    ensure!(stressed <= allowed, "{figures}: at most {allowed} us are allowed");
    ensure!(
        usage.memory_kib <= MEMORY_MAX_KIB,
        "{figures}: at most {MEMORY_MAX_KIB} KiB are allowed"
    );
    Ok(figures)
}

/// Stops the slow senders when dropped.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs the well-behaved peers, which must receive every echo. Returns the 99th percentile of their round-trip
/// times in microseconds, and the server's peak usage.
fn well_behaved_peers(
    binaries: &Binaries,
    server: &Server,
    time: Duration,
) -> Result<(f64, ResourceUsage)> {
    let duration = humantime::format_duration(time).to_string();
    let load = ["bench", "--format", "json", "--duration", &duration];
    let started = Instant::now();
    let load = Process::spawn(binaries.client(server.address, &load).args(WELL_BEHAVED))?;
    let mut peak = ResourceUsage::default();
    while started.elapsed() < time {
        peak = peak.max(&ResourceUsage::of(server));
        thread::sleep(Duration::from_millis(20));
    }
    let load = load.wait()?;
    ensure!(load.status.success(), "a well-behaved peer: {}", load.stderr);
    let file: RunFile = serde_json::from_str(&load.stdout).context("echo-client's JSON")?;
    let run = file.into_runs().pop().context("no run")?;
    Ok((run.result.latency.p99_us, peak))
}

/// Connects peers that send until their buffers are full, never read, and stay connected.
pub(crate) fn never_readers(server: SocketAddr) -> Vec<TcpStream> {
    thread::scope(|scope| {
        let share =
            || (0..NEVER_READERS / CONNECTORS).map(|_| connect_and_never_read(server)).collect();
        let connectors: Vec<_> = (0..CONNECTORS).map(|_| scope.spawn(share)).collect();
        let stuck =
            connectors.into_iter().map(|connector| connector.join().expect("it can connect"));
        stuck.collect::<Vec<Vec<_>>>().into_iter().flatten().collect()
    })
}

/// Runs peers that send a byte at intervals and read its echo.
fn send_slowly(server: SocketAddr, stop: &AtomicBool) {
    let peers: Vec<_> = (0..SLOW_SENDERS).map(|_| connect(server)).collect();
    while !stop.load(Ordering::Relaxed) {
        for peer in &peers {
            exchange(peer, b".");
        }
        thread::sleep(BYTE_INTERVAL);
    }
}

/// Starts one connection that sends as fast as possible and checks the echo, for longer than `time`.
fn flood(binaries: &Binaries, server: SocketAddr, time: Duration) -> Result<Process> {
    let duration = humantime::format_duration(2 * time).to_string();
    let load = ["bench", "--connections", "1", "--size", "64k", "--depth", "16"];
    let load = binaries.client(server, &[&load[..], &["--duration", &duration]].concat());
    let mut nice = command("nice");
    nice.args(["-n", "19"]).arg(load.get_program()).args(load.get_args());
    Ok(Process::spawn(&mut nice)?)
}
