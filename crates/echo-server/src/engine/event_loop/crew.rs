//! The workers, how connections get to them, and the thread that has nothing to do but to see to their end.

use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::accept::{Acceptor, Arrival};
use crate::service::Service;
use crate::shutdown::{Phase, Sleeper};

/// How often to look whether the last connection has ended: the workers do not call when they are through.
const LOOK: Duration = Duration::from_millis(20);

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
    let (accepting, broken) = (AtomicBool::new(true), OnceLock::new());
    let crew = Crew { service, doors, accepting, broken };
    let mut acceptor = Some(acceptor);
    thread::scope(|scope| {
        // The scope waits for the workers: whatever happens here, they must not go on for ever.
        let _guard = CutOnExit(&crew);
        // The first one comes last: when it accepts, all of them are there.
        for (index, (own, door)) in loops.into_iter().zip(&crew.doors).enumerate().rev() {
            let worker = thread::Builder::new().name("worker".to_owned());
            let acceptor = if index == 0 { acceptor.take() } else { None };
            let seat = Seat { crew: &crew, door, acceptor };
            worker.spawn_scoped(scope, || {
                let _guard = CutOnPanic(&crew);
                work(own, seat);
            })?;
        }
        crew.wait_for_the_last(&mut sleeper);
        Ok::<_, io::Error>(())
    })?;
    crew.broken.into_inner().map_or(Ok(()), Err)
}

/// A worker's place in the crew.
pub(in crate::engine) struct Seat<'a> {
    pub(super) crew: &'a Crew<'a>,
    pub(super) door: &'a Door,
    /// At the first, who accepts for all.
    pub(super) acceptor: Option<Acceptor>,
}

/// The workers, as they see each other.
pub(in crate::engine) struct Crew<'a> {
    pub(super) service: &'a Service<'a>,
    doors: Vec<Door>,
    /// Connections may still be handed in, so no worker leaves.
    accepting: AtomicBool,
    /// What ended the accepting, if it was not a stop.
    broken: OnceLock<io::Error>,
}

impl Crew<'_> {
    /// Hands a connection to the worker with the fewest. The one at `own` door gets it back instead.
    pub(super) fn hand_in(&self, arrival: Arrival, own: &Door) -> Option<Arrival> {
        let door = self.doors.iter().min_by_key(|door| door.open.load(Relaxed)).unwrap_or(own);
        door.open.fetch_add(1, Relaxed);
        if std::ptr::eq(door, own) {
            return Some(arrival);
        }
        door.hand_in(arrival);
        None
    }

    /// No more connections will be handed in, as it should be or because the listener `broke`.
    pub(super) fn accepting_is_over(&self, broke: Option<io::Error>) {
        if let Some(error) = broke {
            let _ = self.broken.set(error); // nobody else does
            // Those who are connected still get what is owed to them.
            self.service.handle.stop();
        }
        self.release();
        self.service.handle.wake();
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
        let mut sleep = |time| {
            if sleeper.sleep(time).is_err() {
                thread::sleep(LOOK);
            }
        };
        while self.accepting.load(Acquire) {
            sleep(None);
            // If that was a stop, whoever accepts is to hear of it.
            self.doors.iter().for_each(Door::knock);
        }
        // With `once` it is not stopping yet: the connection takes the time it takes.
        while self.service.phase() == Phase::Running && self.open() > 0 {
            sleep(Some(LOOK));
        }
        self.service.handle.stop();
        self.release();
        let since = Instant::now();
        while self.open() > 0 && self.service.phase() < Phase::Cutting {
            let left = self.service.config.drain_timeout.saturating_sub(since.elapsed());
            if left.is_zero() {
                break;
            }
            sleep(Some(left.min(LOOK)));
        }
    }

    /// Lets the workers see what phase it is.
    fn release(&self) {
        self.accepting.store(false, Release);
        self.doors.iter().for_each(Door::knock);
    }
}

/// Cuts what is left when the thread that sees to the end is through, or panics.
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
            // If it was the one who accepts, nobody else says so.
            self.0.accepting_is_over(None);
        }
    }
}

/// Where connections are handed to a worker.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connection_goes_to_the_worker_with_the_fewest() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap();
        let arrival = || Arrival { stream: TcpStream::connect(peer).unwrap(), peer, number: 0 };
        Service::of_a_test(&Config::default(), |service, _| {
            let doors = (0..3).map(|_| Door::new(Box::new(|| {}))).collect();
            let (accepting, broken) = (AtomicBool::new(true), OnceLock::new());
            let crew = Crew { service, doors, accepting, broken };
            let own = &crew.doors[0];
            let kept = (0..6).filter(|_| crew.hand_in(arrival(), own).is_some()).count();
            let in_inboxes = || [0, 1, 2].map(|door: usize| crew.doors[door].arrivals().len());
            assert_eq!((kept, in_inboxes(), crew.open()), (2, [0, 2, 2], 6));
            crew.doors[2].ended();
            assert!(crew.hand_in(arrival(), own).is_none());
            assert_eq!(in_inboxes(), [0, 0, 1]);
        });
    }
}
