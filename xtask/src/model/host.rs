//! A server that many histories run against, with the connections that stand by.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use echo_test_support::{DEADLINE, ResourceUsage, Server, Signal, connect_from, with_engine};
use serde_json::Value;

use super::case::Case;
use crate::binaries::Binaries;

/// How long a server may take to let go of what the connections of a history have held.
const LET_GO: Duration = Duration::from_secs(10);
/// What an allocator keeps at hand, in KiB, beside the buffers of a ring. Each thread of the engine `threads` has an
/// arena of its own, which it trims when it is idle.
const KEPT_KIB: u64 = 256;
const KEPT_BY_THREADS_KIB: u64 = 6 * 1024;
/// Buffers of a worker's ring, and with how many connections it receives ahead into them.
const RING_BUFFERS: usize = 512;
const RECEIVED_AHEAD: usize = 4;
/// What is held for a peer that does not read, in KiB.
const FOR_A_PEER_KIB: u64 = 64;

pub(super) struct Host {
    server: Server,
    engine: String,
    case: &'static Case,
    bystanders: Vec<TcpStream>,
    /// At rest, with the bystanders.
    descriptors: usize,
    memory_kib: u64,
    /// Connections made, those while it was stopping among them.
    connected: u64,
    connected_late: u64,
    /// What can have come back on all of them.
    echoed: (u64, u64),
    frozen: bool,
    stopping: bool,
}

impl Host {
    pub(super) fn start(binaries: &Binaries, engine: &str, case: &'static Case) -> Result<Self> {
        let arguments = ["--log-format", "json", "--drain-timeout", "20s"];
        let arguments = [&arguments, case.arguments].concat();
        let server = binaries.start(&with_engine(engine, &arguments))?;
        let mut host = Self {
            server,
            engine: engine.to_owned(),
            case,
            bystanders: Vec::new(),
            descriptors: 0,
            memory_kib: 0,
            connected: 0,
            connected_late: 0,
            echoed: (0, 0),
            frozen: false,
            stopping: false,
        };
        host.replace_bystanders()?;
        host.touch_the_pool()?;
        // All of it has started when it has served one connection.
        let visitor = host.bystander()?;
        let busy = ResourceUsage::of(&host.server).descriptors;
        drop(visitor);
        let started = Instant::now();
        while ResourceUsage::of(&host.server).descriptors >= busy {
            ensure!(started.elapsed() < LET_GO, "it does not close its first connection");
            thread::yield_now();
        }
        let held = ResourceUsage::of(&host.server);
        (host.descriptors, host.memory_kib) = (held.descriptors, held.memory_kib);
        Ok(host)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address
    }

