//! Release files: an archive, a Debian package, what a container image is made of, and their checksums.

mod archive;
mod build;
mod check;
mod deb;
mod licences;
mod release;
mod tree;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use sha2::{Digest, Sha256};

use self::release::Release;
use self::tree::Tree;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Target to build for [default: musl on Linux, which links statically; elsewhere the host]
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,

    /// Also check what was made: in an empty root, and installed in a clean Debian (needs root)
    #[arg(long)]
    check: bool,
}

/// Builds both programs and writes everything to `target/dist`.
#[allow(clippy::print_stdout, reason = "the list of files is what the task is for")]
pub(crate) fn run(options: &Options) -> Result<()> {
    let release = Release::new(options.target.clone())?;
    let out = release.workspace.join("target/dist");
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| format!("cannot clear {}", out.display()))?;
    }
    fs::create_dir_all(&out)?;

    let programs = build::programs(&release)?;
    let licences = licences::third_party(&release)?;
    let mut files = vec![archive::write(&release, &programs, &licences, &out)?];
    match deb::write(&release, &programs, &licences, &out)? {
        Some(package) => files.push(package),
        None => println!("SKIP  a Debian package: it needs Linux and dpkg-deb"),
    }
    fs::write(out.join("SHA256SUMS"), checksums(&out, &files)?)?;
    files.push("SHA256SUMS".to_owned());
    container(&release, &programs, &licences)?.write(&out.join("container"))?;

    for file in &files {
        println!("{:>10}  {}", fs::metadata(out.join(file))?.len(), out.join(file).display());
    }
    println!("{:>10}  {}", "image of", out.join("container").display());
    if options.check { check::run(&release, &out, &files) } else { Ok(()) }
}

/// The lines that `sha256sum --check` reads.
fn checksums(folder: &Path, files: &[String]) -> Result<String> {
    let mut lines = String::new();
    for file in files {
        let digest = Sha256::digest(fs::read(folder.join(file))?);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        lines += &format!("{digest}  {file}\n");
    }
    Ok(lines)
}

/// The folder from which a container image is built: `podman build target/dist/container`.
fn container(release: &Release, programs: &Tree, licences: &str) -> Result<Tree> {
    let mut tree = programs.clone();
    tree.add("Containerfile", 0o644, release.read("docs/deploy/Containerfile")?);
    tree.add("licenses/LICENSE-MIT", 0o644, release.read("LICENSE-MIT")?);
    tree.add("licenses/LICENSE-APACHE", 0o644, release.read("LICENSE-APACHE")?);
    tree.add("licenses/THIRD-PARTY.txt", 0o644, licences.as_bytes().to_owned());
    Ok(tree)
}
