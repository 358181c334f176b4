//! The results of `echo-client bench`: the exit code for its gates, and files.

mod load;

use std::io::Read;
use std::thread;
use std::time::Duration;

use echo_client::hdr_log::{Log, LogUnit};
use echo_test_support::peers::{echo, serve_each};
use echo_test_support::{Process, command, skipped, skipped_without_stop};

use self::load::{PROGRAM, bench, echo_server, run, the_run};

#[test]
fn failed_gates_exit_with_3_and_are_reported_with_their_margin() {
    let port = echo_server();
    let arguments = ["-n", "1000", "--fail-if", "min>1s", "--fail-if", "p50>1ns,rate<1G"];
    let finished = bench(port, &arguments);
    assert_eq!(finished.status.code(), Some(3), "{finished:?}");
    for line in ["min>1s passed: it is ", "p50>1ns failed: it is ", "rate<1G failed: it is "] {
        assert!(finished.stdout.contains(line), "{finished:?}");
    }
    let finished = bench(port, &[&arguments[..], &["--format", "json"]].concat());
    assert_eq!(finished.status.code(), Some(3), "{finished:?}");
    assert!(finished.stderr.contains("echo-client: gate p50>1ns failed"), "{finished:?}");
    assert!(!finished.stderr.contains("min>1s"), "{finished:?}");
    let run = the_run(&finished.stdout);
    assert_eq!(run.gates.iter().map(|gate| gate.failed).collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn the_exit_code_of_a_failed_gate_takes_precedence_over_losses() {
    let port = serve_each(|_, mut stream| drop(stream.read_exact(&mut [0; 64])));
    for (condition, expected) in [("loss>=0", 3), ("loss>10", 1)] {
        let (run, code) = run(port, &["-n", "10", "--timeout", "500ms", "--fail-if", condition]);
        assert!(run.result.loss > 0, "{:?}", run.result);
        assert_eq!(code, expected, "{condition}");
    }
}

#[test]
fn gates_are_checked_even_if_stdout_is_closed() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let port = echo_server().to_string();
    let mut client = command(PROGRAM);
    client.args(["bench", "--port", &port, "-n", "1000", "--fail-if", "p50>1ns"]).stdout(writer);
    client.stderr(std::process::Stdio::piped());
    let finished = client.output().unwrap();
    let stderr = String::from_utf8_lossy(&finished.stderr);
    assert_eq!(finished.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("gate p50>1ns failed"), "{stderr}");
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let port = echo_server();
    if !std::path::Path::new("/dev/full").exists() {
        return skipped("reports to a full disk", "there is no /dev/full");
    }
    for option in ["-o", "--hdr-log"] {
        let finished = bench(port, &["-n", "10", option, "/dev/full"]);
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        assert!(finished.stderr.contains("cannot write /dev/full: No space left"), "{finished:?}");
        assert!(finished.stdout.contains("10 echoes in "), "not in vain: {finished:?}");
        let finished = bench(1, &["-n", "10", option, "/nowhere/file"]);
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        assert!(finished.stderr.contains("cannot create /nowhere/file"), "{finished:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_congestion_control_is_recorded() {
    let control = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap();
    let (run, _) = run(echo_server(), &["-n", "10"]);
    assert_eq!(run.machine.congestion_control.as_deref(), Some(control.trim_end()));
}

#[test]
fn the_hdr_log_has_the_same_samples() {
    let path = std::env::temp_dir().join(format!("echo-bench-{}.hdr", std::process::id()));
    let arguments = ["-d", "400ms", "--warmup", "0s", "-i", "100ms", "--hdr-log"];
    let (run, code) = run(echo_server(), &[&arguments[..], &[path.to_str().unwrap()]].concat());
    let log = Log::read(&std::fs::read(&path).unwrap(), LogUnit::Nanoseconds);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(code, 0);
    let log = log.unwrap();
    assert_eq!(Some(log.histogram), run.result.latency.decode());
    assert_eq!(log.intervals.len(), run.intervals.len());
}

#[test]
fn a_run_that_does_not_start_keeps_the_results_of_the_previous_one() {
    let path = std::env::temp_dir().join(format!("echo-bench-{}.json", std::process::id()));
    std::fs::write(&path, "earlier results, longer than what comes").unwrap();
    let file = path.to_str().unwrap();
    assert_eq!(bench(1, &["-o", file, "--format", "json"]).status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "earlier results, longer than what comes");
    let finished = bench(echo_server(), &["-n", "10", "-o", file, "--format", "json"]);
    let run = the_run(&std::fs::read_to_string(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    assert_eq!((finished.status.code(), run.result.echoes), (Some(0), 10));
}

#[test]
fn a_rate_above_capacity_is_a_warning_and_no_loss() {
    // About 1000 echoes per second and connection, without a pause.
    let port = serve_each(|_, stream| echo(stream, |_| thread::sleep(Duration::from_millis(1))));
    for engine in ["readiness", "auto"] {
        let mut client = command(PROGRAM);
        client.args(["bench", "--port", &port.to_string(), "-R", "40k", "-c", "4", "-d", "600ms"]);
        client.args(["--warmup", "0s", "--timeout", "300ms", "--format", "json"]);
        let finished = Process::run(client.args(["--engine", engine]), b"").unwrap();
        assert_eq!(finished.status.code(), Some(0), "{finished:?}");
        let run = the_run(&finished.stdout);
        let result = &run.result;
        assert_eq!((result.failed, result.loss, result.missing_bytes), (0, 0, 0), "{result:?}");
        assert!(result.unsent > 1000, "{result:?}");
        let reached = result.warnings.iter().find(|text| text.contains("rate was not reached"));
        assert!(reached.is_some(), "{:?}", result.warnings);
    }
}

#[test]
fn a_random_schedule_has_a_seed_that_repeats_it() {
    let port = serve_each(|_, stream| echo(stream, |_| {}));
    let seed = |more: &[&str]| {
        let mut client = command(PROGRAM);
        client.args(["bench", "--port", &port.to_string(), "-R", "100", "--arrivals", "poisson"]);
        client.args(["-d", "100ms", "--warmup", "0s", "--format", "json"]).args(more);
        let finished = Process::run(&mut client, b"").unwrap();
        let run = the_run(&finished.stdout);
        run.settings.seed
    };
    assert_eq!(seed(&["--seed", "7"]), Some(7));
    let random = [seed(&[]), seed(&[]), seed(&[])];
    assert!(random[0].is_some() && random.iter().any(|other| *other != random[0]), "{random:?}");
}

#[test]
fn an_interrupted_run_does_not_pass_its_gates() {
    if skipped_without_stop("an_interrupted_run_does_not_pass_its_gates") {
        return;
    }
    let port = serve_each(|_, stream| echo(stream, |_| {}));
    let mut client = command(PROGRAM);
    client.args([
        "bench",
        "--port",
        &port.to_string(),
        "-d",
        "60s",
        "--warmup",
        "0s",
        "-i",
        "100ms",
    ]);
    let process = Process::spawn(client.args(["--fail-if", "p99>30s"])).unwrap();
    process.wait_for_stdout("0.1").unwrap();
    process.interrupt();
    let finished = process.wait().unwrap();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.stderr.contains("its gates have judged only a part"), "{finished:?}");
}
