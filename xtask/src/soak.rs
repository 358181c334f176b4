//! Peers of all kinds against one engine after the other, for as long as one likes, with stops and kills in
//! between. Every byte is checked, and what the server holds is watched.
//!
//! A *spell* is the life of one server process: peers come and go for a while, then they leave and it has to
//! hold as little as at the beginning; or it is stopped, or killed, in the midst of them.

mod peer;
mod tally;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use echo_test_support::{Held, Server, Signal, connect, exchange};
use fastrand::Rng;

use self::tally::Tally;
use crate::engines::Engines;
use crate::pair::Pair;

/// Peers at the same time.
const PEERS: usize = 24;
/// The longest life of a server.
const SPELL: Duration = Duration::from_secs(10);
/// How long a server may take to let go of what it held for peers that have left. It sweeps every 125 ms.
const LET_GO: Duration = Duration::from_secs(10);
/// What may stay behind on top of what it held at the beginning, in KiB: the event loops' own buffers and
/// what an allocator keeps at hand.
const KEPT_KIB: u64 = 4096;

/// How long, and what.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// For how long, for each engine
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    time: Duration,

    #[command(flatten)]
    engines: Engines,

    /// The same peers in the same order as in the run that printed this number [default: another each
    /// time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// How a spell ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The peers leave, and the server has to let go of everything.
    Leave,
    /// SIGTERM with peers there: what was received is echoed.
    Stop,
    /// SIGKILL.
    Kill,
}

/// Soaks one engine after the other; fails with the seed at the first wrong byte.
#[allow(clippy::print_stdout, reason = "the report is what the task is for")]
pub(crate) fn run(options: &Options) -> Result<()> {
    let pair = Pair::build(true)?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    for name in options.engines.on_this_machine(&pair)? {
        let tally = soak(&pair, &name, seed, options.time);
        let tally = tally.with_context(|| format!("FAILED {name}; again with --seed {seed}"))?;
        println!("ok    {name}: {tally}");
    }
    Ok(())
}

fn soak(pair: &Pair, engine: &str, seed: u64, time: Duration) -> Result<Tally> {
    let mut random = Rng::with_seed(seed);
    let mut tally = Tally::default();
    let started = Instant::now();
    // The last spell is one that ends in peace, so that what is held is looked at at least once.
    while started.elapsed() < time {
        let left = time.saturating_sub(started.elapsed());
        let end = match random.u8(..4) {
            _ if left <= SPELL => End::Leave,
            0 => End::Stop,
            1 => End::Kill,
            _ => End::Leave,
        };
        let length = SPELL.mul_f64(0.3 + 0.7 * random.f64()).min(left);
        let what = format!("spell {}, which ends with {end:?}", tally.spells);
        spell(pair, engine, random.fork(), length, end, &mut tally).context(what)?;
    }
    Ok(tally)
}

/// The life of one server.
fn spell(
    pair: &Pair,
    engine: &str,
    mut random: Rng,
    length: Duration,
    end: End,
    tally: &mut Tally,
) -> Result<()> {
    let arguments = ["--engine", engine, "--quiet", "--threads", "2", "--drain-timeout", "3s"];
    let server = pair.start(&arguments)?;
    let before = at_rest(&server)?;
    let (leaving, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let seeds: Vec<Rng> = (0..PEERS).map(|_| random.fork()).collect();
    let ended = thread::scope(|scope| {
        let peers: Vec<_> = seeds
            .into_iter()
            .map(|random| scope.spawn(|| peer::visit(server.address, random, &leaving, &over)))
            .collect();
        let deadline = Instant::now() + length;
        while Instant::now() < deadline && !peers.iter().any(thread::ScopedJoinHandle::is_finished)
        {
            thread::sleep(Duration::from_millis(20));
            tally.watch(&Held::by(&server));
        }
        // From here on a connection may end early, but not with a wrong byte.
        over.store(!matches!(end, End::Leave), Ordering::SeqCst);
        match end {
            End::Leave => {}
            End::Stop => server.process.terminate(),
            End::Kill => server.process.signal(Signal::KILL),
        }
        leaving.store(true, Ordering::SeqCst);
        let ended = peers.into_iter().map(|peer| peer.join().expect("a peer does not panic"));
        ended.collect::<Vec<_>>()
    });
    for ending in ended {
        tally.add(&ending?);
    }
    tally.spells += 1;
    if let End::Leave = end {
        let_go(&server, &before, tally)?;
        server.process.terminate();
    }
    let status = server.process.wait()?.status;
    match end {
        End::Kill => {}
        // It may have had to cut those who never read.
        End::Stop => {
            ensure!(matches!(status.code(), Some(0 | 1)), "SIGTERM ended it with {status}")
        }
        End::Leave => ensure!(status.success(), "with nobody there SIGTERM ended it with {status}"),
    }
    Ok(())
}

/// What a server holds when it has served somebody and nobody is there: then all of it has started.
fn at_rest(server: &Server) -> Result<Held> {
    let stream = connect(server.address);
    exchange(&stream, b"is it awake?");
    let awake = Held::by(server);
    drop(stream);
    let started = Instant::now();
    loop {
        let now = Held::by(server);
        // On a system that does not tell, all is 0 from the start.
        if now.descriptors < awake.descriptors || awake.descriptors == 0 {
            return Ok(now);
        }
        ensure!(started.elapsed() < LET_GO, "one peer has left, and the server still holds {now}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The server has nobody to serve any more: it may hold no more than at the beginning.
fn let_go(server: &Server, before: &Held, tally: &mut Tally) -> Result<()> {
    let started = Instant::now();
    loop {
        let now = Held::by(server);
        if now.descriptors <= before.descriptors && now.memory_kib <= before.memory_kib + KEPT_KIB {
            tally.left_behind(&now);
            return Ok(());
        }
        if started.elapsed() > LET_GO {
            bail!("all peers have left, and the server still holds {now}; at its start {before}");
        }
        thread::sleep(Duration::from_millis(50));
    }
}
