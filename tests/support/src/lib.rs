//! Runs the built programs for tests: on a free port, with deadlines, and no process left behind.
//!
//! Failures are `io::Error`s that say what the program printed, so that a test can unwrap them and
//! `cargo xtask e2e` can report them.

mod captured;
mod descriptors;
#[cfg(unix)]
mod handover;
mod held;
pub mod model;
pub mod peers;
mod silent;

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use captured::Captured;
pub use descriptors::raise_descriptor_limit;
#[cfg(unix)]
pub use handover::handing_over;
pub use held::Held;
#[cfg(unix)]
pub use rustix::process::Signal;

/// How long anything may take. Generous: it only ends tests that have failed already.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Makes each function, which takes the name of an engine, a test for every engine there is; one that this
/// machine lacks is skipped, and said to be. For tests of echo-server's package: Cargo names its program.
#[macro_export]
macro_rules! on_every_engine {
    ($($test:ident,)*) => {
        mod threads {
            $(#[test] fn $test() { super::$test("threads"); })*
        }
        mod readiness {
            $(#[test] fn $test() { super::$test("readiness"); })*
        }
        mod uring {
            $(#[test] fn $test() {
                if !$crate::skipped_without_uring(env!("CARGO_BIN_EXE_echo-server"), stringify!($test)) {
                    super::$test("uring");
                }
            })*
        }
    };
}

/// A command for `program`, free of the `ECHO_…` variables of whoever runs the tests, and of their stdin.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ECHO_"));
    for (name, _) in ours {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Whether this machine lacks strace(1), or does not let it trace; if so, says that `check` was skipped.
pub fn skipped_without_strace(check: &str) -> bool {
    let traced = Process::run(command("strace").args(["-f", "-o", "/dev/null", "true"]), b"");
    let works = traced.as_ref().is_ok_and(|finished| finished.status.success());
    if !works {
        skipped(check, &format!("it takes strace of Linux: {traced:?}"));
    }
    !works
}

/// A command for `program` on a system that fails every `call` of it with `error`. It takes strace(1), see
/// [`skipped_without_strace`], and has to end by itself: killing the tracer would leave the program behind.
pub fn refusing(call: &str, error: &str, program: impl AsRef<OsStr>) -> Command {
    let mut tracer = command("strace");
    tracer.args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    tracer.args(["-e", &format!("inject={call}:error={error}")]).arg(program.as_ref());
    tracer
}

/// The same from the `n`-th `call` of each thread on, counted from 1.
pub fn failing_from(n: usize, call: &str, error: &str, program: impl AsRef<OsStr>) -> Command {
    refusing(call, &format!("{error}:when={n}+"), program)
}

/// Says on the terminal, past the test harness's capture, that a check was skipped and why.
pub fn skipped(check: &str, why: &str) {
    // Not `eprintln!`, which the harness captures. If stderr is closed, nobody wants to know.
    let _ = writeln!(io::stderr(), "SKIPPED {check}: {why}");
}

/// Whether this machine lacks IPv6; if so, says that `check` was skipped.
pub fn skipped_without_ipv6(check: &str) -> bool {
    let missing = TcpListener::bind("[::1]:0").is_err();
    if missing {
        skipped(check, "this machine has no IPv6");
    }
    missing
}

/// Whether this machine lacks what `--engine uring` of the echo-server `program` takes; if so, says that
/// `check` was skipped.
///
/// # Panics
///
/// That server does not start for any other reason.
pub fn skipped_without_uring(program: &str, check: &str) -> bool {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    let why = WHY.get_or_init(|| match Server::start(program, &["--engine", "uring"]) {
        Ok(_) => None,
        Err(error) if error.to_string().contains("uring is not available") => {
            Some(error.to_string())
        }
        Err(error) => panic!("{error}"),
    });
    if let Some(why) = why {
        skipped(check, why);
    }
    why.is_some()
}

/// Connects, with a deadline on every read and write.
///
/// # Panics
///
/// It cannot connect. So do the functions below when the peer does not do as it should.
pub fn connect(address: SocketAddr) -> TcpStream {
    with_deadlines(TcpStream::connect(address).unwrap())
}

fn with_deadlines(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Connects from an address of this machine.
pub fn connect_from(source: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    with_deadlines(socket.into())
}

/// Connects with a receive buffer of a few KiB, so that an echo which is not read waits at the server.
pub fn connect_with_little_room(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    with_deadlines(socket.into())
}

/// Connects and sends until nothing more is taken: the server then owes as much as it holds for a peer.
pub fn connect_and_never_read(address: SocketAddr) -> TcpStream {
    let mut stream = connect_with_little_room(address);
    stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    while stream.write_all(&[7; 64 * 1024]).is_ok() {}
    stream
}

/// One message and its echo, on a connection that stays open.
pub fn exchange(mut stream: &TcpStream, message: &[u8]) {
    stream.write_all(message).unwrap();
    let mut echo = vec![0; message.len()];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(echo, message);
}

/// All that comes until the peer says goodbye.
pub fn read_to_end(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Ends a connection with RST: whatever is on its way, either way, is lost.
pub fn reset(stream: TcpStream) {
    // It fails only on a connection that is broken already.
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// Waits until `condition` holds; `what` says what that means.
///
/// # Panics
///
/// It does not within [`DEADLINE`].
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "after {DEADLINE:?} it is still not so: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until nobody listens at `address`. What was queued there until then is reset.
pub fn wait_until_it_refuses(address: SocketAddr) {
    eventually("nobody listens", || {
        let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
        TcpStream::connect(address).is_err_and(refused)
    });
}

/// A running program whose output is collected. It is killed when this is dropped.
pub struct Process {
    child: Child,
    stdout: Arc<Captured>,
    stderr: Arc<Captured>,
}

/// What a program left behind.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// All that it printed on stdout.
    pub stdout: String,
    /// All that it printed on stderr.
    pub stderr: String,
}

impl Process {
    /// Starts a program and collects what it prints.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            let program = Path::new(command.get_program()).display();
            io::Error::new(error.kind(), format!("cannot start {program}: {error}"))
        })?;
        let stdout = Captured::follow(child.stdout.take().expect("it is piped"));
        let stderr = Captured::follow(child.stderr.take().expect("it is piped"));
        Ok(Self { child, stdout, stderr })
    }

    /// Starts a program, gives it `input` on stdin and waits until it ends.
    ///
    /// # Errors
    ///
    /// It cannot be started, or does not end within [`DEADLINE`].
    pub fn run(command: &mut Command, input: &[u8]) -> io::Result<Finished> {
        let mut process = Self::spawn(command.stdin(Stdio::piped()))?;
        let mut stdin = process.child.stdin.take().expect("it is piped");
        let input = input.to_owned();
        // A program may end without having read its input: that is for its output to tell.
        thread::spawn(move || stdin.write_all(&input));
        process.wait()
    }

    /// The operating system's number for it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until stdout has the text, and returns all of it up to now.
    ///
    /// # Errors
    ///
    /// The text does not come within [`DEADLINE`], or the output ends without it.
    pub fn wait_for_stdout(&self, text: &str) -> io::Result<String> {
        self.wait_for_stdout_times(text, 1)
    }

    /// The same, for text that is to come that often.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn wait_for_stdout_times(&self, text: &str, times: usize) -> io::Result<String> {
        self.stdout.wait_until(|output| output.matches(text).count() >= times).ok_or_else(|| {
            // Of a program that has ended, all that it said of it.
            self.stderr.settle();
            let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
            failure(format!("no {times} × {text:?}\nstdout: {stdout}\nstderr: {stderr}"))
        })
    }

    /// Waits until stderr has the text.
    ///
    /// # Errors
    ///
    /// The text does not come within [`DEADLINE`], or the output ends without it.
    pub fn wait_for_stderr(&self, text: &str) -> io::Result<String> {
        let found = self.stderr.wait_until(|output| output.contains(text));
        found.ok_or_else(|| failure(format!("no {text:?} on stderr: {}", self.stderr.text())))
    }

    /// What it printed on stdout and stderr so far.
    pub fn output(&self) -> (String, String) {
        (self.stdout.text(), self.stderr.text())
    }

    /// Processor time that it has used; proc_pid_stat(5), in ticks of 10 ms.
    ///
    /// # Panics
    ///
    /// It is gone.
    #[cfg(target_os = "linux")]
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks =
            fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// How often one of its threads has blocked and been woken (`voluntary_ctxt_switches`, proc_pid_status(5)).
    /// The main thread has the number of the process.
    ///
    /// # Panics
    ///
    /// There is no such thread.
    #[cfg(target_os = "linux")]
    pub fn context_switches(&self, thread: u32) -> u64 {
        let path = format!("/proc/{}/task/{thread}/status", self.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line =
            status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse().unwrap()
    }

    /// The numbers of its threads.
    ///
    /// # Panics
    ///
    /// It is gone.
    #[cfg(target_os = "linux")]
    pub fn threads(&self) -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        tasks.map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
    }

    /// Sends SIGTERM.
    #[cfg(unix)]
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGINT, as Ctrl-C does.
    #[cfg(unix)]
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Sends any signal.
    #[cfg(unix)]
    pub fn signal(&self, signal: Signal) {
        // It fails only if the process is gone, which the caller will see anyway.
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal);
    }

    /// Kills it at once (SIGKILL).
    pub fn kill(&mut self) {
        // It fails only if the process is gone.
        let _ = self.child.kill();
    }

    /// Waits until it ends.
    ///
    /// # Errors
    ///
    /// It does not end within [`DEADLINE`]; it is then killed.
    pub fn wait(mut self) -> io::Result<Finished> {
        let started = Instant::now();
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if started.elapsed() < DEADLINE => thread::sleep(Duration::from_millis(2)),
                None => {
                    let (stdout, stderr) = self.output();
                    return Err(failure(format!(
                        "still running after {DEADLINE:?}\nstdout: {stdout}\nstderr: {stderr}"
                    )));
                }
            }
        };
        let output = |captured: &Captured| {
            captured.wait_until(|_| false);
            captured.text()
        };
        Ok(Finished { status, stdout: output(&self.stdout), stderr: output(&self.stderr) })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// A running echo-server that listens.
pub struct Server {
    /// The program.
    pub process: Process,
    /// The first address that it said it listens on.
    pub address: SocketAddr,
}

impl Server {
    /// Starts the program with the given arguments on a free port, and waits until it listens.
    ///
    /// # Errors
    ///
    /// It cannot be started or does not say that it listens.
    pub fn start(program: impl AsRef<OsStr>, arguments: &[&str]) -> io::Result<Self> {
        Self::start_with(command(program).args(["--port", "0"]).args(arguments))
    }

    /// The same, with a command that is all the caller's.
    ///
    /// # Errors
    ///
    /// It cannot be started or does not say that it listens.
    pub fn start_with(command: &mut Command) -> io::Result<Self> {
        let process = Process::spawn(command)?;
        let stdout = process.wait_for_stdout("\n")?;
        let address = stdout
            .lines()
            .find_map(|line| line.strip_prefix("Listening on ")?.parse().ok())
            .ok_or_else(|| failure(format!("no address in {stdout:?}")))?;
        Ok(Self { process, address })
    }
}

fn failure(message: String) -> io::Error {
    io::Error::other(message)
}
