//! Soak test: random peers against one engine after the other, for any length of time. Every byte is checked,
//! and the server's memory, threads and descriptors are monitored.
//!
//! A *lifetime* is that of one server process. In some lifetimes all peers disconnect, and the server's usage must
//! return to what it was; in others the server is stopped or killed while peers are connected.

mod peer;
mod totals;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use echo_test_support::{ResourceUsage, Server, connect, exchange, why_unstoppable, with_engine};
use fastrand::Rng;

use self::totals::Totals;
use crate::binaries::Binaries;
use crate::engines::Engines;

/// The number of concurrent peers.
const PEERS: usize = 24;
/// The longest lifetime of a server.
const LIFETIME: Duration = Duration::from_secs(10);
/// How long a server may take to release the resources of peers that have disconnected. It sweeps once per second.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);
/// How much more memory than before a server may keep, in KiB: the event loops' buffers, and memory that the
/// allocator caches.
const KEPT_KIB: u64 = 4096;

/// Options of the task.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Duration for each engine
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    time: Duration,

    #[command(flatten)]
    engines: Engines,

    /// Repeat the peers of the run that printed this seed [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// How a lifetime ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// All peers disconnect, and the server must release everything.
    Release,
    /// SIGTERM while peers are connected: what was received is echoed.
    Stop,
    /// SIGKILL.
    Kill,
}

/// Soaks one engine after the other; fails with the seed at the first wrong byte.
#[allow(clippy::print_stdout, reason = "the report is what the task is for")]
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(why) = why_unstoppable() {
        bail!("servers must be stopped, and {why}");
    }
    let binaries = Binaries::build(true)?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    for name in options.engines.on_this_machine(&binaries)? {
        let totals = soak(&binaries, &name, seed, options.time);
        let totals = totals.with_context(|| format!("FAILED {name}; repeat with --seed {seed}"))?;
        println!("ok    {name}: {totals}");
    }
    Ok(())
}

fn soak(binaries: &Binaries, engine: &str, seed: u64, time: Duration) -> Result<Totals> {
    let mut random = Rng::with_seed(seed);
    let mut totals = Totals::default();
    let started = Instant::now();
    // In the last lifetime all peers end, so that the usage is checked at least once.
    while started.elapsed() < time {
        let left = time.saturating_sub(started.elapsed());
        let end = match random.u8(..4) {
            _ if left <= LIFETIME => End::Release,
            0 => End::Stop,
            1 => End::Kill,
            _ => End::Release,
        };
        let length = LIFETIME.mul_f64(0.3 + 0.7 * random.f64()).min(left);
        let what = format!("lifetime {}, which ends with {end:?}", totals.lifetimes);
        run_lifetime(binaries, engine, random.fork(), length, end, &mut totals).context(what)?;
    }
    Ok(totals)
}

/// Runs one server with its peers.
fn run_lifetime(
    binaries: &Binaries,
    engine: &str,
    mut random: Rng,
    length: Duration,
    end: End,
    totals: &mut Totals,
) -> Result<()> {
    let options = ["--quiet", "--threads", "2", "--drain-timeout", "3s"];
    let mut server = binaries.start(&with_engine(engine, &options))?;
    let (address, before) = (server.address, usage_at_rest(&server)?);
    let (stop, server_ending) = (AtomicBool::new(false), AtomicBool::new(false));
    let seeds: Vec<Rng> = (0..PEERS).map(|_| random.fork()).collect();
    let ended = thread::scope(|scope| {
        let peers: Vec<_> = seeds
            .into_iter()
            .map(|random| scope.spawn(|| peer::visit(address, random, &stop, &server_ending)))
            .collect();
        let deadline = Instant::now() + length;
        while Instant::now() < deadline && !peers.iter().any(thread::ScopedJoinHandle::is_finished)
        {
            thread::sleep(Duration::from_millis(20));
            totals.watch(&ResourceUsage::of(&server));
        }
        // From here on a connection may end early, but never with a wrong byte.
        server_ending.store(!matches!(end, End::Release), Ordering::SeqCst);
        match end {
            End::Release => {}
            End::Stop => server.process.terminate(),
            End::Kill => server.process.kill(),
        }
        stop.store(true, Ordering::SeqCst);
        let ended = peers.into_iter().map(|peer| peer.join().expect("a peer does not panic"));
        ended.collect::<Vec<_>>()
    });
    for visits in ended {
        totals.add(&visits?);
    }
    totals.lifetimes += 1;
    if let End::Release = end {
        expect_release(&server, &before, totals)?;
        server.process.terminate();
    }
    let status = server.process.wait()?.status;
    match end {
        End::Kill => {}
        // It may have had to abort connections whose peers never read.
        End::Stop => {
            ensure!(matches!(status.code(), Some(0 | 1)), "SIGTERM ended it with {status}")
        }
        End::Release => {
            ensure!(status.success(), "without connections, SIGTERM ended it with {status}")
        }
    }
    Ok(())
}

/// The usage of a server that has served one connection, so that everything is initialised, and has none now.
fn usage_at_rest(server: &Server) -> Result<ResourceUsage> {
    let stream = connect(server.address);
    exchange(&stream, b"warm");
    let in_use = ResourceUsage::of(server);
    drop(stream);
    let started = Instant::now();
    loop {
        let now = ResourceUsage::of(server);
        // On a system without /proc, all figures are 0.
        if now.descriptors < in_use.descriptors || in_use.descriptors == 0 {
            return Ok(now);
        }
        ensure!(
            started.elapsed() < RELEASE_TIMEOUT,
            "the only peer has ended, and the server still has {now}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until a server without connections uses no more than before.
fn expect_release(server: &Server, before: &ResourceUsage, totals: &mut Totals) -> Result<()> {
    let started = Instant::now();
    loop {
        let now = ResourceUsage::of(server);
        if now.descriptors <= before.descriptors && now.memory_kib <= before.memory_kib + KEPT_KIB {
            totals.at_end(&now);
            return Ok(());
        }
        if started.elapsed() > RELEASE_TIMEOUT {
            bail!("all peers have ended, and the server still has {now}; before it had {before}");
        }
        thread::sleep(Duration::from_millis(50));
    }
}
