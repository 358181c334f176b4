//! What a history begins with: a workload, a configuration, and how the system and the server behave.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::num::NonZero;
use std::time::Duration;

use echo_proto::{Framing, TestStream};
use echo_simulation::Settings;
use fastrand::Rng;

use crate::Config;
use crate::bench::{Arrivals, Engine, RunLimit, Shared, StartBarrier, Stop, Workload};

/// How many cases there are.
const CASES: usize = 1 << 16;

thread_local! {
    static MADE: RefCell<Vec<Option<&'static Case>>> = RefCell::new(vec![None; CASES]);
}

/// A workload and what surrounds it.
pub(super) struct Case {
    pub(super) config: &'static Config,
    pub(super) workload: &'static Workload,
    pub(super) shared: Shared<'static>,
    pub(super) server: Behaviour,
    /// When the run is stopped, after it has begun.
    pub(super) stop_after: Option<u64>,
    pub(super) settings: Settings,
}

/// How the server behaves. Times are nanoseconds, chances are in 256.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behaviour {
    /// Mean delay of an echo.
    pub(super) delay: u64,
    /// That an echo takes ten times as long.
    pub(super) slow: u8,
    /// That a connection is refused, and that it is never answered.
    pub(super) refused: u8,
    pub(super) ignored: u8,
    /// That something goes wrong on a connection, and after how many bytes at most.
    pub(super) fault: u8,
    pub(super) fault_within: usize,
    /// That it does not read for a while.
    pub(super) stall: u8,
}

impl Case {
    /// Picks a case. It is made when it is first picked, and never freed: the driver of a world lives as long as the
    /// thread.
    pub(super) fn pick(rng: &mut Rng) -> &'static Self {
        let index = rng.usize(..CASES);
        let make = || &*Box::leak(Box::new(Self::new(&mut Rng::with_seed(index as u64))));
        let case = MADE.with_borrow_mut(|made| *made[index].get_or_insert_with(make));
        case.shared.barrier.restart();
        case.shared.stop.restart();
        case
    }

    fn new(rng: &mut Rng) -> Self {
        let timeout = Duration::from_millis(rng.u64(20..400));
        let connect_timeout = Duration::from_millis(rng.u64(20..300));
        let workload = workload(rng);
        let troubled = rng.u8(..) < 160;
        let chance = |rng: &mut Rng, most| if troubled { rng.u8(..most) } else { 0 };
        let delay = [0, 300_000, 2_000_000, 15_000_000][rng.usize(..4)];
        let server = Behaviour {
            // A closed loop without delay would never end.
            delay: if workload.rate.is_none() { delay.max(500_000) } else { delay },
            slow: chance(rng, 40),
            refused: chance(rng, 60),
            ignored: chance(rng, 30),
            fault: chance(rng, 160),
            fault_within: [20, 200, 1000][rng.usize(..3)],
            stall: chance(rng, 30),
        };
        let config = Config { timeout, connect_timeout, ..Config::default() };
        let (config, workload) = (&*Box::leak(Box::new(config)), &*Box::leak(Box::new(workload)));
        let shared = Shared {
            config,
            workload,
            server: (Ipv4Addr::LOCALHOST, 7).into(),
            threads: 1,
            wire_size: TestStream::new(0, workload.framing, workload.size).wire_size(),
            engine: Engine::Readiness,
            stop: Box::leak(Box::new(Stop::default())),
            barrier: StartBarrier::default(),
        };
        Self {
            config,
            workload,
            shared,
            server,
            stop_after: (rng.u8(..) < 30).then(|| rng.u64(..300_000_000)),
            settings: settings(rng),
        }
    }

    /// Whether the system takes no liberties, and the program is never suspended.
    pub(super) fn is_exact(&self) -> bool {
        let Settings { liberty, failure, suspend, .. } = self.settings;
        liberty == 0 && failure == 0 && suspend.0 == 0
    }
}

fn workload(rng: &mut Rng) -> Workload {
    let limit = if rng.u8(..) < 70 {
        RunLimit::Messages(rng.u64(1..60))
    } else {
        RunLimit::Duration(Duration::from_micros(rng.u64(1..250_000)))
    };
    Workload {
        connections: rng.usize(1..5),
        size: rng.u32(1..40),
        framing: [Framing::Raw, Framing::Raw, Framing::Line, Framing::Length][rng.usize(..4)],
        limit,
        depth: [1, 1, 2, 5][rng.usize(..4)],
        rate: rng.bool().then(|| f64::from(rng.u32(20..3000))),
        arrivals: if rng.u8(..) < 80 { Arrivals::Poisson } else { Arrivals::Constant },
        seed: rng.u64(..),
        engine: Engine::Readiness,
        threads: 1,
        start_at: None,
        warmup: Duration::from_micros(if rng.bool() { 0 } else { rng.u64(1..60_000) }),
        busy_poll: false,
        reconnect_every: NonZero::new(if rng.u8(..) < 60 { rng.u64(1..8) } else { 0 }),
        interval: Duration::from_millis(rng.u64(5..200)),
        label: None,
        server_pid: None,
    }
}

/// How the system behaves: some are exact, some take liberties, some fail now and then.
fn settings(rng: &mut Rng) -> Settings {
    let most = if rng.bool() { 1 << 16 } else { 200 };
    let mut settings = Settings {
        interleave: [0, 20, 80][rng.usize(..3)],
        liberty: [0, 0, 8, 40, 100][rng.usize(..5)],
        buffers: [most; 3],
        ..Settings::default()
    };
    match rng.u8(..8) {
        0 => settings.failure = 500,
        1 | 2 => settings.suspend = (1000, 700),
        _ => {}
    }
    settings
}
