//! The one way of records through the tree: decoded, through every stage, to everybody who reads. What becomes of rows is
//! told to a [`Destination`]: a worker's outputs, a preview's screen, a test's memory.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};

use super::counts::{Counts, UNREAD};
use super::phases::{Phases, Stopwatch};
use super::tree::Tree;
use crate::decode::Decoder;
use crate::dimension::{Dimension, Snapshot};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Place, Plan, PlannedOutput, PlannedStage};
use crate::record::{Batch, Records, Refusal};
use crate::stage::{Applied, Stage};

/// Where rows go that leave the tree, and who sees them on their way.
pub trait Destination {
    /// Rows of a source, before any stage.
    fn decoded(&mut self, _source: usize, _rows: &Batch) -> Result<()> {
        Ok(())
    }

    /// Rejects that were tried again and cannot go in where they have to; at least one.
    fn refuse_again(&mut self, _records: &Arc<Records>, _refused: &[Refusal]) -> Result<()> {
        Err(Error::new(ErrorKind::Internal, "rejects are tried again where no rejects are kept"))
    }

    /// What a stage made of a batch, before anybody reads it; `now_ms` is what a plugin saw as now.
    fn applied(&mut self, _stage: usize, _batch: &Batch, _applied: &Applied, _now_ms: i64) -> Result<()> {
        Ok(())
    }

    /// Records that the decoder of a source refused; at least one.
    fn refuse_records(&mut self, source: usize, records: &Arc<Records>, refused: &[Refusal]) -> Result<()>;

    /// Rows of `batch` that a stage refused; at least one.
    fn refuse_rows(&mut self, stage: &PlannedStage, batch: &Batch, refused: &[Refusal]) -> Result<()>;

    /// Rows for the output with this index: the output's own columns, and the batch that they were taken from.
    fn write(&mut self, output: usize, columns: &RecordBatch, batch: &Batch) -> Result<()>;
}

/// A plan at work: decoders and stages of one thread.
pub struct Walk {
    pub(super) plan: Arc<Plan>,
    tree: Tree,
    pub(super) event_time: Vec<Option<usize>>,
    decoders: Vec<Decoder>,
    stages: Vec<Stage>,
    tables: Arc<Vec<Dimension>>,
    pub(super) counts: Counts,
    phases: Phases,
}

/// One batch on its way: what does not change from place to place.
struct Way<'a> {
    tables: Vec<Snapshot>,
    now_ms: i64,
    elapsed: Duration,
    to: &'a mut dyn Destination,
}

impl Walk {
    /// A plan with its decoders, by source, and its stages, by stage of the plan. `event_time` names, by source, the
    /// decoded column that holds the time of the event.
    pub fn new(
        plan: Arc<Plan>,
        event_time: Vec<Option<usize>>,
        decoders: Vec<Decoder>,
        stages: Vec<Stage>,
        tables: Arc<Vec<Dimension>>,
    ) -> Self {
        let (counts, phases) = (Counts::default(), Phases::default());
        Self { tree: Tree::new(&plan), plan, event_time, decoders, stages, tables, counts, phases }
    }

    /// Takes one block of records of a source through the tree. `elapsed` is the time since the work began.
    pub fn process(
        &mut self,
        source: usize,
        records: Records,
        elapsed: Duration,
        to: &mut dyn Destination,
    ) -> Result<Arc<Records>> {
        let records = Arc::new(records);
        match records.replayed() {
            Some(_) => self.try_again(&records, elapsed, to)?,
            None => {
                self.counts.add_read(&self.plan.sources[source].name, records.len() as u64);
                self.enter_source(source, &records, elapsed, to)?;
            }
        }
        Ok(records)
    }

    /// Records at the decoder of their source.
    pub(super) fn enter_source(
        &mut self,
        source: usize,
        records: &Arc<Records>,
        elapsed: Duration,
        to: &mut dyn Destination,
    ) -> Result<()> {
        let mut watch = Stopwatch::start();
        let decoded = self.decoders[source].decode(records)?;
        let name = Arc::clone(&self.plan.sources[source].name);
        self.counts.unknown_fields += decoded.unknown_fields;
        if !decoded.rejects.is_empty() {
            let place = format!("source.{name}");
            for reject in &decoded.rejects {
                self.counts.add_rejected(&place, &reject.reason, 1);
            }
            to.refuse_records(source, records, &decoded.rejects)?;
        }
        let batch =
            Batch { columns: decoded.columns, records: Arc::clone(records), record_of_row: decoded.record_of_row };
        self.phases.add("decode", watch.lap_ns());
        to.decoded(source, &batch)?;
        self.count_readers(Place::Source(source), &name, batch.rows() as u64, &[]);
        if batch.rows() > 0 {
            let tables = self.tables.iter().map(Dimension::snapshot).collect();
            let now_ms = self.now_of(source, &batch);
            self.hand_over(Place::Source(source), &batch, &mut Way { tables, now_ms, elapsed, to })?;
        }
        Ok(())
    }

