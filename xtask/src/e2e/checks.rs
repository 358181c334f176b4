//! The checks, each a statement about the two programs.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use echo_proto::Pattern;
use echo_test_support::{Process, Server, connect, why_unstoppable};

use super::Outcome::{Passed, Skipped};
use super::{Check, Outcome, ensure_seen};
use crate::binaries::Binaries;
use crate::socket_table;

/// All checks, in the order in which they are reported.
pub(super) const ALL: &[(&str, Check)] = &[
    ("the tutorial's host and port", default_address),
    ("200 clients at once", many_clients),
    ("a message of 64 MiB", large_message),
    ("half-close", half_close),
    ("IPv6", ipv6),
    ("a name", name),
    ("--host ''", every_interface),
    ("--once", once),
    ("no server", refused),
    ("--framing line", lines),
    ("--framing length", length_prefixed),
    ("a pipe of 64 MiB", pipe),
    ("a pipe that ends in a line", truncated_pipe),
    ("the socket table", sockets),
    ("SIGTERM under traffic", stop_under_traffic),
];

const TUTORIAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 65432);
const REPLY: &str = "Received b'Hello, world'";

/// Both sides of the tutorial's exchange, as two terminals would show it.
pub(super) fn transcript(binaries: &Binaries) -> Result<String> {
    let defaults = tutorial_port_is_free();
    let (mut server, mut client) = (binaries.server(), binaries.any_client());
    let mut shown = "";
    if !defaults {
        server.args(["--port", "0"]);
        shown = " --port 0";
    }
    let server = Server::start_with(server.arg("--once"))?;
    if !defaults {
        client.args(["--port", &server.address.port().to_string()]);
    }
    let client = Process::run(&mut client, b"")?;
    binaries.expect_success(&server, &client)?;
    let served = server.process.wait()?;
    Ok(format!("$ echo-server{shown} --once\n{}\n$ echo-client\n{}", served.stdout, client.stdout))
}

fn default_address(binaries: &Binaries) -> Result<Outcome> {
    if !tutorial_port_is_free() {
        return Ok(Skipped(format!("another program uses {TUTORIAL}")));
    }
    let server = Server::start_with(&mut binaries.server())?;
    let client = Process::run(&mut binaries.any_client(), b"")?;
    binaries.expect_success(&server, &client)?;
    let reply = client.stdout.trim_end();
    ensure_seen(
        server.address == TUTORIAL && reply == REPLY,
        "not the tutorial's exchange",
        &server,
        reply,
    )?;
    Ok(Passed(format!("{} at {}", reply, server.address)))
}

fn tutorial_port_is_free() -> bool {
    TcpStream::connect_timeout(&TUTORIAL, Duration::from_secs(1)).is_err()
}

fn many_clients(binaries: &Binaries) -> Result<Outcome> {
    const CLIENTS: usize = 200;
    let server = binaries.start(&[])?;
    let started = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let message = format!("client {number}");
            let client = Process::spawn(&mut binaries.client(server.address, &[&message]))?;
            Ok((message, client))
        })
        .collect::<Result<_>>()?;
    for (message, client) in clients {
        let client = client.wait()?;
        binaries.expect_success(&server, &client)?;
        let expected = format!("Received b'{message}'\n");
        ensure_seen(
            client.stdout == expected,
            "the reply of another client",
            &server,
            &client.stdout,
        )?;
    }
    let elapsed = started.elapsed();
    Ok(Passed(format!("{CLIENTS} processes, each received its own reply, in {elapsed:.1?}")))
}

fn large_message(binaries: &Binaries) -> Result<Outcome> {
    let mut message = vec![0; 64 * 1024 * 1024];
    Pattern::new(64).fill(0, &mut message);
    let server = binaries.start(&[])?;
    let started = Instant::now();
    let reply = binaries.exchange(&server, &["-"], &message)?;
    let elapsed = started.elapsed();
    ensure_seen(reply.ends_with("... (67108864 bytes)"), "wrong length", &server, &reply)?;
    Ok(Passed(format!("67108864 bytes returned and compared, in {elapsed:.1?}")))
}

fn half_close(binaries: &Binaries) -> Result<Outcome> {
    let server = binaries.start(&[])?;
    let mut stream = connect(server.address);
    let mut message = vec![0; 1024 * 1024];
    Pattern::new(1).fill(0, &mut message);
    let mut reader = stream.try_clone()?;
    let echo = std::thread::spawn(move || {
        let mut echo = Vec::new();
        reader.read_to_end(&mut echo).map(|_| echo)
    });
    stream.write_all(&message)?;
    stream.shutdown(Shutdown::Write)?;
    let echo = echo.join().expect("the reading thread does not panic")?;
    let summary = format!("{} of {} bytes", echo.len(), message.len());
    ensure_seen(echo == message, "the rest was not echoed", &server, &summary)?;
    Ok(Passed(format!("{summary} received after our FIN, then the server's FIN")))
}

