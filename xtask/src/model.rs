//! Random histories against the built server, judged by the [model](echo_test_support::model) of what a peer may
//! see.
//!
//! A *history* is what up to four peers do, step by step, against one configuration of the server, a *case*. It
//! follows from its seed. One that fails is shrunk, and printed with the command that repeats it.

mod case;
mod history;
mod host;
mod peer;
mod play;
mod shrink;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;

use self::case::{CASES, Case};
use self::history::History;
use self::host::Host;
use self::play::Setting;
use self::shrink::draw;
use crate::binaries::Binaries;
use crate::engines::Engines;
use crate::socket_table::reset_for_lack_of_memory;

/// Seeds of a round: as many as [`Case::round`] at the most are used.
const ROUND: u64 = 100;
/// In so many histories what is held for a peer is counted once.
const COUNTED_ONE_IN: u64 = 16;
/// How long anything may take that must come: generous, the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(15);

/// How many, and which.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// For how long, for each engine [default: 30s, or until --histories are done]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    time: Option<Duration>,

    /// How many histories, for each engine
    #[arg(long, value_name = "N")]
    histories: Option<u64>,

    /// Configurations of the server [default: all]
    #[arg(long, value_name = "NAME", num_args = 1.., value_parser = case_names())]
    cases: Vec<String>,

    #[command(flatten)]
    engines: Engines,

    /// The seed of the first history; the next has the next [default: another each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Servers at the same time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: u64,
}

fn case_names() -> PossibleValuesParser {
    PossibleValuesParser::new(CASES.iter().map(|case| case.name))
}

/// A history that failed, as it was drawn.
struct Failure {
    case: &'static Case,
    seed: u64,
    error: anyhow::Error,
}

/// Plays histories against one engine after the other; fails with a shrunk one at the first wrong byte.
#[allow(clippy::print_stdout, reason = "the report is what the task is for")]
pub(crate) fn run(options: &Options) -> Result<()> {
    let binaries = Binaries::build(true)?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 40));
    println!("seed {seed}");
    for engine in options.engines.on_this_machine(&binaries)? {
        let runner = Runner::new(&binaries, &engine, options, seed);
        let started = Instant::now();
        let failure = runner.run();
        let (count, time) = (runner.played.load(Relaxed), started.elapsed());
        let rate = count as f64 / time.as_secs_f64();
        let figures = format!("{count} histories in {:.1} s, {rate:.0}/s", time.as_secs_f64());
        if let Some(failure) = failure {
            println!("FAIL  {engine}: after {figures}");
            return Err(runner.report(failure));
        }
        println!("ok    {engine}: {figures}");
    }
    Ok(())
}

/// Plays histories on one engine.
struct Runner<'a> {
    binaries: &'a Binaries,
    engine: &'a str,
    cases: Vec<&'static Case>,
    seed: u64,
    histories: u64,
    jobs: u64,
    end: Option<Instant>,
    /// Rounds that were begun.
    rounds: AtomicU64,
    /// Histories that were begun, and those that were played.
    begun: AtomicU64,
    played: AtomicU64,
    failed: AtomicBool,
}

