//! What follows each commit of a run: counts, the history of plugins, what sources and replays have to know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::assembly::Assembly;
use super::boundary::Inputs;
use super::coordinator::{Ended, Observer};
use super::life::{By, Entry, What};
use super::sources::Sources;
use super::summary::Tally;
use crate::error::Result;
use crate::source::Positions;

/// What follows each commit.
pub(super) struct Committed<'a> {
    pub assembly: &'a Assembly,
    pub sources: &'a Sources,
    pub tally: &'a mut Tally,
    /// What the last commit said, for the sources.
    pub read: Positions,
    /// The last epoch.
    pub finished: Arc<AtomicU64>,
}

impl Inputs for Committed<'_> {
    fn look(&mut self) -> Result<()> {
        self.sources.rescan()?;
        self.sources.check()
    }

    fn identify(&mut self, read: &mut Positions) {
        self.sources.identify(read);
        for (partition, position) in read {
            if let Some(file) = self.assembly.replays.identity(partition) {
                position.file = Some(file);
            }
        }
    }
}

impl Observer for Committed<'_> {
    fn ended(&mut self, ended: &Ended<'_>) -> Result<()> {
        self.finished.store(ended.record.epoch, Ordering::Release);
        self.tally.add(ended.record);
        self.tally.add_pause(ended.pause, !ended.swapped.is_empty());
        self.note(ended);
        tracing::debug!(
            epoch = ended.record.epoch,
            read = ended.record.counts.total_read(),
            out = ended.record.counts.total_out(),
            pause_ms = ended.pause.as_millis() as u64,
            "committed"
        );
        if ended.record.positions != self.read {
            self.read.clone_from(&ended.record.positions);
            self.sources.committed(&self.read)?;
        }
        Ok(())
    }

    fn settled(&mut self) -> Result<()> {
        self.assembly.replays.committed()
    }

    fn is_moved(&self) -> bool {
        self.sources.is_moved()
    }
}

impl Committed<'_> {
    /// Writes down what passed its probation, and what takes over now.
    fn note(&self, ended: &Ended<'_>) {
        let (epoch, history) = (ended.record.epoch, &self.assembly.history);
        for change in ended.passed {
            tracing::info!(epoch, "swap: passed its probation: {change}");
            let entry = Entry::new(&change.stage, &change.next, What::Passed, By::Host);
            history.add(Entry { epoch: Some(epoch), ..entry });
        }
        for change in ended.swapped {
            let pause_ms = ended.pause.as_millis() as u64;
            tracing::info!(epoch, pause_ms, "swap: in place from the next epoch: {change}");
            let entry = Entry::new(&change.stage, &change.next, What::InPlace, By::Host);
            history.add(Entry { epoch: Some(epoch + 1), plan: Some(ended.record.plan.number + 1), ..entry });
        }
    }
}
