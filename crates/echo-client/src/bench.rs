//! Load on many connections at once, with every byte checked.
//!
//! The load is described by a [`Workload`]. Each worker thread runs an event loop for its share of
//! the connections and reports what it measured interval by interval; the calling thread adds the
//! reports up.
//!
//! In a closed loop the next message is sent when an echo arrives. A server that stalls receives no
//! new messages meanwhile, so a stall shows once per connection. With a rate, each message has a
//! due time, and its latency counts from there even if it was sent late, as it would for a user who
//! arrived at that time ("coordinated omission", G. Tene).

mod collector;
mod connection;
mod engine;
mod metrics;
#[cfg_attr(not(target_os = "linux"), path = "bench/ring_absent.rs")]
mod ring;
mod schedule;
#[cfg(simulation)]
pub mod simulation;
mod start_barrier;
mod stats;
mod worker;
mod workload;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, SystemTime};

use echo_proto::TestStream;
use hdrhistogram::Histogram;

use self::collector::Collector;
pub use self::engine::Engine;
use self::metrics::{metrics, settings};
use self::start_barrier::{CancelOnDrop, StartBarrier};
use self::stats::{IntervalStats, Totals};
use self::worker::Worker;
pub use self::workload::{Arrivals, RunLimit, Workload};
use crate::connect::{addresses, bound_socket, connect};
use crate::error::ConnectFailure;
use crate::run::{Interval, Metrics, Run};
use crate::{Config, Error, system};

/// Progress of a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// The connections are open and sending begins. The run has no results yet.
    Started(&'a Run),
    /// An interval has ended.
    Interval(&'a Interval, &'a Histogram<u64>),
}

/// Ends a run early, from any thread. Clones end the same run.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Stops sending, waits for the messages in flight and lets [`run`] return what was measured.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Forgets that the run was ended, for the next one.
    #[cfg(simulation)]
    fn restart(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether the run was ended early.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Intervals per worker that may wait to be collected. Later ones are joined until one was.
const SPARES_PER_WORKER: usize = 2;

/// State shared by the workers.
struct Shared<'a> {
    config: &'a Config,
    workload: &'a Workload,
    server: SocketAddr,
    /// Number of workers: at most one per connection.
    threads: usize,
    /// Bytes of a message on the wire.
    wire_size: u64,
    /// The engine in use: never [`Engine::Auto`].
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

/// What a worker reports to the collecting thread.
enum Update {
    /// Every first connection is open or has failed.
    Ready { connected: bool, failure: Option<io::Error> },
    /// What was measured in an interval, and the number of its end.
    Interval { worker: usize, number: u64, stats: IntervalStats },
    /// The last interval, and the totals.
    Done { worker: usize, number: u64, stats: IntervalStats, totals: Box<Totals> },
}

/// Runs a workload and returns what was measured. Gates are left to the caller.
///
/// `observe` is called on the calling thread.
///
/// # Errors
///
/// The host has no address, not one connection can be opened, the system refuses a resource, or the
/// processor time of the server's process cannot be read. Connections that fail later are counted
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
    let engine = workload.engine.for_messages_of(wire_size);
    let rings = engine::rings(engine, threads, connections, in_flight)?;
    let engine = if rings.is_empty() { Engine::Readiness } else { Engine::Uring };
    let barrier = StartBarrier::default();
    let shared = Shared { config, workload, server, threads, wire_size, engine, stop, barrier };
    let (sender, messages) = mpsc::sync_channel((SPARES_PER_WORKER + 1) * threads);
    let mut rings = rings.into_iter();
    let (mut workers, mut spares) = (Vec::new(), Vec::new());
    for index in 0..threads {
        let (spare, returned) = mpsc::sync_channel(SPARES_PER_WORKER);
        let worker = Worker::new(&shared, index, sender.clone(), returned, rings.next());
        workers.push(worker.map_err(Error::Setup)?);
        for _ in 0..SPARES_PER_WORKER {
            let _ = spare.try_send(IntervalStats::new(workload.rate.is_some()));
        }
        spares.push(spare);
    }
    drop(sender);
    thread::scope(|scope| {
        // Releases the workers from the barrier whichever way this function returns.
        let barrier = CancelOnDrop(&shared.barrier);
        for worker in workers {
            let thread = thread::Builder::new().name("load".to_owned());
            thread.spawn_scoped(scope, move || worker.run()).map_err(Error::Setup)?;
        }
        wait_until_ready(&shared, &messages)?;
        let late = workload.start_at.and_then(|time| wait_until(time, stop));
        let mut run = Run {
            program: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
            label: workload.label.clone(),
            started: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            measured_from: None,
            measured_until: None,
            machine: system::machine(),
            builds: system::builds(workload.server_pid),
            settings: settings(&shared),
            result: Metrics::default(),
            intervals: Vec::new(),
            gates: Vec::new(),
        };
        observe(Event::Started(&run));
        let started = SystemTime::now();
        barrier.0.open();
        let Collector { total, totals, intervals, .. } =
            collect(&shared, &messages, &spares, &mut observe);
        run.result = metrics(workload, wire_size, &total, totals);
        run.intervals = intervals;
        run.result.warnings.extend(late.map(|late| {
            format!("connecting took until {:.3} s after --start-at", late.as_secs_f64())
        }));
        if run.result.seconds > 0.0 {
            let time = |ns| started + workload.warmup + Duration::from_nanos(ns);
            let time = |ns| Some(humantime::format_rfc3339_micros(time(ns)).to_string());
            run.measured_from = time(total.span.start);
            run.measured_until = time(total.span.end);
        }
        Ok(run)
    })
}

/// The address to connect to. If there are several, the first that accepts a connection.
fn server(config: &Config) -> Result<SocketAddr, Error> {
    // If the source address is wrong, it is for every connection.
    config.bind.map(bound_socket).transpose()?;
    match addresses(config)?.as_slice() {
        [address] => Ok(*address),
        _ => connect(config).map(|(_, address)| address),
    }
}

/// Waits until every worker has tried its connections. Fails if none is open.
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

/// Waits until this time, unless the run is stopped. Returns how late it is already.
fn wait_until(time: SystemTime, stop: &Stop) -> Option<Duration> {
    let late = SystemTime::now().duration_since(time).ok();
    while let Ok(left) = time.duration_since(SystemTime::now())
        && !left.is_zero()
        && !stop.is_stopped()
    {
        // In steps, as the clock may be set meanwhile.
        thread::sleep(left.min(Duration::from_millis(100)));
    }
    late
}

/// Adds up the workers' updates until all are done.
fn collect(
    shared: &Shared<'_>,
    updates: &Receiver<Update>,
    spares: &[SyncSender<IntervalStats>],
    observe: &mut impl FnMut(Event<'_>),
) -> Collector {
    let mut collector = Collector::new(shared.workload.rate.is_some(), shared.threads);
    for update in updates {
        match update {
            Update::Ready { .. } => {}
            Update::Interval { worker, number, mut stats } => {
                collector.add(worker, number, &stats);
                stats.reset();
                let _ = spares[worker].try_send(stats);
            }
            Update::Done { worker, number, stats, totals } => {
                collector.add(worker, number, &stats);
                collector.finish(worker, *totals);
            }
        }
        while collector.next(|interval, part| observe(Event::Interval(interval, &part.latency))) {}
    }
    collector
}