fn ipv6(binaries: &Binaries) -> Result<Outcome> {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return Ok(Skipped("this machine has no IPv6".to_owned()));
    }
    let server = binaries.start(&["--host", "::1"])?;
    let reply = binaries.exchange(&server, &[], b"")?;
    let peer = "Connected by ('::1', ";
    let stdout = server.process.wait_for_stdout(peer)?;
    ensure_seen(reply == REPLY, "wrong reply", &server, &reply)?;
    Ok(Passed(last_line(&stdout)))
}

fn name(binaries: &Binaries) -> Result<Outcome> {
    let server = match binaries.start(&["--host", "localhost"]) {
        // Wine asks the C library of Linux; Windows knows the name.
        Err(why) if binaries.are_foreign() && why.to_string().contains("Host not found") => {
            return Ok(Skipped("under Wine, localhost is found in /etc/hosts".to_owned()));
        }
        server => server?,
    };
    let port = server.address.port().to_string();
    let mut client = binaries.any_client();
    client.args(["--host", "localhost", "--port", &port]);
    let client = Process::run(&mut client, b"")?;
    binaries.expect_success(&server, &client)?;
    let stdout = server.process.wait_for_stdout("Connected by ")?;
    let addresses: Vec<_> =
        stdout.lines().filter_map(|line| line.strip_prefix("Listening on ")).collect();
    Ok(Passed(format!("localhost is {}", addresses.join(" and "))))
}

fn every_interface(binaries: &Binaries) -> Result<Outcome> {
    let server = binaries.start(&["--host", ""])?;
    ensure_seen(server.address.ip().is_unspecified(), "not every interface", &server, "")?;
    // All of 127.0.0.0/8 is this machine on Linux; elsewhere only its first address is.
    let host = if cfg!(target_os = "linux") { [127, 1, 2, 3] } else { [127, 0, 0, 1] };
    let address = SocketAddr::from((host, server.address.port()));
    let client = Process::run(&mut binaries.client(address, &[]), b"")?;
    binaries.expect_success(&server, &client)?;
    Ok(Passed(format!("listening on {}, reached at {address}", server.address)))
}

fn once(binaries: &Binaries) -> Result<Outcome> {
    let server = binaries.start(&["--once"])?;
    binaries.exchange(&server, &[], b"")?;
    let address = server.address;
    let finished = server.process.wait()?;
    ensure!(finished.status.success(), "the server ended with {finished:?}");
    ensure!(TcpStream::connect(address).is_err(), "a server still listens at {address}");
    Ok(Passed("served one client and exited with 0".to_owned()))
}

fn refused(binaries: &Binaries) -> Result<Outcome> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let client = Process::run(&mut binaries.client(free, &[]), b"")?;
    let message = format!("echo-client: cannot connect to {free}: connection refused\nhint: ");
    ensure!(client.status.code() == Some(1), "exit code {:?}", client.status.code());
    ensure!(client.stderr.starts_with(&message), "stderr: {}", client.stderr);
    Ok(Passed(format!("exit code 1, {}", client.stderr.lines().next().unwrap_or_default())))
}

fn lines(binaries: &Binaries) -> Result<Outcome> {
    framed(binaries, "line")
}

fn length_prefixed(binaries: &Binaries) -> Result<Outcome> {
    framed(binaries, "length")
}

/// Three messages on one connection, one of them empty: without framing, that one would be invisible.
fn framed(binaries: &Binaries, framing: &str) -> Result<Outcome> {
    let server = binaries.start(&["--framing", framing, "--once"])?;
    let replies = binaries.exchange(&server, &["--framing", framing, "one", "", "three"], b"")?;
    let expected = "Received b'one'\nReceived b''\nReceived b'three'";
    ensure_seen(replies == expected, "not the three messages", &server, &replies)?;
    ensure!(server.process.wait()?.status.success(), "the server did not exit with 0");
    Ok(Passed("three messages on one connection, each echoed separately".to_owned()))
}

