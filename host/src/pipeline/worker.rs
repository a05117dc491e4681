//! One worker: it runs the whole tree by itself, decode to outputs, a batch at a time, with no lock and no queue in between.
//!
//! What it holds between two batches is either in an output (staged or in memory) or gone to a reject; so when all
//! workers stand between two batches and have prepared, an epoch is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};

use super::counts::{Counts, UNREAD};
use super::phases::{Phases, Stopwatch};
use super::tap::{Sample, Tap};
use super::tree::Tree;
use crate::clock::Clock;
use crate::decode::Decoder;
use crate::dimension::{Dimension, Snapshot};
use crate::error::{Error, ErrorKind, Result};
use crate::output::{Closing, Combine, REJECTS, ReadRange, RejectSink, Sink, Staged, Token};
use crate::plan::{Place, Plan};
use crate::record::{Batch, Records};
use crate::source::{Positions, Ranges};
use crate::stage::{Applied, Stage};

/// What the workers of one plan are made of, one for each worker.
pub struct Parts {
    /// By source.
    pub decoders: Vec<Decoder>,
    /// By stage of the plan.
    pub stages: Vec<Stage>,
    /// By output of the plan.
    pub outputs: Vec<Sink>,
    /// Where refused rows go.
    pub rejects: RejectSink,
    /// By stage of the plan.
    pub taps: Vec<Arc<Tap>>,
}

/// One worker, without its thread.
pub struct Worker {
    plan: Arc<Plan>,
    tree: Tree,
    event_time: Vec<Option<usize>>,
    parts: Parts,
    tables: Arc<Vec<Dimension>>,
    clock: Arc<dyn Clock>,
    began_ms: i64,
    counts: Counts,
    read: Positions,
    phases: Phases,
}

/// What a worker hands over at the end of an epoch.
#[derive(Debug)]
pub struct Share {
    /// By output of the plan, the rejects last: name and what it staged.
    pub outputs: Vec<(String, Staged)>,
    /// What was read.
    pub positions: Positions,
    /// What became of it.
    pub counts: Counts,
    /// Where CPU time went.
    pub phases: Phases,
}

/// Which files the end of an epoch closes.
#[derive(Clone, Debug)]
pub enum Ending {
    /// Those that are full or too old, and by output those of the partitions that are due at another worker.
    Due(Arc<BTreeMap<String, BTreeSet<String>>>),
    /// All.
    All,
}

impl Default for Ending {
    fn default() -> Self {
        Self::Due(Arc::default())
    }
}

impl Ending {
    /// The end of an epoch after the one that committed `tokens`.
    pub fn due(combines: &BTreeMap<String, Combine>, tokens: &BTreeMap<String, Token>, now_ms: i64) -> Self {
        let due = tokens.iter().filter_map(|(output, token)| {
            let due = combines.get(output)?.due(token, now_ms);
            (!due.is_empty()).then(|| (output.clone(), due))
        });
        Self::Due(Arc::new(due.collect()))
    }

    fn closing(&self, output: &str) -> Closing<'_> {
        match self {
            Self::Due(due) => due.get(output).map_or(Closing::Due, Closing::DueAnd),
            Self::All => Closing::All,
        }
    }
}

impl Worker {
    /// A worker of a plan. `event_time` names, by source, the column that holds the time of the event, if it is decoded.
    pub fn new(
        plan: Arc<Plan>,
        event_time: Vec<Option<usize>>,
        parts: Parts,
        tables: Arc<Vec<Dimension>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let tree = Tree::new(&plan);
        Self {
            plan,
            tree,
            event_time,
            parts,
            tables,
            began_ms: clock.now_ms(),
            clock,
            counts: Counts::default(),
            read: Positions::new(),
            phases: Phases::default(),
        }
    }

