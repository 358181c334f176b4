//! A load on many connections at once, every byte of it checked.
//!
//! The load is data, a [`Workload`]; a worker is an event loop that carries out its part of it. What it
//! measures it hands in by interval; they are put together here.
//!
//! In a closed loop a message is sent when an echo has come, so a server that stalls is asked nothing
//! while it does, and the stall shows once for each connection. With a rate a message has a time at which
//! it is due, and its latency is counted from there even where it could not be sent in time, as it
//! would be for a user who came at that time ("coordinated omission", G. Tene).

mod connection;
mod engine;
mod metrics;
mod pacing;
#[cfg_attr(not(target_os = "linux"), path = "bench/ring_absent.rs")]
mod ring;
mod stats;
mod worker;
mod workload;

use std::collections::BTreeMap;
use std::io;
use std::iter;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Instant, SystemTime};

use echo_proto::TestStream;
use hdrhistogram::Histogram;

pub use self::engine::{Engine, UnknownEngine};
use self::metrics::{interval, metrics, settings};
use self::stats::{IntervalStats, Totals};
use self::worker::Worker;
pub use self::workload::{Arrivals, RunLimit, UnknownArrivals, Workload};
use crate::client::{addresses, connect};
use crate::error::ConnectFailure;
use crate::run::{Interval, Metrics, Run, SCHEMA_VERSION};
use crate::{Config, Error, system};

/// What the collecting thread tells as it goes.
#[derive(Debug)]
pub enum Event<'a> {
    /// The connections are there, and messages are sent from now on. The run has no results yet.
    Started(&'a Run),
    /// An interval is over.
    Interval(&'a Interval, &'a Histogram<u64>),
}

/// Ends a run early, from any thread. Clones end the same run.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Sends nothing more, waits for what is in flight, and lets [`run`] return what was measured.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What each worker may have said that was not heard yet.
const UPDATES_PER_WORKER: usize = 4;

/// What the workers share.
struct Shared<'a> {
    config: &'a Config,
    workload: &'a Workload,
    server: SocketAddr,
    /// Workers: no more than connections.
    threads: usize,
    /// Bytes of a message on the wire.
    wire_size: u64,
    /// Which one is used: never [`Engine::Auto`].
    engine: Engine,
    stop: &'a Stop,
    barrier: StartBarrier,
}

impl Shared<'_> {
    fn connect_error(&self, source: io::Error) -> Error {
        let failures = vec![ConnectFailure { address: self.server, source }];
        Error::Connect { host: self.config.host.clone(), port: self.config.port, failures }
    }
}

/// What a worker says to the collecting thread.
enum Update {
    /// Its first connections are there, or why not one is.
    Ready { connected: bool, failure: Option<io::Error> },
    /// What it has measured in an interval.
    Interval { worker: usize, index: u64, stats: IntervalStats },
    /// The rest, and what there was in all.
    Done { worker: usize, stats: IntervalStats, totals: Box<Totals> },
}

