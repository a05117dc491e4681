//! `millstream preview`

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use clap::Args;

use super::{Failure, PipelineArgs};
use crate::config::{BatchSettings, Pipeline, SourceKind};
use crate::contract::Table;
use crate::dimension::Dimension;
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::{Destination, Walk};
use crate::plan::{Plan, PlannedStage, Work};
use crate::record::{Batch, Records, Refusal};
use crate::service::{build_plan, decoders, event_time, load, load_files, stages};
use crate::source::file::FileSource;
use crate::source::kafka::{JoinOptions, KafkaSource, Members, Reads, Wanted};
use crate::source::{Positions, Read, Reader};
use crate::stage::Applied;

/// Show rows after each stage as tables. Commits nothing, writes nothing, joins no consumer group.
#[derive(Args)]
pub(super) struct Preview {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Records to take of each source.
    #[arg(short = 'n', long = "records", default_value_t = 20)]
    records: usize,
    /// How long to wait for them, in seconds.
    #[arg(long, default_value_t = 10)]
    wait: u64,
}

impl Preview {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let pipeline = self.pipeline.read()?;
        let engine = super::engine()?;
        // Tables are loaded into a folder of their own: the running pipeline's are not touched.
        let folder = tempfile::tempdir()?;
        let mut dimensions = Vec::with_capacity(pipeline.dimensions.len());
        for dimension in &pipeline.dimensions {
            dimensions.push(Dimension::open(dimension, &folder.path().join(&dimension.name.value))?);
        }
        let tables: Vec<Table> = dimensions.iter().map(|table| table.table().clone()).collect();
        let plugins = load_files(&pipeline, |stage, bytes| load(&engine, stage, bytes))?;
        let plan = Arc::new(build_plan(&pipeline, &tables, &plugins, 1)?.plan);
        let mut walk = Walk::new(
            Arc::clone(&plan),
            event_time(&pipeline, &plan),
            decoders(&pipeline, &plan)?,
            stages(&pipeline, &plan, &plugins)?,
            Arc::new(dimensions),
        );
        let mut screen = Screen { plan };
        for source in 0..pipeline.sources.len() {
            for records in self.read(&pipeline, source)? {
                walk.process(source, records, Duration::ZERO, &mut screen)?;
            }
        }
        let counts = walk.take_counts()?;
        Ok(writeln!(std::io::stdout().lock(), "\n{}", counts.equation())?)
    }

    /// The first records of a source.
    fn read(&self, pipeline: &Pipeline, index: usize) -> Result<Vec<Records>> {
        let source = &pipeline.sources[index];
        let name = &source.name.value;
        let mut reader: Box<dyn Reader> = match &source.kind {
            SourceKind::File(settings) => {
                let files = FileSource::open(name, settings, source.format.value, &Positions::new(), false)?;
                first(files.readers(1))?
            }
            SourceKind::Kafka(settings) => {
                let options = JoinOptions {
                    host: "",
                    members: &Members::default(),
                    reads: Reads::Looking,
                    until_caught_up: true,
                    wanted: Wanted { keys: true, headers: true },
                    timeout: Duration::from_secs(self.wait),
                };
                let source = KafkaSource::join(name, settings, &options)?;
                source.start_at(&Positions::new())?;
                first(source.readers(1)?)?
            }
        };
        let until = Instant::now() + Duration::from_secs(self.wait);
        let mut blocks = Vec::new();
        let mut left = self.records;
        while left > 0 && Instant::now() < until {
            let bounds = BatchSettings { rows: left, ..pipeline.batch.clone() };
            match reader.read(&bounds, Duration::from_millis(100))? {
                Read::Records(records) => {
                    left = left.saturating_sub(records.len());
                    blocks.push(records);
                }
                Read::Idle => {}
                Read::End => break,
            }
        }
        Ok(blocks)
    }
}

fn first<R: Reader + 'static>(readers: Vec<R>) -> Result<Box<dyn Reader>> {
    let reader = readers.into_iter().next();
    reader
        .map(|reader| Box::new(reader) as Box<dyn Reader>)
        .ok_or_else(|| Error::new(ErrorKind::Internal, "a source made no reader"))
}

/// Prints what each place sees.
struct Screen {
    plan: Arc<Plan>,
}

impl Destination for Screen {
    fn decoded(&mut self, source: usize, rows: &Batch) -> Result<()> {
        table(&format!("source.{}", self.plan.sources[source].name), rows)
    }

    fn applied(&mut self, stage: usize, _batch: &Batch, applied: &Applied, _now_ms: i64) -> Result<()> {
        let planned = &self.plan.stages[stage];
        table(&planned.name, &applied.kept)?;
        for left_out in &applied.filtered {
            line(format_args!("filtered: {} rows, {}", left_out.rows.len(), left_out.reason))?;
        }
        let Work::Plugin(plugin) = &planned.work else { return Ok(()) };
        for (route, name) in (0u16..).zip(&plugin.contract.outputs) {
            let rows = applied.routes.iter().filter(|taken| **taken == route).count();
            line(format_args!("routed: {rows} rows to {name}"))?;
        }
        Ok(())
    }

    fn refuse_records(&mut self, source: usize, _records: &Arc<Records>, refused: &[Refusal]) -> Result<()> {
        let name = &self.plan.sources[source].name;
        refused.iter().try_for_each(|reject| {
            line(format_args!("rejected by source.{name}: record {}: {}: {}", reject.row, reject.reason, reject.detail))
        })
    }

    fn refuse_rows(&mut self, _stage: &PlannedStage, _batch: &Batch, refused: &[Refusal]) -> Result<()> {
        refused.iter().try_for_each(|reject| {
            line(format_args!("rejected: row {}: {}: {}", reject.row, reject.reason, reject.detail))
        })
    }

    fn write(&mut self, output: usize, columns: &RecordBatch, _batch: &Batch) -> Result<()> {
        line(format_args!("-> output {}: {} rows", self.plan.outputs[output].name, columns.num_rows()))
    }
}

fn table(title: &str, batch: &Batch) -> Result<()> {
    let text = pretty_format_batches(std::slice::from_ref(&batch.columns))
        .map_err(|error| Error::new(ErrorKind::Internal, "rows cannot be shown as a table").caused_by(error))?;
    line(format_args!("\n== {title}: {} rows\n{text}", batch.rows()))
}

fn line(text: std::fmt::Arguments<'_>) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").map_err(super::unwritable)
}
