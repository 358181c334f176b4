//! `echo-client ping` for programs: JSON, JSON lines and conditions.

use std::io::{Read, Write};

use echo_test_support::peers::{echo, serve_each, wait_for_its_end};
use echo_test_support::{Finished, Process, command, skipped_without_stop};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-client");

/// Closes its first connection after one echo.
fn server_with_an_outage() -> u16 {
    serve_each(|number, mut stream| {
        if number > 1 {
            return echo(stream, |_| {});
        }
        let mut message = [0; 64];
        stream.read_exact(&mut message).unwrap();
        stream.write_all(&message).unwrap();
    })
}

fn echo_server() -> u16 {
    serve_each(|_, stream| echo(stream, |_| {}))
}

fn ping(port: u16, arguments: &[&str]) -> Finished {
    let mut client = command(PROGRAM);
    client.args(["ping", "127.0.0.1", &port.to_string()]).args(arguments);
    Process::run(&mut client, b"").unwrap()
}

/// The events of `jsonl` by name, with their data.
fn events(stdout: &str) -> Vec<(String, Value)> {
    let event = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["event"].as_str().unwrap().to_owned(), line["data"].clone())
    };
    stdout.lines().map(event).collect()
}

#[test]
fn jsonl_has_one_event_per_line_and_ends_with_the_whole_run() {
    let finished = ping(server_with_an_outage(), &["-c", "4", "-i", "50ms", "--format", "jsonl"]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let events = events(&finished.stdout);
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    let expected =
        ["start", "reply", "outage_begin", "lost", "outage_end", "reply", "reply", "end"];
    assert_eq!(names, expected, "{finished:?}");
    let [start, first, begin, lost, end, _, last, run] =
        events.iter().map(|(_, data)| data).collect::<Vec<_>>().try_into().unwrap();
    assert_eq!([&start["schema_version"], &start["settings"]["messages"]], [1, 4]);
    assert_eq!([&begin["seq"], &lost["seq"], &end["outage"]["last"]], [2, 2, 2]);
    assert_eq!(lost["cause"], "closed");
    assert!(lost["text"].as_str().unwrap().contains("closed the connection after 64"), "{lost}");
    assert_eq!(end["outage"]["is_over"], true);
    assert!(first["at_us"].as_u64() < last["at_us"].as_u64());
    // The last line has it all, and no other figures.
    assert_eq!(run["started"], start["started"]);
    let result = &run["result"];
    assert_eq!([&result["transmitted"], &result["echoes"], &result["loss"]], [4, 3, 1]);
    assert_eq!(result["loss_share"], 0.25);
    assert_eq!(run["outages"][0], end["outage"]);
    assert_eq!(result["outage"]["max_us"], end["outage"]["duration_us"]);
    let replies = events.iter().filter(|(name, _)| name == "reply");
    let mut times: Vec<_> = replies.map(|(_, data)| data["latency_us"].as_f64().unwrap()).collect();
    times.sort_by(f64::total_cmp);
    let [min, max] = ["min_us", "max_us"].map(|name| result["latency"][name].as_f64().unwrap());
    assert_eq!([min, max], [times[0], times[2]]);
}

#[test]
fn events_come_as_they_happen() {
    let mut client = command(PROGRAM);
    client.args(["ping", "127.0.0.1", &echo_server().to_string(), "-i", "20ms"]);
    let process = Process::spawn(client.args(["--format", "jsonl"])).unwrap();
    process.wait_for_stdout("\"seq\":3,").unwrap();
    if !skipped_without_stop("the end of an interrupted run") {
        process.interrupt();
        let finished = process.wait().unwrap();
        // A message in flight may be lost.
        assert!(matches!(finished.status.code(), Some(0 | 1)), "{finished:?}");
        assert_eq!(events(&finished.stdout).last().unwrap().0, "end");
    }
}

#[test]
fn quiet_leaves_out_the_messages() {
    let arguments = ["-c", "3", "-i", "50ms", "--format", "jsonl", "-q"];
    let finished = ping(server_with_an_outage(), &arguments);
    let events = events(&finished.stdout);
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["start", "outage_begin", "outage_end", "end"], "{finished:?}");
}

