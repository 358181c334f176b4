//! Skipping tests that need what this machine lacks.

use std::io::{self, Write};
use std::net::{TcpListener, ToSocketAddrs};
use std::sync::OnceLock;

use crate::{Process, Server, command};

/// Reports on the terminal, past the test harness's capture, that a check was skipped and why.
pub fn skipped(check: &str, why: &str) {
    // Not `eprintln!`, which the harness captures. If stderr is closed, there is nowhere to report.
    let _ = writeln!(io::stderr(), "SKIPPED {check}: {why}");
}

/// Whether this machine lacks IPv6; if so, reports `check` as skipped.
pub fn skipped_without_ipv6(check: &str) -> bool {
    let missing = TcpListener::bind("[::1]:0").is_err();
    if missing {
        skipped(check, "this machine has no IPv6");
    }
    missing
}

/// Whether this machine cannot resolve `localhost`; if so, reports `check` as skipped. Windows resolves it by itself,
/// but Wine asks the C library of Linux, which needs `/etc/hosts`.
pub fn skipped_without_localhost(check: &str) -> bool {
    let resolved = ("localhost", 1).to_socket_addrs();
    // The programs for Unix find it without that file.
    if let (true, Err(error)) = (cfg!(windows), &resolved) {
        skipped(check, &format!("this machine does not resolve localhost: {error}"));
        return true;
    }
    false
}

/// Whether `--engine uring` of the echo-server `program` does not work here; if so, reports `check` as skipped.
///
/// # Panics
///
/// The server does not start for another reason.
pub fn skipped_without_uring(program: &str, check: &str) -> bool {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let why = REASON.get_or_init(|| match Server::start(program, &["--engine", "uring"]) {
        Ok(_) => None,
        Err(error) if error.to_string().contains("uring is not available") => {
            Some(error.to_string())
        }
        Err(error) => panic!("{error}"),
    });
    if let Some(why) = why {
        skipped(check, why);
    }
    why.is_some()
}

/// Whether strace(1) does not work here; if so, reports `check` as skipped.
pub fn skipped_without_strace(check: &str) -> bool {
    let traced = Process::run(command("strace").args(["-f", "-o", "/dev/null", "true"]), b"");
    let works = traced.as_ref().is_ok_and(|finished| finished.status.success());
    if !works {
        skipped(check, &format!("it needs strace(1): {traced:?}"));
    }
    !works
}

/// Why a program cannot be told to stop here, if so. Unix has signals; Windows needs a console.
pub fn why_unstoppable() -> Option<&'static str> {
    #[cfg(windows)]
    return echo_console::why_unsendable();
    #[cfg(not(windows))]
    None
}

/// Why tests of resets are skipped under Wine: `sock_error` in its server/sock.c asks Linux for the error, which clears
/// it, so that a `recv` after that finds the end of the stream.
pub const RESETS_ON_WINE: &str = "a reset may look like the end of the stream";

/// Whether this is Wine, which behaves differently from Windows; if so, reports `check` as skipped.
pub fn skipped_on_wine(check: &str, why: &str) -> bool {
    #[cfg(windows)]
    let is_wine = echo_console::is_wine();
    #[cfg(not(windows))]
    let is_wine = false;
    if is_wine {
        skipped(check, &format!("under Wine, {why}"));
    }
    is_wine
}

/// Whether a program cannot be told to stop here; if so, reports `check` as skipped.
pub fn skipped_without_stop(check: &str) -> bool {
    let why = why_unstoppable();
    if let Some(why) = why {
        skipped(check, why);
    }
    why.is_some()
}

/// Declares tests that this system cannot run, for the harness to report with the reason.
#[macro_export]
macro_rules! ignored {
    ($($why:literal: $($test:ident),+ $(,)?;)+) => {
        $($(#[test] #[ignore = $why] fn $test() {})+)+
    };
}