    pub(super) fn id(&self) -> u32 {
        self.server.process.id()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// A connection was made.
    pub(super) fn count_connection(&mut self) {
        self.connected += 1;
        self.connected_late += u64::from(self.stopping);
    }

    /// A connection has ended that got so many bytes, and can have been sent so many.
    pub(super) fn count_echo(&mut self, received: usize, allowed: usize) {
        self.echoed.0 += received as u64;
        self.echoed.1 += allowed as u64;
    }

    /// Opens a connection that stands by and has had an echo.
    fn bystander(&mut self) -> Result<TcpStream> {
        // From another address than those of the histories: they may be limited to a few.
        let from = IpAddr::from(Ipv4Addr::new(127, 1, 0, 1 + self.bystanders.len() as u8));
        let mut stream = connect_from(from, self.address());
        self.count_connection();
        self.greet(&mut stream).context("a new connection")?;
        Ok(stream)
    }

    /// One message and its echo.
    fn greet(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        const LINE: &[u8] = b"\0\0\0\x02k\n";
        // A line, and a message with its count as well.
        stream.write_all(LINE)?;
        let mut echo = [0; LINE.len()];
        stream.read_exact(&mut echo)?;
        self.count_echo(LINE.len(), LINE.len());
        if echo != LINE && !self.case.rules.corrupts {
            return Err(io::Error::other(format!("a wrong echo: {}", echo.escape_ascii())));
        }
        Ok(())
    }

    /// Has a ring use each of its buffers once, so that what it holds later is not theirs.
    fn touch_the_pool(&mut self) -> Result<()> {
        if self.case.bystanders < RECEIVED_AHEAD {
            return Ok(());
        }
        for _ in 0..RING_BUFFERS + RING_BUFFERS / 2 {
            self.replace_bystanders()?;
            let mut stream = self.bystanders.remove(0);
            match self.greet(&mut stream) {
                Ok(()) => self.bystanders.push(stream),
                // On a busy machine it was silent for too long.
                Err(_) if self.case.idle_timeout.is_some() => {}
                Err(error) => return Err(error).context("a connection that stands by"),
            }
        }
        self.replace_bystanders()
    }

    fn replace_bystanders(&mut self) -> Result<()> {
        while self.bystanders.len() < self.case.bystanders {
            let stream = self.bystander()?;
            self.bystanders.push(stream);
        }
        Ok(())
    }

    /// All connections of a history have ended: the bystanders have noticed nothing, and nothing stays behind.
    pub(super) fn come_to_rest(&mut self) -> Result<()> {
        self.thaw();
        let bystanders = std::mem::take(&mut self.bystanders);
        for mut stream in bystanders {
            match self.greet(&mut stream) {
                Ok(()) => self.bystanders.push(stream),
                // It was silent.
                Err(_) if self.case.idle_timeout.is_some() => {}
                // It has had its bytes.
                Err(_) if self.case.rules.termination.is_some() => {}
                Err(error) => {
                    return Err(error).context("a connection that stood by was disturbed");
                }
            }
        }
        self.replace_bystanders()?;
        self.empty_the_queue()?;
        let started = Instant::now();
        loop {
            let descriptors = self.descriptors_open();
            if descriptors <= self.descriptors {
                // An allocator keeps some of what was held, for a while.
                self.memory_kib = ResourceUsage::of(&self.server).memory_kib;
                return Ok(());
            }
            ensure!(
                started.elapsed() < LET_GO,
                "it holds {descriptors} descriptors when all have left, {} before",
                self.descriptors
            );
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// Where connections are limited, waits until none is left to be accepted: one that was reset before it was
    /// would take the place of another.
    fn empty_the_queue(&mut self) -> Result<()> {
        let started = Instant::now();
        while self.case.room != usize::MAX && self.bystander().is_err() {
            ensure!(started.elapsed() < LET_GO, "it refuses connections when all have left");
            thread::yield_now();
        }
        Ok(())
    }

    fn descriptors_open(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).map_or(0, Iterator::count)
    }

    /// It may hold a little for each of the peers, beside what it held before they came.
    pub(super) fn check_memory(&self, peers: usize) -> Result<()> {
        let held = ResourceUsage::of(&self.server).memory_kib;
        let each = FOR_A_PEER_KIB + 2 * (self.case.rules.max_frame as u64).div_ceil(1024);
        let kept = if self.engine == "threads" { KEPT_BY_THREADS_KIB } else { KEPT_KIB };
        let most = self.memory_kib + kept + each * peers as u64;
        ensure!(
            held <= most,
            "it holds {held} KiB, {} before, for {peers} peers: at most {most}",
            self.memory_kib
        );
        Ok(())
    }

    /// The most bytes that it may have taken from a peer and not sent back; `None` on a ring, whose buffers take in
    /// more than a connection does.
    pub(super) fn most_held(&self) -> Option<usize> {
        let unfinished = self.case.rules.max_frame + size_of::<u32>();
        (self.engine != "uring").then_some(FOR_A_PEER_KIB as usize * 1024 + unfinished)
    }

    /// Stops the process where it is, and waits until that is so.
    pub(super) fn freeze(&mut self) -> Result<()> {
        self.server.process.signal(Signal::STOP);
        self.frozen = true;
        let started = Instant::now();
        // Z: it had been told to end, and has.
        while !self.state()?.starts_with(['T', 'Z']) {
            ensure!(started.elapsed() < DEADLINE, "it cannot be stopped with SIGSTOP");
            thread::yield_now();
        }
        Ok(())
    }

    /// The state of the process: proc_pid_stat(5).
    fn state(&self) -> Result<String> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()));
        let stat = stat.context("the server has ended")?;
        Ok(stat.rsplit_once(") ").map_or(stat.clone(), |(_, state)| state.to_owned()))
    }

    pub(super) fn thaw(&mut self) {
        if std::mem::take(&mut self.frozen) {
            self.server.process.signal(Signal::CONT);
        }
    }

    pub(super) fn stop(&mut self) {
        self.server.process.terminate();
        self.stopping = true;
    }

    /// What it has said on stderr.
    pub(super) fn said(&self) -> String {
        self.server.process.output().1
    }

    /// Has it end, if it is not about to, and checks how it does and what it has counted.
    pub(super) fn finish(mut self) -> Result<()> {
        self.thaw();
        if !self.stopping {
            self.stop();
        }
        drop(self.bystanders);
        let finished = self.server.process.wait()?;
        let said = &finished.stderr;
        ensure!(finished.status.success(), "SIGTERM ended it with {}\n{said}", finished.status);
        let summary = said.lines().last().unwrap_or_default();
        let summary: Value = serde_json::from_str(summary).with_context(|| said.clone())?;
        let count = |pointer: &str| summary.pointer(pointer).and_then(Value::as_u64);
        let refused = ["max_connections", "max_per_peer", "fault"];
        let refused = refused.iter().filter_map(|name| count(&format!("/refused/{name}")));
        let counted = count("/connections").unwrap_or(0) + refused.sum::<u64>();
        ensure!(
            (self.connected - self.connected_late..=self.connected).contains(&counted),
            "it counts {counted} connections of {}, {} of them late: {summary}",
            self.connected,
            self.connected_late
        );
        let closed = summary.pointer("/closed").and_then(Value::as_object);
        let closed: u64 =
            closed.into_iter().flat_map(|closed| closed.values()).filter_map(Value::as_u64).sum();
        ensure!(Some(closed) == count("/connections"), "it closed {closed} connections: {summary}");
        ensure!(count("/open") == Some(0), "connections are open at the end: {summary}");
        let (least, most) = self.echoed;
        let bytes = count("/bytes").unwrap_or(0);
        ensure!(
            (least..=most).contains(&bytes),
            "it counts {bytes} bytes, {least} came and {most} could have: {summary}"
        );
        Ok(())
    }
}
