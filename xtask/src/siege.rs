//! A server under siege: a flood, a thousand peers that send and never read, a hundred that send byte by byte,
//! and a hundred honest ones among them, whose round trips are held against those on a quiet server.
//!
//! The attackers get what processor time is left: elsewhere they would bring their own.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use echo_client::run::Run;
use echo_test_support::{
    Held, Process, Server, command, connect, connect_and_never_read, exchange,
};

use crate::engines::Engines;
use crate::pair::Pair;

const NEVER_READERS: usize = 1000;
/// Threads that bring those in: each of them takes a moment until nothing more is taken from it.
const USHERS: usize = 50;
const DRIPPERS: usize = 100;
/// How often each of those sends its byte.
const DRIP: Duration = Duration::from_millis(100);
/// The honest peers: connections, and messages a second on all of them together.
const HONEST: [&str; 4] = ["--connections", "100", "--rate", "1000"];
/// The share of the time that goes to measuring the quiet server.
const QUIET: u32 = 4;
/// Their 99th percentile may be twice that on the quiet server, or this.
const SOON_ENOUGH_US: f64 = 10_000.0;
/// The most that the server may hold.
const MOST_KIB: u64 = 128 * 1024;

/// How long, and what.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// For how long, for each engine
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    time: Duration,

    #[command(flatten)]
    engines: Engines,
}

/// Besieges one engine after the other.
#[allow(clippy::print_stdout, reason = "the report is what the task is for")]
pub(crate) fn run(options: &Options) -> Result<()> {
    let pair = Pair::build(true)?;
    for engine in options.engines.on_this_machine(&pair)? {
        let besieged = besiege(&pair, &engine, options.time);
        println!("ok    {engine}: {}", besieged.with_context(|| format!("FAILED {engine}"))?);
    }
    Ok(())
}

fn besiege(pair: &Pair, engine: &str, time: Duration) -> Result<String> {
    let server = pair.start(&["--engine", engine, "--quiet"])?;
    let (quiet, _) = honest_peers(pair, &server, time / QUIET)?;
    let over = AtomicBool::new(false);
    let (besieged, held) = thread::scope(|scope| {
        // Whatever happens, the attackers leave.
        let _guard = Leave(&over);
        let stuck = never_readers(server.address);
        let dripping = scope.spawn(|| drip(server.address, &over));
        let flood = flood(pair, server.address, time)?;
        let result = honest_peers(pair, &server, time)?;
        over.store(true, Ordering::Relaxed);
        dripping.join().expect("it does not panic");
        flood.interrupt();
        let flood = flood.wait()?;
        ensure!(flood.status.success(), "the flood: {}{}", flood.stdout, flood.stderr);
        drop(stuck);
        Ok(result)
    })?;
    let allowed = (2.0 * quiet).max(SOON_ENOUGH_US);
    let figures = format!(
        "p99 of the honest {besieged} us, {quiet} us on a quiet server; it held {held} at the most"
    );
    ensure!(besieged <= allowed, "{figures}: {allowed} us would be soon enough");
    ensure!(held.memory_kib <= MOST_KIB, "{figures}: {MOST_KIB} KiB would be enough");
    Ok(figures)
}

/// Tells the attackers to leave when it is dropped.
struct Leave<'a>(&'a AtomicBool);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Round trips of the honest peers, all of which must come back right: the 99th percentile in microseconds,
/// and the most that the server held meanwhile.
fn honest_peers(pair: &Pair, server: &Server, time: Duration) -> Result<(f64, Held)> {
    let duration = humantime::format_duration(time).to_string();
    let load = ["bench", "--format", "json", "--duration", &duration];
    let started = Instant::now();
    let load = Process::spawn(pair.client(server.address, &load).args(HONEST))?;
    let mut most = Held::default();
    while started.elapsed() < time {
        most = most.max(&Held::by(server));
        thread::sleep(Duration::from_millis(20));
    }
    let load = load.wait()?;
    ensure!(load.status.success(), "an honest peer: {}", load.stderr);
    let run: Run = serde_json::from_str(&load.stdout).context("echo-client's JSON")?;
    Ok((run.result.latency.p99_us, most))
}

/// Peers that have sent until nothing more was taken, and stay.
fn never_readers(server: SocketAddr) -> Vec<TcpStream> {
    thread::scope(|scope| {
        let share =
            || (0..NEVER_READERS / USHERS).map(|_| connect_and_never_read(server)).collect();
        let ushers: Vec<_> = (0..USHERS).map(|_| scope.spawn(share)).collect();
        let stuck = ushers.into_iter().map(|usher| usher.join().expect("it can connect"));
        stuck.collect::<Vec<Vec<_>>>().into_iter().flatten().collect()
    })
}

/// Peers that send a byte now and then, and get it back.
fn drip(server: SocketAddr, over: &AtomicBool) {
    let peers: Vec<_> = (0..DRIPPERS).map(|_| connect(server)).collect();
    while !over.load(Ordering::Relaxed) {
        for peer in &peers {
            exchange(peer, b".");
        }
        thread::sleep(DRIP);
    }
}

/// As much as goes through one connection, compared too, for as long as `time` at least.
fn flood(pair: &Pair, server: SocketAddr, time: Duration) -> Result<Process> {
    let duration = humantime::format_duration(2 * time).to_string();
    let load = ["bench", "--connections", "1", "--size", "64k", "--depth", "16"];
    let load = pair.client(server, &[&load[..], &["--duration", &duration]].concat());
    let mut nice = command("nice");
    nice.args(["-n", "19"]).arg(load.get_program()).args(load.get_args());
    Ok(Process::spawn(&mut nice)?)
}
