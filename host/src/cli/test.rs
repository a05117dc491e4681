//! `millstream test`

use std::path::{Path, PathBuf};

use clap::Args;

use super::cases::{CaseArgs, Tally, case_files};
use super::{Failure, PipelineArgs};
use crate::case::{Case, Kind, Trial};
use crate::config::PluginStage;
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
    pub(super) fn run(&self) -> Result<(), Failure> {
        let folder = self.pipeline.pipeline.parent().unwrap_or(Path::new(""));
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
