//! One worker: it runs the whole tree by itself, decode to outputs, a batch at a time, with no lock and no queue in between.
//!
//! What it holds between two batches is either in an output (staged or in memory) or gone to a reject; so when all
//! workers stand between two batches and have prepared, an epoch is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;

use super::counts::Counts;
use super::phases::{Phases, Stopwatch};
use super::tap::{Sample, Tap};
use super::walk::{Destination, Walk};
use crate::clock::Clock;
use crate::decode::Decoder;
use crate::dimension::Dimension;
use crate::error::Result;
use crate::output::{Closing, Combine, REJECTS, ReadRange, RejectSink, Sink, Staged, Token};
use crate::plan::{Plan, PlannedStage};
use crate::record::{Batch, Records, Refusal};
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
    pub taps: Vec<Option<Arc<Tap>>>,
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
    taps: Vec<Option<Arc<Tap>>>,
    clock: Arc<dyn Clock>,
}

impl Destination for Sinks {
    fn applied(&mut self, stage: usize, batch: &Batch, applied: &Applied, now_ms: i64) -> Result<()> {
        if let Some(tap) = &self.taps[stage] {
            tap.offer(Sample { columns: batch.columns.clone(), now_ms }, &applied.rejects);
        }
        Ok(())
    }

    fn refuse_records(&mut self, _source: usize, records: &Arc<Records>, refused: &[Refusal]) -> Result<()> {
        self.rejects.refuse_records(records, refused, self.clock.now_ms())
    }

    fn refuse_rows(&mut self, stage: &PlannedStage, batch: &Batch, refused: &[Refusal]) -> Result<()> {
        self.rejects.refuse_rows(stage, batch, refused, self.clock.now_ms())
    }

    fn refuse_again(&mut self, records: &Arc<Records>, refused: &[Refusal]) -> Result<()> {
        self.rejects.refuse_again(records, refused, self.clock.now_ms())
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
        let Parts { decoders, stages, outputs, rejects, taps } = parts;
        Self {
            walk: Walk::new(plan, event_time, decoders, stages, tables),
            began_ms: clock.now_ms(),
            sinks: Sinks { outputs, rejects, taps, clock },
            read: Positions::new(),
        }
    }

    /// Takes one block of records of a source through the tree.
    pub fn process(&mut self, source: usize, records: Records) -> Result<()> {
        let elapsed = self.elapsed();
        let read = ReadRange::of(&records);
        let sinks = self.sinks.outputs.iter_mut().chain([self.sinks.rejects.sink()]);
        sinks.for_each(|sink| sink.set_read(read.as_ref()));
        let records = self.walk.process(source, records, elapsed, &mut self.sinks)?;
        self.read.entry(records.read_from().clone()).or_default().ranges.merge(&Ranges::of(&records));
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
    pub fn prepare(&mut self, ending: &Ending) -> Result<Share> {
        let mut watch = Stopwatch::start();
        let now_ms = self.sinks.clock.now_ms();
        let mut outputs = Vec::with_capacity(self.sinks.outputs.len() + 1);
        for (planned, sink) in self.walk.plan().outputs.iter().zip(&mut self.sinks.outputs) {
            outputs.push((planned.name.to_string(), sink.prepare(now_ms, ending.closing(&planned.name))?));
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
        let Parts { decoders, stages, outputs, rejects, taps } = parts;
        self.walk.replace(plan, event_time, decoders, stages);
        self.sinks.outputs = outputs;
        self.sinks.rejects = rejects;
        self.sinks.taps = taps;
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
