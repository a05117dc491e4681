//! One worker: it runs the whole tree by itself, decode to outputs, a batch at a time, with no lock and no queue in between.
//!
//! What it holds between two batches is either in an output (staged or in memory) or gone to a reject; so when all
//! workers stand between two batches and have prepared, an epoch is whole.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;

use super::counts::Counts;
use super::phases::{Phases, Stopwatch};
use super::walk::{Destination, Walk};
use crate::clock::Clock;
use crate::decode::Decoder;
use crate::dimension::Dimension;
use crate::error::Result;
use crate::output::{Closing, REJECTS, RejectSink, Sink, Staged};
use crate::plan::{Plan, PlannedStage};
use crate::record::{Batch, Records, Refusal};
use crate::source::{Positions, Ranges};
use crate::stage::Stage;

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
}

/// One worker, without its thread.
pub struct Worker {
    walk: Walk,
    sinks: Sinks,
    began_ms: i64,
    read: Positions,
}

/// Where a worker's rows go.
struct Sinks {
    outputs: Vec<Sink>,
    rejects: RejectSink,
    clock: Arc<dyn Clock>,
}

impl Destination for Sinks {
    fn refuse_records(&mut self, _source: usize, records: &Arc<Records>, refused: &[Refusal]) -> Result<()> {
        self.rejects.refuse_records(records, refused, self.clock.now_ms())
    }

    fn refuse_rows(&mut self, stage: &PlannedStage, batch: &Batch, refused: &[Refusal]) -> Result<()> {
        self.rejects.refuse_rows(stage, batch, refused, self.clock.now_ms())
    }

    fn write(&mut self, output: usize, columns: &RecordBatch, _batch: &Batch) -> Result<()> {
        self.outputs[output].write(columns, self.clock.now_ms())
    }
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

impl Worker {
    /// A worker of a plan. `event_time` names, by source, the column that holds the time of the event, if it is decoded.
    pub fn new(
        plan: Arc<Plan>,
        event_time: Vec<Option<usize>>,
        parts: Parts,
        tables: Arc<Vec<Dimension>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let Parts { decoders, stages, outputs, rejects } = parts;
        Self {
            walk: Walk::new(plan, event_time, decoders, stages, tables),
            began_ms: clock.now_ms(),
            sinks: Sinks { outputs, rejects, clock },
            read: Positions::new(),
        }
    }

    /// Takes one block of records of a source through the tree.
    pub fn process(&mut self, source: usize, records: Records) -> Result<()> {
        let elapsed = self.elapsed();
        let records = self.walk.process(source, records, elapsed, &mut self.sinks)?;
        self.read.entry(records.partition.clone()).or_default().ranges.merge(&Ranges::of(&records));
        Ok(())
    }

    /// The time since the worker was made.
    fn elapsed(&self) -> Duration {
        let ms = self.sinks.clock.now_ms().saturating_sub(self.began_ms);
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }

    /// The memory that its outputs hold.
    pub fn memory_bytes(&self) -> u64 {
        self.sinks.outputs.iter().map(Sink::memory_bytes).sum::<u64>() + self.sinks.rejects.memory_bytes()
    }

    /// Ends the epoch: makes what was written durable and hands over what there is of it.
    pub fn prepare(&mut self, closing: Closing<'_>) -> Result<Share> {
        let mut watch = Stopwatch::start();
        let now_ms = self.sinks.clock.now_ms();
        let mut outputs = Vec::with_capacity(self.sinks.outputs.len() + 1);
        for (planned, sink) in self.walk.plan().outputs.iter().zip(&mut self.sinks.outputs) {
            outputs.push((planned.name.to_string(), sink.prepare(now_ms, closing)?));
        }
        outputs.push((REJECTS.to_owned(), self.sinks.rejects.prepare(now_ms)?));
        let counts = self.walk.take_counts()?;
        self.walk.begin_epoch();
        self.walk.phases().add("prepare", watch.lap_ns());
        Ok(Share {
            outputs,
            positions: std::mem::take(&mut self.read),
            counts,
            phases: std::mem::take(self.walk.phases()),
        })
    }

    /// Puts another plan's parts in place; `epoch` is the first that they write. What the outputs before held was closed by `prepare`.
    pub fn replace(&mut self, epoch: u64, plan: Arc<Plan>, event_time: Vec<Option<usize>>, parts: Parts) {
        let Parts { decoders, stages, outputs, rejects } = parts;
        self.walk.replace(plan, event_time, decoders, stages);
        self.sinks.outputs = outputs;
        self.sinks.rejects = rejects;
        self.begin(epoch);
    }

    /// Says which epoch begins.
    pub fn begin(&mut self, epoch: u64) {
        self.sinks.outputs.iter_mut().for_each(|sink| sink.begin(epoch));
        self.sinks.rejects.sink().begin(epoch);
    }

    /// Adds time that the caller spent for this worker.
    pub fn add_phase(&mut self, phase: &str, cpu_ns: u64) {
        self.walk.phases().add(phase, cpu_ns);
    }
}
