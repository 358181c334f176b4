//! Plays histories, one after the other, and reports one that fails.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use echo_simulation::{Settings, TcpListener, World, drive, enter, settle, with};
use fastrand::Rng;

use super::history::{Beginning, History};
use super::judge::{Facts, judge};
use super::regressions::REGRESSIONS;
use super::{Options, case};
use crate::engine::event_loop::pool::{Waker, WorkerContext, WorkerHandle, WorkerPool};
use crate::engine::event_loop::uring::Sizes;
use crate::engine::event_loop::{readiness, uring};
use crate::faults::mix;
use crate::listen::accept::Acceptor;

/// The most steps of a history: one that takes more spins.
const MOST_STEPS: u64 = 200_000;
/// How long to look for a shorter history that fails in the same way.
const SEARCH: Duration = Duration::from_secs(10);

/// The message of the last panic, with its place.
static PANIC: Mutex<String> = Mutex::new(String::new());

#[derive(Clone, Copy, PartialEq, Eq)]
enum Engine {
    Readiness,
    Uring,
}

/// How a history went.
struct Played {
    steps: u64,
    trace: Vec<String>,
    error: Option<String>,
}

#[allow(clippy::print_stdout, reason = "the report is what the program is for")]
pub(super) fn run(options: &Options) -> ExitCode {
    let engine = match options.engine.as_str() {
        "readiness" => Engine::Readiness,
        "uring" => Engine::Uring,
        other => {
            println!("no simulated engine is called {other}");
            return ExitCode::from(2);
        }
    };
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let message = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        *PANIC.lock().expect("it holds no panic") = format!("{message} ({place})");
    }));
    if options.trace {
        let played = play(engine, options.seed, true);
        println!("{}", played.trace.join("\n"));
        println!("{} steps, {}", played.steps, played.error.as_deref().unwrap_or("ok"));
        return ExitCode::from(u8::from(played.error.is_some()));
    }
    for (name, seed, why) in REGRESSIONS {
        if !options.count
            && *name == options.engine
            && let Some(error) = play(engine, *seed, false).error
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
        let played = play(engine, seed, false);
        (steps, histories) = (steps + played.steps, histories + 1);
        if let Some(error) = played.error {
            println!("FAIL  {}: history {histories}: {error}", options.engine);
            if !options.count {
                report(engine, &options.engine, seed, &played.steps, &error);
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
fn report(engine: Engine, name: &str, seed: u64, steps: &u64, error: &str) {
    let kind = |error: &str| error.replace(|c: char| c.is_ascii_digit(), "");
    let (mut shortest, mut fewest) = (seed, *steps);
    let started = Instant::now();
    for other in seed + 1.. {
        if started.elapsed() > SEARCH {
            break;
        }
        let played = play(engine, other, false);
        if played.steps < fewest && played.error.as_deref().map(kind) == Some(kind(error)) {
            (shortest, fewest) = (other, played.steps);
        }
    }
    let played = play(engine, shortest, true);
    println!("{}", played.trace.join("\n"));
    println!("FAILED: {}", played.error.unwrap_or_default());
    println!("first found with seed {seed}");
    println!("again with: cargo xtask simulate --engine {name} --seed {shortest} --trace");
}

/// Plays the history of a seed.
fn play(engine: Engine, seed: u64, traced: bool) -> Played {
    case::take_events();
    let result = catch_unwind(AssertUnwindSafe(|| play_history(engine, seed, traced)));
    let error = result.err().map(|_| {
        case::forget();
        std::mem::take(&mut *PANIC.lock().expect("it holds no panic"))
    });
    let (steps, trace) = with(|world| (world.steps, world.trace.take().unwrap_or_default()));
    Played { steps, trace, error }
}

fn play_history(engine: Engine, seed: u64, traced: bool) {
    let rng = &mut Rng::with_seed(mix(seed));
    let mut world = World::new(rng.u64(..), settings(rng));
    world.most_steps = MOST_STEPS;
    world.trace = traced.then(Vec::new);
    enter(world);
    let case = case::pick(rng);
    let service = case.service;
    service.handle.restart();
    let before = service.counters.read();
    let sizes = Sizes {
        submissions: 1 << rng.u32(..4),
        completions: 2 << rng.u32(..4),
        buffers: 2 << rng.u16(..4),
        multishot_threshold: rng.usize(1..4),
    };
    if traced {
        with(|world| world.note(format!("{:?}", service.config)));
        with(|world| world.note(format!("{sizes:?}, {:?}", world.settings)));
    }
    let facts = Rc::new(RefCell::new(Facts::default()));
    let elsewhere = rng.u8(..4) == 0;
    let acceptor = Acceptor::new(vec![TcpListener::listening()], service.config);
    let (here, there) = if elsewhere { (None, Some(acceptor)) } else { (Some(acceptor), None) };
    let (connections, steps) = (rng.usize(1..5), rng.usize(2..40));
    let shared = Rc::clone(&facts);
    let start = |waker: Waker, work: Box<dyn FnOnce(WorkerContext<'_>)>| {
        let pool = Rc::new(WorkerPool::new(service, vec![waker]));
        let own = WorkerHandle::new(Box::new(|| {}));
        let beginning =
            Beginning { case, pool: Rc::clone(&pool), own, acceptor: there, facts: shared };
        let driver = Box::new(History::new(beginning, connections, steps));
        drive(driver, || {
            work(WorkerContext { pool: &pool, handle: &pool.workers[0], acceptor: here });
        });
        assert_eq!(pool.open(), 0, "connections are not counted as ended");
    };
    match engine {
        Engine::Readiness => {
            let (poll, waker) = readiness::new_loop().expect("a simulated poller cannot fail");
            start(waker, Box::new(|context| readiness::work(poll, context)));
        }
        Engine::Uring => {
            let (parts, waker) = uring::new_loop(sizes).expect("a simulated ring cannot fail");
            start(waker, Box::new(move |context| uring::work(sizes, parts, context)));
        }
    }
    with(|world| world.sockets.iter_mut().for_each(|tcp| tcp.reads = true));
    settle();
    judge(case, &facts.borrow(), case::take_events(), before, service.counters.read());
}

/// How the system behaves: some are well-behaved, some fail now and then.
fn settings(rng: &mut Rng) -> Settings {
    let mut settings = Settings {
        interleave: [0, 20, 80][rng.usize(..3)],
        liberty: [0, 8, 40, 100][rng.usize(..4)],
        ..Settings::default()
    };
    match rng.u8(..8) {
        0 => settings.failure = 1000,
        1 => settings.suspend = (1000, 700),
        2 => settings.broken_poller = 200,
        3 => settings.partial = 100,
        4 => settings.partial = 5,
        _ => {}
    }
    settings
}
