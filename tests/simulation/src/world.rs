//! The state of the simulated system, and what happens in it.

use std::cell::RefCell;

use fastrand::Rng;

use crate::descriptor::Object;
use crate::readiness::Epoll;
use crate::ring::kernel::RingKernel;
use crate::tcp::{Listener, Tcp};

/// The most transient failures of waits in a history.
const MOST_TRANSIENT: u8 = 10;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    static DRIVER: RefCell<Option<Box<dyn Driver>>> = const { RefCell::new(None) };
}

/// What happens outside of the program and of the network.
pub trait Driver {
    /// Performs one step. Returns whether there was one.
    fn step(&mut self) -> bool;

    /// Called when nothing is under way and there is no further step. `time_passes` if the program waits for a time;
    /// otherwise it waits forever. Returns whether something is possible again.
    fn at_rest(&mut self, time_passes: bool) -> bool;
}

/// How likely the world takes its liberties. Chances are in 256.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// That something happens within a system call.
    pub interleave: u8,
    /// That an operation is short, late, early or spurious, as far as it may be.
    pub liberty: u8,
    /// That an operation fails, in 65536.
    pub failure: u16,
    /// That only some of the queued operations are submitted.
    pub partial: u8,
    /// That the program is suspended in a system call, in 65536, and for up to how many ms.
    pub suspend: (u16, u64),
    /// That a system call says that the poller itself is broken, in 65536.
    pub broken_poller: u16,
    /// The sizes of the buffers of connections that the program opens are less, as in [`Tcp::buffers`].
    pub buffers: [usize; 3],
}

/// The simulated system of a thread.
pub struct World {
    /// Decides everything.
    pub rng: Rng,
    /// How likely it takes liberties.
    pub settings: Settings,
    /// Nanoseconds since it began.
    pub now: u64,
    /// For how many of them the program was suspended.
    pub suspended: u64,
    /// What has happened so far, and the most that may: a program that waits for nothing never rests.
    pub steps: u64,
    /// See [`steps`](Self::steps).
    pub most_steps: u64,
    /// Transient failures of waits so far. Many in a row would be taken for a broken poller.
    pub(crate) transient: u8,
    /// The error that says so.
    pub(crate) broken_error: i32,
    /// Spurious events that may still come: they are rare enough for the program to rest.
    pub(crate) spurious: u8,
    /// When the program's last wait returned.
    pub waited_at: u64,
    /// What happened, in words, if that is wanted.
    pub trace: Option<Vec<String>>,
    /// The connections, in the order in which they were made.
    pub sockets: Vec<Tcp>,
    /// How often a waker of another world was used: one that outlives histories.
    pub outside_wakes: u64,
    /// The program sleeps, whatever happens.
    pub sleeps: bool,
    /// The program's poller was told that it is broken.
    pub broken: bool,
    /// Waits of the program so far.
    pub waits: u64,
    /// When the program's last system call began.
    pub called_at: u64,
    /// Until when the program waits, at rest.
    pub waits_until: Option<u64>,
    /// When timers expire, and what is set then.
    pub(crate) timers: Vec<(u64, Object)>,
    pub(crate) listeners: Vec<Listener>,
    /// What open descriptors refer to.
    pub(crate) descriptors: Vec<Option<Object>>,
    /// Eventfds whose counter is not 0.
    pub(crate) events_set: Vec<u64>,
    pub(crate) epolls: Vec<Epoll>,
    pub(crate) ring: RingKernel,
    /// What can happen in the network, to choose from.
    possible: Vec<(usize, u8)>,
}

/// Calls `f` with this thread's world.
///
/// # Panics
///
/// There is none.
pub fn with<T>(f: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(|world| f(world.as_mut().expect("this thread has no world")))
}

/// For drops, which may come after the world, or in the middle of a panic.
pub(crate) fn try_with(f: impl FnOnce(&mut World)) {
    if std::thread::panicking() {
        return;
    }
    WORLD.with_borrow_mut(|world| world.as_mut().map(f));
}

/// Runs `program` in this thread's world with a driver. The world is left as it is at the end.
pub fn drive<T>(driver: Box<dyn Driver>, program: impl FnOnce() -> T) -> T {
    DRIVER.set(Some(driver));
    let result = program();
    DRIVER.set(None);
    result
}

/// Lets what is under way in the network arrive.
pub fn settle() {
    while with(World::move_network) {}
}

/// Makes `world` this thread's, for what is to be created in it before [`drive`].
pub fn enter(world: World) {
    WORLD.set(Some(world));
}

/// Adds a line to the trace, if there is one.
macro_rules! trace {
    ($world:expr, $($format:tt)*) => {
        if $world.trace.is_some() { $world.note(format!($($format)*)); }
    };
}
pub(crate) use trace;

