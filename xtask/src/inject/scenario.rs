//! What a server is asked to do while a call of it fails: an echo, a half-close, and a connection that stands by.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use echo_test_support::{Server, Signal, command};
use rustix::process::{Pid, kill_process, test_kill_process};

use super::calls::{Permit, can_fail};
use crate::binaries::Binaries;

/// How long an echo may take: accepting may have paused before it.
const SOON: Duration = Duration::from_secs(3);
/// How long the server may take to close what has ended, and to end after its drain timeout of 1 s.
const LET_GO: Duration = Duration::from_secs(4);
/// For so long it has nothing to do, and uses no processor time but for this.
const AT_REST: Duration = Duration::from_millis(100);
const AT_REST_MAX: Duration = Duration::from_millis(50);

/// A call that fails.
#[derive(Clone, Copy, Debug)]
pub(super) struct Injection {
    pub(super) call: &'static str,
    pub(super) error: &'static str,
    /// The first, second, … call of each thread.
    pub(super) when: usize,
    pub(super) permit: Permit,
}

/// What was made to fail in a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Injected {
    /// Calls that can fail so.
    pub(super) possible: usize,
    /// Calls that cannot; what follows from those says nothing about the server.
    pub(super) impossible: usize,
}

/// Kills a process in the end: strace(1), its parent, would leave it behind.
struct Guard(Pid);

impl Drop for Guard {
    fn drop(&mut self) {
        // It fails if it has ended.
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// Runs the scenario.
pub(super) fn run(binaries: &Binaries, engine: &str, injection: Injection) -> Result<Injected> {
    let log = std::env::temp_dir().join(format!("inject-{}", fastrand::u64(..)));
    let Injection { call, error, when, .. } = injection;
    let mut strace = command("strace");
    strace.args(["-f", "-qq", "-yy", "-o"]).arg(&log).args(["-e", &format!("trace={call}")]);
    strace.args(["-e", &format!("inject={call}:error={error}:when={when}")]);
    let injected = || Ok(Injected::read(&std::fs::read_to_string(&log)?));
    let judged = match start(&mut strace, binaries, engine) {
        Ok(server) => serve(server, injection, &injected),
        Err(error) => did_not_start(&error.to_string(), injected()?),
    };
    let count = injected()?;
    std::fs::remove_file(&log)?;
    judged.map(|()| count)
}

/// The names of the system calls that an engine makes when none is failed (strace -c).
pub(super) fn calls_made(binaries: &Binaries, engine: &str) -> Result<Vec<String>> {
    let log = std::env::temp_dir().join(format!("inject-{}", fastrand::u64(..)));
    let mut strace = command("strace");
    strace.args(["-f", "-qq", "-c", "-U", "name", "-o"]).arg(&log);
    let server = start(&mut strace, binaries, engine)?;
    let injection = Injection { call: "", error: "", when: 0, permit: Permit::Nothing };
    serve(server, injection, &|| Ok(Injected::default()))?;
    let names = std::fs::read_to_string(&log)?;
    std::fs::remove_file(&log)?;
    Ok(names.lines().map(str::trim).filter(|name| is_name(name)).map(str::to_owned).collect())
}

/// Neither a heading nor a line below it.
fn is_name(row: &str) -> bool {
    !row.is_empty() && !row.starts_with('-') && !["syscall", "total"].contains(&row)
}

fn start(strace: &mut Command, binaries: &Binaries, engine: &str) -> io::Result<Server> {
    let address = unused_address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    strace.arg(&binaries.server).args(["--engine", engine, "--threads", "1"]);
    strace.args(["--drain-timeout", "1s", "--host", &host, "--port", &port]);
    // A panic of the thread that waits for signals would take a while to say where.
    strace.env("RUST_BACKTRACE", "0");
    Server::start_at(strace, address)
}

impl Injected {
    fn read(log: &str) -> Self {
        let mut injected = Self::default();
        // A call that another thread's comes between has two lines, of which only the first has its arguments.
        let mut unfinished = HashMap::new();
        for line in log.lines() {
            let thread = line.split_whitespace().next();
            if line.ends_with("<unfinished ...>") {
                unfinished.insert(thread, line);
            } else if line.contains("(INJECTED)") {
                let resumed = line.contains(" resumed>");
                let first = unfinished.get(&thread).filter(|_| resumed).unwrap_or(&line);
                let count =
                    if can_fail(first) { &mut injected.possible } else { &mut injected.impossible };
                *count += 1;
            }
        }
        injected
    }

    fn all(self) -> usize {
        self.possible + self.impossible
    }
}

/// An address of 127.0.0.0/8 that no other run uses.
///
/// A port chosen by binding a socket would not do: a program that another thread starts at that moment inherits the
/// socket until its `exec`, so the port would accept connections before the server runs.
fn unused_address() -> SocketAddr {
    let octet = || fastrand::u8(1..=254);
    SocketAddr::from(([127, octet(), octet(), octet()], 65432))
}

/// A server that cannot begin says why.
fn did_not_start(said: &str, injected: Injected) -> Result<()> {
    ensure!(injected.all() > 0, "it does not start: {said}");
    ensure!(!panics(said), "it panics at its start: {said}");
    ensure!(said.contains("exit status"), "it neither starts nor ends as it should: {said}");
    let (_, message) = said.split_once('\n').unwrap_or_default();
    ensure!(!message.trim().is_empty(), "it does not say why it cannot start: {said}");
    Ok(())
}

/// What came of a run.
struct Observed {
    /// What did not go as it should.
    disturbed: Vec<String>,
    let_go: bool,
    /// Processor time while it had nothing to do.
    spent: Duration,
    bystander: io::Result<TcpStream>,
}

/// Has a server do all that it has to, but for the end.
fn observe(pid: Pid, address: SocketAddr) -> Observed {
    let mut bystander = connect(address);
    let mut disturbed = Vec::new();
    let mut note = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            disturbed.push(format!("{what}: {error}"));
        }
    };
    let stood_by = with(&mut bystander, |stream| echo(stream, 100));
    let is_there = stood_by.is_ok();
    note("the connection that stands by", stood_by);
    let descriptors = descriptors(pid);
    let mut echoing = connect(address);
    note("the echo", with(&mut echoing, |stream| echo(stream, 3000)));
    let mut closing = connect(address);
    note("the half-close", with(&mut closing, half_close));
    drop((echoing, closing));
    let let_go = wait_until(|| self::descriptors(pid) <= descriptors);
    if is_there {
        note(
            "the connection that stands by, later",
            with(&mut bystander, |stream| echo(stream, 100)),
        );
    }
    let before = processor_time(pid);
    thread::sleep(AT_REST);
    let spent = processor_time(pid).saturating_sub(before);
    Observed { disturbed, let_go, spent, bystander }
}

