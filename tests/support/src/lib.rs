//! Runs the built programs for tests: on a free port, with deadlines, and no process left behind.
//!
//! Failures are `io::Error`s that say what the program printed, so that a test can unwrap them and
//! `cargo xtask e2e` can report them.

mod captured;
mod connect;
mod descriptors;
pub mod model;
pub mod peers;
mod process;
#[cfg(any(target_os = "linux", windows))]
mod processor_time;
mod resource_usage;
mod server;
mod skip;
#[cfg(unix)]
mod socket_activation;
mod strace;

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub use connect::{
    connect, connect_and_never_read, connect_from, connect_with_little_room, echo_in_pieces,
    exchange, is_silent, is_timeout, read_to_end, reset, wait_until_it_refuses,
};
pub use descriptors::raise_descriptor_limit;
pub use process::{Finished, Process};
pub use resource_usage::ResourceUsage;
#[cfg(unix)]
pub use rustix::process::Signal;
#[cfg(unix)]
pub use server::stop_with_queued_connections;
pub use server::{Server, with_engine};
pub use skip::{
    RESETS_ON_WINE, skipped, skipped_on_wine, skipped_without_ipv6, skipped_without_localhost,
    skipped_without_stop, skipped_without_strace, skipped_without_uring, why_unstoppable,
};
#[cfg(unix)]
pub use socket_activation::socket_activated;
pub use strace::{counting, failing_from, refusing};

/// The deadline of every wait. It is generous, because only failing tests reach it.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Makes each function, which takes the name of an engine, a test of every engine. An engine that this machine
/// lacks is reported as skipped. For tests of the echo-server package: Cargo provides the path of its program.
#[macro_export]
macro_rules! on_every_engine {
    ($($test:ident,)*) => {
        mod threads {
            $(#[test] fn $test() { super::$test("threads"); })*
        }
        mod readiness {
            $(#[test] fn $test() { super::$test("readiness"); })*
        }
        mod uring {
            $(#[test] fn $test() {
                if !$crate::skipped_without_uring(env!("CARGO_BIN_EXE_echo-server"), stringify!($test)) {
                    super::$test("uring");
                }
            })*
        }
    };
}

/// Starts the echo-server under test with an engine and further arguments ([`with_engine`]), as [`Server::start`]
/// does.
///
/// # Panics
///
/// Panics if the server does not start.
#[macro_export]
macro_rules! start {
    ($engine:expr, $arguments:expr) => {{
        let arguments: &[&str] = $arguments;
        let arguments = $crate::with_engine($engine, arguments);
        $crate::Server::start(env!("CARGO_BIN_EXE_echo-server"), &arguments).unwrap()
    }};
}

/// A message of bytes that look random, so that bytes in the wrong place are detected.
pub fn message(length: usize) -> Vec<u8> {
    let mix = |index: u64| (index ^ index >> 9).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    (0..length as u64).map(|index| mix(index) as u8).collect()
}

/// A command for `program` that inherits neither `ECHO_…` variables nor stdin.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let variables =
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ECHO_"));
    for (name, _) in variables {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Waits until `condition` holds; `what` describes it.
///
/// # Panics
///
/// Panics if it does not hold within [`DEADLINE`].
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
