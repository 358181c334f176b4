//! The archive for every system.

use std::fs::File;
use std::path::Path;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use tar::{Builder, Header};

use super::build::{PROGRAMS, generated};
use super::release::{NAME, Release};
use super::tree::Tree;

/// Writes the archive and returns its name.
pub(super) fn write(
    release: &Release,
    programs: &Tree,
    licences: &str,
    out: &Path,
) -> Result<String> {
    let stem = format!("{NAME}-{}-{}", release.version, release.target);
    let name = format!("{stem}.tar.gz");
    // Same input, same bytes: sorted names, one time, no owner, and no file name or time of gzip.
    let gzip = GzBuilder::new().write(File::create(out.join(&name))?, Compression::best());
    let mut tar = Builder::new(gzip);
    for (path, mode, content) in files(release, programs, licences)?.files() {
        let mut header = Header::new_gnu();
        header.set_mode(mode);
        header.set_mtime(release.time);
        header.set_size(content.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, format!("{stem}/{path}"), content)?;
    }
    tar.into_inner()?.finish()?;
    Ok(name)
}

fn files(release: &Release, programs: &Tree, licences: &str) -> Result<Tree> {
    let mut tree = programs.clone();
    for path in ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        tree.add(path, 0o644, release.read(path)?);
    }
    tree.add("THIRD-PARTY-LICENSES.txt", 0o644, licences.as_bytes().to_owned());
    for program in PROGRAMS {
        tree.add(format!("man/{program}.1"), 0o644, generated(release, program, "man")?);
        for (what, path) in [
            ("bash", format!("{program}.bash")),
            ("zsh", format!("_{program}")),
            ("fish", format!("{program}.fish")),
            ("powershell", format!("_{program}.ps1")),
        ] {
            let script = generated(release, program, what)?;
            tree.add(format!("completions/{path}"), 0o644, script);
        }
    }
    if release.is_linux() {
        for unit in ["echo-server.service", "echo-server.socket"] {
            tree.add(
                format!("systemd/{unit}"),
                0o644,
                release.read(&format!("docs/deploy/{unit}"))?,
            );
        }
    }
    Ok(tree)
}