fn serve(
    server: Server,
    injection: Injection,
    injected: &impl Fn() -> Result<Injected>,
) -> Result<()> {
    let Some(pid) = child_of(server.process.id()) else {
        return ended_early(server, injection, injected()?);
    };
    let guard = Guard(pid);
    let Observed { mut disturbed, let_go, spent, mut bystander } = observe(pid, server.address);
    // It fails only if it has ended.
    let _ = kill_process(pid, Signal::TERM);
    let last = with(&mut bystander, |stream| stream.read_to_end(&mut Vec::new()).map(drop));
    drop(bystander);
    let gone = wait_until(|| test_kill_process(pid).is_err());
    drop(guard);
    let injected = injected()?;
    let count = injected.all();
    let mut code = 0;
    if gone {
        let (ended_with, began) = ending(server, injected)?;
        code = ended_with;
        if !began && code == 1 && count > 0 {
            // It had bound its address and could not begin; it said why.
            return Ok(());
        }
        if disturbed.is_empty()
            && let Err(error) = last
        {
            disturbed.push(format!("the connection that stands by, at the end: {error}"));
        }
    } else {
        // Without a wake-up, which cannot fail, a stop is not noticed; all that came before it is judged.
        ensure!(injected.impossible > 0, "it does not end within its drain timeout");
    }
    if injection.permit == Permit::Server && code == 1 {
        return Ok(());
    }
    let allowed = if injection.permit == Permit::Nothing { 0 } else { count };
    ensure!(
        disturbed.len() <= allowed,
        "{count} calls failed, and it came to {}",
        disturbed.join("; ")
    );
    ensure!(let_go, "it keeps descriptors of connections that have ended");
    ensure!(spent <= AT_REST_MAX, "it used {spent:?} of processor time in {AT_REST:?} of rest");
    ensure!(code == 0 || allowed > 0, "it ended with {code}");
    Ok(())
}

