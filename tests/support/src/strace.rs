//! Making system calls fail, and counting them, with strace(1).

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Server, command};

/// A command that runs `program` and fails every system call `call` with `error`. The program must end by
/// itself: killing strace would leave it running. See [`skipped_without_strace`](crate::skipped_without_strace).
pub fn refusing(call: &str, error: &str, program: impl AsRef<OsStr>) -> Command {
    let mut tracer = command("strace");
    tracer.args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    tracer.args(["-e", &format!("inject={call}:error={error}")]).arg(program.as_ref());
    tracer
}

/// A command like [`refusing`] that fails each thread's `call` from the `n`-th one on, counted from 1.
pub fn failing_from(n: usize, call: &str, error: &str, program: impl AsRef<OsStr>) -> Command {
    refusing(call, &format!("{error}:when={n}+"), program)
}

/// Runs the server `program` with `arguments` under strace, and counts its calls of each of `names` until it ends, which
/// it must do by itself after `talk`.
///
/// # Panics
///
/// The server does not start, or does not end.
pub fn counting<const N: usize>(
    names: [&str; N],
    program: impl AsRef<OsStr>,
    arguments: &[&str],
    talk: impl FnOnce(SocketAddr),
) -> [usize; N] {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let log = std::env::temp_dir().join(format!("strace-{}-{run}", std::process::id()));
    let mut tracer = command("strace");
    tracer.args(["-f", "-qq", "-c", "-U", "name,calls"]);
    tracer.args(["-e", &format!("trace={}", names.join(",")), "-o"]).arg(&log);
    tracer.arg(program).args(arguments);
    let server = Server::start_with(&mut tracer).expect("strace works");
    talk(server.address);
    server.process.wait().expect("the server ends");
    let counts = std::fs::read_to_string(&log).expect("strace has written its counts");
    std::fs::remove_file(&log).expect("the file is ours");
    names.map(|name| {
        let row = counts.lines().find(|row| row.trim_start().starts_with(name));
        row.map_or(0, |row| {
            row.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
        })
    })
}