fn pipe(binaries: &Binaries) -> Result<Outcome> {
    const LENGTH: u64 = 64 * 1024 * 1024;
    let pattern = Pattern::new(65);
    let server = binaries.start(&[])?;
    let mut client = binaries.client(server.address, &["pipe"]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = client.stdin.take().expect("it is piped");
    let mut stdout = client.stdout.take().expect("it is piped");
    let started = Instant::now();
    let writing = std::thread::spawn(move || {
        let mut piece = vec![0; 1024 * 1024];
        (0..LENGTH).step_by(piece.len()).try_for_each(|offset| {
            pattern.fill(offset, &mut piece);
            stdin.write_all(&piece)
        })
    });
    let mut received = 0;
    let mut piece = vec![0; 64 * 1024];
    loop {
        let count = stdout.read(&mut piece)?;
        if count == 0 {
            break;
        }
        pattern.check(received, &piece[..count])?;
        received += count as u64;
    }
    let elapsed = started.elapsed();
    let _ = writing.join().expect("the writing thread does not panic");
    ensure!(client.wait()?.success() && received == LENGTH, "{received} of {LENGTH} bytes");
    Ok(Passed(format!("{received} bytes returned unchanged, in {elapsed:.1?}")))
}

fn truncated_pipe(binaries: &Binaries) -> Result<Outcome> {
    let server = binaries.start(&["--framing", "line"])?;
    let mut client = binaries.client(server.address, &["pipe", "--framing", "line"]);
    let client = Process::run(&mut client, b"a\nb")?;
    let message = client.stderr.lines().next().unwrap_or_default();
    let seen = client.status.code() == Some(1)
        && client.stdout == "a\n"
        && message.contains("no line break");
    ensure_seen(seen, "not reported", &server, &format!("{client:?}"))?;
    binaries.exchange(&server, &["--framing", "line", "still here"], b"")?;
    Ok(Passed(format!("exit code 1, {message}; the server still serves")))
}

fn sockets(binaries: &Binaries) -> Result<Outcome> {
    let mut seen = Vec::new();
    for (host, expected) in [("127.0.0.1", Ipv4Addr::LOCALHOST), ("", Ipv4Addr::UNSPECIFIED)] {
        let server = binaries.start(&["--host", host])?;
        let port = server.address.port();
        let Some(listening) = socket_table::listening_on(port) else {
            return Ok(Skipped("this system has no /proc/net/tcp".to_owned()));
        };
        let found = format!("{listening:?}");
        ensure_seen(listening == [expected], "not in the table as LISTEN", &server, &found)?;
        seen.push(format!("LISTEN {expected}:{port} with --host '{host}'"));
    }
    Ok(Passed(seen.join(", ")))
}

/// Clients send without pause while the server is stopped. The bytes that the server counts as echoed must equal
/// those that the clients receive: none may be lost.
fn stop_under_traffic(binaries: &Binaries) -> Result<Outcome> {
    if let Some(why) = why_unstoppable() {
        return Ok(Skipped(why.to_owned()));
    }
    const CLIENTS: u64 = 20;
    let server = binaries.start(&[])?;
    let address = server.address;
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| std::thread::spawn(move || flood(address, number))).collect();
    server.process.wait_for_stdout_times("Connected by", CLIENTS as usize)?;
    // Any amount of traffic is enough.
    std::thread::sleep(Duration::from_millis(100));
    binaries.stop(&server);
    let mut received = 0;
    for client in clients {
        received += client.join().expect("a client does not panic")?;
    }
    let finished = server.process.wait()?;
    ensure!(finished.status.success(), "the server ended with {finished:?}");
    let echoed = format!("{CLIENTS} connections served, {received} bytes echoed");
    ensure!(
        finished.stderr.contains(&echoed),
        "the clients received {received}; {}",
        finished.stderr
    );
    Ok(Passed(format!("{received} bytes echoed, all received by {CLIENTS} clients, exit code 0")))
}

/// Sends a pattern until the server closes the connection. Returns how many bytes were echoed.
fn flood(address: SocketAddr, number: u64) -> Result<u64> {
    let pattern = Pattern::new(number);
    let mut stream = connect(address);
    let mut sender = stream.try_clone()?;
    let sending = std::thread::spawn(move || {
        let mut piece = vec![0; 50_000];
        for offset in (0..).step_by(piece.len()) {
            pattern.fill(offset, &mut piece);
            if sender.write_all(&piece).is_err() {
                return;
            }
        }
    });
    let mut received = 0;
    let mut piece = vec![0; 50_000];
    loop {
        let count = stream.read(&mut piece).context("the connection broke")?;
        if count == 0 {
            break;
        }
        pattern.check(received, &piece[..count])?;
        received += count as u64;
    }
    // The server has sent FIN. Shutting down fails if it has already closed the connection.
    let _ = stream.shutdown(Shutdown::Both);
    sending.join().expect("the sending thread does not panic");
    Ok(received)
}

fn last_line(text: &str) -> String {
    text.lines().next_back().unwrap_or_default().to_owned()
}
