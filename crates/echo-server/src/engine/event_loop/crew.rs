//! The workers, as the thread that accepts sees them, and how connections get to them.

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Source;
use super::worker::Worker;
use crate::accept::{Acceptor, Arrival};
use crate::service::Service;
use crate::shutdown::{Phase, Sleeper};

/// Makes a source report [`News::Knock`](super::News::Knock), from any thread.
pub(in crate::engine) type Waker = Box<dyn Fn() + Send + Sync>;

/// Serves until stopped, or one connection with [`Config::once`](crate::Config::once). Returns when
/// every connection has ended.
///
/// There is a worker for each of the `loops`: what it takes to make its source, and the waker of that.
/// `work` makes the source on the worker's thread and gives it to the function that it is called with.
pub(in crate::engine) fn serve<L: Send>(
    acceptor: Acceptor,
    mut sleeper: Sleeper,
    service: &Service<'_>,
    loops: Vec<(L, Waker)>,
    work: impl Fn(L, Seat<'_>) + Sync,
) -> io::Result<()> {
    let (loops, wakers): (Vec<_>, Vec<_>) = loops.into_iter().unzip();
    let doors = wakers.into_iter().map(Door::new).collect();
    let crew = Crew { service, doors, accepting: AtomicBool::new(true) };
    thread::scope(|scope| {
        // The scope waits for the workers: whatever happens here, they must not go on for ever.
        let _guard = CutOnExit(&crew);
        for (own, door) in loops.into_iter().zip(&crew.doors) {
            let worker = thread::Builder::new().name("worker".to_owned());
            worker.spawn_scoped(scope, || {
                let _guard = CutOnPanic(&crew);
                work(own, Seat { crew: &crew, door });
            })?;
        }
        let accepted = acceptor.run(&mut sleeper, service, |arrival| {
            // Before it is handed in: it may be over before that call returns.
            service.connected(arrival.peer);
            crew.hand_in(arrival);
            let once = service.config.once;
            Ok(if once { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        if accepted.is_err() {
            // The listener broke: those who are connected still get what is owed to them.
            service.handle.stop();
        }
        crew.wait_for_the_last(&mut sleeper);
        accepted
    })
}

/// A worker's place in the crew.
pub(in crate::engine) struct Seat<'a> {
    pub(super) crew: &'a Crew<'a>,
    pub(super) door: &'a Door,
}

impl Seat<'_> {
    /// Drives connections on what `source` reports, until the server has stopped.
    pub(in crate::engine) fn work(self, source: impl Source) {
        Worker::new(self, source).run();
    }
}

/// The workers, as the thread that accepts sees them.
pub(in crate::engine) struct Crew<'a> {
    pub(super) service: &'a Service<'a>,
    doors: Vec<Door>,
    /// Connections may still be handed in, so no worker leaves.
    accepting: AtomicBool,
}

impl Crew<'_> {
    /// Hands a connection to the worker with the fewest.
    fn hand_in(&self, arrival: Arrival) {
        let door = self.doors.iter().min_by_key(|door| door.open.load(Relaxed));
        door.expect("there is a worker").hand_in(arrival);
    }

    /// Connections that have not ended.
    fn open(&self) -> usize {
        self.doors.iter().map(|door| door.open.load(Relaxed)).sum()
    }

    /// How far the workers have to be: they go on as long as connections may be handed in.
    pub(super) fn phase(&self) -> Phase {
        if self.accepting.load(Acquire) { Phase::Running } else { self.service.phase() }
    }

    /// Waits until every connection has ended; once stopping, for the drain timeout at most.
    fn wait_for_the_last(&self, sleeper: &mut Sleeper) {
        // The workers do not call when they are through, so it looks for itself now and then.
        let look = Duration::from_millis(20);
        // With `once` it is not stopping yet: the connection takes the time it takes.
        while self.service.phase() == Phase::Running && self.open() > 0 {
            if sleeper.sleep(Some(look)).is_err() {
                break;
            }
        }
        self.service.handle.stop();
        self.release();
        let since = Instant::now();
        while self.open() > 0 && self.service.phase() < Phase::Cutting {
            let left = self.service.config.drain_timeout.saturating_sub(since.elapsed());
            if left.is_zero() || sleeper.sleep(Some(left.min(look))).is_err() {
                break;
            }
        }
    }

    /// Lets the workers see what phase it is.
    fn release(&self) {
        self.accepting.store(false, Release);
        self.doors.iter().for_each(Door::knock);
    }
}

/// Cuts what is left when the thread that accepts is through, or panics.
struct CutOnExit<'a>(&'a Crew<'a>);

impl Drop for CutOnExit<'_> {
    fn drop(&mut self) {
        self.0.service.handle.cut();
        self.0.release();
    }
}

/// A worker that panics would leave its connections to nobody: the server ends.
struct CutOnPanic<'a>(&'a Crew<'a>);

impl Drop for CutOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.service.handle.cut();
            self.0.release();
        }
    }
}

/// Where the acceptor hands connections to a worker.
pub(in crate::engine) struct Door {
    waker: Waker,
    inbox: Mutex<Vec<Arrival>>,
    /// Connections handed in that have not ended.
    open: AtomicUsize,
}

impl Door {
    fn new(waker: Waker) -> Self {
        Self { waker, inbox: Mutex::default(), open: AtomicUsize::new(0) }
    }

    fn hand_in(&self, arrival: Arrival) {
        self.open.fetch_add(1, Relaxed);
        let mut inbox = self.inbox();
        inbox.push(arrival);
        if inbox.len() == 1 {
            // For those before, the worker has been called and has not come yet.
            drop(inbox);
            self.knock();
        }
    }

    /// Makes the worker look at its inbox, and at the phase.
    fn knock(&self) {
        (self.waker)();
    }

    /// The connections that the worker has not taken in yet.
    pub(super) fn arrivals(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.inbox())
    }

    /// One of them has ended.
    pub(super) fn ended(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    fn inbox(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