/// Carries out a plan and returns what was measured; the gates of the run are left to the caller.
///
/// `observe` is called on this thread.
///
/// # Errors
///
/// The host has no address, not one connection can be made, the system refuses what an event loop
/// takes, or it does not tell the processor time of the server's process. Connections that fail later are
/// in the [`Run`].
pub fn run(
    config: &Config,
    workload: &Workload,
    stop: &Stop,
    mut observe: impl FnMut(Event<'_>),
) -> Result<Run, Error> {
    if let Some(pid) = workload.server_pid {
        system::process_cpu_time(pid).map_err(|source| Error::ServerProcess { pid, source })?;
    }
    let server = server(config)?;
    let threads = workload.threads.clamp(1, workload.connections);
    let wire_size = TestStream::new(0, workload.framing, workload.size).wire_size();
    let (connections, in_flight) =
        (workload.connections.div_ceil(threads), wire_size.saturating_mul(workload.depth as u64));
    let rings = engine::rings(workload.engine, threads, connections, in_flight)?;
    let engine = if rings.is_empty() { Engine::Readiness } else { Engine::Uring };
    let barrier = StartBarrier::default();
    let shared = Shared { config, workload, server, threads, wire_size, engine, stop, barrier };
    let (sender, messages) = mpsc::sync_channel(UPDATES_PER_WORKER * threads);
    let rings = rings.into_iter().map(Some).chain(iter::repeat_with(|| None));
    let workers = (0..threads).zip(rings);
    let workers = workers.map(|(index, ring)| Worker::new(&shared, index, sender.clone(), ring));
    let workers = workers.collect::<io::Result<Vec<_>>>().map_err(Error::Setup)?;
    drop(sender);
    thread::scope(|scope| {
        // However this ends, nobody is left waiting at the gate.
        let barrier = CancelOnDrop(&shared.barrier);
        for worker in workers {
            let thread = thread::Builder::new().name("load".to_owned());
            thread.spawn_scoped(scope, move || worker.run()).map_err(Error::Setup)?;
        }
        wait_until_ready(&shared, &messages)?;
        let mut run = Run {
            schema_version: SCHEMA_VERSION,
            program: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
            label: workload.label.clone(),
            started: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            machine: system::machine(),
            settings: settings(&shared),
            result: Metrics::default(),
            intervals: Vec::new(),
            gates: Vec::new(),
        };
        observe(Event::Started(&run));
        barrier.0.open();
        let (total, totals, intervals) = collect(&shared, &messages, &mut observe);
        run.result = metrics(workload, wire_size, &total, totals);
        run.intervals = intervals;
        Ok(run)
    })
}

/// The address to connect to: where there are several, the first that answers.
fn server(config: &Config) -> Result<SocketAddr, Error> {
    match addresses(&config.host, config.port)?.as_slice() {
        [address] => Ok(*address),
        _ => connect(config).map(|(_, address)| address),
    }
}

/// Waits until every worker has tried its connections. Fails if there is none.
fn wait_until_ready(shared: &Shared<'_>, messages: &Receiver<Update>) -> Result<(), Error> {
    let (mut any, mut first) = (false, None);
    for message in messages.iter().take(shared.threads) {
        if let Update::Ready { connected, failure } = message {
            any |= connected;
            first = first.or(failure);
        }
    }
    match first {
        Some(failure) if !any => Err(shared.connect_error(failure)),
        _ => Ok(()),
    }
}

/// Puts together what the workers hand in, until all are done.
fn collect(
    shared: &Shared<'_>,
    messages: &Receiver<Update>,
    observe: &mut impl FnMut(Event<'_>),
) -> (IntervalStats, Totals, Vec<Interval>) {
    let is_open_loop = shared.workload.rate.is_some();
    let (mut total, mut totals, mut intervals) =
        (IntervalStats::new(is_open_loop), Totals::default(), Vec::new());
    let mut parts: BTreeMap<u64, IntervalStats> = BTreeMap::new();
    // The number of the interval that each worker is in, and of the next one to be told.
    let (mut at, mut next) = (vec![0; shared.threads], 0);
    let length = shared.workload.interval;
    for message in messages {
        let (index, stats) = match message {
            Update::Ready { .. } => continue,
            Update::Interval { worker, index, stats } => {
                at[worker] = index + 1;
                (index, stats)
            }
            Update::Done { worker, stats, totals: part } => {
                totals.add(*part);
                (std::mem::replace(&mut at[worker], u64::MAX), stats)
            }
        };
        total.add(&stats);
        parts.entry(index).or_insert_with(|| IntervalStats::new(is_open_loop)).add(&stats);
        // Those that everybody has left are complete.
        let complete = at.iter().min().copied().unwrap_or(u64::MAX);
        let last = parts.last_key_value().map_or(0, |(last, _)| last + 1);
        while next < complete.min(last) {
            // In one that has no part, everybody was held up.
            let part = parts.remove(&next).unwrap_or_else(|| IntervalStats::new(is_open_loop));
            let start = length.saturating_mul(u32::try_from(next).unwrap_or(u32::MAX));
            let rest =
                if complete == u64::MAX { totals.window.saturating_sub(start) } else { length };
            next += 1;
            if part.echoes > 0 || !rest.is_zero() {
                let interval = interval(start, rest.min(length), &part);
                observe(Event::Interval(&interval, &part.latency));
                intervals.push(interval);
            }
        }
    }
    (total, totals, intervals)
}

/// Where the workers wait for the common beginning.
#[derive(Default)]
struct StartBarrier {
    state: Mutex<BarrierState>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
enum BarrierState {
    #[default]
    Waiting,
    /// Open since then.
    Open(Instant),
    /// It will not be opened any more.
    Cancelled,
}

impl StartBarrier {
    /// Waits; returns the common beginning, or `None` if there is none.
    fn wait(&self) -> Option<Instant> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_while(state, |state| matches!(state, BarrierState::Waiting));
        match *waited.unwrap_or_else(PoisonError::into_inner) {
            BarrierState::Open(since) => Some(since),
            _ => None,
        }
    }

    fn open(&self) {
        self.set(BarrierState::Open(Instant::now()));
    }

    fn set(&self, next: BarrierState) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, BarrierState::Waiting) {
            *state = next;
        }
        drop(state);
        self.changed.notify_all();
    }
}

/// Sends home whoever still waits at the gate.
struct CancelOnDrop<'a>(&'a StartBarrier);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.set(BarrierState::Cancelled);
    }
}
