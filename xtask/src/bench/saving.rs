//! Saving runs for `echo-client report`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use echo_client::run::Run;
use echo_client::run_file::RunFile;

use super::scenario::Scenario;
use super::target::Target;

/// A folder with one file per run. Files of an earlier comparison are overwritten.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Opens the folder, and creates it if needed.
    pub(super) fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    /// Saves a run. Names of scenarios and servers have no underscore, so each run has its own file.
    pub(super) fn save(
        &self,
        run: &Run,
        scenario: &Scenario,
        target: &Target,
        repetition: usize,
    ) -> Result<()> {
        let (scenario, server, number) = (scenario.name, &target.name, repetition + 1);
        let path = self.0.join(format!("{scenario}_{server}_{number}.json"));
        let json = serde_json::to_vec(&RunFile::of(vec![run.clone()]))?;
        fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))
    }

    /// A note on where the runs were saved.
    pub(super) fn note(&self) -> String {
        format!("each run is in {}/SCENARIO_SERVER_REPETITION.json", self.0.display())
    }
}