impl World {
    /// A world in which nothing has happened yet.
    #[must_use]
    pub fn new(seed: u64, settings: Settings) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            settings,
            now: 1_000_000_000,
            suspended: 0,
            steps: 0,
            most_steps: u64::MAX,
            transient: 0,
            broken_error: libc::EBADF,
            spurious: 20,
            waited_at: 1_000_000_000,
            trace: None,
            sockets: Vec::new(),
            outside_wakes: 0,
            sleeps: false,
            broken: false,
            waits: 0,
            called_at: 0,
            waits_until: None,
            timers: Vec::new(),
            listeners: Vec::new(),
            descriptors: Vec::new(),
            events_set: Vec::new(),
            epolls: Vec::new(),
            ring: RingKernel::default(),
            possible: Vec::new(),
        }
    }

    /// Adds a line to the trace.
    pub fn note(&mut self, line: String) {
        let ms = self.now as f64 / 1e6;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{ms:10.3} ms  {line}"));
        }
    }

    /// Whether a liberty is taken.
    pub(crate) fn liberty(&mut self) -> bool {
        self.rng.u8(..) < self.settings.liberty
    }

    /// Whether an operation fails.
    pub(crate) fn fails(&mut self) -> bool {
        self.rng.u16(..) < self.settings.failure
    }

    /// Whether a call says that the poller is broken, now and from now on.
    pub(crate) fn breaks(&mut self) -> bool {
        if !self.broken && self.rng.u16(..) < self.settings.broken_poller {
            self.broken = true;
            self.broken_error = self.pick(&[libc::EBADF, libc::EINVAL, libc::ENOMEM]);
        }
        self.broken
    }

    /// Whether a wait fails for lack of memory or another resource, but not for good.
    pub(crate) fn fails_for_now(&mut self, fails: bool) -> bool {
        let fails = fails && self.transient < MOST_TRANSIENT;
        self.transient += u8::from(fails);
        fails
    }

    /// Picks one.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(..from.len())]
    }

    /// Lets one thing happen in the network. Returns whether anything could.
    fn move_network(&mut self) -> bool {
        let mut possible = std::mem::take(&mut self.possible);
        possible.clear();
        for (index, socket) in self.sockets.iter().enumerate() {
            socket.possible(|what| possible.push((index, what)));
        }
        let chosen = (!possible.is_empty()).then(|| self.pick(&possible));
        self.possible = possible;
        if let Some((socket, what)) = chosen {
            self.steps += 1;
            self.advance_socket(socket, what);
        }
        chosen.is_some()
    }
}

/// Lets one thing happen. Returns whether anything could.
fn act() -> bool {
    let driver_first = with(|world| world.rng.u8(..) < 80);
    driver_first && drive_step() || with(World::move_network) || !driver_first && drive_step()
}

fn drive_step() -> bool {
    with_driver(|driver| driver.step()).unwrap_or(false)
}

/// Calls `f` with the driver, unless it is the driver itself that has caused the call.
fn with_driver<T>(f: impl FnOnce(&mut dyn Driver) -> T) -> Option<T> {
    let mut driver = DRIVER.take()?;
    let result = f(&mut *driver);
    DRIVER.set(Some(driver));
    Some(result)
}

/// Begins a system call of the program: others run before it, or while it is suspended.
pub(crate) fn system_call() {
    let (acts, suspended) = with(|world| {
        world.steps += 1;
        world.called_at = world.now;
        assert!(world.steps < world.most_steps, "the program spins");
        let (chance, ms) = world.settings.suspend;
        if world.rng.u16(..) < chance {
            // SIGSTOP, a paused container or a suspended machine.
            let time = world.rng.u64(..=ms * 1_000_000);
            return (world.rng.u8(..12), Some(time));
        }
        let interleaved = world.rng.u8(..) < world.settings.interleave;
        (if interleaved { world.rng.u8(1..4) } else { 0 }, None)
    });
    for _ in 0..acts {
        if !act() {
            break;
        }
    }
    if let Some(time) = suspended {
        with(|world| {
            trace!(world, "the program was suspended for {} ms", time / 1_000_000);
            world.now += time;
            world.suspended += time;
        });
    }
}

/// Blocks the program until `is_ready`, or until the time `deadline`. Returns whether it is ready.
pub(crate) fn block(deadline: Option<u64>, mut is_ready: impl FnMut(&mut World) -> bool) -> bool {
    loop {
        let (ready, over) = with(|world| {
            world.expire_timers();
            let late = deadline.is_some_and(|deadline| world.now >= deadline);
            (is_ready(world), late)
        });
        if ready || over {
            return ready;
        }
        // Time passes while packets are under way, sometimes until the deadline.
        let next = with(|world| world.next_time(deadline));
        let passed = with(|world| match (world.rng.u8(..), next) {
            (0..4, Some(next)) => {
                world.now = next + world.rng.u64(..1_000_000);
                true
            }
            (4..40, _) => {
                world.now += world.rng.u64(..2_000_000);
                false
            }
            _ => false,
        });
        if passed || act() {
            continue;
        }
        with(|world| world.waits_until = next);
        let goes_on = with_driver(|driver| driver.at_rest(next.is_some())).unwrap_or(false);
        match next {
            _ if goes_on => {}
            Some(next) => with(|world| {
                world.steps += 1;
                world.now = world.now.max(next) + world.rng.u64(..1_000_000);
            }),
            None => panic!("nothing more can happen, and the program waits forever"),
        }
    }
}