    /// Takes one block of records of a source through the tree.
    pub fn process(&mut self, source: usize, records: Records) -> Result<()> {
        let mut watch = Stopwatch::start();
        let records = Arc::new(records);
        let read = ReadRange::of(&records);
        let sinks = self.parts.outputs.iter_mut().chain([self.parts.rejects.sink()]);
        sinks.for_each(|sink| sink.set_read(read.as_ref()));
        let decoded = self.parts.decoders[source].decode(&records)?;
        let name = self.plan.sources[source].name.clone();
        self.counts.add_read(&name, records.len() as u64);
        self.counts.unknown_fields += decoded.unknown_fields;
        if !decoded.rejects.is_empty() {
            let place = format!("source.{name}");
            for reject in &decoded.rejects {
                self.counts.add_rejected(&place, &reject.reason, 1);
            }
            self.parts.rejects.refuse_records(&records, &decoded.rejects, self.clock.now_ms())?;
        }
        let batch =
            Batch { columns: decoded.columns, records: Arc::clone(&records), record_of_row: decoded.record_of_row };
        self.phases.add("decode", watch.lap_ns());
        self.count_readers(Place::Source(source), &name, batch.rows() as u64, &[]);
        if batch.rows() > 0 {
            let pinned: Vec<Snapshot> = self.tables.iter().map(Dimension::snapshot).collect();
            let now_ms = self.now_of(source, &batch);
            self.flow(Place::Source(source), &batch, &pinned, now_ms)?;
        }
        self.read.entry(records.partition.clone()).or_default().ranges.merge(&Ranges::of(&records));
        Ok(())
    }

    /// Hands a batch to everybody who reads from a place.
    fn flow(&mut self, place: Place, batch: &Batch, tables: &[Snapshot], now_ms: i64) -> Result<()> {
        let readers = self.tree.readers(place).clone();
        for output in readers.outputs {
            let mut watch = Stopwatch::start();
            let planned = &self.plan.outputs[output];
            let columns = batch.columns.project(&planned.take).map_err(internal)?;
            self.parts.outputs[output].write(&columns, self.clock.now_ms())?;
            self.counts.add_out(&planned.name, columns.num_rows() as u64);
            self.phases.add(&format!("output {}", planned.name), watch.lap_ns());
        }
        for stage in readers.stages {
            self.run_stage(stage, batch, tables, now_ms)?;
        }
        Ok(())
    }

    fn run_stage(&mut self, stage: usize, batch: &Batch, tables: &[Snapshot], now_ms: i64) -> Result<()> {
        let mut watch = Stopwatch::start();
        let elapsed = self.elapsed();
        let Applied { kept, routes, rejects, filtered, multiplied } =
            self.parts.stages[stage].apply(batch, tables, now_ms, elapsed)?;
        self.parts.taps[stage].offer(Sample { columns: batch.columns.clone(), now_ms }, &rejects);
        let planned = &self.plan.stages[stage];
        self.counts.multiplied += multiplied;
        for left_out in &filtered {
            self.counts.add_filtered(&planned.name, &left_out.reason, left_out.rows.len() as u64);
        }
        if !rejects.is_empty() {
            for reject in &rejects {
                self.counts.add_rejected(&planned.name, &reject.reason, 1);
            }
            self.parts.rejects.refuse_rows(planned, batch, &rejects, self.clock.now_ms())?;
        }
        self.phases.add(&format!("stage {}", planned.name), watch.lap_ns());
        let name = Arc::clone(&planned.name);
        self.count_readers(Place::Stage(stage), &name, kept.rows() as u64, &routes);
        if kept.rows() == 0 {
            return Ok(());
        }
        for route in self.tree.routes(stage) {
            if let Some(part) = take_route(&kept, &routes, route)? {
                self.flow(Place::Route { stage, output: route }, &part, tables, now_ms)?;
            }
        }
        self.flow(Place::Stage(stage), &kept, tables, now_ms)
    }

    /// The time since the worker was made.
    fn elapsed(&self) -> Duration {
        let ms = self.clock.now_ms().saturating_sub(self.began_ms);
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }

    /// A row that several read is made more of; a row that nobody reads is left out.
    fn count_readers(&mut self, place: Place, name: &str, rows: u64, routes: &[u16]) {
        let all = self.tree.readers(place).len();
        let Place::Stage(stage) = place else { return self.count_read_by(name, rows, all) };
        if routes.is_empty() {
            return self.count_read_by(name, rows, all);
        }
        let mut by_route: Vec<u64> = Vec::new();
        for &route in routes {
            if by_route.len() <= usize::from(route) {
                by_route.resize(usize::from(route) + 1, 0);
            }
            by_route[usize::from(route)] += 1;
        }
        for (output, rows) in (0u16..).zip(by_route) {
            let readers = all + self.tree.readers(Place::Route { stage, output }).len();
            self.count_read_by(name, rows, readers);
        }
    }

