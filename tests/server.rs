//! The command line and output of the built echo-server.

#[cfg(unix)]
use std::io::Write;
use std::io::{ErrorKind, Read};
#[cfg(unix)]
use std::net::Shutdown;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use assert_cmd::Command;
use echo_test_support::{
    DEADLINE, Process, Server, command, connect, exchange, refusing, skipped, skipped_without_ipv6,
    skipped_without_strace, skipped_without_uring, wait_until_it_refuses,
};
#[cfg(unix)]
use echo_test_support::{Signal, read_to_end, socket_activated};
use predicates::str::{contains, diff, is_empty};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-server");

fn start(arguments: &[&str]) -> Server {
    Server::start(PROGRAM, arguments).unwrap()
}

fn run() -> Command {
    let mut run = Command::from_std(command(PROGRAM));
    run.timeout(DEADLINE);
    run
}

#[test]
fn the_transcript_is_the_tutorials() {
    let server = start(&["--once"]);
    let stream = connect(server.address);
    let peer = stream.local_addr().unwrap();
    exchange(&stream, b"Hello, world");
    drop(stream);
    let address = server.address;
    let finished = server.process.wait().unwrap();
    assert!(finished.status.success());
    assert_eq!(
        finished.stdout,
        format!("Listening on {address}\nConnected by ('127.0.0.1', {})\n", peer.port())
    );
    assert_eq!(finished.stderr, "");
}

#[test]
fn an_ipv6_peer_is_shown_with_pythons_four_fields() {
    if skipped_without_ipv6("an_ipv6_peer_is_shown_with_pythons_four_fields") {
        return;
    }
    let server = start(&["--host", "::1"]);
    let stream = connect(server.address);
    let port = stream.local_addr().unwrap().port();
    exchange(&stream, b"Hello, world");
    server.process.wait_for_stdout(&format!("Connected by ('::1', {port}, 0, 0)\n")).unwrap();
}

#[test]
fn every_interface_means_ipv4_too() {
    if skipped_without_ipv6("every_interface_means_ipv4_too") {
        return;
    }
    let server = start(&["--host", "::"]);
    let port = server.address.port();
    exchange(&connect(SocketAddr::from(([127, 0, 0, 1], port))), b"over IPv4");
    exchange(&connect(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))), b"over IPv6");
    server.process.wait_for_stdout("Connected by ('::ffff:127.0.0.1', ").unwrap();
}

#[test]
fn once_refuses_the_second_client_and_serves_the_first() {
    let server = start(&["--once"]);
    let first = connect(server.address);
    exchange(&first, b"first");
    wait_until_it_refuses(server.address);
    exchange(&first, b"still here");
    drop(first);
    assert!(server.process.wait().unwrap().status.success());
}

#[test]
fn quiet_prints_the_address_and_nothing_else() {
    let server = start(&["--quiet", "--once"]);
    exchange(&connect(server.address), b"hush");
    let address = server.address;
    let finished = server.process.wait().unwrap();
    assert_eq!(finished.stdout, format!("Listening on {address}\n"));
    assert_eq!(finished.stderr, "");
}

#[test]
fn options_can_come_from_the_environment() {
    let mut command = command(PROGRAM);
    command.env("ECHO_PORT", "0").env("ECHO_HOST", "").env("ECHO_ONCE", "1");
    let server = Server::start_with(&mut command).unwrap();
    assert!(server.address.ip().is_unspecified());
    exchange(&connect(SocketAddr::from(([127, 0, 0, 1], server.address.port()))), b"hi");
    assert!(server.process.wait().unwrap().status.success());
}

#[test]
fn a_port_in_use_is_named_with_a_hint_on_how_to_find_the_program() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    run()
        .args(["--port", &port.to_string()])
        .assert()
        .code(1)
        .stdout(is_empty())
        .stderr(contains(format!("cannot listen on 127.0.0.1:{port}: address in use\nhint: ")))
        .stderr(contains(format!("another program uses port {port}; find it with  ")))
        .stderr(contains(if cfg!(windows) { "netstat -ano" } else { "lsof -i" }));
}

#[cfg(target_os = "linux")]
#[test]
fn a_port_below_1024_without_privilege_has_a_hint() {
    // In a user namespace without a mapping, our user has no privilege.
    let mut unshared = command("unshare");
    unshared.args(["--user", "--net", PROGRAM, "--port", "7"]);
    match Process::run(&mut unshared, b"") {
        Ok(finished) if !finished.stderr.starts_with("unshare") => {
            let stderr = finished.stderr;
            assert!(stderr.contains("cannot listen on 127.0.0.1:7: permission denied"), "{stderr}");
            assert!(stderr.contains("setcap cap_net_bind_service=+ep"), "{stderr}");
            assert_eq!(finished.status.code(), Some(1));
        }
        _ => skipped("a_port_below_1024_without_privilege_has_a_hint", "no user namespace"),
    }
}

