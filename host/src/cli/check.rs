//! `millstream check`

use std::io::Write;

use clap::Args;

use super::{Failure, PipelineArgs};
use crate::contract::Table;
use crate::dimension;
use crate::service::{build_plan, load, load_files};

/// Find every problem of a pipeline file and its plugins' contracts at once, and draw the plan: which columns flow
/// where. Reads the plugins and the heads of the dimension files; no record, no broker.
#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    pipeline: PipelineArgs,
}

impl Check {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let pipeline = self.pipeline.read()?;
        let engine = super::engine()?;
        let tables = pipeline.dimensions.iter().map(dimension::describe).collect::<Result<Vec<Table>, _>>()?;
        let plugins = load_files(&pipeline, |stage, bytes| load(&engine, stage, bytes))?;
        let planned = build_plan(&pipeline, &tables, &plugins, 1)?;
        if !planned.warnings.is_empty() {
            writeln!(std::io::stderr().lock(), "{}", planned.warnings.render(super::colours()))?;
        }
        Ok(write!(std::io::stdout().lock(), "{}", planned.plan.draw(&pipeline))?)
    }
}
