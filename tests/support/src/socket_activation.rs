//! Socket activation without systemd.

use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use crate::command;

/// A command that passes a listening socket as systemd does: as descriptor 3, with the process's own ID in
/// LISTEN_PID. A shell can do both without unsafe code. It runs `script`, in which the program is `"$1"`.
///
/// # Panics
///
/// The process has no descriptors left.
pub fn socket_activated(socket: &impl AsFd, program: &str, script: &str) -> Command {
    let mut shell = command("sh");
    let script = format!("exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ {script}");
    shell.args(["-c", &script, "sh", program]);
    shell.stdin(Stdio::from(socket.as_fd().try_clone_to_owned().unwrap()));
    shell
}