/// It listened, and has ended before it could be talked to.
fn ended_early(server: Server, injection: Injection, injected: Injected) -> Result<()> {
    let (code, began) = ending(server, injected)?;
    let may_end = injection.permit == Permit::Server || !began;
    ensure!(may_end && code == 1, "it ended with {code} before it was told to");
    Ok(())
}

/// The code with which the server has ended, not by a signal and not by a panic; and whether it had begun to
/// listen for all that it knew.
fn ending(server: Server, injected: Injected) -> Result<(i32, bool)> {
    let finished = server.process.wait()?;
    // The library that waits for signals panics, on a thread of its own, on errors that its sockets cannot have.
    let may_panic = injected.impossible > 0 && finished.stderr.contains("thread 'signals'");
    ensure!(may_panic || !panics(&finished.stderr), "it panics: {}", finished.stderr);
    let code = finished.status.code();
    let code = code.with_context(|| format!("it ended with {}", finished.status))?;
    ensure!(code == 0 || !finished.stderr.is_empty(), "it ended with {code} and says nothing");
    Ok((code, finished.stdout.contains("Listening on")))
}

/// Whether a thread of the server panics.
fn panics(stderr: &str) -> bool {
    stderr.contains("panicked at")
}

/// The process that strace(1) has started; `None` when it has ended. The kernel's list may be short of one while
/// others end, so it is asked again.
fn child_of(strace: u32) -> Option<Pid> {
    let started = Instant::now();
    let path = format!("/proc/{strace}/task/{strace}/children");
    while let Ok(children) = std::fs::read_to_string(&path) {
        let first = children.split_whitespace().next();
        let pid = first.and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        if pid.is_some() || started.elapsed() > LET_GO {
            return pid;
        }
        thread::sleep(Duration::from_millis(1));
    }
    None
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    Ok(stream)
}

fn with(
    stream: &mut io::Result<TcpStream>,
    act: impl FnOnce(&mut TcpStream) -> io::Result<()>,
) -> io::Result<()> {
    match stream {
        Ok(stream) => act(stream),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

/// Three messages, the last of this size.
fn echo(stream: &mut TcpStream, size: usize) -> io::Result<()> {
    for size in [1, 2, size] {
        let message: Vec<u8> = (0..size).map(|place| place as u8).collect();
        stream.write_all(&message)?;
        let mut echo = vec![0; size];
        stream.read_exact(&mut echo)?;
        if echo != message {
            return Err(io::Error::other("wrong bytes"));
        }
    }
    Ok(())
}

fn half_close(stream: &mut TcpStream) -> io::Result<()> {
    echo(stream, 10)?;
    stream.write_all(&[7; 2000])?;
    stream.shutdown(Shutdown::Write)?;
    let mut echo = Vec::new();
    stream.read_to_end(&mut echo)?;
    if echo == [7; 2000] { Ok(()) } else { Err(io::Error::other(format!("{} bytes", echo.len()))) }
}

fn wait_until(condition: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while !condition() {
        if started.elapsed() > LET_GO {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

fn descriptors(pid: Pid) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).map_or(0, Iterator::count)
}

/// Processor time that a process has used (proc_pid_stat(5), in ticks of 10 ms); none if it is gone.
fn processor_time(pid: Pid) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let stat = stat.unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    #[test]
    fn an_unused_address_refuses_connections_while_programs_are_started() {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(Relaxed) {
                        assert!(command("true").status().unwrap().success());
                    }
                });
            }
            let accepted =
                (0..20_000).filter(|_| TcpStream::connect(unused_address()).is_ok()).count();
            is_over.store(true, Relaxed);
            assert_eq!(accepted, 0);
        });
    }

    #[test]
    fn injections_are_counted_by_the_calls_that_can_fail() {
        let log = "7 futex(0x5563, FUTEX_WAKE_PRIVATE, 1 <unfinished ...>\n\
                   8 futex(0x5563, FUTEX_WAIT_PRIVATE, 2, NULL) = -1 EINTR (Interrupted) (INJECTED)\n\
                   8 futex(0x5563, FUTEX_WAIT_PRIVATE, 2, NULL) = 0\n\
                   7 <... futex resumed>) = -1 EINTR (Interrupted) (INJECTED)\n";
        let Injected { possible, impossible } = Injected::read(log);
        assert_eq!((possible, impossible), (1, 1));
    }
}
