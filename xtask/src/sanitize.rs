//! The tests under AddressSanitizer and LeakSanitizer. The programs' unsafe code shares memory with the kernel,
//! where a wrong access may go unnoticed for a long time.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::cargo;

/// The tests that run: all of echo-ring and the server, and those of the client's ring.
const TESTS: [&[&str]; 3] = [
    &["--package", "echo-ring", "--lib"],
    &["--package", "echo-server"],
    &["--package", "echo-client", "--lib", "--test", "bench"],
];

/// Part of the names of tests of memory usage, which are skipped: a sanitizer retains freed memory to detect
/// its use.
const SKIPPED: &str = "hold_little";

/// The target directory: everything is compiled anew with the sanitizer.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/sanitize");

/// Builds everything with the sanitizer and runs the tests.
pub(crate) fn run() -> Result<()> {
    let host = host()?;
    for tests in TESTS {
        let mut cargo = cargo();
        cargo.args(["test", "--locked", "--no-fail-fast"]).args(tests);
        // With an explicit target, build scripts and procedural macros are built without the sanitizer.
        cargo.args(["--target", &host, "--target-dir", FOLDER]);
        cargo.args(["--", "--skip", SKIPPED]);
        // The instrumentation is unstable in Rust; users never need it.
        cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address");
        // If a program started by a test reports an error, the test prints it.
        let status = cargo.status().context("cannot start cargo")?;
        ensure!(status.success(), "failed under the sanitizer: {}", tests.join(" "));
    }
    Ok(())
}

/// The target triple of the machine that the compiler runs on.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("cannot start rustc")?;
    let version = String::from_utf8_lossy(&output.stdout);
    match version.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => bail!("rustc does not print its host: {version}"),
    }
}
