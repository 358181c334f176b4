//! `--max-per-peer` with many IPv6 addresses, in a network namespace that has them.
#![cfg(target_os = "linux")]

use std::io;
use std::process::Command;

use echo_test_support::{Process, Server, command, on_every_engine, skipped};

on_every_engine! {
    addresses_of_one_ipv6_network_share_a_limit,
}

/// The server's address, and those that peers connect from, in this order.
const SERVER: &str = "2001:db8:0:9::9";
const PEERS: [&str; 4] =
    ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:ffff::3", "2001:db8:0:2::1"];

/// Connects from each address, all at the same time, and prints which of them get an echo.
const CONNECT: &str = "
import socket, sys
server, port, peers = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
streams, served = [], []
for peer in peers:
    stream = socket.socket(socket.AF_INET6)
    stream.settimeout(20)
    stream.bind((peer, 0))
    stream.connect((server, port))
    streams.append(stream)
    try:
        stream.send(b'?')
        served.append(stream.recv(1) == b'?')
    except ConnectionError:
        served.append(False)
print(served)
";

fn addresses_of_one_ipv6_network_share_a_limit(engine: &str) {
    let machine = match namespace() {
        Ok(machine) => machine,
        Err(error) => return skipped("many IPv6 addresses", &format!("no namespaces: {error}")),
    };
    for (prefix, expected) in [
        ("64", "[True, True, False, True]\n"),
        ("128", "[True, True, True, True]\n"),
        ("32", "[True, True, False, False]\n"),
    ] {
        let mut server = inside(&machine, env!("CARGO_BIN_EXE_echo-server"));
        server.args(["--host", SERVER, "--port", "0", "--engine", engine]);
        server.args(["--max-per-peer", "2", "--peer-prefix-v6", prefix]);
        let server = Server::start_with(&mut server).unwrap();
        let mut peers = inside(&machine, "python3");
        peers.args(["-c", CONNECT, SERVER, &server.address.port().to_string()]).args(PEERS);
        let finished = Process::run(&mut peers, b"").unwrap();
        assert_eq!(finished.stdout, expected, "/{prefix}: {}", finished.stderr);
    }
}

/// A process whose network has all the addresses; the namespace ends with it. It needs ip(8) and python3.
fn namespace() -> io::Result<Process> {
    let mut script = "ip link set lo up".to_owned();
    for address in [SERVER].iter().chain(&PEERS) {
        script += &format!(" && ip -6 address add {address}/128 dev lo nodad");
    }
    // The time limits what a failed test leaves behind.
    script += " && python3 --version && echo ready && exec sleep 90";
    let mut unshare = command("unshare");
    unshare.args(["--user", "--map-root-user", "--net", "sh", "-c", &script]);
    let machine = Process::spawn(&mut unshare)?;
    machine.wait_for_stdout("ready")?;
    Ok(machine)
}

/// A command line for a program in that network.
fn inside(machine: &Process, program: &str) -> Command {
    let mut enter = command("nsenter");
    enter.args(["--target", &machine.id().to_string(), "--user", "--net"]);
    enter.args(["--preserve-credentials", program]);
    enter
}
