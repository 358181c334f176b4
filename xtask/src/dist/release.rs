//! What is released: the version, for which target, from which commit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Name of the archive and the package. Each holds both programs: they are used together.
pub(super) const NAME: &str = "echo-pair";

#[derive(Debug)]
pub(super) struct Release {
    pub(super) workspace: PathBuf,
    pub(super) version: &'static str,
    pub(super) target: String,
    /// Time of all files, in seconds since 1970: SOURCE_DATE_EPOCH if it is set (reproducible-builds.org), else that
    /// of the commit.
    pub(super) time: u64,
}

impl Release {
    pub(super) fn new(target: Option<String>) -> Result<Self> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let workspace = workspace.context("xtask lies in the workspace")?.to_owned();
        let time = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(time) => time,
            Err(_) => output(
                Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(&workspace),
            )?,
        };
        let time = time.trim().parse().context("the time of the release is not a number")?;
        let target = match target {
            Some(target) => target,
            None => default_target()?,
        };
        // Members of the workspace have one version.
        Ok(Self { workspace, version: env!("CARGO_PKG_VERSION"), target, time })
    }

    /// Whether the programs are for Linux.
    pub(super) fn is_linux(&self) -> bool {
        self.target.contains("-linux-")
    }

    /// A file of the workspace.
    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>> {
        fs::read(self.workspace.join(path)).with_context(|| format!("cannot read {path}"))
    }
}

/// On Linux the one with musl: its programs are static and load nothing at run time. A static glibc would load the
/// name service modules of the system it runs on, and with them another version of itself.
fn default_target() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc -vV names no host")?;
    Ok(host.replace("-linux-gnu", "-linux-musl"))
}

/// What a command prints on stdout. It must succeed.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {stderr}");
    String::from_utf8(output.stdout).with_context(|| format!("{name} printed no text"))
}
