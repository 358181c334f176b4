//! The two programs, and what they say about themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::release::{Release, output};
use super::tree::Tree;
use crate::cargo::cargo;

pub(super) const PROGRAMS: [&str; 2] = ["echo-server", "echo-client"];

/// Builds the programs. Their names in the tree end with `.exe` on Windows.
pub(super) fn programs(release: &Release) -> Result<Tree> {
    add_target(&release.target)?;
    let folder = release.workspace.join("target");
    let mut build = cargo();
    build.current_dir(&release.workspace).args(["build", "--release", "--locked"]);
    build.args(["--target", &release.target, "--target-dir"]).arg(&folder);
    build.args(PROGRAMS.iter().flat_map(|program| ["--package", program]));
    // Functions keep their names, for backtraces and profilers; lines of the source take four fifths of the space.
    build.env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    build.env("CARGO_ENCODED_RUSTFLAGS", flags(release)?);
    ensure!(build.status().context("cannot start cargo")?.success(), "the programs do not build");

    let mut tree = Tree::default();
    for program in PROGRAMS {
        let path = program_path(release, program);
        let content =
            fs::read(&path).with_context(|| format!("no program at {}", path.display()))?;
        let name = path.file_name().context("a program has a name")?.to_string_lossy();
        tree.add(name, 0o755, content);
    }
    Ok(tree)
}

/// Panics name files of the source by the same paths on whatever machine they were built.
fn flags(release: &Release) -> Result<String> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let home = home.context("there is no home folder")?;
    let remapped = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let mut flags = vec![remapped(&home, "/cargo"), remapped(&release.workspace, "/echo-pair")];
    // No C runtime to install on Windows. musl links statically without being asked.
    if release.target.ends_with("-msvc") {
        flags.push("-Ctarget-feature=+crt-static".to_owned());
    }
    Ok(flags.join("\u{1f}"))
}

/// Installs the standard library for the target, if rustup can.
fn add_target(target: &str) -> Result<()> {
    let mut query = Command::new("rustc");
    query.args(["--print", "target-libdir", "--target", target]);
    if Path::new(output(&mut query)?.trim()).is_dir() {
        return Ok(());
    }
    let added = Command::new("rustup").args(["target", "add", target]).status();
    ensure!(
        added.is_ok_and(|status| status.success()),
        "there is no standard library for {target}: run rustup target add {target}, or choose another --target"
    );
    Ok(())
}

fn program_path(release: &Release, program: &str) -> PathBuf {
    let suffix = if release.target.contains("-windows-") { "exe" } else { "" };
    let folder = release.workspace.join("target").join(&release.target).join("release");
    folder.join(program).with_extension(suffix)
}

/// What a program prints with `--generate`.
pub(super) fn generated(release: &Release, program: &str, what: &str) -> Result<Vec<u8>> {
    let mut command = Command::new(program_path(release, program));
    Ok(output(command.args(["--generate", what]))?.into_bytes())
}
