//! The boundary between two epochs, without threads: what all workers prepared becomes one commit, a probation is judged, a
//! new plan comes in. The coordinator drives it with threads and the machine's time, the simulation without either.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::logic::Change;
use super::probation::{Probation, Record};
use crate::clock::Clock;
use crate::commit::{Epochs, PlanStamp};
use crate::config::Swap;
use crate::error::{Error, ErrorKind, Result};
use crate::output::{Combine, Prepared, Staged, Token};
use crate::pipeline::{Counts, Ending, Phases, Share};
use crate::source::Positions;

/// What was committed, and what the next epoch is committed with.
pub struct Boundary {
    /// The commit.
    pub epochs: Epochs,
    /// The plan that runs.
    pub stamp: PlanStamp,
    /// How the workers' files of each Parquet output become one token.
    pub combines: BTreeMap<String, Combine>,
    /// For the age of files.
    pub clock: Arc<dyn Clock>,
    /// CPU time by phase, of all workers and of the commits.
    pub phases: Phases,
    /// What the stages did under this plan.
    pub record: Record,
    /// The stages that have to prove themselves.
    pub probation: Option<Probation>,
}

/// What became of an epoch.
#[derive(Debug)]
pub enum Crossed {
    /// It is committed and published; what passed its probation with it.
    Committed(Vec<Change>),
    /// Nothing was read and no file closed: what the last commit says is still all there is.
    Nothing,
    /// It is not committed: why stages on probation did not pass.
    Failed(String),
}

/// What sources are told of an epoch's commit.
pub trait Inputs {
    /// Called at the end of each epoch, also of one in which nothing happened. An error ends the run before the commit.
    fn look(&mut self) -> Result<()>;

    /// Called before each commit: notes in what was read which file each partition is.
    fn identify(&mut self, read: &mut Positions);
}

impl Boundary {
    /// A run's first boundary.
    pub fn new(epochs: Epochs, stamp: PlanStamp, combines: BTreeMap<String, Combine>, clock: Arc<dyn Clock>) -> Self {
        Self { epochs, stamp, combines, clock, phases: Phases::default(), record: Record::default(), probation: None }
    }

    /// By output the partitions of which a worker has a file that is too old by now.
    pub fn due(&self) -> Ending {
        match self.epochs.last() {
            Some(last) => Ending::due(&self.combines, &last.outputs, self.clock.now_ms()),
            None => Ending::default(),
        }
    }

    /// Makes one commit of what all workers prepared. `goes_on`: the same plan and the same run, so that an epoch of nothing
    /// needs no commit.
    pub fn cross(&mut self, shares: Vec<Share>, goes_on: bool, inputs: &mut dyn Inputs) -> Result<Crossed> {
        let Merged { mut read, counts, phases, prepared, mut outputs } = Merged::of(shares);
        self.phases.merge(&phases);
        let passed = match self.judge(&counts, &phases) {
            Ok(passed) => passed,
            Err(why) => return Ok(Crossed::Failed(why)),
        };
        for (output, parts) in prepared {
            let combine = self.combines.get(&output).ok_or_else(|| {
                Error::new(ErrorKind::Internal, format!("output \"{output}\" staged files, but has no folder"))
            })?;
            outputs.insert(output, combine.combine(parts)?);
        }
        inputs.look()?;
        let is_nothing = counts == Counts::default() && outputs.values().all(|token| token.files.is_empty());
        if goes_on && is_nothing {
            return Ok(Crossed::Nothing);
        }
        inputs.identify(&mut read);
        self.epochs.commit(&self.stamp, &read, outputs, counts)?;
        Ok(Crossed::Committed(passed))
    }

    /// Takes an epoch into account; what passed its probation with it.
    fn judge(&mut self, counts: &Counts, phases: &Phases) -> Result<Vec<Change>, String> {
        self.record.add(counts, phases);
        let Some(probation) = &mut self.probation else { return Ok(Vec::new()) };
        if !probation.judge(counts, phases)? {
            return Ok(Vec::new());
        }
        Ok(self.on_probation())
    }

    /// Ends the probation; what was on it.
    pub fn on_probation(&mut self) -> Vec<Change> {
        self.probation.take().map(|probation| probation.changes()).unwrap_or_default()
    }

    /// Lets another plan take over, whose watched stages have to prove themselves.
    pub fn swap(&mut self, stamp: PlanStamp, mut watched: Vec<(Change, Swap)>) {
        self.stamp = stamp;
        let before = std::mem::take(&mut self.record);
        // What has not proved itself yet goes on having to.
        let waiting = self.probation.take().map(Probation::into_watched).unwrap_or_default();
        watched.splice(0..0, waiting);
        self.probation = (!watched.is_empty()).then(|| Probation::new(watched, before));
    }
}

/// What all workers prepared, together.
#[derive(Default)]
struct Merged {
    read: Positions,
    counts: Counts,
    phases: Phases,
    prepared: BTreeMap<String, Vec<Prepared>>,
    outputs: BTreeMap<String, Token>,
}

impl Merged {
    fn of(shares: Vec<Share>) -> Self {
        let mut all = Self::default();
        for share in shares {
            for (partition, position) in share.positions {
                all.read.entry(partition).or_default().ranges.merge(&position.ranges);
            }
            all.counts.merge(&share.counts);
            all.phases.merge(&share.phases);
            for (output, staged) in share.outputs {
                match staged {
                    Staged::Parquet(part) => all.prepared.entry(output).or_default().push(*part),
                    Staged::Topic(rows) => all.outputs.entry(output).or_default().acknowledged_rows += rows,
                }
            }
        }
        all
    }
}