#[cfg(target_os = "linux")]
#[test]
fn each_address_of_a_name_is_bound_and_printed() {
    // A mount namespace can have its own /etc/hosts.
    let hosts = std::env::temp_dir().join(format!("echo-hosts-{}", std::process::id()));
    std::fs::write(&hosts, "127.0.0.1 two.test\n127.0.0.2 two.test\n").unwrap();
    let script = "mount --bind \"$1\" /etc/hosts && exec \"$2\" --host two.test --port 0 --once";
    let mut unshared = command("unshare");
    unshared.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    let process = Process::spawn(unshared.arg(&hosts).arg(PROGRAM));
    let listening = process.and_then(|process| {
        let both = process.wait_for_stdout_times("Listening on ", 2)?;
        let port = both.lines().next().and_then(|line| line.rsplit_once(':')).unwrap().1.to_owned();
        assert_eq!(both, format!("Listening on 127.0.0.1:{port}\nListening on 127.0.0.2:{port}\n"));
        exchange(&connect(format!("127.0.0.2:{port}").parse().unwrap()), b"the second one");
        Ok(())
    });
    std::fs::remove_file(&hosts).unwrap();
    match listening {
        Ok(()) => {}
        Err(error) => {
            let why = error.to_string();
            let lacking = ["cannot start unshare", "unshare: ", "mount: "];
            assert!(lacking.iter().any(|lack| why.contains(lack)), "{why}");
            skipped("each_address_of_a_name_is_bound_and_printed", &why);
        }
    }
}

#[test]
fn auto_is_the_default_and_chooses_uring_where_it_works() {
    if skipped_without_uring(PROGRAM, "auto_is_the_default_and_chooses_uring_where_it_works") {
        return;
    }
    start(&["-v"]).process.wait_for_stderr("echo-server: engine: uring\n").unwrap();
}

#[test]
fn an_address_of_another_machine_is_named() {
    run()
        .args(["--port", "0", "--host", "203.0.113.1"])
        .assert()
        .code(1)
        .stderr(contains("cannot listen on 203.0.113.1:0: address not available"));
}

#[test]
fn wrong_usage_exits_with_2_and_names_the_argument() {
    for (arguments, message) in [
        (["--port", "65536"], "'65536' for '--port <PORT>'"),
        (["--backlog", "-1"], "--backlog"),
        (["--drain-timeout", "soon"], "'soon' for '--drain-timeout <DURATION>'"),
        (["--nonsense", "1"], "--nonsense"),
    ] {
        run().args(arguments).assert().code(2).stdout(is_empty()).stderr(contains(message));
    }
}

#[test]
fn an_engine_without_event_loops_refuses_their_options() {
    for (option, value) in
        [("--threads", Some("1")), ("--busy-poll", Some("50us")), ("--reuseport", None)]
    {
        let mut server = run();
        let refused = server.args(["--port", "0", "--engine", "threads", option]).args(value);
        let message = format!("error: {option} cannot be used with --engine threads");
        refused.assert().code(2).stdout(is_empty()).stderr(contains(message));
        // The environment may be meant for others.
        let variable = format!("ECHO_{}", option[2..].to_uppercase().replace('-', "_"));
        let mut server = command(PROGRAM);
        server.args(["--port", "0", "--engine", "threads"]);
        Server::start_with(server.env(variable, value.unwrap_or("true"))).unwrap();
    }
    // The default: no busy polling.
    start(&["--engine", "threads", "--busy-poll", "0s"]);
}

#[test]
fn help_and_version_are_printed() {
    let help = run().arg("--help").output().unwrap();
    assert!(help.status.success() && help.stderr.is_empty(), "{help:?}");
    let help = String::from_utf8(help.stdout).unwrap();
    // The help text of one option.
    let part = |option: &str| {
        let (_, part) = help.split_once(&format!("\n      {option} ")).expect(option);
        part.split("\n      --").next().unwrap_or_default().to_owned()
    };
    for (option, default) in [
        ("--host", "127.0.0.1"),
        ("--port", "65432"),
        ("--backlog", "4096"),
        ("--framing", "raw"),
        ("--max-frame", "1MiB"),
        ("--engine", "auto"),
        ("--busy-poll", "0s"),
        ("--idle-timeout", "0s"),
        ("--write-timeout", "60s"),
        ("--drain-timeout", "10s"),
    ] {
        let part = part(option);
        assert!(part.contains(&format!("[default: {default}]")), "{option} {part}");
    }
    run().arg("--version").assert().success().stdout(diff(concat!(
        "echo-server ",
        env!("CARGO_PKG_VERSION"),
        "\n"
    )));
}