impl<'a> Runner<'a> {
    fn new(binaries: &'a Binaries, engine: &'a str, options: &Options, seed: u64) -> Self {
        let named = |case: &&'static Case| {
            options.cases.is_empty() || options.cases.iter().any(|name| name == case.name)
        };
        let default = options.histories.is_none().then_some(Duration::from_secs(30));
        Self {
            binaries,
            engine,
            cases: CASES.iter().filter(named).collect(),
            seed,
            histories: options.histories.unwrap_or(u64::MAX),
            jobs: options.jobs,
            end: options.time.or(default).map(|time| Instant::now() + time),
            rounds: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            played: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        }
    }

    fn run(&self) -> Option<Failure> {
        let failure = Mutex::new(None);
        thread::scope(|scope| {
            for job in 0..self.jobs {
                let failure = &failure;
                scope.spawn(move || {
                    if let Err(found) = self.work(job) {
                        self.failed.store(true, Relaxed);
                        failure.lock().expect("it holds no panic").get_or_insert(found);
                    }
                });
            }
        });
        failure.into_inner().expect("it holds no panic")
    }

    /// Plays rounds of histories until there are enough.
    fn work(&self, job: u64) -> Result<(), Failure> {
        loop {
            let round = self.rounds.fetch_add(1, Relaxed);
            let case = self.cases[round as usize % self.cases.len()];
            let mut host = None;
            for seed in (self.seed + round * ROUND..).take(case.round) {
                if self.is_over() || self.begun.fetch_add(1, Relaxed) >= self.histories {
                    break;
                }
                let failed = |error| Failure { case, seed, error };
                host = self.play(host, case, seed, source(job, seed)).map_err(failed)?;
                self.played.fetch_add(1, Relaxed);
            }
            if let Some(host) = host {
                let seed = self.seed + round * ROUND;
                host.finish().map_err(|error| Failure { case, seed, error })?;
            }
            if self.is_over() {
                return Ok(());
            }
        }
    }

    fn is_over(&self) -> bool {
        self.failed.load(Relaxed)
            || self.begun.load(Relaxed) >= self.histories
            || self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// Plays one history on a server, which it starts if there is none, and returns unless it was stopped. One during
    /// which the system had no memory for TCP says nothing: the kernel resets connections then.
    #[allow(clippy::print_stdout, reason = "the report is what the task is for")]
    fn play(
        &self,
        host: Option<Host>,
        case: &'static Case,
        seed: u64,
        from: IpAddr,
    ) -> Result<Option<Host>> {
        let counts = seed.is_multiple_of(COUNTED_ONE_IN);
        let setting = Setting { from, deadline: DEADLINE, counts };
        let reset = reset_for_lack_of_memory();
        match self.play_drawn(host, case, &draw(case, seed).history(), setting) {
            Err(error) if reset_for_lack_of_memory() > reset => {
                println!("the system is out of memory for TCP, seed {seed} is void: {error:#}");
                Ok(None)
            }
            result => result,
        }
    }

    fn play_drawn(
        &self,
        host: Option<Host>,
        case: &'static Case,
        history: &History,
        setting: Setting,
    ) -> Result<Option<Host>> {
        let mut host = match host {
            Some(host) => host,
            None => Host::start(self.binaries, self.engine, case)?,
        };
        if let Err(error) = play::play(&mut host, case, history, setting) {
            host.thaw();
            bail!("{error:#}\nserver: {}", host.said());
        }
        if host.is_stopping() {
            host.finish()?;
            return Ok(None);
        }
        Ok(Some(host))
    }

    /// Shrinks what failed, and says how to see it again.
    #[allow(clippy::print_stdout, reason = "the report is what the task is for")]
    fn report(&self, failure: Failure) -> anyhow::Error {
        let Failure { case, seed, error } = failure;
        println!("  found: {error:#}");
        let fails = |history: &History| {
            let setting = Setting {
                from: source(0, fastrand::u64(..)),
                deadline: DEADLINE / 5,
                counts: true,
            };
            let host = self.play_drawn(None, case, history, setting);
            let finished = host.and_then(|host| host.map_or(Ok(()), Host::finish));
            finished.err().map(|error| format!("{error:#}"))
        };
        let drawn = draw(case, seed);
        let Some((history, error)) = shrink::shrink(drawn, fails) else {
            return error.context(format!(
                "FAILED {}, case {}, seed {seed}, which did not repeat by itself",
                self.engine, case.name
            ));
        };
        let arguments = case.arguments.join(" ");
        anyhow::anyhow!("{error}").context(format!(
            "FAILED {}, case {} ({arguments}), shrunk to\n{history}again with: cargo xtask model --engine {} \
             --cases {} --seed {seed} --histories 1",
            self.engine, case.name, self.engine, case.name
        ))
    }
}

/// Many connections a second need more ports than one address has.
fn source(job: u64, seed: u64) -> IpAddr {
    IpAddr::from(Ipv4Addr::new(127, 2 + (job % 200) as u8, 0, 1 + (seed % 250) as u8))
}
