//! Listening with a socket for each event loop (`--reuseport`).
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Barrier;
use std::thread;

use echo_test_support::{
    Process, Server, command, connect, exchange, on_every_engine, skipped, socket_activated, start,
    stop_with_queued_connections,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-server");

on_every_engine! {
    each_event_loop_has_a_socket_and_serves_its_connections,
    each_event_loop_serves_every_address_of_a_name,
    limits_are_exact_although_several_threads_accept,
    connections_queued_in_any_socket_are_served_before_it_stops,
    with_once_one_connection_is_served,
}

/// A server with three event loops that accept; `None` for the engine without event loops.
fn start_shared(engine: &str, arguments: &[&str]) -> Option<Server> {
    let arguments = [&["--reuseport", "--threads", "3"], arguments].concat();
    (engine != "threads").then(|| start!(engine, &arguments))
}

/// The sockets that listen at an IPv4 address of this machine.
fn listening_at(address: SocketAddr) -> usize {
    let local = format!(" 0100007F:{:04X} ", address.port());
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    sockets.lines().filter(|line| line.contains(&format!("{local}00000000:0000 0A "))).count()
}

fn each_event_loop_has_a_socket_and_serves_its_connections(engine: &str) {
    let Some(server) = start_shared(engine, &[]) else { return };
    assert_eq!(listening_at(server.address), 3);
    // A socket that was not served would get a third of them.
    let streams: Vec<_> = (0..60).map(|_| connect(server.address)).collect();
    for stream in &streams {
        exchange(stream, b"Hello, world");
    }
    let (stdout, _) = server.process.output();
    assert_eq!(stdout.matches("Listening on").count(), 1, "{stdout}");
    // Neither a second copy nor another server receives some of the connections.
    let port = server.address.port().to_string();
    for option in ["--reuseport", "--quiet"] {
        let second = Process::run(command(PROGRAM).args(["--port", &port, option]), b"").unwrap();
        assert!(second.stderr.contains("address in use"), "{second:?}");
    }
    drop(streams);
    server.process.terminate();
    let finished = server.process.wait().unwrap();
    assert!(finished.status.success(), "{finished:?}");
    assert!(finished.stderr.contains("stopped: 60 connections served, 720 bytes"), "{finished:?}");
}

fn each_event_loop_serves_every_address_of_a_name(engine: &str) {
    let Some(server) = start_shared(engine, &["--host", "localhost"]) else { return };
    exchange(&connect(server.address), b"The first address");
    // Printed after all addresses.
    server.process.wait_for_stdout("Connected by").unwrap();
    let (stdout, _) = server.process.output();
    let addresses = stdout.lines().filter_map(|line| line.strip_prefix("Listening on "));
    let addresses: Vec<SocketAddr> = addresses.map(|address| address.parse().unwrap()).collect();
    if addresses.len() < 2 {
        return skipped("several addresses", "localhost has one address");
    }
    for address in addresses {
        let streams: Vec<_> = (0..30).map(|_| connect(address)).collect();
        for stream in &streams {
            exchange(stream, b"Hello, world");
        }
    }
}

fn limits_are_exact_although_several_threads_accept(engine: &str) {
    for limit in ["--max-connections", "--max-per-peer"] {
        let Some(server) = start_shared(engine, &[limit, "7"]) else { return };
        let start = Barrier::new(4);
        let streams: Vec<TcpStream> = thread::scope(|scope| {
            let connect_some = || {
                start.wait();
                (0..50).map(|_| connect(server.address)).collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(connect_some)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let is_served = |mut stream: &TcpStream| {
            stream.write_all(b"?").is_ok() && stream.read_exact(&mut [0]).is_ok()
        };
        assert_eq!(streams.iter().filter(|stream| is_served(stream)).count(), 7, "{limit}");
    }
}

fn connections_queued_in_any_socket_are_served_before_it_stops(engine: &str) {
    let Some(server) = start_shared(engine, &[]) else { return };
    // About 250 for each event loop, which accepts at most 64 at once while the server is not stopped.
    stop_with_queued_connections(server, 750);
}

fn with_once_one_connection_is_served(engine: &str) {
    let Some(server) = start_shared(engine, &["--once"]) else { return };
    assert_eq!(listening_at(server.address), 1);
    let stream = connect(server.address);
    exchange(&stream, b"the only one");
    drop(stream);
    assert!(server.process.wait().unwrap().status.success());
}

#[test]
fn an_error_of_a_further_socket_names_the_address() {
    // The sockets take all descriptors. The soft limit would be raised.
    let script = "ulimit -n 40; exec \"$0\" --reuseport --threads 100 --engine readiness --port 0";
    let finished = Process::run(command("sh").args(["-c", script, PROGRAM]), b"").unwrap();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let message = finished.stderr.split_once("cannot listen on 127.0.0.1:").map(|(_, rest)| rest);
    assert!(message.is_some_and(|rest| rest.contains(": Too many open files")), "{finished:?}");
}

#[test]
fn sockets_of_another_program_cannot_be_shared_among_event_loops() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = "exec \"$1\" --reuseport";
    let process = Process::spawn(&mut socket_activated(&listener, PROGRAM, script)).unwrap();
    let finished = process.wait().unwrap();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.stderr.contains("opened by another program\n"), "{finished:?}");
    assert!(finished.stderr.contains("hint: leave out --reuseport: "), "{finished:?}");
}
