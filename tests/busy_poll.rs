//! `--busy-poll` of the event loops.

#[cfg(any(target_os = "linux", windows))]
use std::time::Duration;

use echo_test_support::{connect, counting, exchange, on_every_engine, skipped_without_strace};
#[cfg(any(target_os = "linux", windows))]
use echo_test_support::{eventually, start};

on_every_engine! {
    busy_polling_does_not_sleep,
    busy_polling_reads_the_only_connection_directly,
}

#[cfg(not(any(target_os = "linux", windows)))]
fn busy_polling_does_not_sleep(_: &str) {
    echo_test_support::skipped("busy polling", "CPU time is read on Linux and Windows only");
}

#[cfg(any(target_os = "linux", windows))]
fn busy_polling_does_not_sleep(engine: &str) {
    if engine == "threads" {
        return; // only event loops poll
    }
    let server = start!(engine, &["--threads", "1", "--busy-poll", "1h"]);
    let silent = connect(server.address);
    exchange(&silent, b"and then nothing");
    let before = server.process.processor_time();
    // A busy machine may not give it much CPU time, but it uses what it gets.
    eventually("it uses CPU time", || {
        server.process.processor_time() - before >= Duration::from_millis(500)
    });
}

fn busy_polling_reads_the_only_connection_directly(engine: &str) {
    // The others take no system call to watch a connection.
    if engine != "uring" || skipped_without_strace("direct reads") {
        return;
    }
    let arguments =
        ["--port", "0", "-q", "--once", "--threads", "1", "--busy-poll", "10s", "--engine", engine];
    let server = env!("CARGO_BIN_EXE_echo-server");
    let [entered] = counting(["io_uring_enter"], server, &arguments, |server| {
        let stream = connect(server);
        for _ in 0..500 {
            exchange(&stream, b"directly");
        }
    });
    assert!(entered < 100, "{entered} calls");
}
