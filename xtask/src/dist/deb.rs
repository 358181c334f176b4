//! The Debian package.
//!
//! One package for both programs: the client is how a server is tried out. The service is installed but not started,
//! so that installing the client opens no port.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};

use super::build::{PROGRAMS, generated};
use super::release::{NAME, Release, output};
use super::tree::Tree;

/// Of the packaging, apart from the version of the programs.
const REVISION: u32 = 1;

/// Writes the package and returns its name; `None` if this system cannot.
pub(super) fn write(
    release: &Release,
    programs: &Tree,
    licences: &str,
    out: &Path,
) -> Result<Option<String>> {
    let has_dpkg = Command::new("dpkg-deb").arg("--version").output().is_ok();
    if !release.is_linux() || !has_dpkg {
        return Ok(None);
    }
    let version = format!("{}-{REVISION}", release.version);
    let author = output(
        Command::new("git")
            .args(["log", "-1", "--format=%an <%ae>"])
            .current_dir(&release.workspace),
    )?;
    let (architecture, author) = (architecture(&release.target)?, author.trim());
    let files = files(release, programs, licences, &changelog(&version, author, release.time)?)?;

    let root = out.join("deb");
    files.write(&root)?;
    let size: usize = files.files().map(|(_, _, content)| content.len().div_ceil(1024)).sum();
    let control = control(&version, architecture, author, size);
    let mut debian = Tree::default();
    debian.add("control", 0o644, control.into_bytes());
    debian.add("md5sums", 0o644, md5sums(&root, &files)?);
    for (script, content) in [("postinst", POSTINST), ("prerm", PRERM), ("postrm", POSTRM)] {
        debian.add(script, 0o755, content.as_bytes().to_owned());
    }
    debian.write(&root.join("DEBIAN"))?;

    let name = format!("{NAME}_{version}_{architecture}.deb");
    let mut build = Command::new("dpkg-deb");
    build.args(["--build", "--root-owner-group", "-Zxz"]).arg(&root).arg(out.join(&name));
    output(build.env("SOURCE_DATE_EPOCH", release.time.to_string()))?;
    fs::remove_dir_all(&root)?;
    Ok(Some(name))
}

/// Debian's name of the target's processor.
fn architecture(target: &str) -> Result<&'static str> {
    let processor = target.split('-').next().unwrap_or_default();
    let names =
        [("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64gc", "riscv64"), ("i686", "i386")];
    let found = names.iter().find(|(rust, _)| *rust == processor);
    let (_, debian) =
        found.with_context(|| format!("Debian's name of {processor} is not known"))?;
    Ok(debian)
}

fn files(release: &Release, programs: &Tree, licences: &str, changelog: &str) -> Result<Tree> {
    let mut tree = Tree::default();
    let mut add = |path: String, content: Vec<u8>| tree.add(path, 0o644, content);
    for program in PROGRAMS {
        let text = |what| generated(release, program, what);
        add(format!("usr/share/man/man1/{program}.1.gz"), gzip(&text("man")?)?);
        add(format!("usr/share/bash-completion/completions/{program}"), text("bash")?);
        add(format!("usr/share/zsh/vendor-completions/_{program}"), text("zsh")?);
        add(format!("usr/share/fish/vendor_completions.d/{program}.fish"), text("fish")?);
    }
    for unit in ["echo-server.service", "echo-server.socket"] {
        let text = String::from_utf8(release.read(&format!("docs/deploy/{unit}"))?)?;
        let text = text.replace("/usr/local/bin/", "/usr/bin/");
        add(format!("usr/lib/systemd/system/{unit}"), text.into_bytes());
    }
    let doc = format!("usr/share/doc/{NAME}");
    add(format!("{doc}/copyright"), copyright(release)?.into_bytes());
    add(format!("{doc}/changelog.Debian.gz"), gzip(changelog.as_bytes())?);
    add(format!("{doc}/changelog.gz"), gzip(&release.read("CHANGELOG.md")?)?);
    add(format!("{doc}/third-party-licences.txt.gz"), gzip(licences.as_bytes())?);
    for page in ["server", "client", "measuring", "faults", "deploy/README"] {
        add(format!("{doc}/{page}.md"), release.read(&format!("docs/{page}.md"))?);
    }
    for program in PROGRAMS {
        tree.add(format!("usr/bin/{program}"), 0o755, programs.content(program)?.to_owned());
    }
    Ok(tree)
}

fn control(version: &str, architecture: &str, author: &str, kibibytes: usize) -> String {
    format!(
        "\
Package: {NAME}
Version: {version}
Architecture: {architecture}
Maintainer: {author}
Installed-Size: {kibibytes}
Section: net
Priority: optional
Description: TCP echo server, and a client that checks every byte
 echo-server returns every byte it receives, unchanged and in order (RFC 862),
 through io_uring, epoll or one thread per connection. It can delay, corrupt
 and reset connections to test clients with.
 .
 echo-client sends messages, files or load to any echo server, compares every
 byte that comes back, and measures round trips and latency under load.
 .
 The service echo-server is installed but not enabled.
"
    )
}

/// In the format of deb-changelog(5).
fn changelog(version: &str, author: &str, time: u64) -> Result<String> {
    let date = output(Command::new("date").args(["-u", "-R", "-d", &format!("@{time}")]))?;
    Ok(format!(
        "{NAME} ({version}) unstable; urgency=medium\n\n  * Release; changelog.gz says what changed.\n\n -- {author}  {date}"
    ))
}

fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
    gzip.write_all(content)?;
    Ok(gzip.finish()?)
}

/// What `dpkg --verify` compares.
fn md5sums(root: &Path, files: &Tree) -> Result<Vec<u8>> {
    let paths = files.files().map(|(path, _, _)| path);
    Ok(output(Command::new("md5sum").args(paths).current_dir(root))?.into_bytes())
}

/// In the machine-readable format of Debian, from our own licence.
fn copyright(release: &Release) -> Result<String> {
    let mit = String::from_utf8(release.read("LICENSE-MIT")?)?;
    let owner = mit.lines().find_map(|line| line.strip_prefix("Copyright (c) "));
    let owner = owner.context("LICENSE-MIT names no owner")?;
    let (_, terms) = mit.split_once(owner).context("it contains the owner")?;
    let terms: Vec<_> =
        terms.trim().lines().map(|line| if line.is_empty() { "." } else { line }).collect();
    Ok(format!(
        "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: echo pair
Comment: The programs are linked with libraries whose licences are in
 third-party-licences.txt.gz.

Files: *
Copyright: {owner}
License: Expat or Apache-2.0

License: Expat
 {}

License: Apache-2.0
 On Debian systems, the full text of the Apache License, Version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.
",
        terms.join("\n ")
    ))
}

/// Makes systemd read the units, and restarts a server that ran before an upgrade.
const POSTINST: &str = r#"#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if [ -n "$2" ]; then
        systemctl try-restart echo-server.service || true
    fi
fi
"#;

/// Before the files go: stops the server, and removes the links that `systemctl enable` has made. An upgrade keeps
/// both. Without a running systemd, as in a chroot, there may still be links.
const PRERM: &str = r#"#!/bin/sh
set -e
if [ "$1" = remove ] && command -v systemctl >/dev/null; then
    if [ -d /run/systemd/system ]; then
        systemctl stop echo-server.socket echo-server.service || true
    fi
    systemctl disable echo-server.socket echo-server.service || true
fi
"#;

const POSTRM: &str = r#"#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
"#;