    /// Rows at a stage, as if whatever it reads from had handed them over to it alone.
    pub(super) fn enter_stage(
        &mut self,
        stage: usize,
        batch: &Batch,
        now_ms: i64,
        elapsed: Duration,
        to: &mut dyn Destination,
    ) -> Result<()> {
        let tables = self.tables.iter().map(Dimension::snapshot).collect();
        self.run_stage(stage, batch, &mut Way { tables, now_ms, elapsed, to })
    }

    /// Hands a batch to everybody who reads from a place.
    fn hand_over(&mut self, place: Place, batch: &Batch, way: &mut Way<'_>) -> Result<()> {
        let readers = self.tree.readers(place).clone();
        for output in readers.outputs {
            let mut watch = Stopwatch::start();
            let planned: &PlannedOutput = &self.plan.outputs[output];
            let columns = batch.columns.project(&planned.take).map_err(internal)?;
            way.to.write(output, &columns, batch)?;
            self.counts.add_out(&planned.name, columns.num_rows() as u64);
            self.phases.add(&format!("output {}", planned.name), watch.lap_ns());
        }
        for stage in readers.stages {
            self.run_stage(stage, batch, way)?;
        }
        Ok(())
    }

    fn run_stage(&mut self, stage: usize, batch: &Batch, way: &mut Way<'_>) -> Result<()> {
        let mut watch = Stopwatch::start();
        let applied = self.stages[stage].apply(batch, &way.tables, way.now_ms, way.elapsed)?;
        way.to.applied(stage, batch, &applied, way.now_ms)?;
        let Applied { kept, routes, rejects, filtered, multiplied } = applied;
        let planned = &self.plan.stages[stage];
        self.counts.multiplied += multiplied;
        for left_out in &filtered {
            self.counts.add_filtered(&planned.name, &left_out.reason, left_out.rows.len() as u64);
        }
        if !rejects.is_empty() {
            for reject in &rejects {
                self.counts.add_rejected(&planned.name, &reject.reason, 1);
            }
            way.to.refuse_rows(planned, batch, &rejects)?;
        }
        self.phases.add(&format!("stage {}", planned.name), watch.lap_ns());
        let name = Arc::clone(&planned.name);
        self.count_readers(Place::Stage(stage), &name, kept.rows() as u64, &routes);
        if kept.rows() == 0 {
            return Ok(());
        }
        for route in self.tree.routes(stage) {
            if let Some(part) = take_route(&kept, &routes, route)? {
                self.hand_over(Place::Route { stage, output: route }, &part, way)?;
            }
        }
        self.hand_over(Place::Stage(stage), &kept, way)
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

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Where CPU time went, to be added to.
    pub fn phases(&mut self) -> &mut Phases {
        &mut self.phases
    }

    /// Puts another plan in place; what was counted stays.
    pub fn replace(
        &mut self,
        plan: Arc<Plan>,
        event_time: Vec<Option<usize>>,
        decoders: Vec<Decoder>,
        stages: Vec<Stage>,
    ) {
        self.tree = Tree::new(&plan);
        self.plan = plan;
        self.event_time = event_time;
        self.decoders = decoders;
        self.stages = stages;
    }

    /// What became of the records since the last time this was asked.
    ///
    /// # Errors
    /// `Internal` when rows are not conserved: nothing of it may be committed.
    pub fn take_counts(&mut self) -> Result<Counts> {
        let counts = std::mem::take(&mut self.counts);
        if !counts.is_conserved() {
            return Err(Error::new(ErrorKind::Internal, format!("rows are not conserved: {}", counts.equation()))
                .help("the epoch is not committed; please report this with the pipeline file"));
        }
        Ok(counts)
    }

    /// Begins an epoch: the calls that finding guilty rows may cost are counted anew.
    pub fn begin_epoch(&mut self) {
        self.stages.iter_mut().for_each(Stage::begin_epoch);
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
pub(super) fn latest_ms(column: &dyn Array) -> Option<i64> {
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
