//! The built echo-server with socket activation and readiness notifications.
#![cfg(unix)]

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use echo_test_support::{
    DEADLINE, Process, Server, command, connect, exchange, on_every_engine, socket_activated,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-server");

#[test]
fn an_activated_socket_is_served_instead_of_host_and_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Peers can connect before the server runs: the socket has a queue.
    let early = connect(address);
    let mut shell = socket_activated(&listener, PROGRAM, "exec \"$1\" --host 192.0.2.1 --port 1");
    let server = Server::start_with(&mut shell).unwrap();
    assert_eq!(server.address, address);
    drop((listener, shell));
    exchange(&early, b"early");
    exchange(&connect(address), b"late");
    server.process.terminate();
    assert!(server.process.wait().unwrap().status.success());
}

on_every_engine! {
    an_activated_socket_outlives_the_server,
}

/// Connections that arrive between two servers stay in its queue.
fn an_activated_socket_outlives_the_server(engine: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = format!("exec \"$1\" --engine {engine}");
    let start = || Server::start_with(&mut socket_activated(&listener, PROGRAM, &script)).unwrap();
    let first = start();
    exchange(&connect(first.address), b"first");
    first.process.terminate();
    assert!(first.process.wait().unwrap().status.success());
    let between = connect(listener.local_addr().unwrap());
    let second = start();
    exchange(&between, b"second");
    drop(second);
}

#[test]
fn a_socket_that_does_not_listen_is_named() {
    let (socket, _other) = UnixDatagram::pair().unwrap();
    let process = Process::spawn(&mut socket_activated(&socket, PROGRAM, "exec \"$1\"")).unwrap();
    let finished = process.wait().unwrap();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("socket 0 of LISTEN_FDS is not a listening TCP socket"),
        "{finished:?}"
    );
}

#[test]
fn sockets_for_another_process_are_ignored() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut shell = socket_activated(&listener, PROGRAM, "LISTEN_PID=1 exec \"$1\" --port 0");
    let server = Server::start_with(&mut shell).unwrap();
    assert_ne!(server.address, listener.local_addr().unwrap());
}

#[test]
fn systemd_is_notified_when_it_is_ready_and_when_it_stops() {
    let path = PathBuf::from(format!(
        "{}/echo-notify-{}",
        std::env::temp_dir().display(),
        std::process::id()
    ));
    let _ = std::fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let next = || {
        let mut message = [0; 100];
        let count = socket.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..count]).into_owned()
    };
    let mut program = command(PROGRAM);
    let server =
        Server::start_with(program.args(["--port", "0"]).env("NOTIFY_SOCKET", &path)).unwrap();
    assert_eq!(next().trim_end(), "READY=1");
    exchange(&connect(server.address), b"it is");
    server.process.terminate();
    assert_eq!(next().trim_end(), "STOPPING=1");
    assert!(server.process.wait().unwrap().status.success());
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert!(socket.recv(&mut [0; 100]).is_err(), "nothing else");
    std::fs::remove_file(&path).unwrap();
}
