//! `millstream check`

use std::io::Write;

use clap::Args;

use super::{Failure, PipelineArgs};
use crate::config::{Pipeline, Problem, SourceKind};
use crate::contract::Table;
use crate::dimension;
use crate::error::Result;
use crate::service::{build_plan, load, load_files};
use crate::source::file::finds_nothing;

/// Find every problem of a pipeline file and its plugins' contracts at once, and draw the plan: which columns flow
/// where. Reads the plugins and the heads of the dimension files, and looks whether the files of sources are there; reads
/// no record, asks no broker.
#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    pipeline: PipelineArgs,
}

impl Check {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let pipeline = self.pipeline.read()?;
        let missing = missing_files(&pipeline)?;
        let engine = super::engine()?;
        let tables = pipeline.dimensions.iter().map(dimension::describe).collect::<Result<Vec<Table>>>()?;
        let plugins = load_files(&pipeline, |stage, bytes| load(&engine, stage, bytes))?;
        let planned = build_plan(&pipeline, &tables, &plugins, 1);
        let mut problems = match &planned {
            Ok(planned) => planned.warnings.clone(),
            Err(problems) => problems.clone(),
        };
        missing.into_iter().for_each(|problem| problems.push(problem));
        let planned = match planned {
            Ok(planned) if problems.errors() == 0 => planned,
            _ => return Err(problems.into()),
        };
        if !problems.is_empty() {
            writeln!(std::io::stderr().lock(), "{}", problems.render(super::colours()))?;
        }
        Ok(write!(std::io::stdout().lock(), "{}", planned.plan.draw(&pipeline))?)
    }
}

/// The files of sources that are not there. A glob may wait for its files in a run that follows.
fn missing_files(pipeline: &Pipeline) -> Result<Vec<Problem>> {
    let mut missing = Vec::new();
    for source in &pipeline.sources {
        let SourceKind::File(files) = &source.kind else { continue };
        for (index, nothing) in finds_nothing(files)? {
            let message = format!("source \"{}\": {}", source.name.value, nothing.message);
            let problem = if nothing.may_wait {
                Problem::warning(message).help(format!("{}; `millstream run --follow` waits for files", nothing.help))
            } else {
                Problem::error(message).help(nothing.help)
            };
            missing.push(problem.at(&files.paths[index].span, "this path"));
        }
    }
    Ok(missing)
}
