//! Plays histories, one after the other, and reports one that fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::world::with;

/// How long to look for a shorter history that fails in the same way.
const SEARCH: Duration = Duration::from_secs(10);

/// The message of the last panic, with its place.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// The histories of a program.
#[derive(Clone, Copy)]
pub struct Histories<'a> {
    /// The names of what is simulated.
    pub engines: &'a [&'a str],
    /// Histories that have failed: an engine, a seed, and what was wrong. They are played first.
    pub regressions: &'a [(&'a str, u64, &'a str)],
    /// Plays the history of a seed in a new world of this thread, with a trace if wanted. Panics if it fails.
    pub play: fn(engine: &str, seed: u64, traced: bool),
    /// Forgets what a history that has failed has left.
    pub forget: fn(),
}

/// Plays simulated histories.
#[derive(Debug, Parser)]
struct Options {
    /// What is simulated
    #[arg(long)]
    engine: String,

    /// Seed of the first history; the next has the next
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// How many histories
    #[arg(long, value_name = "N", default_value_t = u64::MAX)]
    histories: u64,

    /// For how long
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    time: Option<Duration>,

    /// Print what happens in the first history
    #[arg(long)]
    trace: bool,

    /// Only count the histories until one fails: do not play those that have failed, nor look for a shorter one
    #[arg(long)]
    count: bool,
}

/// How a history went.
struct Played {
    steps: u64,
    trace: Vec<String>,
    error: Option<String>,
}

impl Histories<'_> {
    /// Plays histories as the command line says, until one fails, or there are enough.
    #[must_use]
    #[allow(clippy::print_stdout, reason = "the report is what the program is for")]
    pub fn main(&self) -> ExitCode {
        let options = Options::parse();
        let engine = options.engine.as_str();
        if !self.engines.contains(&engine) {
            println!("no simulated engine is called {engine}");
            return ExitCode::from(2);
        }
        keep_panics();
        if options.trace {
            let played = self.play(engine, options.seed, true);
            println!("{}", played.trace.join("\n"));
            println!("{} steps, {}", played.steps, played.error.as_deref().unwrap_or("ok"));
            return ExitCode::from(u8::from(played.error.is_some()));
        }
        for (name, seed, why) in self.regressions {
            if !options.count
                && *name == engine
                && let Some(error) = self.play(engine, *seed, false).error
            {
                println!("FAIL  {name}: seed {seed}, which is in the list ({why}): {error}");
                return ExitCode::FAILURE;
            }
        }
        self.play_many(&options)
    }

    #[allow(clippy::print_stdout, reason = "the report is what the program is for")]
    fn play_many(&self, options: &Options) -> ExitCode {
        let started = Instant::now();
        let (mut steps, mut histories) = (0, 0);
        let is_over = |histories: u64| {
            histories >= options.histories
                || histories.is_multiple_of(64)
                    && options.time.is_some_and(|time| started.elapsed() >= time)
        };
        while !is_over(histories) {
            let seed = options.seed + histories;
            let played = self.play(&options.engine, seed, false);
            (steps, histories) = (steps + played.steps, histories + 1);
            if let Some(error) = played.error {
                println!("FAIL  {}: history {histories}: {error}", options.engine);
                if !options.count {
                    self.report(&options.engine, seed, played.steps, &error);
                }
                return ExitCode::FAILURE;
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "ok    {}: seeds {}..{}, {histories} histories, {steps} steps in {seconds:.1} s, {:.1} million steps/min",
            options.engine,
            options.seed,
            options.seed + histories,
            steps as f64 / seconds * 60.0 / 1e6,
        );
        ExitCode::SUCCESS
    }

    /// Prints the shortest history that fails in the same way, among those that are found in some time.
    #[allow(clippy::print_stdout, reason = "the report is what the program is for")]
    fn report(&self, engine: &str, seed: u64, steps: u64, error: &str) {
        let kind = |error: &str| error.replace(|c: char| c.is_ascii_digit(), "");
        let (mut shortest, mut fewest) = (seed, steps);
        let started = Instant::now();
        for other in seed + 1.. {
            if started.elapsed() > SEARCH {
                break;
            }
            let played = self.play(engine, other, false);
            if played.steps < fewest && played.error.as_deref().map(kind) == Some(kind(error)) {
                (shortest, fewest) = (other, played.steps);
            }
        }
        let played = self.play(engine, shortest, true);
        println!("{}", played.trace.join("\n"));
        println!("FAILED: {}", played.error.unwrap_or_default());
        println!("first found with seed {seed}");
        println!("again with: cargo xtask simulate --engine {engine} --seed {shortest} --trace");
    }

    fn play(&self, engine: &str, seed: u64, traced: bool) -> Played {
        let result = catch_unwind(AssertUnwindSafe(|| (self.play)(engine, seed, traced)));
        let error = result.err().map(|_| {
            (self.forget)();
            std::mem::take(&mut *PANIC.lock().expect("it holds no panic"))
        });
        let (steps, trace) = with(|world| (world.steps, world.trace.take().unwrap_or_default()));
        Played { steps, trace, error }
    }
}

/// Keeps the message of a panic instead of printing it.
fn keep_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let message = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        *PANIC.lock().expect("it holds no panic") = format!("{message} ({place})");
    }));
}
