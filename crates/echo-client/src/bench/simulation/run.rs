//! Plays histories, one after the other, and reports one that fails.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use echo_simulation::{World, drive, enter, with};
use fastrand::Rng;

use super::Options;
use super::case::Case;
use super::driver::{Facts, Outside};
use super::judge::judge;
use super::regressions::REGRESSIONS;
use crate::bench::SPARES_PER_WORKER;
use crate::bench::stats::IntervalStats;
use crate::bench::worker::Worker;

/// The most steps of a history: one that takes more spins.
const MOST_STEPS: u64 = 400_000;
/// How long to look for a shorter history that fails in the same way.
const SEARCH: Duration = Duration::from_secs(10);

/// The message of the last panic, with its place.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// How a history went.
struct Played {
    steps: u64,
    trace: Vec<String>,
    error: Option<String>,
}

#[allow(clippy::print_stdout, reason = "the report is what the program is for")]
pub(super) fn run(options: &Options) -> ExitCode {
    if options.engine != "bench-readiness" {
        println!("no simulated engine is called {}", options.engine);
        return ExitCode::from(2);
    }
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let message = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        *PANIC.lock().expect("it holds no panic") = format!("{message} ({place})");
    }));
    if options.trace {
        let played = play(options.seed, true);
        println!("{}", played.trace.join("\n"));
        println!("{} steps, {}", played.steps, played.error.as_deref().unwrap_or("ok"));
        return ExitCode::from(u8::from(played.error.is_some()));
    }
    for (name, seed, why) in REGRESSIONS {
        if *name == options.engine
            && let Some(error) = play(*seed, false).error
        {
            println!("FAIL  {name}: seed {seed}, which is in the list ({why}): {error}");
            return ExitCode::FAILURE;
        }
    }
    let started = Instant::now();
    let (mut steps, mut histories) = (0, 0);
    let is_over = |histories: u64| {
        histories >= options.histories
            || histories.is_multiple_of(64)
                && options.time.is_some_and(|time| started.elapsed() >= time)
    };
    while !is_over(histories) {
        let seed = options.seed + histories;
        let played = play(seed, false);
        (steps, histories) = (steps + played.steps, histories + 1);
        if let Some(error) = played.error {
            println!("FAIL  {}: history {histories}: {error}", options.engine);
            if !options.no_shrink {
                report(&options.engine, seed, played.steps, &error);
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
fn report(name: &str, seed: u64, steps: u64, error: &str) {
    let kind = |error: &str| error.replace(|c: char| c.is_ascii_digit(), "");
    let (mut shortest, mut fewest) = (seed, steps);
    let started = Instant::now();
    for other in seed + 1.. {
        if started.elapsed() > SEARCH {
            break;
        }
        let played = play(other, false);
        if played.steps < fewest && played.error.as_deref().map(kind) == Some(kind(error)) {
            (shortest, fewest) = (other, played.steps);
        }
    }
    let played = play(shortest, true);
    println!("{}", played.trace.join("\n"));
    println!("FAILED: {}", played.error.unwrap_or_default());
    println!("first found with seed {seed}");
    println!("again with: cargo xtask simulate --engine {name} --seed {shortest} --trace");
}

/// Plays the history of a seed.
fn play(seed: u64, traced: bool) -> Played {
    let result = catch_unwind(AssertUnwindSafe(|| play_history(seed, traced)));
    let error =
        result.err().map(|_| std::mem::take(&mut *PANIC.lock().expect("it holds no panic")));
    let (steps, trace) = with(|world| (world.steps, world.trace.take().unwrap_or_default()));
    Played { steps, trace, error }
}

fn play_history(seed: u64, traced: bool) {
    // Neighbouring seeds give histories that have nothing in common.
    let rng = &mut Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let case = Case::pick(rng);
    let mut world = World::new(rng.u64(..), case.settings);
    world.most_steps = MOST_STEPS;
    world.trace = traced.then(Vec::new);
    enter(world);
    if traced {
        let Case { config, workload, server, stop_after, settings, .. } = case;
        with(|world| {
            world.note(format!("{config:?}\n{workload:?}"));
            world.note(format!("{server:?}, {settings:?}, stopped after {stop_after:?}"));
        });
    }
    let facts = Rc::new(RefCell::new(Facts::new(case)));
    let (sender, updates) = mpsc::sync_channel(SPARES_PER_WORKER + 1);
    let (spares, returned) = mpsc::sync_channel(SPARES_PER_WORKER);
    for _ in 0..SPARES_PER_WORKER {
        let _ = spares.try_send(IntervalStats::new(case.workload.rate.is_some()));
    }
    let worker = Worker::new(&case.shared, 0, sender, returned, None);
    let outside = Outside::new(case, updates, spares, Rc::clone(&facts));
    drive(Box::new(outside), || worker.expect("a simulated poll cannot fail").run());
    judge(case, &facts.borrow());
}