#[test]
fn json_is_one_document_at_the_end() {
    let finished = ping(echo_server(), &["-c", "100", "-i", "0", "-s", "1k", "--format", "json"]);
    assert_eq!((finished.status.code(), finished.stderr.as_str()), (Some(0), ""));
    let run: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!([&run["settings"]["size_bytes"], &run["result"]["echoes"]], [1024, 100]);
    assert_eq!((&run["outages"], &run["gates"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    assert_eq!(run["result"]["connect"]["count"], 1);
}

#[test]
fn a_failed_gate_has_its_exit_code_and_precedes_losses() {
    let gates = ["--fail-if", "p95>1ns, loss>5", "--fail-if", "outage>1h"];
    for (format, is_text) in [("text", true), ("json", false), ("jsonl", false)] {
        let arguments = [&["-c", "3", "-i", "200ms", "--format", format], &gates[..]].concat();
        let finished = ping(server_with_an_outage(), &arguments);
        assert_eq!(finished.status.code(), Some(3), "{finished:?}");
        if is_text {
            assert!(finished.stdout.contains("\ngate p95>1ns failed: it is "), "{finished:?}");
            assert!(finished.stdout.contains("\ngate  loss>5 passed: it is 1"), "{finished:?}");
            assert_eq!(finished.stderr, "", "it is shown once");
        } else {
            assert!(finished.stdout.contains("\"gate\":"), "{finished:?}");
            assert!(
                finished.stderr.starts_with("echo-client: gate p95>1ns failed"),
                "{finished:?}"
            );
            assert!(!finished.stderr.contains("outage"), "it passed: {finished:?}");
        }
    }
    let finished = ping(echo_server(), &["-c", "3", "-i", "0", "--fail-if", "max>1h,loss>0"]);
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
}

#[test]
fn what_was_not_measured_fails_its_gate() {
    let port = serve_each(|_, stream| wait_for_its_end(stream));
    let arguments = ["-w", "300ms", "-W", "100ms", "--fail-if", "p99>1h,mdev>1h", "-q"];
    let finished = ping(port, &arguments);
    assert_eq!(finished.status.code(), Some(3), "{finished:?}");
    for gate in ["p99>1h", "mdev>1h"] {
        let line = format!("\ngate {gate} failed: it was not measured\n");
        assert!(finished.stdout.contains(&line), "{finished:?}");
    }
}

#[test]
fn a_condition_that_ping_does_not_know_is_a_usage_error() {
    for (condition, text) in [
        ("rate<5", "there is no metric \"rate\"; use loss, loss_share, min"),
        ("p99>5", "\"5\" is not a time such as"),
        ("p100>5ms", "p100"),
        ("loss", "expected a metric, a comparison and a value"),
    ] {
        let finished = ping(1, &["--fail-if", condition]);
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        assert!(finished.stderr.contains(text), "{finished:?}");
    }
}

#[test]
fn an_interrupted_run_with_gates_does_not_pass() {
    if skipped_without_stop("an_interrupted_run_with_gates_does_not_pass") {
        return;
    }
    let port = echo_server().to_string();
    for (gates, code, note) in [
        // Not on losses: a message in flight may be one.
        (
            ["--fail-if", "p99>1h"],
            1,
            "echo-client: the run was interrupted; its gates have judged only a part of it\n",
        ),
        (["--fail-if", "max>=0s"], 3, "judged only a part"),
    ] {
        let mut client = command(PROGRAM);
        client.args(["ping", "127.0.0.1", &port, "-i", "10ms"]).args(gates);
        let process = Process::spawn(&mut client).unwrap();
        process.wait_for_stdout("seq=2 ").unwrap();
        process.interrupt();
        let finished = process.wait().unwrap();
        assert_eq!(finished.status.code(), Some(code), "{finished:?}");
        assert!(finished.stderr.contains(note), "{finished:?}");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_an_error_and_a_closed_one_is_none() {
    let port = echo_server().to_string();
    for format in ["text", "json", "jsonl"] {
        let mut client = command(PROGRAM);
        client.args(["ping", "127.0.0.1", &port, "-c", "3", "-i", "0", "--format", format]);
        if let Ok(full) = std::fs::File::options().write(true).open("/dev/full") {
            let output = client.stdout(full).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(output.stderr.starts_with(b"echo-client: cannot write to stdout: "));
        }
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = client.stdout(writer).output().unwrap();
        assert_eq!(output.stderr, b"", "{output:?}");
    }
    // Nothing is written until the end; by then all messages have come back.
    let mut client = command(PROGRAM);
    let (reader, writer) = std::io::pipe().unwrap();
    client.args(["ping", "127.0.0.1", &port, "-c", "3", "-i", "0", "--format", "json"]);
    drop(reader);
    let status = client.stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}
