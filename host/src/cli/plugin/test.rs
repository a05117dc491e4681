//! `millstream plugin test`

use std::path::PathBuf;

use clap::Args;

use super::PluginArg;
use crate::case::{Case, Kind, Trial};
use crate::cli::Failure;
use crate::cli::cases::{CaseArgs, Tally, case_files};

/// Run a plugin, as WebAssembly in its sandbox, on the rows of cases, and show what differs from what they expect, cell
/// by cell. A capture is a case without expectations. Exit code 1 when something differs.
#[derive(Args)]
pub(in crate::cli) struct Test {
    #[command(flatten)]
    plugin: PluginArg,
    /// A case or a folder of cases; by default `cases` in the plugin's folder.
    #[arg(long, value_name = "PATH")]
    cases: Vec<PathBuf>,
    #[command(flatten)]
    args: CaseArgs,
}

impl Test {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let (plugin, folder) = self.plugin.load(&crate::cli::engine()?)?;
        let mut tally = Tally::default();
        for file in case_files(&self.cases, &folder)? {
            let case = Case::read(&file, Kind::Plugin)?;
            let trial = Trial::of_plugin(&case, &plugin)?;
            tally.check(&case, &trial, trial.run(&case)?, &self.args)?;
        }
        tally.end()
    }
}
