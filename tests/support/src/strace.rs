//! Making system calls fail, with strace(1).

use std::ffi::OsStr;
use std::process::Command;

use crate::command;

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
