//! The workers, how connections get to them, and the thread that has nothing to do but to see to their end.

use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::accept::{Acceptor, Incoming};
use crate::service::Service;
use crate::shutdown::{Phase, ShutdownListener};

/// How often to look whether the last connection has ended: the workers do not call when they are through.
const LOOK: Duration = Duration::from_millis(20);

/// Makes a source report [`Event::Wake`](super::Event::Wake), from any thread.
pub(in crate::engine) type Waker = Box<dyn Fn() + Send + Sync>;

/// Serves until stopped, or one connection with [`Config::once`](crate::Config::once). Returns when
/// every connection has ended.
///
/// There is a worker for each of the `loops`: what it takes to make its source, and the waker of that.
/// `work` makes the source on the worker's thread and gives it to the function that it is called with.
pub(in crate::engine) fn serve<L: Send>(
    acceptor: Acceptor,
    mut shutdown: ShutdownListener,
    service: &Service<'_>,
    loops: Vec<(L, Waker)>,
    work: impl Fn(L, WorkerContext<'_>) + Sync,
) -> io::Result<()> {
    let (loops, wakers): (Vec<_>, Vec<_>) = loops.into_iter().unzip();
    let workers = wakers.into_iter().map(WorkerHandle::new).collect();
    let (accepting, broken) = (AtomicBool::new(true), OnceLock::new());
    let pool = WorkerPool { service, workers, accepting, broken };
    let mut acceptor = Some(acceptor);
    thread::scope(|scope| {
        // The scope waits for the workers: whatever happens here, they must not go on for ever.
        let _guard = AbortOnExit(&pool);
        // The first one comes last: when it accepts, all of them are there.
        for (index, (own, handle)) in loops.into_iter().zip(&pool.workers).enumerate().rev() {
            let worker = thread::Builder::new().name("worker".to_owned());
            let acceptor = if index == 0 { acceptor.take() } else { None };
            let context = WorkerContext { pool: &pool, handle, acceptor };
            worker.spawn_scoped(scope, || {
                let _guard = AbortOnPanic(&pool);
                work(own, context);
            })?;
        }
        pool.wait_for_the_last(&mut shutdown);
        Ok::<_, io::Error>(())
    })?;
    pool.broken.into_inner().map_or(Ok(()), Err)
}

/// A worker's place in the pool.
pub(in crate::engine) struct WorkerContext<'a> {
    pub(super) pool: &'a WorkerPool<'a>,
    pub(super) handle: &'a WorkerHandle,
    /// At the first, who accepts for all.
    pub(super) acceptor: Option<Acceptor>,
}

/// The workers, as they see each other.
pub(in crate::engine) struct WorkerPool<'a> {
    pub(super) service: &'a Service<'a>,
    workers: Vec<WorkerHandle>,
    /// Connections may still be handed in, so no worker leaves.
    accepting: AtomicBool,
    /// What ended the accepting, if it was not a stop.
    broken: OnceLock<io::Error>,
}

impl WorkerPool<'_> {
    /// Hands a connection to the worker with the fewest. The one at `own` handle gets it back instead.
    pub(super) fn dispatch(&self, incoming: Incoming, own: &WorkerHandle) -> Option<Incoming> {
        let handle =
            self.workers.iter().min_by_key(|handle| handle.open.load(Relaxed)).unwrap_or(own);
        handle.open.fetch_add(1, Relaxed);
        if std::ptr::eq(handle, own) {
            return Some(incoming);
        }
        handle.dispatch(incoming);
        None
    }

    /// No more connections will be handed in, as it should be or because the listener `broke`.
    pub(super) fn accept_finished(&self, broke: Option<io::Error>) {
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
        self.workers.iter().map(|handle| handle.open.load(Relaxed)).sum()
    }

    /// How far the workers have to be: they go on as long as connections may be handed in.
    pub(super) fn phase(&self) -> Phase {
        if self.accepting.load(Acquire) { Phase::Running } else { self.service.phase() }
    }

    /// Interest until every connection has ended; once stopping, for the drain timeout at most.
    fn wait_for_the_last(&self, shutdown: &mut ShutdownListener) {
        let mut sleep = |time| {
            if shutdown.sleep(time).is_err() {
                thread::sleep(LOOK);
            }
        };
        while self.accepting.load(Acquire) {
            sleep(None);
            // If that was a stop, whoever accepts is to hear of it.
            self.workers.iter().for_each(WorkerHandle::wake);
        }
        // With `once` it is not stopping yet: the connection takes the time it takes.
        while self.service.phase() == Phase::Running && self.open() > 0 {
            sleep(Some(LOOK));
        }
        self.service.handle.stop();
        self.release();
        let since = Instant::now();
        while self.open() > 0 && self.service.phase() < Phase::Aborting {
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
        self.workers.iter().for_each(WorkerHandle::wake);
    }
}

/// Cuts what is left when the thread that sees to the end is through, or panics.
struct AbortOnExit<'a>(&'a WorkerPool<'a>);

impl Drop for AbortOnExit<'_> {
    fn drop(&mut self) {
        self.0.service.handle.abort();
        self.0.release();
    }
}

/// A worker that panics would leave its connections to nobody: the server ends.
struct AbortOnPanic<'a>(&'a WorkerPool<'a>);

impl Drop for AbortOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.service.handle.abort();
            // If it was the one who accepts, nobody else says so.
            self.0.accept_finished(None);
        }
    }
}

/// Where connections are handed to a worker.
pub(in crate::engine) struct WorkerHandle {
    waker: Waker,
    inbox: Mutex<Vec<Incoming>>,
    /// Connections handed in that have not ended.
    open: AtomicUsize,
}

impl WorkerHandle {
    fn new(waker: Waker) -> Self {
        Self { waker, inbox: Mutex::default(), open: AtomicUsize::new(0) }
    }

    fn dispatch(&self, incoming: Incoming) {
        let mut inbox = self.inbox();
        inbox.push(incoming);
        if inbox.len() == 1 {
            // For those before, the worker has been called and has not come yet.
            drop(inbox);
            self.wake();
        }
    }

    /// Makes the worker look at its inbox, and at the phase.
    fn wake(&self) {
        (self.waker)();
    }

    /// The connections that the worker has not taken in yet.
    pub(super) fn arrivals(&self) -> Vec<Incoming> {
        std::mem::take(&mut *self.inbox())
    }

    /// One of them has ended.
    pub(super) fn ended(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    fn inbox(&self) -> MutexGuard<'_, Vec<Incoming>> {
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
        let incoming = || Incoming { stream: TcpStream::connect(peer).unwrap(), peer, number: 0 };
        Service::for_test(&Config::default(), |service, _| {
            let workers = (0..3).map(|_| WorkerHandle::new(Box::new(|| {}))).collect();
            let (accepting, broken) = (AtomicBool::new(true), OnceLock::new());
            let pool = WorkerPool { service, workers, accepting, broken };
            let own = &pool.workers[0];
            let kept = (0..6).filter(|_| pool.dispatch(incoming(), own).is_some()).count();
            let in_inboxes =
                || [0, 1, 2].map(|handle: usize| pool.workers[handle].arrivals().len());
            assert_eq!((kept, in_inboxes(), pool.open()), (2, [0, 2, 2], 6));
            pool.workers[2].ended();
            assert!(pool.dispatch(incoming(), own).is_none());
            assert_eq!(in_inboxes(), [0, 0, 1]);
        });
    }
}
