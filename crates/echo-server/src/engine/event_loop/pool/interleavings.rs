//! Every interleaving of dispatching, ending connections and stopping, by loom.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};

use loom::model::Builder;
use loom::thread;

use super::*;
use crate::admission::Admission;
use crate::shutdown::Waker as Wakeup;
use crate::{Config, Handle};

/// Runs `model` in all interleavings with at most this many preemptions: most defects need one or two.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

/// A pool, how its workers wait for a wake-up, and the listener of its supervising thread. They live until the process
/// ends, because loom's threads have no scope.
fn pool(
    workers: usize,
    acceptors: usize,
) -> (&'static WorkerPool<'static>, Vec<Wakeup>, ShutdownListener) {
    let (handle, shutdown) = Handle::new().unwrap();
    let config: &Config = Box::leak(Box::default());
    let service = Box::leak(Box::new(Service {
        config,
        handle: Box::leak(Box::new(handle)),
        counters: Box::leak(Box::default()),
        admission: Box::leak(Box::new(Admission::new(config))),
        observe: &|_| {},
    }));
    let wakeups: Vec<Wakeup> = (0..workers).map(|_| Wakeup::default()).collect();
    let waker = |wakeup: &Wakeup| {
        let wakeup = wakeup.clone();
        Box::new(move || wakeup.wake()) as Waker
    };
    let wakers = wakeups.iter().map(waker).collect();
    (Box::leak(Box::new(WorkerPool::new(service, wakers, acceptors))), wakeups, shutdown)
}

fn incoming() -> Incoming {
    static PEER: OnceLock<(TcpStream, SocketAddr)> = OnceLock::new();
    let (stream, peer) = PEER.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap();
        (TcpStream::connect(peer).unwrap(), peer)
    });
    Incoming { stream: stream.try_clone().unwrap(), peer: *peer, number: 0 }
}

/// A worker that accepts one connection when the server stops, and serves it.
fn accept_at_the_stop(pool: &WorkerPool<'_>, index: usize, wakeup: &Wakeup, served: &AtomicUsize) {
    // The phase of the server: it learns of the stop although that of the pool is still `Running`.
    while pool.service.phase() == Phase::Running {
        wakeup.wait();
    }
    let own = &pool.workers[index];
    assert!(pool.dispatch(incoming(), own).is_some());
    pool.accept_finished(None);
    while pool.phase() == Phase::Running {
        wakeup.wait();
    }
    served.fetch_add(1, Relaxed);
    pool.ended(own);
}

/// A worker, whose connections end as soon as it has taken them. Returns how many there were.
fn work(pool: &WorkerPool<'_>, index: usize, wakeup: &Wakeup) -> usize {
    let context = WorkerContext { pool, handle: &pool.workers[index], acceptor: None };
    let mut served = 0;
    loop {
        wakeup.wait();
        let (phase, inbox) = context.take_inbox();
        for _ in &inbox {
            pool.ended(context.handle);
        }
        served += inbox.len();
        if phase > Phase::Running {
            return served;
        }
    }
}

/// Accepts connections on the first worker until there is none, or the server is stopped. Returns how many ended here,
/// and how many were dispatched.
fn accept(pool: &WorkerPool<'_>, connections: usize) -> (usize, usize) {
    let own = &pool.workers[0];
    let (mut kept, mut dispatched) = (0, 0);
    for _ in 0..connections {
        if pool.service.phase() > Phase::Running {
            break;
        }
        match pool.dispatch(incoming(), own) {
            Some(_) => {
                kept += 1;
                pool.ended(own);
            }
            None => dispatched += 1,
        }
    }
    pool.accept_finished(None);
    (kept, dispatched)
}

#[test]
fn every_dispatched_connection_is_served_and_the_pool_returns() {
    explore(|| {
        let (pool, wakeups, mut shutdown) = pool(2, 1);
        let [_, second] = [wakeups[0].clone(), wakeups[1].clone()];
        // The first worker holds a connection, so the others are dispatched.
        pool.workers[0].open.store(9, Relaxed);
        let acceptor = thread::spawn(move || {
            let (_, dispatched) = accept(pool, 2);
            for _ in 0..9 {
                pool.ended(&pool.workers[0]);
            }
            dispatched
        });
        let worker = thread::spawn(move || work(pool, 1, &second));
        let stopper = thread::spawn(move || pool.service.handle.stop());
        pool.wait_for_the_last(&mut shutdown);
        assert_eq!(pool.open(), 0);
        let dispatched = acceptor.join().unwrap();
        assert_eq!(worker.join().unwrap(), dispatched);
        stopper.join().unwrap();
    });
}