#[test]
fn a_closed_stdout_pipe_does_not_stop_the_service() {
    let mut process = command(PROGRAM);
    let mut child =
        process.args(["--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    drop(stdout);
    let line = String::from_utf8(line).unwrap();
    let address = line.trim_end().strip_prefix("Listening on ").unwrap().parse().unwrap();
    for _ in 0..10 {
        exchange(&connect(address), b"still served");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_does_not_stop_the_service() {
    // The port cannot be read from a full stdout, so the socket is passed in.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = "exec \"$1\" >/dev/full";
    let process = Process::spawn(&mut socket_activated(&listener, PROGRAM, script)).unwrap();
    exchange(&connect(listener.local_addr().unwrap()), b"nowhere to print");
    process.terminate();
    let finished = process.wait().unwrap();
    assert!(finished.status.success(), "{finished:?}");
    let summary = "stopped: 1 connection served, 16 bytes echoed, 2 lines of output lost\n";
    assert!(finished.stderr.ends_with(summary), "{finished:?}");
}

#[cfg(unix)]
#[test]
fn closed_standard_streams_stop_nothing_and_no_line_gets_into_an_echo() {
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        // The port cannot be read from a closed stdout, so the socket is passed in.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = format!("exec \"$1\" -v --framing line {closed}");
        let process = Process::spawn(&mut socket_activated(&listener, PROGRAM, &script)).unwrap();
        drop(listener);
        let streams: Vec<_> = (0..5).map(|_| connect(address)).collect();
        streams.iter().for_each(|stream| exchange(stream, b"one\n"));
        // Lines on stdout and stderr while sockets are open: connections, counters, an error.
        process.signal(Signal::USR1);
        (&streams[0]).write_all(b"incomplete").unwrap();
        for stream in &streams {
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(stream), b"", "only the echo; {closed}");
        }
        process.terminate();
        let finished = process.wait().unwrap();
        assert!(finished.status.success(), "{closed}: {finished:?}");
        assert!(!finished.stderr.contains("panicked"), "{closed}: {finished:?}");
    }
}

/// The tutorial's client in Python against our server.
#[test]
fn the_tutorials_python_client_gets_its_echo() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/python/echo_client.py");
    let server = start(&["--once"]);
    let port = server.address.port().to_string();
    match Process::run(command("python3").args([script, &port]), b"") {
        Ok(finished) => {
            assert_eq!(finished.stdout, "Received b'Hello, world'\n", "{}", finished.stderr);
            assert!(server.process.wait().unwrap().status.success());
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            skipped("the_tutorials_python_client_gets_its_echo", "python3 is not installed");
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn without_io_uring_auto_chooses_another_engine_and_uring_is_an_error_with_its_cause() {
    if skipped_without_strace("io_uring refused") {
        return;
    }
    for (call, error, cause) in [
        ("io_uring_setup", "EPERM", "sysctl kernel.io_uring_disabled"),
        ("io_uring_setup", "ENOSYS", "seccomp"),
        ("io_uring_setup", "ENOMEM", "ulimit -l"),
        ("io_uring_register", "EINVAL", "Linux 6.6"),
    ] {
        let start = |engine: &str| {
            let arguments = ["--port", "0", "-v", "--once", "--engine", engine];
            Server::start_with(refusing(call, error, PROGRAM).args(arguments))
        };
        let server = start("auto").unwrap();
        exchange(&connect(server.address), b"none the less");
        let message = server.process.wait().unwrap().stderr;
        assert!(message.contains("engine: readiness (uring is not available: "), "{message}");
        let refused = start("uring").err().expect("there is no io_uring").to_string();
        assert!(refused.contains("uring is not available: "), "{refused}");
        assert!(refused.contains(cause), "{refused}");
        assert!(refused.contains("use --engine readiness instead"), "{refused}");
    }
}

#[cfg(not(target_os = "linux"))]
echo_test_support::ignored! {
    "only Linux has the commands or files that it needs":
        a_port_below_1024_without_privilege_has_a_hint, each_address_of_a_name_is_bound_and_printed, a_full_stdout_does_not_stop_the_service;
}

#[cfg(windows)]
echo_test_support::ignored! {
    "sockets are not passed to a program here":
        closed_standard_streams_stop_nothing_and_no_line_gets_into_an_echo;
}
