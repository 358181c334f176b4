//! The tests under AddressSanitizer and LeakSanitizer: the programs' few unsafe lines share memory with the
//! kernel, and an access that is wrong may work by chance for a long time.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::cargo;

/// Which tests run: all of the ring's and the server's, and of the client's those that come near its ring.
const TESTS: [&[&str]; 3] = [
    &["--package", "echo-ring", "--lib"],
    &["--package", "echo-server"],
    &["--package", "echo-client", "--lib", "--test", "bench"],
];

/// What is in the names of tests of how much memory is held: a sanitizer holds on to what was freed, in order
/// to notice its use.
const SKIPPED: &str = "hold_little";

/// Where it is built: everything is another program with the sanitizer.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/sanitize");

/// Builds everything with the sanitizer and runs the tests.
pub(crate) fn run() -> Result<()> {
    let host = host()?;
    for tests in TESTS {
        let mut cargo = cargo();
        cargo.args(["test", "--locked", "--no-fail-fast"]).args(tests);
        // With a target named, build scripts and macros, which run inside the compiler, stay as they are.
        cargo.args(["--target", &host, "--target-dir", FOLDER]);
        cargo.args(["--", "--skip", SKIPPED]);
        // The instrumentation is unstable in Rust; what users run never needs it.
        cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address");
        // A report of a program that is started by a test is part of what the test then says.
        let status = cargo.status().context("cannot start cargo")?;
        ensure!(status.success(), "failed under the sanitizer: {}", tests.join(" "));
    }
    Ok(())
}

/// The machine that the compiler runs on, in its own notation.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("cannot start rustc")?;
    let version = String::from_utf8_lossy(&output.stdout);
    match version.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => bail!("rustc does not say what machine this is: {version}"),
    }
}
