//! Which server `echo-client` connects to, from where, and when.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, SystemTime};

use echo_test_support::peers::echo;
use echo_test_support::{
    DEADLINE, Finished, Process, command, skipped, skipped_without_ipv6, skipped_without_localhost,
    skipped_without_stop,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-client");

/// The modes that take a TARGET, each with options for a short run.
const TARGET_MODES: [&[&str]; 3] =
    [&["pipe"], &["ping", "-c", "2", "-i", "0"], &["bench", "-n", "20"]];
/// All modes that connect.
const MODES: [&[&str]; 4] = [&["Hello"], TARGET_MODES[0], TARGET_MODES[1], TARGET_MODES[2]];

/// Echoes on every connection to `listener`. Returns its address and those of its peers.
fn serve(listener: TcpListener) -> (SocketAddr, Receiver<SocketAddr>) {
    let address = listener.local_addr().unwrap();
    let (sender, peers) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            // The test may be over.
            let _ = sender.send(stream.peer_addr().unwrap());
            thread::spawn(|| echo(stream, |_| {}));
        }
    });
    (address, peers)
}

fn serve_at(address: &str) -> (SocketAddr, Receiver<SocketAddr>) {
    serve(TcpListener::bind(address).unwrap())
}

fn client(mode: &[&str], arguments: &[&str]) -> Finished {
    Process::run(command(PROGRAM).args(mode).args(arguments), b"a line\n").unwrap()
}

/// A port at which no server listens.
fn unused_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[track_caller]
fn succeeds(finished: &Finished) {
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
}

/// It ends with this exit code and an error that contains `text`.
#[track_caller]
fn fails(finished: &Finished, code: i32, text: &str) {
    assert_eq!(finished.status.code(), Some(code), "{finished:?}");
    assert!(finished.stderr.contains(text), "{text}: {finished:?}");
}

#[test]
fn every_form_of_a_target_overrides_host_and_port() {
    let (address, peers) = serve_at("127.0.0.1:0");
    let port = address.port().to_string();
    let (with_port, wrong) = (address.to_string(), unused_port().to_string());
    for mode in TARGET_MODES {
        for (target, port_option) in [
            (&[with_port.as_str()][..], &wrong),
            (&["127.0.0.1", &port], &wrong),
            (&["127.0.0.1"], &port),
        ] {
            let wrong_host = [&["--host", "192.0.2.1", "--port", port_option], target].concat();
            succeeds(&client(mode, &wrong_host));
            peers.recv_timeout(DEADLINE).unwrap();
        }
    }
}

#[test]
fn an_ipv6_target_has_brackets_if_a_port_follows() {
    if skipped_without_ipv6("an_ipv6_target_has_brackets_if_a_port_follows") {
        return;
    }
    let (address, peers) = serve_at("[::1]:0");
    let (with_port, port) = (address.to_string(), address.port().to_string());
    for mode in TARGET_MODES {
        for target in [&[with_port.as_str()][..], &["::1", &port], &["[::1]", &port, "-6"]] {
            succeeds(&client(mode, target));
            assert!(peers.recv_timeout(DEADLINE).unwrap().is_ipv6());
        }
    }
}

#[test]
fn a_wrong_target_is_a_usage_error_with_the_way_out() {
    for mode in TARGET_MODES {
        for (target, text) in [
            (&["7000"][..], "the host comes before the port: localhost 7000"),
            (&["localhost:http"], "expected a whole number from 1 to 65535"),
            (&["localhost:7", "8"], "use localhost:7 or localhost 8"),
            (&["localhost", "70000"], "expected a whole number from 1 to 65535"),
            (&["http://localhost/"], "expected HOST or HOST:PORT, not a URL"),
            (&["::g:7"], "expected HOST:PORT, or [IPV6]:PORT"),
        ] {
            fails(&client(mode, target), 2, text);
        }
    }
}

#[test]
fn only_addresses_of_the_version_asked_for_are_used() {
    let (address, _) = serve_at("127.0.0.1:0");
    let port = address.port().to_string();
    for mode in MODES {
        succeeds(&client(mode, &["--port", &port, "-4"]));
        let finished = client(mode, &["--port", &port, "-6"]);
        fails(&finished, 1, "\"127.0.0.1\" has no IPv6 address\nhint: only IPv6 is tried");
        fails(&client(mode, &["-4", "-6"]), 2, "-4 and -6 exclude each other");
    }
}

#[test]
fn this_machine_has_an_address_of_either_version() {
    let check = "this_machine_has_an_address_of_either_version";
    let versions = [("127.0.0.1:0", "-4"), ("[::1]:0", "-6")];
    for (address, version) in versions {
        if version == "-6" && skipped_without_ipv6(check) {
            continue;
        }
        let (address, _) = serve_at(address);
        let port = address.port().to_string();
        succeeds(&client(&["ping", "-c", "1"], &["--host", "", "--port", &port, version]));
    }
}

#[test]
fn connections_come_from_the_source_address() {
    // Linux has all of 127.0.0.0/8 on its loopback interface.
    if TcpListener::bind("127.0.0.9:0").is_err() {
        return skipped("connections_come_from_the_source_address", "there is no 127.0.0.9");
    }
    let (address, peers) = serve_at("127.0.0.1:0");
    let port = address.port().to_string();
    let several: &[&str] = &["bench", "-n", "200", "-c", "10", "--reconnect-every", "2"];
    let readiness: &[&str] = &["bench", "-n", "20", "--engine", "readiness"];
    for mode in MODES.into_iter().chain([several, readiness]) {
        succeeds(&client(mode, &["--port", &port, "--bind", "127.0.0.9"]));
        let ip = peers.recv_timeout(DEADLINE).unwrap().ip();
        assert_eq!(ip.to_string(), "127.0.0.9", "{mode:?}");
        assert!(peers.try_iter().all(|peer| peer.ip() == ip), "{mode:?}");
    }
    let source = format!("127.0.0.9:{}", unused_port());
    for mode in MODES {
        // Also while the connection before is in TIME_WAIT, if the system allows it.
        let wait = ["--wait-for-server", "5s"];
        succeeds(&client(mode, &[&["--port", &port, "--bind", &source], &wait[..]].concat()));
        assert_eq!(peers.recv_timeout(DEADLINE).unwrap().to_string(), source, "{mode:?}");
    }
}

