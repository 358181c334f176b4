//! `echo-client bench --server-pid`: what an echo costs the server.
//!
//! The servers here are threads of the test process. Its CPU time is measured, so the tests run one
//! at a time.
#![cfg(target_os = "linux")]

mod load;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use echo_client::run::Build;
use echo_test_support::peers::{echo, serve_each};
use echo_test_support::{Process, command};
use rustix::time::{ClockId, clock_gettime};

use self::load::{PROGRAM, the_run};

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

fn bench(port: u16, pid: u32, arguments: &[&str]) -> std::process::Command {
    let mut client = command(PROGRAM);
    client.args(["bench", "--port", &port.to_string(), "--server-pid", &pid.to_string()]);
    client.args(arguments);
    client
}

#[test]
fn the_servers_cpu_time_is_saved_shown_and_gated() {
    let _alone = alone();
    let port = serve_each(|_, stream| {
        echo(stream, |_| {
            let end = cpu_time() + Duration::from_millis(5);
            while cpu_time() < end {}
        });
    });
    let id = std::process::id();
    let arguments = ["-n", "100", "-c", "2", "--threads", "2", "--label", "slow"];
    let json = [&arguments[..], &["--format", "json"]].concat();
    let finished = Process::run(&mut bench(port, id, &json), b"").unwrap();
    let run = the_run(&finished.stdout);
    // The clock is accurate to 0.02 s.
    let (seconds, us) = (run.result.server_cpu_s.unwrap(), run.result.server_cpu_us_per_echo);
    assert!(seconds > 0.47, "{seconds} s");
    assert!((us.unwrap() - seconds * 1e4).abs() < 1e-6, "{us:?} for {seconds} s");
    assert_eq!(run.label.as_deref(), Some("slow"));
    let path = |build: Option<Build>| build.map(|build| build.path);
    let this = std::env::current_exe().unwrap().display().to_string();
    assert_eq!(path(run.builds.server), Some(this), "the build of the server is known");
    assert_eq!(path(run.builds.client).as_deref(), Some(PROGRAM));

    let gate = ["--fail-if", "server_cpu_us_per_echo>4000"];
    let finished = Process::run(&mut bench(port, id, &[&arguments[..], &gate].concat()), b"");
    let finished = finished.unwrap();
    assert_eq!(finished.status.code(), Some(3), "{finished:?}");
    assert!(finished.stdout.starts_with("slow, 127.0.0.1:"), "{finished:?}");
    assert!(finished.stdout.contains("\nserver       "), "{finished:?}");
    assert!(finished.stdout.contains("server_cpu_us_per_echo>4000 failed: it is "), "{finished:?}");
}

#[test]
fn cpu_time_in_the_warm_up_is_not_counted() {
    let _alone = alone();
    let port = serve_each(|_, stream| {
        let mut first = None;
        echo(stream, move |_| {
            let began = first.get_or_insert_with(Instant::now);
            while began.elapsed() < Duration::from_secs(1) {}
        });
    });
    let arguments = ["-R", "20", "--warmup", "2s", "-d", "500ms", "--format", "json"];
    let finished = Process::run(&mut bench(port, std::process::id(), &arguments), b"").unwrap();
    let run = the_run(&finished.stdout);
    assert!(run.result.server_cpu_s.unwrap() < 0.3, "{:?}", run.result.server_cpu_s);
    let warning = "of CPU time, accurate to 0.02 s: measure longer";
    assert!(run.result.warnings.iter().any(|text| text.ends_with(warning)), "{run:?}");
}

#[test]
fn a_server_that_exits_during_the_run_gives_a_warning_and_fails_its_gate() {
    let _alone = alone();
    let port = serve_each(|_, stream| echo(stream, |_| {}));
    let other = Process::spawn(command("sleep").arg("60")).unwrap();
    let arguments = ["-i", "50ms", "--warmup", "0s", "--fail-if", "server_cpu_us_per_echo>1M"];
    let load = Process::spawn(&mut bench(port, other.id(), &arguments)).unwrap();
    load.wait_for_stdout("echoes/s").unwrap();
    drop(other);
    load.interrupt();
    let finished = load.wait().unwrap();
    assert_eq!(finished.status.code(), Some(3), "{finished:?}");
    let stdout = finished.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in ["ended during the run", "server_cpu_us_per_echo>1M failed: it was not measured"] {
        assert!(stdout.contains(line), "{finished:?}");
    }
    assert!(!finished.stdout.contains("\nserver  "), "{finished:?}");
}

#[test]
fn a_missing_process_is_reported_before_connecting() {
    // No server listens on port 1 either, which would be a different message.
    let finished = Process::run(&mut bench(1, u32::MAX, &[]), b"").unwrap();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let expected =
        "echo-client: there is no process 4294967295\nhint: give the ID of the server's process";
    assert!(finished.stderr.starts_with(expected), "{finished:?}");
    assert_eq!(finished.stdout, "");
}

#[test]
fn an_empty_label_and_process_0_are_usage_errors() {
    for (arguments, message) in [
        (["--label", ""], "a value is required"),
        (["-s", "1"], "expected a whole number of at least 1"),
    ] {
        let pid = u32::from(arguments[0] == "--label");
        let finished = Process::run(&mut bench(1, pid, &arguments), b"").unwrap();
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        assert!(finished.stderr.contains(message), "{finished:?}");
    }
}
