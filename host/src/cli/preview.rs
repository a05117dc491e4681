//! `millstream preview`

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::util::pretty::pretty_format_batches;
use clap::Args;

use super::{Failure, PipelineArgs};
use crate::config::{BatchSettings, Pipeline, SourceKind};
use crate::contract::Table;
use crate::decode::Decoder;
use crate::dimension::{Dimension, Snapshot};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::Tree;
use crate::plan::{Place, Plan};
use crate::record::{Batch, Records, Refusal};
use crate::service::{build_plan, load, load_files};
use crate::source::file::FileSource;
use crate::source::kafka::{JoinOptions, KafkaSource, Wanted};
use crate::source::{Positions, Read, Reader};
use crate::stage::Stage;

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
        let plan = build_plan(&pipeline, &tables, &plugins, 1)?.plan;
        let mut stages = Vec::with_capacity(plan.stages.len());
        for planned in &plan.stages {
            let plugin = plugins.get(planned.name.as_ref()).cloned();
            stages.push(Stage::new(planned, &pipeline.stages[planned.index], plugin)?);
        }
        let mut show = Show {
            tree: Tree::new(&plan),
            plan: &plan,
            stages,
            pinned: dimensions.iter().map(Dimension::snapshot).collect(),
        };
        for (index, source) in pipeline.sources.iter().enumerate() {
            let needed = &plan.sources[index].needed;
            let mut decoder = Decoder::new(&source.columns, source.format.value, &source.unknown, needed)?;
            for records in self.read(&pipeline, index)? {
                show.records(index, &mut decoder, records)?;
            }
        }
        Ok(())
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
                    host: None,
                    until_caught_up: true,
                    wanted: Wanted { keys: true, headers: true },
                    timeout: Duration::from_secs(self.wait),
                };
                first(KafkaSource::join(name, settings, &Positions::new(), &options)?.readers(1)?)?
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

/// Takes batches through the tree and prints what each place sees.
struct Show<'a> {
    plan: &'a Plan,
    tree: Tree,
    stages: Vec<Stage>,
    pinned: Vec<Snapshot>,
}

impl Show<'_> {
    fn records(&mut self, source: usize, decoder: &mut Decoder, records: Records) -> Result<(), Failure> {
        let records = Arc::new(records);
        let now_ms = records.timestamps_ms.iter().copied().max().unwrap_or(0);
        let decoded = decoder.decode(&records)?;
        let title = format!("source.{}", self.plan.sources[source].name);
        let batch = Batch { columns: decoded.columns, records, record_of_row: decoded.record_of_row };
        table(&title, &batch, &decoded.rejects)?;
        self.readers_of(Place::Source(source), &batch, now_ms)
    }

    fn readers_of(&mut self, place: Place, batch: &Batch, now_ms: i64) -> Result<(), Failure> {
        for stage in self.tree.readers(place).stages.clone() {
            self.stage(stage, batch, now_ms)?;
        }
        Ok(())
    }

    fn stage(&mut self, stage: usize, batch: &Batch, now_ms: i64) -> Result<(), Failure> {
        let applied = self.stages[stage].apply(batch, &self.pinned, now_ms, Duration::ZERO)?;
        let name = &self.plan.stages[stage].name;
        table(name, &applied.kept, &applied.rejects)?;
        let mut out = std::io::stdout().lock();
        for left_out in &applied.filtered {
            writeln!(out, "filtered: {} rows, {}", left_out.rows.len(), left_out.reason)?;
        }
        let mut routes: BTreeMap<u16, usize> = BTreeMap::new();
        applied.routes.iter().for_each(|route| *routes.entry(*route).or_default() += 1);
        for (route, rows) in routes {
            let readers = self.tree.readers(Place::Route { stage, output: route });
            let to: Vec<&str> = readers.outputs.iter().map(|output| self.plan.outputs[*output].name.as_ref()).collect();
            writeln!(
                out,
                "route {route}: {rows} rows to {}",
                if to.is_empty() { "nobody".to_owned() } else { to.join(", ") }
            )?;
        }
        drop(out);
        self.readers_of(Place::Stage(stage), &applied.kept, now_ms)
    }
}

fn table(title: &str, batch: &Batch, rejects: &[Refusal]) -> Result<(), Failure> {
    let text = pretty_format_batches(std::slice::from_ref(&batch.columns))
        .map_err(|error| Error::new(ErrorKind::Internal, "rows cannot be shown as a table").caused_by(error))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n== {title}: {} rows\n{text}", batch.rows())?;
    for reject in rejects {
        writeln!(out, "rejected: row {}: {}: {}", reject.row, reject.reason, reject.detail)?;
    }
    Ok(())
}
