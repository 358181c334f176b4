//! Running servers.

use std::ffi::OsStr;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{Process, failure};
use crate::{DEADLINE, command};

/// How long to wait between two attempts to connect to a server that does not print when it listens.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// A running echo-server that listens.
pub struct Server {
    /// The program.
    pub process: Process,
    /// The first address that it printed.
    pub address: SocketAddr,
}

impl Server {
    /// Starts echo-server on a free port and waits until it listens.
    ///
    /// # Errors
    ///
    /// It cannot be started, or ends without printing its address.
    pub fn start(program: impl AsRef<OsStr>, arguments: &[&str]) -> io::Result<Self> {
        Self::start_with(command(program).args(["--port", "0"]).args(arguments))
    }

    /// Starts echo-server by the caller's command and waits until it listens.
    ///
    /// # Errors
    ///
    /// It cannot be started, or ends without printing its address.
    pub fn start_with(command: &mut Command) -> io::Result<Self> {
        let process = Process::spawn(command)?;
        let stdout = process.wait_for_stdout("\n")?;
        let address = stdout
            .lines()
            .find_map(|line| line.strip_prefix("Listening on ")?.parse().ok())
            .ok_or_else(|| failure(format!("no address in {stdout:?}")))?;
        Ok(Self { process, address })
    }

    /// Starts any server that is told to listen at `address`, and waits until it accepts a connection, which is
    /// closed without a byte.
    ///
    /// # Errors
    ///
    /// It cannot be started, ends, or does not listen within [`DEADLINE`].
    pub fn start_at(command: &mut Command, address: SocketAddr) -> io::Result<Self> {
        let mut process = Process::spawn(command)?;
        let started = Instant::now();
        while !listens(address) {
            if process.child.try_wait()?.is_some() {
                let finished = process.wait()?;
                let (status, output) = (finished.status, finished.stdout + &finished.stderr);
                return Err(failure(format!("it ended before it listened, {status}\n{output}")));
            }
            if started.elapsed() > DEADLINE {
                return Err(failure(format!("it does not listen at {address}")));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(Self { process, address })
    }
}

/// `--engine` and these options of echo-server. `--threads` is left out for the engine that has no event loops and
/// refuses the option.
pub fn with_engine<'a>(engine: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    let mut all = [&["--engine", engine], options].concat();
    if engine == "threads"
        && let Some(index) = all.iter().position(|option| *option == "--threads")
    {
        all.drain(index..index + 2);
    }
    all
}

/// Whether a server accepts connections at `address`. Without a listener, a connection to itself is possible
/// (RFC 9293, 3.5, simultaneous open): both of its ends are the same port.
fn listens(address: SocketAddr) -> bool {
    TcpStream::connect(address)
        .is_ok_and(|stream| stream.local_addr().is_ok_and(|it| it != address))
}

#[cfg(all(test, unix))]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_event_loops_have_a_number() {
        let options = ["--once", "--threads", "1", "--quiet"];
        assert_eq!(with_engine("threads", &options), ["--engine", "threads", "--once", "--quiet"]);
        assert_eq!(with_engine("uring", &options)[2..], options);
    }

    #[test]
    fn a_server_is_started_when_its_address_accepts_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::start_at(command("sleep").arg("60"), address).unwrap();
        assert_eq!(server.address, address);
    }

    #[test]
    fn a_server_that_ends_instead_is_an_error_with_its_output() {
        // No server listens on port 1.
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut server = command("sh");
        let error = Server::start_at(server.args(["-c", "echo no port >&2; exit 7"]), address);
        let error = error.err().unwrap().to_string();
        assert!(error.contains("before it listened, exit status: 7\nno port"), "{error}");
    }
}

/// Queues `count` connections at a server that is suspended, stops it, and checks that each is served before it ends.
///
/// # Panics
///
/// The server does not serve one of them, or fails.
#[cfg(unix)]
pub fn stop_with_queued_connections(server: Server, count: usize) {
    use std::io::Write;

    use crate::{Signal, connect, read_to_end};

    server.process.signal(Signal::STOP);
    let queued: Vec<_> = (0..count).map(|_| connect(server.address)).collect();
    for mut stream in &queued {
        stream.write_all(b"in the queue").unwrap();
    }
    server.process.terminate();
    server.process.signal(Signal::CONT);
    for stream in &queued {
        assert_eq!(read_to_end(stream), b"in the queue");
    }
    drop(queued);
    assert!(server.process.wait().unwrap().status.success());
}