#[test]
fn the_last_connection_to_end_wakes_the_supervising_thread() {
    explore(|| {
        let (pool, wakeups, mut shutdown) = pool(2, 1);
        let second = wakeups[1].clone();
        pool.workers[0].open.store(1, Relaxed);
        let acceptor = thread::spawn(move || accept(pool, 1));
        let worker = thread::spawn(move || work(pool, 1, &second));
        let first = thread::spawn(move || pool.ended(&pool.workers[0]));
        // As with `--once`: nothing stops the server but the end of its last connection.
        pool.wait_for_the_last(&mut shutdown);
        assert_eq!(pool.open(), 0);
        let (kept, dispatched) = acceptor.join().unwrap();
        assert_eq!(kept + worker.join().unwrap(), 1);
        assert!(kept + dispatched == 1);
        first.join().unwrap();
    });
}

#[test]
fn a_dispatched_connection_wakes_its_worker() {
    explore(|| {
        let (pool, wakeups, _shutdown) = pool(2, 1);
        let (wakeup, served) = (wakeups[1].clone(), Wakeup::default());
        pool.workers[0].open.store(9, Relaxed);
        let all_served = served.clone();
        let worker = thread::spawn(move || {
            let context = WorkerContext { pool, handle: &pool.workers[1], acceptor: None };
            let mut count = 0;
            while count < 3 {
                wakeup.wait();
                count += context.take_inbox().1.len();
            }
            all_served.wake();
        });
        for _ in 0..3 {
            assert!(pool.dispatch(incoming(), &pool.workers[0]).is_none());
        }
        // Nothing else wakes the worker.
        served.wait();
        worker.join().unwrap();
    });
}

#[test]
fn an_abort_ends_workers_that_wait() {
    explore(|| {
        let (pool, wakeups, mut shutdown) = pool(2, 1);
        let workers: Vec<_> = wakeups
            .into_iter()
            .enumerate()
            .map(|(index, wakeup)| thread::spawn(move || work(pool, index, &wakeup)))
            .collect();
        let failing = thread::spawn(move || {
            // A worker that panics: see `AbortOnPanic`.
            pool.service.handle.abort();
            pool.release();
            pool.service.handle.wake();
        });
        pool.wait_for_the_last(&mut shutdown);
        assert_eq!((pool.service.phase(), pool.open()), (Phase::Aborting, 0));
        failing.join().unwrap();
        for worker in workers {
            assert_eq!(worker.join().unwrap(), 0);
        }
    });
}

#[test]
fn connections_that_each_worker_accepts_at_the_stop_are_served_before_the_pool_returns() {
    explore(|| {
        let (pool, wakeups, mut shutdown) = pool(2, 2);
        let served = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = wakeups
            .into_iter()
            .enumerate()
            .map(|(index, wakeup)| {
                let served = Arc::clone(&served);
                thread::spawn(move || {
                    accept_at_the_stop(pool, index, &wakeup, &served);
                })
            })
            .collect();
        let stopper = thread::spawn(move || pool.service.handle.stop());
        pool.wait_for_the_last(&mut shutdown);
        assert_eq!((pool.open(), served.load(Relaxed)), (0, 2));
        for thread in workers.into_iter().chain([stopper]) {
            thread.join().unwrap();
        }
    });
}

#[test]
fn an_accepting_worker_that_fails_stops_the_other_and_the_pool_returns() {
    explore(|| {
        let (pool, wakeups, mut shutdown) = pool(2, 2);
        let (second, served) = (wakeups[1].clone(), Arc::new(AtomicUsize::new(0)));
        let failing = thread::spawn(move || {
            pool.accept_finished(Some(io::Error::other("that of a test")));
        });
        let by_second = Arc::clone(&served);
        let accepting = thread::spawn(move || {
            accept_at_the_stop(pool, 1, &second, &by_second);
        });
        pool.wait_for_the_last(&mut shutdown);
        assert_eq!((pool.open(), served.load(Relaxed)), (0, 1));
        assert!(pool.failure.get().is_some());
        for thread in [failing, accepting] {
            thread.join().unwrap();
        }
    });
}
