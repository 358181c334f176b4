//! The worker threads, dispatching connections to them, and the thread that supervises shutdown.

use std::io;
use std::sync::{OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crate::CloseReason;
use crate::listen::accept::{Acceptor, Incoming};
use crate::platform::{Instant, sleep};
use crate::service::Service;
use crate::shutdown::{Phase, ShutdownListener};
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::sync::atomic::{AtomicUsize, fence};
use crate::sync::{Mutex, MutexGuard};

/// How often to poll instead if blocking fails.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Makes a poller report [`Event::Wake`](super::Event::Wake), from any thread.
pub(in crate::engine) type Waker = Box<dyn Fn() + Send + Sync>;

/// Serves until stopped, or one connection with [`Config::once`](crate::Config::once). Returns when
/// every connection has ended.
///
/// Starts one worker for each of `loops`, which holds what its poller is made from and the waker of that poller.
/// `work` creates the poller on the worker's thread and passes it to [`WorkerContext::work`]. There is one acceptor, or
/// one for each worker.
///
/// # Errors
///
/// The listener or a poller has failed for good, or a thread cannot be started.
pub(in crate::engine) fn serve<L: Send>(
    acceptors: Vec<Acceptor>,
    mut shutdown: ShutdownListener,
    service: &Service<'_>,
    loops: Vec<(L, Waker)>,
    work: impl Fn(L, WorkerContext<'_>) + Sync,
) -> io::Result<()> {
    let (loops, wakers): (Vec<_>, Vec<_>) = loops.into_iter().unzip();
    let pool = WorkerPool::new(service, wakers, acceptors.len());
    let mut acceptors: Vec<_> = acceptors.into_iter().map(Some).collect();
    thread::scope(|scope| {
        // The scope joins the workers, so they must end even if this thread fails.
        let _guard = AbortOnExit(&pool);
        // The first worker, which accepts alone without `reuseport`, is started last, so that all others are running by
        // then.
        for (index, (own, handle)) in loops.into_iter().zip(&pool.workers).enumerate().rev() {
            let worker = thread::Builder::new().name("worker".to_owned());
            let acceptor = acceptors.get_mut(index).and_then(Option::take);
            let context = WorkerContext { pool: &pool, handle, acceptor };
            worker.spawn_scoped(scope, || {
                let _guard = AbortOnPanic(&pool);
                work(own, context);
            })?;
        }
        pool.wait_for_the_last(&mut shutdown);
        Ok::<_, io::Error>(())
    })?;
    pool.failure.into_inner().map_or(Ok(()), Err)
}

/// A worker's place in the pool.
pub(in crate::engine) struct WorkerContext<'a> {
    pub(super) pool: &'a WorkerPool<'a>,
    pub(super) handle: &'a WorkerHandle,
    /// The first worker accepts for all; with [`Config::reuseport`](crate::Config::reuseport), each for itself.
    pub(super) acceptor: Option<Acceptor>,
}

impl WorkerContext<'_> {
    /// Takes the dispatched connections, and reads the phase. Past [`Phase::Running`] there will be no more of them.
    pub(super) fn take_inbox(&self) -> (Phase, Vec<Incoming>) {
        // Read first: past `Running`, nothing more is dispatched.
        let phase = self.pool.phase();
        (phase, self.handle.take_inbox())
    }

    /// Stops the server because this worker has failed; the server reports `error`. The other workers still echo
    /// what they have received. Connections dispatched to this worker until accepting has ended are closed, and those
    /// in the queues of its listeners are reset. Its poller may hold the listeners, so it must have been dropped.
    pub(in crate::engine) fn fail(mut self, error: io::Error) {
        let error = io::Error::new(error.kind(), format!("cannot wait for events: {error}"));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor);
            self.pool.accept_finished(Some(error));
        } else {
            self.pool.stop_with(error);
        }
        loop {
            let (phase, inbox) = self.take_inbox();
            for Incoming { stream, peer, .. } in inbox {
                drop(stream);
                self.pool.service.closed(peer, 0, 0, Duration::ZERO, CloseReason::Aborted);
                self.pool.ended(self.handle);
            }
            if phase > Phase::Running {
                return;
            }
            // The poller has failed, so this thread cannot be woken.
            sleep(POLL_INTERVAL);
        }
    }
}

/// What the workers share.
pub(in crate::engine) struct WorkerPool<'a> {
    pub(super) service: &'a Service<'a>,
    pub(super) workers: Vec<WorkerHandle>,
    /// Each worker accepts for itself, so none is dispatched to.
    each_accepts: bool,
    /// The number of workers that accept. Until it is zero, connections may be dispatched, so no worker may exit.
    pub(super) accepting: AtomicUsize,
    /// The error that stopped the server, if any.
    failure: OnceLock<io::Error>,
}

impl<'a> WorkerPool<'a> {
    pub(super) fn new(service: &'a Service<'a>, wakers: Vec<Waker>, acceptors: usize) -> Self {
        let workers = wakers.into_iter().map(WorkerHandle::new).collect();
        let (each_accepts, accepting) = (acceptors > 1, AtomicUsize::new(acceptors));
        Self { service, workers, each_accepts, accepting, failure: OnceLock::new() }
    }

