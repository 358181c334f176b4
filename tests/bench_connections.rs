//! How many connections `echo-client bench` opens, and when.

mod load;

use std::thread;
use std::time::Duration;

use echo_test_support::peers::{echo, serve_each};

#[cfg(unix)]
use self::load::bench;
use self::load::run;

#[cfg(target_os = "linux")]
#[test]
fn at_most_64_connects_are_pending_over_all_threads() {
    use std::net::TcpListener;
    use std::time::Instant;

    use echo_test_support::{Process, command, eventually};

    // Pending connects stay pending: the kernel drops SYNs while the accept queue is full.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let port = TcpListener::from(socket.try_clone().unwrap()).local_addr().unwrap().port();
    // As proc_net_tcp(5) has it: the remote address, then the state, 2 for SYN_SENT.
    let pending = || {
        let remote = format!(" 0100007F:{port:04X} 02 ");
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        sockets.lines().filter(|line| line.contains(&remote)).count()
    };
    let mut client = command(load::PROGRAM);
    client.args(["bench", "--port", &port.to_string(), "-c", "400", "--threads", "4"]);
    let _client = Process::spawn(client.args(["--connect-timeout", "60s"])).unwrap();
    eventually("64 connects are pending", || pending() >= 64);
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(300) {
        assert_eq!(pending(), 64);
    }
}

#[test]
fn no_connection_is_opened_that_would_send_nothing() {
    // One message per connection, every 25 ms. The echoes of the last twelve come after the end of
    // the run, when there is nothing left to send.
    let port = serve_each(|_, stream| echo(stream, |_| thread::sleep(Duration::from_millis(300))));
    let load = ["-R", "40", "-c", "20", "-d", "500ms", "--warmup", "0s", "--reconnect-every", "1"];
    for engine in ["readiness", "auto"] {
        let (run, code) = run(port, &[&load[..], &["--engine", engine]].concat());
        assert_eq!((code, run.result.sent, run.result.loss), (0, 20, 0), "{:?}", run.result);
        let opened = run.result.connect.count;
        assert!(opened <= 20 + 8, "{opened} connections for 20 messages");
    }
}

#[cfg(unix)]
#[test]
fn more_connections_than_descriptors_are_refused_before_the_run() {
    let finished = bench(1, &["-c", "4000000000"]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.stderr.contains("exceed the limit of"), "{finished:?}");
}

#[cfg(not(target_os = "linux"))]
echo_test_support::ignored! {
    "it needs /proc/net/tcp of Linux":
        at_most_64_connects_are_pending_over_all_threads;
}

#[cfg(windows)]
echo_test_support::ignored! {
    "sockets are not limited by descriptors":
        more_connections_than_descriptors_are_refused_before_the_run;
}
