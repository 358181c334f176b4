//! Servers that do not say where they listen.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::{DEADLINE, Process, Server, failure};

/// How long to wait between two tries. Nothing tells when somebody else's program listens.
const PAUSE: Duration = Duration::from_millis(2);

impl Server {
    /// Starts any server, whose command line tells it to listen at `address`, and waits until it does: it gets
    /// a connection that ends without a byte.
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
                let (status, said) = (finished.status, finished.stdout + &finished.stderr);
                return Err(failure(format!("it ended before it listened, {status}\n{said}")));
            }
            if started.elapsed() > DEADLINE {
                return Err(failure(format!("it does not listen at {address}")));
            }
            thread::sleep(PAUSE);
        }
        Ok(Self { process, address })
    }
}

/// Whether somebody accepts connections there. One that has both its ends at one port was made with itself,
/// as TCP allows where nobody listens (RFC 9293, 3.5, simultaneous open).
fn listens(address: SocketAddr) -> bool {
    TcpStream::connect(address)
        .is_ok_and(|stream| stream.local_addr().is_ok_and(|it| it != address))
}

#[cfg(all(test, unix))]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::command;

    #[test]
    fn a_server_is_there_when_its_address_takes_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::start_at(command("sleep").arg("60"), address).unwrap();
        assert_eq!(server.address, address);
    }

    #[test]
    fn a_server_that_ends_instead_is_an_error_with_what_it_said() {
        // Nobody listens on port 1.
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut server = command("sh");
        let error = Server::start_at(server.args(["-c", "echo no port >&2; exit 7"]), address);
        let error = error.err().unwrap().to_string();
        assert!(error.contains("before it listened, exit status: 7\nno port"), "{error}");
    }
}
