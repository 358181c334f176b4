//! The scenario that a server runs while one of its calls fails: an echo, a half-close, and an unaffected connection
//! (the bystander).

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use echo_test_support::{Server, Signal, command, with_engine};
use rustix::process::{Pid, kill_process, test_kill_process};

use super::calls::{Permit, can_fail};
use crate::binaries::Binaries;

/// Time limit of an echo. Accepting may have paused before it.
const ECHO_TIMEOUT: Duration = Duration::from_secs(3);
/// Time limit for closing finished connections, and for exiting: the drain timeout is 1 s.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long the server is left idle, and the most CPU time that it may use meanwhile.
const IDLE_TIME: Duration = Duration::from_millis(100);
const IDLE_CPU_MAX: Duration = Duration::from_millis(50);

/// A call to fail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Injection {
    pub(super) call: &'static str,
    pub(super) error: &'static str,
    /// The number of the call, counted from 1 in each thread.
    pub(super) when: usize,
    pub(super) permit: Permit,
}

/// Counts of injected errors in a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Injected {
    /// Injected into calls that [can fail](can_fail).
    pub(super) possible: usize,
    /// Injected into calls that cannot; their effects are not judged.
    pub(super) impossible: usize,
}

/// Kills the server when dropped: it would outlive a killed strace(1), its parent.
struct Guard(Pid);

impl Drop for Guard {
    fn drop(&mut self) {
        // Fails if the process has ended.
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// Runs the scenario with one injection.
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

/// The names of the system calls that an engine makes without injections (strace -c).
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

/// Whether a row of the summary is a name, and not a heading or a rule.
fn is_name(row: &str) -> bool {
    !row.is_empty() && !row.starts_with('-') && !["syscall", "total"].contains(&row)
}

fn start(strace: &mut Command, binaries: &Binaries, engine: &str) -> io::Result<Server> {
    let address = unused_address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    strace.arg(&binaries.server).args(with_engine(engine, &["--threads", "1"]));
    strace.args(["--drain-timeout", "1s", "--host", &host, "--port", &port]);
    // Printing the backtrace of a panic under strace takes long.
    strace.env("RUST_BACKTRACE", "0");
    Server::start_at(strace, address)
}

impl Injected {
    fn read(log: &str) -> Self {
        let mut injected = Self::default();
        // An interrupted call has two lines, of which only the first has its arguments.
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

/// Checks that a server that could not start reported why.
fn did_not_start(said: &str, injected: Injected) -> Result<()> {
    ensure!(injected.all() > 0, "it does not start: {said}");
    ensure!(!panics(said), "it panics at its start: {said}");
    ensure!(said.contains("exit status"), "it neither starts nor ends as it should: {said}");
    let (_, message) = said.split_once('\n').unwrap_or_default();
    ensure!(!message.trim().is_empty(), "it does not say why it cannot start: {said}");
    Ok(())
}

/// The behaviour of the server in a run.
struct Observed {
    /// Steps of the scenario that failed.
    disturbed: Vec<String>,
    closed: bool,
    /// CPU time used while idle.
    idle_cpu: Duration,
    bystander: io::Result<TcpStream>,
}

/// Runs all steps of the scenario except the stop.
fn observe(pid: Pid, address: SocketAddr) -> Observed {
    let mut bystander = connect(address);
    let mut disturbed = Vec::new();
    let mut note = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            disturbed.push(format!("{what}: {error}"));
        }
    };
    let first_echo = with(&mut bystander, |stream| echo(stream, 100));
    let is_there = first_echo.is_ok();
    note("the bystander", first_echo);
    let descriptors = descriptors(pid);
    let mut echoing = connect(address);
    note("the echo", with(&mut echoing, |stream| echo(stream, 3000)));
    let mut closing = connect(address);
    note("the half-close", with(&mut closing, half_close));
    drop((echoing, closing));
    let closed = wait_until(|| self::descriptors(pid) <= descriptors);
    if is_there {
        note("the bystander, later", with(&mut bystander, |stream| echo(stream, 100)));
    }
    let before = processor_time(pid);
    thread::sleep(IDLE_TIME);
    let idle_cpu = processor_time(pid).saturating_sub(before);
    Observed { disturbed, closed, idle_cpu, bystander }
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
    let Observed { mut disturbed, closed, idle_cpu, mut bystander } = observe(pid, server.address);
    // Fails only if the server has ended.
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
            // It had bound its address but could not serve, and reported why.
            return Ok(());
        }
        if disturbed.is_empty()
            && let Err(error) = last
        {
            disturbed.push(format!("the bystander, at the end: {error}"));
        }
    } else {
        // If a wake-up was failed, which cannot happen otherwise, the stop is not noticed. The steps before it are judged.
        ensure!(injected.impossible > 0, "it does not end within its drain timeout");
    }
    if injection.permit == Permit::Server && code == 1 {
        return Ok(());
    }
    let allowed = if injection.permit == Permit::Nothing { 0 } else { count };
    ensure!(
        disturbed.len() <= allowed,
        "{count} errors were injected, with these effects: {}",
        disturbed.join("; ")
    );
    ensure!(closed, "it leaks descriptors of closed connections");
    ensure!(
        idle_cpu <= IDLE_CPU_MAX,
        "it used {idle_cpu:?} of CPU time in {IDLE_TIME:?} without work"
    );
    ensure!(code == 0 || allowed > 0, "it exited with {code}");
    Ok(())
}

