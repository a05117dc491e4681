//! `millstream test`

use std::path::{Path, PathBuf};

use clap::Args;

use super::cases::{CaseArgs, Tally, case_files};
use super::plugin::is_plugin_folder;
use super::{Failure, PipelineArgs};
use crate::case::{Case, Kind, Trial};
use crate::config::PluginStage;
use crate::error::{Error, ErrorKind};
use crate::service::{load, load_files, plugin_stages};

/// Run a whole pipeline on the records of cases, and show what differs from the rows and rejects that they expect, cell by
/// cell. Nothing is read from the sources or written: no data folder, no lake, no Kafka. Exit code 1 when something
/// differs.
#[derive(Args)]
pub(super) struct Test {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Cases, or folders of cases; by default `cases` beside the pipeline file.
    cases: Vec<PathBuf>,
    #[command(flatten)]
    args: CaseArgs,
}

impl Test {
    /// A plugin's folder has cases of its own, which are no records of a pipeline.
    fn is_for_a_pipeline(&self, folder: &Path) -> Result<(), Error> {
        let given = self.pipeline.pipeline.as_path();
        let folder = match (given.is_dir(), self.cases.is_empty()) {
            (true, _) => given,
            (false, true) => folder,
            (false, false) => return Ok(()),
        };
        let shown = if folder == Path::new("") { Path::new(".") } else { folder }.display();
        if is_plugin_folder(folder) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("{shown} is the folder of a plugin, and so are its cases"),
            )
            .help(format!(
                "`millstream plugin test {shown}` runs them; cases of a pipeline there are named: \
                     `millstream test PIPELINE.toml CASE.jsonl`"
            )));
        }
        if given.is_dir() {
            return Err(Error::new(ErrorKind::Config, format!("{shown} is a folder"))
                .help("name a pipeline file, or a plugin's folder: `millstream plugin test FOLDER`"));
        }
        Ok(())
    }

    pub(super) fn run(&self) -> Result<(), Failure> {
        let folder = self.pipeline.pipeline.parent().unwrap_or(Path::new(""));
        self.is_for_a_pipeline(folder)?;
        let engine = super::engine()?;
        let mut tally = Tally::default();
        let mut plugins = None;
        for file in case_files(&self.cases, folder)? {
            let case = Case::read(&file, Kind::Pipeline)?;
            let pipeline = self.pipeline.read_with(&case.header.set, &case.header.env)?;
            // A case may set another plugin's file, or pin it: then it is loaded for this case.
            let pinned = |plugin: &PluginStage| plugin.sha256.as_ref().map(|pinned| pinned.value.clone());
            let files: Vec<(PathBuf, Option<String>)> =
                plugin_stages(&pipeline).map(|(_, plugin)| (plugin.file.value.clone(), pinned(plugin))).collect();
            let loaded = match plugins.take() {
                Some((known, loaded)) if known == files => loaded,
                _ => load_files(&pipeline, |stage, bytes| load(&engine, stage, bytes))?,
            };
            let trial = Trial::of_pipeline(&case, pipeline, loaded.clone())?;
            tally.check(&case, &trial, trial.run(&case)?, &self.args)?;
            plugins = Some((files, loaded));
        }
        tally.end()
    }
}