#[test]
fn an_ipv6_source_address_selects_ipv6() {
    if skipped_without_ipv6("an_ipv6_source_address_selects_ipv6") {
        return;
    }
    let (address, peers) = serve_at("[::1]:0");
    let port = address.port().to_string();
    for mode in MODES {
        succeeds(&client(mode, &["--host", "", "--port", &port, "--bind", "::1"]));
        assert!(peers.recv_timeout(DEADLINE).unwrap().is_ipv6());
    }
}

#[test]
fn a_source_address_that_cannot_be_used_is_named() {
    let (address, _) = serve_at("127.0.0.1:0");
    let port = address.port().to_string();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let in_use = other.local_addr().unwrap().to_string();
    for mode in MODES {
        // Reserved for documentation (RFC 5737): no machine has it.
        let finished = client(mode, &["--port", &port, "--bind", "192.0.2.1"]);
        fails(
            &finished,
            1,
            "cannot use the source address 192.0.2.1: address not available\nhint: ",
        );
        let finished = client(mode, &["--port", &port, "--bind", &in_use]);
        fails(&finished, 1, "address in use\nhint: leave out the port");
        fails(&client(mode, &["--bind", "eth0"]), 2, "expected an address such as 192.0.2.1");
        fails(&client(mode, &["--bind", "::1", "-4"]), 2, "--bind ::1 is not an IPv4 address");
    }
}

#[test]
fn several_connections_cannot_share_a_source_port() {
    for arguments in [["-c", "2"], ["--reconnect-every", "9"]] {
        let finished = client(&["bench", "--bind", "127.0.0.1:4000"], &arguments);
        fails(&finished, 2, "use --bind 127.0.0.1 for several");
    }
}

#[test]
fn every_mode_can_wait_for_its_server() {
    let several: &[&str] = &["bench", "-n", "2000", "-c", "20"];
    for mode in MODES.into_iter().chain([several]) {
        let port = unused_port();
        let mut client = command(PROGRAM);
        client.args(mode).args(["--port", &port.to_string(), "--wait-for-server", "30s"]);
        let process = Process::spawn(&mut client).unwrap();
        let refused = format!(": cannot connect to 127.0.0.1:{port}: connection refused\n");
        process.wait_for_stderr(&format!("waiting for the server{refused}")).unwrap();
        let _ = serve_at(&format!("127.0.0.1:{port}"));
        let finished = process.wait().unwrap();
        succeeds(&finished);
        assert_eq!(finished.stderr.matches("waiting").count(), 1, "{finished:?}");
    }
}

#[test]
fn waiting_for_a_server_ends() {
    let port = unused_port().to_string();
    for mode in MODES {
        let finished = client(mode, &["--port", &port, "--wait-for-server", "200ms"]);
        fails(&finished, 1, "waiting for the server: cannot connect");
        assert!(finished.stderr.contains("refused\nhint: is echo-server running"), "{finished:?}");
        // What waiting cannot mend is reported at once.
        let wait = ["--bind", "192.0.2.1", "--wait-for-server", "1h"];
        fails(&client(mode, &wait), 1, "cannot use the source address");
    }
}

#[test]
fn ctrl_c_ends_the_wait_for_a_server() {
    if skipped_without_stop("ctrl_c_ends_the_wait_for_a_server") {
        return;
    }
    let port = unused_port().to_string();
    for mode in [&["ping"], &["bench"]] {
        let mut client = command(PROGRAM);
        client.args(mode).args(["--port", &port, "--wait-for-server", "1h"]);
        let process = Process::spawn(&mut client).unwrap();
        process.wait_for_stderr("waiting for the server").unwrap();
        process.interrupt();
        assert_eq!(process.wait().unwrap().status.code(), Some(1));
    }
}

#[test]
fn ping_shows_the_name_and_the_address() {
    if skipped_without_localhost("ping_shows_the_name_and_the_address") {
        return;
    }
    let (address, _) = serve_at("127.0.0.1:0");
    let target = format!("localhost:{}", address.port());
    let finished = client(&["ping", "-4", "-c", "1"], &[&target]);
    let server = format!("localhost ({address})");
    assert!(finished.stdout.starts_with(&format!("PING {server}: 64 bytes")), "{finished:?}");
    let summary = format!("\n--- {server} ping statistics ---\n");
    assert!(finished.stdout.contains(&summary), "{finished:?}");
}

#[test]
fn a_start_time_that_passed_while_waiting_for_the_server_is_reported() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // A program takes longer to start under Wine.
    let ahead = Duration::from_millis(if cfg!(windows) { 3000 } else { 300 });
    let start = SystemTime::now() + ahead;
    let start = humantime::format_rfc3339_millis(start).to_string();
    let mut client = command(PROGRAM);
    client.args(["bench", "-n", "20", "--port", &address.port().to_string()]);
    client.args(["--start-at", &start, "--wait-for-server", "30s"]);
    let client = Process::spawn(&mut client).unwrap();
    thread::sleep(ahead + Duration::from_millis(300));
    serve(TcpListener::bind(address).unwrap());
    let finished = client.wait().unwrap();
    assert!(finished.stdout.contains(" s after --start-at"), "{finished:?}");
}