    /// Dispatches a connection to the worker with the fewest connections, unless each accepts for itself. Returns it
    /// if that is the caller's worker, whose handle is `own`.
    pub(super) fn dispatch(&self, incoming: Incoming, own: &WorkerHandle) -> Option<Incoming> {
        let fewest = || self.workers.iter().min_by_key(|handle| handle.open.load(Relaxed));
        let handle = if self.each_accepts { own } else { fewest().unwrap_or(own) };
        handle.open.fetch_add(1, Relaxed);
        if std::ptr::eq(handle, own) {
            return Some(incoming);
        }
        handle.dispatch(incoming);
        None
    }

    /// Called when a worker accepts no more connections. `error` is the reason if accepting failed.
    pub(super) fn accept_finished(&self, error: Option<io::Error>) {
        if let Some(error) = error {
            self.stop_with(error);
        }
        // It is zero already if the workers have been released.
        let decrement = |accepting: usize| accepting.checked_sub(1);
        if self.accepting.fetch_update(AcqRel, Acquire, decrement) == Ok(1) {
            self.release();
            self.service.handle.wake();
        }
    }

    /// Stops the server because of an error. If there are several, the first is reported.
    fn stop_with(&self, error: io::Error) {
        let _ = self.failure.set(error);
        // Open connections are still drained.
        self.service.handle.stop();
    }

    /// Counts a connection of this worker as ended, and wakes the supervising thread after the last one.
    pub(super) fn ended(&self, handle: &WorkerHandle) {
        // That thread reads `accepting` and then `open`; this one writes `open` and then reads `accepting`. Because of
        // the fences between the two, that thread sees that this connection has ended, or this one that it has to wake
        // that thread.
        let before = handle.open.fetch_sub(1, AcqRel);
        fence(SeqCst);
        if before == 1 && !self.is_accepting() {
            self.service.handle.wake();
        }
    }

    /// Connections that have not ended.
    pub(super) fn open(&self) -> usize {
        // See `ended`.
        fence(SeqCst);
        self.workers.iter().map(|handle| handle.open.load(Acquire)).sum()
    }

    /// Whether a worker still accepts.
    pub(super) fn is_accepting(&self) -> bool {
        self.accepting.load(Acquire) > 0
    }

    /// The phase as the workers see it: `Running` as long as connections may still be dispatched to them.
    pub(super) fn phase(&self) -> Phase {
        if self.is_accepting() { Phase::Running } else { self.service.phase() }
    }

    /// Waits until every connection has ended; once stopping, for the drain timeout at most.
    fn wait_for_the_last(&self, shutdown: &mut ShutdownListener) {
        let mut wait = |time: Option<Duration>| {
            if shutdown.sleep(time).is_err() {
                sleep(time.map_or(POLL_INTERVAL, |time| time.min(POLL_INTERVAL)));
            }
        };
        while self.is_accepting() {
            wait(None);
            // The server may have been stopped: the accepting workers have to check the phase.
            self.workers.iter().for_each(WorkerHandle::wake);
        }
        // With `once`, the connection has no time limit until the server is stopped.
        while self.service.phase() == Phase::Running && self.open() > 0 {
            wait(None);
        }
        self.service.handle.stop();
        self.release();
        let since = Instant::now();
        while self.open() > 0 && self.service.phase() < Phase::Aborting {
            let left = self.service.config.drain_timeout.saturating_sub(since.elapsed());
            if left.is_zero() {
                break;
            }
            wait(Some(left));
        }
    }

    /// Makes the workers see the actual phase.
    pub(super) fn release(&self) {
        self.accepting.store(0, Release);
        self.workers.iter().for_each(WorkerHandle::wake);
    }
}

/// Aborts the remaining connections when the supervising thread returns or panics.
struct AbortOnExit<'a>(&'a WorkerPool<'a>);

impl Drop for AbortOnExit<'_> {
    fn drop(&mut self) {
        self.0.service.handle.abort();
        self.0.release();
    }
}

/// Aborts the server when a worker panics, because its connections would no longer be served.
struct AbortOnPanic<'a>(&'a WorkerPool<'a>);

impl Drop for AbortOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.service.handle.abort();
            // The worker that panicked may be one that accepts.
            self.0.release();
            self.0.service.handle.wake();
        }
    }
}

/// A worker's inbox and waker.
pub(in crate::engine) struct WorkerHandle {
    waker: Waker,
    inbox: Mutex<Vec<Incoming>>,
    /// Dispatched connections that have not ended.
    open: AtomicUsize,
}

impl WorkerHandle {
    pub(super) fn new(waker: Waker) -> Self {
        Self { waker, inbox: Mutex::new(Vec::new()), open: AtomicUsize::new(0) }
    }

    fn dispatch(&self, incoming: Incoming) {
        let mut inbox = self.inbox();
        inbox.push(incoming);
        if inbox.len() == 1 {
            // A longer inbox means that the worker has already been woken.
            drop(inbox);
            self.wake();
        }
    }

    /// Makes the worker check its inbox and the phase.
    pub(super) fn wake(&self) {
        (self.waker)();
    }

    /// Takes the dispatched connections.
    pub(super) fn take_inbox(&self) -> Vec<Incoming> {
        std::mem::take(&mut *self.inbox())
    }

    fn inbox(&self) -> MutexGuard<'_, Vec<Incoming>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, loom))]
mod interleavings;

#[cfg(all(test, not(loom)))]
mod tests;
