//! Whether what was made works where nothing else is installed: in an empty root, and in a clean Debian.
//!
//! What takes a shell to do is in scripts beside this file. They run in a network namespace of their own, so that the
//! default port is free.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::release::Release;

/// A script prints this code to say that it cannot run here; its last line says why. So do the tests of GNU Automake.
const SKIPPED: i32 = 77;

/// Checks the files in `out`, and prints a line for each check.
pub(super) fn run(release: &Release, out: &Path, files: &[String]) -> Result<()> {
    let path = |name: &str| out.join(name).display().to_string();
    let archive =
        files.iter().find(|file| file.ends_with(".tar.gz")).context("there is no archive")?;
    let package = files.iter().find(|file| file.ends_with(".deb"));
    let service = release.workspace.join("docs/deploy/echo-server.service").display().to_string();

    script("checksums", CHECKSUMS, &[&out.display().to_string()])?;
    if !release.is_linux() {
        return Ok(());
    }
    script("static programs in an empty root", EMPTY_ROOT, &[&path(archive)])?;
    script("names in a root with two files", NAMES, &[&path(archive)])?;
    script("the image's root, user, command and health check", CONTAINER, &[&path("container")])?;
    script("the unit's settings", UNIT, &[&service])?;
    let Some(package) = package else { return Ok(()) };
    script("the package in a clean Debian", DEBIAN, &[&path(package)])
}

const CHECKSUMS: &str = r#"cd "$1" && sha256sum --check --quiet SHA256SUMS && cat SHA256SUMS"#;
const EMPTY_ROOT: &str =
    concat!(include_str!("check/prelude.sh"), include_str!("check/empty_root.sh"));
const NAMES: &str = concat!(include_str!("check/prelude.sh"), include_str!("check/names.sh"));
const CONTAINER: &str =
    concat!(include_str!("check/prelude.sh"), include_str!("check/container.sh"));
const DEBIAN: &str = concat!(include_str!("check/prelude.sh"), include_str!("check/debian.sh"));
const UNIT: &str = include_str!("check/unit.sh");

/// Runs a script of bash, indents what it prints, and fails with it.
#[allow(clippy::print_stdout, reason = "the report is what the task is for")]
fn script(name: &str, script: &str, arguments: &[&str]) -> Result<()> {
    let mut bash = Command::new("bash");
    let output = bash.args(["-euo", "pipefail", "-c", script, "bash"]).args(arguments).output();
    let output = output.context("cannot start bash")?;
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(0) => println!("ok    {name}"),
        Some(SKIPPED) => println!("SKIPPED {name}: {}", stdout.lines().last().unwrap_or_default()),
        _ => bail!("FAILED {name}: {}\n{stdout}{stderr}", output.status),
    }
    if output.status.success() {
        stdout.lines().for_each(|line| println!("      {line}"));
    }
    Ok(())
}