/// Judges a server that listened and ended before the scenario began.
fn ended_early(server: Server, injection: Injection, injected: Injected) -> Result<()> {
    let (code, began) = ending(server, injected)?;
    let may_end = injection.permit == Permit::Server || !began;
    ensure!(may_end && code == 1, "it exited with {code} before SIGTERM");
    Ok(())
}

/// Waits for the server and returns its exit code, and whether it had printed that it listens.
///
/// # Errors
///
/// It did not exit, was killed by a signal, panicked, or failed without a message.
fn ending(server: Server, injected: Injected) -> Result<(i32, bool)> {
    let finished = server.process.wait()?;
    // signal-hook panics, on a thread of its own, on errors that its socket pair cannot have.
    let may_panic = injected.impossible > 0 && finished.stderr.contains("thread 'signals'");
    ensure!(may_panic || !panics(&finished.stderr), "it panics: {}", finished.stderr);
    let code = finished.status.code();
    let code = code.with_context(|| format!("it ended with {}", finished.status))?;
    ensure!(code == 0 || !finished.stderr.is_empty(), "it exited with {code} without a message");
    Ok((code, finished.stdout.contains("Listening on")))
}

/// Whether a thread of the server panicked.
fn panics(stderr: &str) -> bool {
    stderr.contains("panicked at")
}

/// The process that strace(1) has started, or `None` if it has ended. The kernel's list may miss a process while others
/// end (`children`, proc_pid_task(5)), so it is read again.
fn child_of(strace: u32) -> Option<Pid> {
    let started = Instant::now();
    let path = format!("/proc/{strace}/task/{strace}/children");
    while let Ok(children) = std::fs::read_to_string(&path) {
        let first = children.split_whitespace().next();
        let pid = first.and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        if pid.is_some() || started.elapsed() > CLOSE_TIMEOUT {
            return pid;
        }
        thread::sleep(Duration::from_millis(1));
    }
    None
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ECHO_TIMEOUT))?;
    stream.set_write_timeout(Some(ECHO_TIMEOUT))?;
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

/// Echoes three messages, the last of `size` bytes.
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
        if started.elapsed() > CLOSE_TIMEOUT {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

fn descriptors(pid: Pid) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).map_or(0, Iterator::count)
}

/// CPU time used by a process, in ticks of 10 ms (proc_pid_stat(5)); 0 if it has ended.
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
