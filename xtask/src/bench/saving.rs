//! Where runs are kept, for `echo-client report`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use echo_client::run::Run;

use super::contender::Contender;
use super::scenario::Scenario;

/// A folder with a file for each run. Those of an earlier comparison are written over one by one.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes it, if need be.
    pub(super) fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    /// Neither scenarios nor servers have an underscore in their names, so no two runs have one file.
    pub(super) fn save(
        &self,
        run: &Run,
        scenario: &Scenario,
        contender: &Contender,
        repetition: usize,
    ) -> Result<()> {
        let (scenario, server, number) = (scenario.name, &contender.name, repetition + 1);
        let path = self.0.join(format!("{scenario}_{server}_{number}.json"));
        let json = serde_json::to_vec(run)?;
        fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Where the runs are, for a reader of the report.
    pub(super) fn note(&self) -> String {
        format!("each run is in {}/SCENARIO_SERVER_REPETITION.json", self.0.display())
    }
}
