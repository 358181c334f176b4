//! Files on their way into an archive or a package.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Files by their relative path, in the order of their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, (u32, Vec<u8>)>,
}

impl Tree {
    /// Adds a file with its permissions.
    pub(super) fn add(&mut self, path: impl Into<String>, mode: u32, content: Vec<u8>) {
        self.files.insert(path.into(), (mode, content));
    }

    /// Path, permissions and content of each file.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, u32, &[u8])> {
        self.files.iter().map(|(path, (mode, content))| (path.as_str(), *mode, content.as_slice()))
    }

    /// The content of a file.
    pub(super) fn content(&self, path: &str) -> Result<&[u8]> {
        let (_, content) = self.files.get(path).with_context(|| format!("there is no {path}"))?;
        Ok(content)
    }

    /// Writes the files below `folder`.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        for (path, mode, content) in self.files() {
            let path = folder.join(path);
            create_folders(path.parent().context("a file has a folder")?)?;
            fs::write(&path, content)
                .with_context(|| format!("cannot write {}", path.display()))?;
            set_mode(&path, mode)?;
        }
        Ok(())
    }
}

/// Creates folders that others may read, whatever the umask.
fn create_folders(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    create_folders(folder.parent().context("a folder has a parent")?)?;
    fs::create_dir(folder)?;
    set_mode(folder, 0o755)
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> Result<()> {
    Ok(())
}
