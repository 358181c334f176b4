//! `echo-client bench` against servers whose behaviour is known, so that its metrics can be
//! checked.

mod load;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use echo_test_support::peers::{echo, serve_each, wait_for_its_end};
use echo_test_support::{Process, command, refusing, skipped, skipped_without_stop};

use self::load::{PROGRAM, bench, echo_server, run, the_run, unwrapped};

/// Whether this machine lacks an engine; if so, reports it as skipped.
fn lacks(engine: &str) -> bool {
    static WITHOUT: OnceLock<Option<String>> = OnceLock::new();
    let missing = match engine {
        "uring" => WITHOUT.get_or_init(|| {
            let finished = bench(echo_server(), &["-n", "1", "--engine", engine]);
            (!finished.status.success()).then_some(finished.stderr)
        }),
        _ => &None,
    };
    if let Some(why) = missing {
        skipped(&format!("bench --engine {engine}"), why.lines().next().unwrap_or_default());
    }
    missing.is_some()
}

/// Makes each function, which takes the name of an engine, a test for every engine.
macro_rules! on_every_engine {
    ($($test:ident,)*) => {
        mod readiness {
            $(#[test] fn $test() { super::$test("readiness"); })*
        }
        mod uring {
            $(#[test] fn $test() { if !super::lacks("uring") { super::$test("uring"); } })*
        }
    };
}

on_every_engine! {
    a_requested_number_of_messages_is_sent_exactly,
    large_messages_and_many_connections_come_back,
    each_fault_is_reported_with_its_cause_connection_and_offset,
    a_reset_is_counted_and_the_connection_reopened,
    without_a_server_the_run_fails,
    jsonl_reports_start_intervals_and_end_while_running,
    ctrl_c_ends_a_run_early_and_a_second_one_exits_at_once,
    busy_polling_gives_the_same_results,
}

fn a_requested_number_of_messages_is_sent_exactly(engine: &str) {
    let port = echo_server();
    for more in [&["--depth", "7"][..], &["--reconnect-every", "3"], &["--framing", "length"]] {
        let (run, code) = run(
            port,
            &[&["--engine", engine, "-n", "1000", "-c", "3", "--threads", "2"], more].concat(),
        );
        assert_eq!(code, 0, "{more:?}");
        let result = &run.result;
        assert_eq!((result.sent, result.echoes, result.loss), (1000, 1000, 0), "{more:?}");
        assert_eq!((result.fairness.min, result.fairness.max), (333, 334), "{more:?}");
        assert_eq!(run.settings.threads, 2);
        let made = if more[0] == "--reconnect-every" { 3 * 112 - 1 } else { 3 };
        assert!(result.connect.count.abs_diff(made) <= 1, "{made}: {}", result.connect.count);
    }
}

fn large_messages_and_many_connections_come_back(engine: &str) {
    let port = echo_server();
    let (large, code) =
        run(port, &["--engine", engine, "-n", "8", "-c", "2", "-s", "5MiB", "--depth", "2"]);
    assert_eq!((code, large.result.echoes), (0, 8));
    assert_eq!(large.settings.engine, engine);
    let (many, code) = run(port, &["--engine", engine, "-n", "3000", "-c", "300", "-s", "1"]);
    assert_eq!((code, many.result.echoes, many.result.connect.count), (0, 3000, 300));
}

/// What a server does to the second of three connections after 1000 bytes of the first message, and
/// how that is reported: cause, correct bytes, and text.
type Fault = (&'static str, fn(&mut TcpStream, &[u8]), u64, &'static str);

fn each_fault_is_reported_with_its_cause_connection_and_offset(engine: &str) {
    let faults: [Fault; 6] = [
        ("closed", |_, _| {}, 1000, "1000 of"),
        (
            "changed",
            |stream, rest| {
                let mut rest = rest.to_vec();
                rest[24] ^= 4;
                stream.write_all(&rest).unwrap();
                wait_for_its_end(stream.try_clone().unwrap());
            },
            1024,
            "byte 1024",
        ),
        (
            "changed",
            |stream, rest| {
                // A chunk is repeated in the place of what follows.
                stream.write_all(&rest[..50]).unwrap();
                stream.write_all(&rest[..50]).unwrap();
                wait_for_its_end(stream.try_clone().unwrap());
            },
            1050,
            "byte 1050",
        ),
        (
            "surplus",
            |stream, rest| {
                // In one write: surplus that arrives later would be taken for the echo of the next
                // message.
                stream.write_all(&[rest, rest].concat()).unwrap();
                wait_for_its_end(stream.try_clone().unwrap());
            },
            2000,
            "",
        ),
        ("timeout", |stream, _| wait_for_its_end(stream.try_clone().unwrap()), 1000, "1000 of"),
        (
            "timeout",
            |stream, rest| {
                thread::sleep(Duration::from_secs(4));
                let _ = stream.write_all(rest);
            },
            1000,
            "1000 of",
        ),
    ];
    for (cause, misbehave, offset, text) in faults {
        let port = serve_each(move |number, mut stream| {
            if number != 2 {
                return echo(stream, |_| {});
            }
            let mut message = [0; 2000];
            stream.read_exact(&mut message).unwrap();
            stream.write_all(&message[..1000]).unwrap();
            misbehave(&mut stream, &message[1000..]);
        });
        let arguments =
            ["-c", "3", "-s", "2000", "-d", "1s", "--warmup", "0s", "--timeout", "1500ms"];
        let (run, code) = run(port, &[&arguments[..], &["--engine", engine]].concat());
        assert_eq!(code, 1, "{cause} {text}");
        let result = &run.result;
        let causes = serde_json::to_value(result.causes).unwrap();
        assert_eq!(causes[cause], 1, "{cause} {text}: {result:?}");
        assert_eq!((result.failed, result.incidents.len()), (1, 1), "{cause} {text}: {result:?}");
        let failure = &result.incidents[0];
        assert_eq!((failure.connection, failure.cause.as_str()), (2, cause), "{failure:?}");
        assert!(failure.text.contains(text), "{failure:?}");
        assert_eq!(failure.offset, offset, "{failure:?}");
        // Everything before the surplus was correct.
        let lost = if cause == "surplus" { 0 } else { 2000 - offset };
        assert_eq!((result.loss, result.missing_bytes), (u64::from(lost > 0), lost), "{result:?}");
    }
}

fn a_reset_is_counted_and_the_connection_reopened(engine: &str) {
    let port = serve_each(|number, mut stream| {
        if number == 1 {
            // Closing with unread bytes sends RST.
            let _ = stream.read(&mut [0; 1]);
            return;
        }
        echo(stream, |_| {});
    });
    let (run, code) = run(port, &["-d", "1s", "--warmup", "0s", "--engine", engine]);
    assert_eq!(code, 1);
    let causes = run.result.causes;
    assert_eq!(causes.lost + causes.closed, 1, "{causes:?}");
    assert_eq!(run.result.connect.count, 2);
    assert!(run.result.echoes > 0, "it went on");
}

fn busy_polling_gives_the_same_results(engine: &str) {
    let port = echo_server();
    let polling = ["--engine", engine, "--busy-poll"];
    let more = ["-n", "1000", "-c", "3", "--depth", "3"];
    let (counted, code) = run(port, &[&polling[..], &more].concat());
    assert_eq!((code, counted.result.echoes, counted.settings.busy_poll), (0, 1000, true));
    // With almost nothing to do, a loop that sleeps uses less than 1 % of a CPU; this one uses all
    // it can get.
    let (idle, _) =
        run(port, &[&polling[..], &["-R", "10", "-d", "500ms", "--warmup", "0s"]].concat());
    assert!(idle.result.busy.is_none_or(|busy| busy > 0.05), "{:?}", idle.result.busy);
}

#[test]
fn the_defaults_are_one_connection_for_ten_seconds_over_uring_where_it_works() {
    let mut client = command(PROGRAM);
    let port = echo_server();
    client.args(["bench", "--format", "jsonl", "--port", &port.to_string()]);
    let stdout = Process::spawn(&mut client).unwrap().wait_for_stdout("\n").unwrap();
    let start: serde_json::Value = serde_json::from_str(stdout.lines().next().unwrap()).unwrap();
    let expected = serde_json::json!({
        "host": "127.0.0.1",
        "address": format!("127.0.0.1:{port}"),
        "connections": 1,
        "size_bytes": 64,
        "depth": 1,
        "framing": "raw",
        "loop": "closed",
        "rate": null,
        "arrivals": null,
        "duration_s": 10.0,
        "messages": null,
        "warmup_s": 1.0,
        "engine": if lacks("uring") { "readiness" } else { "uring" },
        "threads": 1,
        "busy_poll": false,
        "reconnect_every": null,
        "seed": null,
        "timeout_s": 10.0,
        "repeat": 1,
        "pause_s": null,
    });
    assert_eq!(start["data"]["settings"], expected);
}

#[test]
fn a_rate_may_have_a_suffix_and_runs_are_saved_in_intervals_of_a_second() {
    let arguments = ["-R", "2k", "--arrivals", "poisson", "-d", "1500ms", "--warmup", "0s"];
    let (run, _) = run(echo_server(), &arguments);
    assert_eq!(run.settings.rate, Some(2000.0));
    assert_eq!(run.settings.arrivals.as_deref(), Some("poisson"));
    let lengths: Vec<_> = run.intervals.iter().map(|interval| interval.seconds).collect();
    assert!((lengths[0] - 1.0).abs() < 0.01 && lengths.len() == 2, "{lengths:?}");
}

#[test]
fn usage_errors_are_reported_before_connecting() {
    // No server listens on port 1: trying to connect would exit with 1.
    for (arguments, message) in [
        (&["--fail-if", "p5x>1ms"][..], "\"p5x\" is not a percentile; write p50"),
        (&["--fail-if", "latency>1ms"], "there is no metric \"latency\"; use rate"),
        (&["--fail-if", "p99>1"], "\"1\" is not a time such as 50us"),
        (&["-d", "1s", "-n", "5"], "cannot be used with"),
        (&["-R", "0"], "0.001 to 1000M"),
        (&["-R", "1e308k"], "0.001 to 1000M"),
        (&["--arrivals", "poisson"], "--rate"),
        (&["-n", "5", "--warmup", "1s"], "cannot be used with"),
        (&["--depth", "70000"], "expected a whole number from 1 to 65536"),
        (&["-s", "0"], "expected a size from 1 to 1GiB"),
        (&["-c", "0"], "expected a whole number of at least 1"),
        (&["--start-at", "2026-01-02T03:04:05Z"], "this time was "),
        (&["--start-at", "12:30"], "expected a time such as 2026-01-02T03:04:05Z (RFC 3339)"),
        (&["--engine", "epoll"], "possible values: auto, readiness, uring"),
        (&["--busy-poll", "50us"], "--busy-poll of bench takes no value: leave out 50us"),
    ] {
        let finished = bench(1, arguments);
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        assert!(finished.stderr.contains(message), "{finished:?}");
    }
}

fn without_a_server_the_run_fails(engine: &str) {
    let finished = bench(1, &["-c", "3", "--engine", engine]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.stderr.contains("cannot connect to 127.0.0.1:1: connection refused"));
    assert!(finished.stderr.contains("hint: is echo-server running there?"), "{finished:?}");
    assert_eq!(finished.stdout, "");
}

fn jsonl_reports_start_intervals_and_end_while_running(engine: &str) {
    let arguments = ["-d", "500ms", "--warmup", "100ms", "-i", "100ms", "--format", "jsonl"];
    let finished = bench(echo_server(), &[&arguments[..], &["--engine", engine]].concat());
    let lines = finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<serde_json::Value> = lines.collect();
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!((events[0], events[events.len() - 1]), ("start", "end"), "{events:?}");
    assert_eq!(lines[0]["data"]["settings"]["size_bytes"], 64);
    assert_eq!(lines[0]["data"].get("runs"), None);
    let intervals = &lines[1..lines.len() - 1];
    // On a busy machine, some may be longer.
    assert!((1..=6).contains(&intervals.len()), "{events:?}");
    let echoes = |line: &serde_json::Value| line["data"]["echoes"].as_u64().unwrap();
    let end = the_run(&lines[lines.len() - 1]["data"].to_string());
    assert_eq!(intervals.iter().map(echoes).sum::<u64>(), end.result.echoes);
}

fn ctrl_c_ends_a_run_early_and_a_second_one_exits_at_once(engine: &str) {
    if skipped_without_stop("ctrl_c_ends_a_run_early_and_a_second_one_exits_at_once") {
        return;
    }
    let mut client = command(PROGRAM);
    let port = echo_server().to_string();
    let arguments = ["bench", "-i", "50ms", "--engine", engine];
    let process = Process::spawn(client.args(arguments).args(["--port", &port])).unwrap();
    process.wait_for_stdout("echoes/s").unwrap();
    process.interrupt();
    let finished = process.wait().unwrap();
    assert!(finished.status.success(), "{finished:?}");
    assert!(finished.stdout.contains("loss         0 of"), "{finished:?}");

    // This one waits for an echo that never arrives.
    let port = serve_each(|_, stream| wait_for_its_end(stream)).to_string();
    let mut client = command(PROGRAM);
    let process = Process::spawn(client.args(arguments).args(["--port", &port])).unwrap();
    process.wait_for_stdout("echoes/s").unwrap();
    process.interrupt();
    thread::sleep(Duration::from_millis(300));
    process.interrupt();
    assert_eq!(process.wait().unwrap().status.code(), Some(130));
}

#[test]
fn without_io_uring_auto_falls_back_and_uring_explains_itself() {
    let refused = |call: &str, error: &str, engine: &str| {
        let mut client = refusing(call, error, PROGRAM);
        client.args(["bench", "-n", "10", "--engine", engine]);
        Process::run(client.args(["--port", &echo_server().to_string()]), b"")
    };
    if let Err(error) = refused("io_uring_setup", "EPERM", "readiness").and_then(|finished| {
        let works = finished.status.success();
        works.then_some(()).ok_or_else(|| std::io::Error::other(finished.stderr))
    }) {
        return skipped("bench without io_uring", &format!("it takes strace of Linux: {error}"));
    }
    for (call, error, hint) in [
        ("io_uring_setup", "EPERM", "sysctl kernel.io_uring_disabled"),
        ("io_uring_setup", "ENOSYS", "Linux 6.1 or later"),
        ("io_uring_setup", "ENOMEM", "ulimit -l"),
        ("io_uring_register", "EINVAL", "Linux 6.1 or later"),
    ] {
        let finished = refused(call, error, "uring").unwrap();
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        assert!(finished.stderr.contains("cannot use io_uring: "), "{finished:?}");
        assert!(finished.stderr.contains(hint), "{finished:?}");
        let finished = refused(call, error, "auto").unwrap();
        assert!(finished.status.success(), "{finished:?}");
        assert!(unwrapped(&finished.stdout).contains("engine readiness"), "{finished:?}");
    }
}

#[test]
fn a_stall_at_the_end_of_a_run_is_measured_too() {
    // Stalls from half a second before the end until after it.
    let port = serve_each(|_, stream| {
        let mut first = None;
        echo(stream, move |_| {
            let age = first.get_or_insert_with(std::time::Instant::now).elapsed();
            if (500..1500).contains(&age.as_millis()) {
                thread::sleep(Duration::from_millis(1500) - age);
            }
        });
    });
    let (run, code) = run(port, &["-R", "200", "-d", "1s", "--warmup", "0s"]);
    let result = &run.result;
    assert_eq!((code, result.unsent, result.loss), (0, 0, 0), "{result:?}");
    assert_eq!(run.settings.arrivals.as_deref(), Some("constant"));
    assert_eq!((result.sent, result.latency.count), (200, 200), "{result:?}");
    // The messages of the second half were due during the stall.
    assert!(result.latency.p90_us > 700_000.0 && result.echoes < 150, "{result:?}");
}

#[test]
fn unsent_messages_of_a_requested_number_are_counted() {
    // After the first hundred messages, no connection is served.
    let port = serve_each(|number, stream| {
        let mut left = if number == 1 { 100 } else { 0 };
        let end = stream.try_clone().unwrap();
        if number > 1 {
            return;
        }
        echo(stream, move |_| {
            left -= 1;
            if left == 0 {
                let _ = end.shutdown(std::net::Shutdown::Read);
            }
        });
    });
    let (run, code) = run(port, &["-n", "1000", "--timeout", "500ms"]);
    let result = &run.result;
    assert_eq!((code, result.sent + result.unsent), (1, 1000), "{result:?}");
    assert!(result.unsent > 800, "{result:?}");
    assert!(run.result.warnings.iter().any(|line| line.contains("were not sent")));
}

#[test]
fn a_run_of_a_number_of_messages_lasts_until_its_slowest_thread_is_done() {
    let port = serve_each(|number, stream| {
        let pause = if number == 1 { Duration::from_millis(10) } else { Duration::ZERO };
        echo(stream, move |_| thread::sleep(pause));
    });
    let (run, _) = run(port, &["-c", "2", "--threads", "2", "-n", "100"]);
    assert!(run.result.seconds >= 0.5 && run.result.rate <= 200.0, "{:?}", run.result);
}