    fn count_read_by(&mut self, place: &str, rows: u64, readers: u64) {
        match readers {
            0 => self.counts.add_filtered(place, UNREAD, rows),
            readers => self.counts.multiplied += rows * (readers - 1),
        }
    }

    /// What a plugin sees as now: the largest timestamp of the block's records, else of its event time, else 0.
    fn now_of(&self, source: usize, batch: &Batch) -> i64 {
        let of_records = batch.records.timestamps_ms.iter().copied().max();
        of_records.or_else(|| latest_ms(batch.columns.column(self.event_time[source]?))).unwrap_or(0)
    }

    /// The memory that its outputs hold.
    pub fn memory_bytes(&self) -> u64 {
        self.parts.outputs.iter().map(Sink::memory_bytes).sum::<u64>() + self.parts.rejects.memory_bytes()
    }

    /// Ends the epoch: makes what was written durable and hands over what there is of it.
    pub fn prepare(&mut self, ending: &Ending) -> Result<Share> {
        let mut watch = Stopwatch::start();
        let now_ms = self.clock.now_ms();
        let mut outputs = Vec::with_capacity(self.parts.outputs.len() + 1);
        for (planned, sink) in self.plan.outputs.iter().zip(&mut self.parts.outputs) {
            outputs.push((planned.name.to_string(), sink.prepare(now_ms, ending.closing(&planned.name))?));
        }
        outputs.push((REJECTS.to_owned(), self.parts.rejects.prepare(now_ms)?));
        let counts = std::mem::take(&mut self.counts);
        if !counts.is_conserved() {
            return Err(Error::new(ErrorKind::Internal, format!("rows are not conserved: {}", counts.equation()))
                .help("the epoch is not committed; please report this with the pipeline file"));
        }
        self.parts.stages.iter_mut().for_each(Stage::begin_epoch);
        self.phases.add("prepare", watch.lap_ns());
        Ok(Share {
            outputs,
            positions: std::mem::take(&mut self.read),
            counts,
            phases: std::mem::take(&mut self.phases),
        })
    }

    /// Puts another plan's parts in place; `epoch` is the first that they write. What the outputs before held was closed by `prepare`.
    pub fn replace(&mut self, epoch: u64, plan: Arc<Plan>, event_time: Vec<Option<usize>>, parts: Parts) {
        self.tree = Tree::new(&plan);
        self.plan = plan;
        self.event_time = event_time;
        self.parts = parts;
        self.begin(epoch);
    }

    /// Says which epoch begins.
    pub fn begin(&mut self, epoch: u64) {
        self.parts.outputs.iter_mut().for_each(|sink| sink.begin(epoch));
        self.parts.rejects.sink().begin(epoch);
    }

    /// Adds time that the caller spent for this worker.
    pub fn add_phase(&mut self, phase: &str, cpu_ns: u64) {
        self.phases.add(phase, cpu_ns);
    }
}

/// The rows of one route; none when there are none.
fn take_route(batch: &Batch, routes: &[u16], route: u16) -> Result<Option<Batch>> {
    let rows: Vec<u32> = (0u32..).zip(routes).filter(|(_, other)| **other == route).map(|(row, _)| row).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    if rows.len() == batch.rows() {
        return Ok(Some(batch.clone()));
    }
    let record_of_row = rows.iter().map(|&row| batch.record_of(row as usize)).collect();
    let columns: RecordBatch =
        compute::take_record_batch(&batch.columns, &UInt32Array::from(rows)).map_err(internal)?;
    Ok(Some(Batch { columns, records: Arc::clone(&batch.records), record_of_row: Some(record_of_row) }))
}

/// The latest instant of a timestamp column, in ms.
fn latest_ms(column: &dyn Array) -> Option<i64> {
    let DataType::Timestamp(unit, _) = column.data_type() else { return None };
    let counts = compute::cast(column, &DataType::Int64).ok()?;
    let latest = compute::max(counts.as_primitive::<Int64Type>())?;
    Some(match unit {
        TimeUnit::Second => latest.saturating_mul(1_000),
        TimeUnit::Millisecond => latest,
        TimeUnit::Microsecond => latest.div_euclid(1_000),
        TimeUnit::Nanosecond => latest.div_euclid(1_000_000),
    })
}

fn internal(error: arrow::error::ArrowError) -> Error {
    Error::new(ErrorKind::Internal, "the columns of a batch do not fit the plan").caused_by(error)
}
