//! A file that is truncated on the first write.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;

/// A run that fails to start leaves the results of the previous one in its file.
pub(super) struct LazyTruncate {
    file: File,
    is_old: bool,
}

impl LazyTruncate {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).write(true).truncate(false).open(path);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { file, is_old: true })
    }
}

impl Write for LazyTruncate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.is_old) && self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
