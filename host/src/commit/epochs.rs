//! The commit of epochs, one after the other, and the way back after a crash. The steps and their promise: see `super`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::folder::Host;
use super::log::{CommitLog, Last};
use super::record::{CommitRecord, PlanStamp, RECORD_VERSION, Sharing};
use super::rewind::Point;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};
use crate::output::Token;
use crate::pipeline::Counts;
use crate::record::Partition;
use crate::source::Positions;

/// The steps of a commit, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// All outputs are staged and synced, or under way in the transaction.
    Prepared,
    /// With topics that get each row once: rows, record and offsets are true in Kafka.
    Transacted,
    /// The record is in the log, not synced.
    Written,
    /// The log is synced: the epoch is true.
    Committed,
    /// The epoch's files have their final names.
    Published,
    /// The epoch's manifests name its files.
    Manifested,
    /// The finished mark is in the log.
    Finished,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 7] = [
        Self::Prepared,
        Self::Transacted,
        Self::Written,
        Self::Committed,
        Self::Published,
        Self::Manifested,
        Self::Finished,
    ];

    /// The step's name in logs and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Transacted => "transacted",
            Self::Written => "written",
            Self::Committed => "committed",
            Self::Published => "published",
            Self::Manifested => "manifested",
            Self::Finished => "finished",
        }
    }
}

/// Where an epoch's rows in topics become true, together with its record.
pub trait Transaction: Send + Sync {
    /// The host's last record that was made true so.
    fn last(&self) -> Option<&CommitRecord>;

    /// Makes true what was sent since the commit before, and the record. On an error nobody knows whether it did: the
    /// next start, which reads `last`, does.
    fn commit(&self, record: &CommitRecord) -> Result<()>;
}

/// What epochs are committed with.
pub struct Settings {
    /// Where the log and the lake lie.
    pub disk: Arc<dyn Disk>,
    /// For the record's time.
    pub clock: Arc<dyn Clock>,
    /// The data folder.
    pub folder: PathBuf,
    /// Who commits.
    pub host: Host,
    /// By output (rejects among them) the folder of its Parquet files.
    pub lakes: BTreeMap<String, PathBuf>,
    /// For rows that reach topics exactly once; none without.
    pub transaction: Option<Arc<dyn Transaction>>,
    /// Whether this process holds the host's data folder; another one works in its place, and the host may come back.
    pub is_host: bool,
    /// Called behind each step of each epoch: tests kill the process there.
    pub reached: Box<dyn Fn(Step, u64) + Send>,
}

/// What the next start finds.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Whether there was a commit at all.
    pub plan: Option<PlanStamp>,
    /// What each output staged with the last commit; its spool is what still waits.
    pub outputs: BTreeMap<String, Token>,
    /// Files that the last commit named and that had not got their final names.
    pub published_files: usize,
    /// Files that no commit named.
    pub deleted_files: usize,
}

/// Commits epochs.
pub struct Epochs {
    settings: Settings,
    log: CommitLog,
    last: Option<CommitRecord>,
    /// Where the epoch after the last one begins.
    positions: Positions,
    sharing: Sharing,
    /// Whether leftovers of all that worked as this host were deleted.
    is_tidy: bool,
}

impl Epochs {
    /// Reads the log, publishes what was committed and not finished, and deletes what no commit names.
    pub fn open(settings: Settings) -> Result<(Self, Recovered)> {
        let (log, mut last) = CommitLog::open(Arc::clone(&settings.disk), &settings.folder)?;
        let (positions, sharing) = (Positions::new(), Sharing::default());
        let mut epochs = Self { settings, log, last: None, positions, sharing, is_tidy: false };
        let mut recovered = Recovered::default();
        if epochs.log.is_torn() {
            let transacted = epochs.settings.transaction.as_ref().and_then(|transaction| transaction.last());
            let known = last.as_ref().map(|last| last.record.epoch).max(transacted.map(|record| record.epoch));
            epochs.settings.check_not_behind(known.unwrap_or(0))?;
            epochs.log.cut()?;
        }
        match epochs.transacted(last.as_ref())? {
            Some(record) => last = Some(Last { record, finished: false }),
            None => epochs.write_again(last.as_ref())?,
        }
        if let Some(Last { record, finished }) = last {
            epochs.check(&record)?;
            if !finished {
                tracing::info!(
                    epoch = record.epoch,
                    "recovery: the last epoch was committed and not finished: publishing it"
                );
                epochs.settings.check_staged(&record)?;
                recovered.published_files = epochs.settings.publish(&record)?;
                epochs.log.finish(record.epoch)?;
            }
            recovered.plan = Some(record.plan.clone());
            recovered.outputs = record.outputs.clone();
            epochs.sharing = record.sharing.clone();
            epochs.positions = record.positions.clone();
            epochs.last = Some(record);
        }
        recovered.deleted_files = epochs.settings.delete_leftovers(epochs.last.as_ref(), true)?;
        tracing::info!(
            epoch = epochs.last.as_ref().map_or(0, |last| last.epoch),
            published_files = recovered.published_files,
            deleted_files = recovered.deleted_files,
            "recovery: done"
        );
        Ok((epochs, recovered))
    }

    /// The record of a transaction that was committed and that the log does not have yet: it is written down now.
    fn transacted(&mut self, logged: Option<&Last>) -> Result<Option<CommitRecord>> {
        let Some(record) = self.settings.transaction.as_ref().and_then(|transaction| transaction.last()).cloned()
        else {
            return Ok(None);
        };
        if logged.is_some_and(|last| last.record.epoch >= record.epoch) {
            return Ok(None);
        }
        self.check(&record)?;
        tracing::info!(
            epoch = record.epoch,
            "recovery: a transaction was committed that the log does not have: writing it down"
        );
        self.log.write(&record)?;
        self.log.commit()?;
        Ok(Some(record))
    }

    /// A record that is not finished may not be synced, or its sync failed: what was read may still be lost. It is written
    /// and synced once more before its files get their names, which nothing takes back.
    fn write_again(&mut self, logged: Option<&Last>) -> Result<()> {
        let Some(Last { record, finished: false }) = logged else { return Ok(()) };
        self.check(record)?;
        self.log.write(record)?;
        self.log.commit()
    }

    fn check(&self, record: &CommitRecord) -> Result<()> {
        let folder = self.settings.folder.display();
        if record.version > RECORD_VERSION {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "the last commit in {folder} has version {}, this millstream knows up to {RECORD_VERSION}",
                    record.version
                ),
            )
            .help("run a millstream at least as new as the one that wrote it"));
        }
        if record.host != self.settings.host.id {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "the commit log in {folder} is host {}'s, but the folder is host {}'s",
                    record.host, self.settings.host.id
                ),
            )
            .help("files of two data folders were mixed: restore the folder as a whole"));
        }
        Ok(())
    }

    /// What the commits say of the hosts that share the work.
    pub fn sharing(&self) -> &Sharing {
        &self.sharing
    }

    /// What the commits from now on say of the hosts that share the work.
    pub fn share(&mut self, sharing: Sharing) {
        self.sharing = sharing;
    }

    /// Partitions are read from these offsets on; `known` is what all hosts committed of them.
    pub fn start_at(&mut self, starts: &[(Partition, i64)], known: &Positions) {
        for (partition, offset) in starts {
            let Some((end, mut position)) = known.get(partition).and_then(|at| Some((at.ranges.end()?, at.clone())))
            else {
                self.positions.remove(partition);
                continue;
            };
            // Where somebody moved the group's offset: what lies between is read again, or is done with.
            match end > *offset {
                true => position.take_back(*offset),
                false => position.ranges.add(end, *offset),
            }
            self.positions.insert(partition.clone(), position);
        }
    }

    /// Everything from `point` on is read again. `known`: what all hosts committed of it.
    pub fn rewind(&mut self, point: &Point, known: &Positions) {
        for (partition, offset) in point {
            let mut position = known.get(partition).cloned().unwrap_or_default();
            if position.file.is_none() && !partition.is_of_rejects() {
                position.take_back(*offset);
            } else {
                position.ranges.cut(*offset);
                if position.ranges.end().is_none() {
                    self.positions.remove(partition);
                    continue;
                }
            }
            self.positions.insert(partition.clone(), position);
        }
    }

    /// The commits from now on say nothing of what lies before these offsets of partitions.
    pub fn forget(&mut self, before: &BTreeMap<Partition, i64>) {
        for (partition, offset) in before {
            if let Some(position) = self.positions.get_mut(partition) {
                position.ranges.forget_before(*offset);
                if position.ranges.end().is_none() {
                    self.positions.remove(partition);
                }
            }
        }
    }

    /// Whether the last commit says what the next one will of positions and of the hosts that share the work.
    pub fn is_said(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.sharing == self.sharing && last.positions == self.positions)
    }

    /// The number of the epoch that is committed next.
    pub fn next_epoch(&self) -> u64 {
        self.last.as_ref().map_or(1, |last| last.epoch + 1)
    }

    /// The last commit.
    pub fn last(&self) -> Option<&CommitRecord> {
        self.last.as_ref()
    }

    /// All rows since the data folder exists.
    pub fn totals(&self) -> Counts {
        self.last.as_ref().map(|last| last.totals.clone()).unwrap_or_default()
    }

    /// Makes an epoch true and publishes it. `read` is what the workers read in this epoch, `outputs` what they staged.
    pub fn commit(
        &mut self,
        plan: &PlanStamp,
        read: &Positions,
        outputs: BTreeMap<String, Token>,
        counts: Counts,
    ) -> Result<&CommitRecord> {
        let record = self.record(plan, read, outputs, counts);
        check_rows(&record)?;
        let epoch = record.epoch;
        let reached = |epochs: &Self, step| (epochs.settings.reached)(step, epoch);
        reached(self, Step::Prepared);
        if let Some(transaction) = &self.settings.transaction {
            transaction.commit(&record)?;
        }
        reached(self, Step::Transacted);
        self.log.write(&record)?;
        reached(self, Step::Written);
        self.log.commit()?;
        reached(self, Step::Committed);
        self.settings.publish_files(&record)?;
        reached(self, Step::Published);
        self.settings.write_manifests(&record)?;
        reached(self, Step::Manifested);
        self.log.finish(epoch)?;
        reached(self, Step::Finished);
        let obsolete: Vec<PathBuf> = record.outputs.values().flat_map(|token| token.obsolete.clone()).collect();
        self.positions.clone_from(&record.positions);
        self.last = Some(record);
        obsolete.iter().try_for_each(|path| self.settings.remove(path))?;
        if !self.is_tidy {
            self.settings.delete_leftovers(self.last.as_ref(), false)?;
            self.is_tidy = true;
        }
        self.last.as_ref().ok_or_else(|| Error::new(ErrorKind::Internal, "the commit that was just made is gone"))
    }

    fn record(
        &self,
        plan: &PlanStamp,
        read: &Positions,
        outputs: BTreeMap<String, Token>,
        counts: Counts,
    ) -> CommitRecord {
        let mut positions = self.positions.clone();
        for (partition, more) in read {
            positions.entry(partition.clone()).or_default().merge(partition, more);
        }
        let mut totals = self.totals();
        totals.merge(&counts);
        let mut closed = self.last.as_ref().map(|last| last.closed_rows.clone()).unwrap_or_default();
        for (output, token) in &outputs {
            *closed.entry(output.clone()).or_default() += token.closed_rows() + token.acknowledged_rows;
        }
        CommitRecord {
            version: RECORD_VERSION,
            host: self.settings.host.id.clone(),
            incarnation: self.settings.host.incarnation,
            epoch: self.next_epoch(),
            committed_at_ms: self.settings.clock.now_ms(),
            plan: plan.clone(),
            positions,
            outputs,
            counts,
            totals,
            closed_rows: closed,
            sharing: self.sharing.clone(),
        }
    }
}

/// What the workers counted as written is what lies in closed files, by their footers, and in the spool.
fn check_rows(record: &CommitRecord) -> Result<()> {
    let waiting = |output: &String| record.outputs.get(output).map_or(0, Token::waiting_rows);
    let rejected = (crate::output::REJECTS.to_owned(), record.totals.total_rejected());
    let written = record.totals.out.iter().map(|(output, rows)| (output.clone(), *rows)).chain([rejected]);
    for (output, rows) in written {
        let closed = record.closed_rows.get(&output).copied().unwrap_or(0);
        if closed + waiting(&output) != rows {
            return Err(Error::new(
                ErrorKind::Internal,
                format!(
                    "epoch {}: output \"{output}\" was given {rows} rows in all, but closed files hold {closed} and the spool {}",
                    record.epoch,
                    waiting(&output)
                ),
            )
            .help("the epoch is not committed; please report this with the pipeline file"));
        }
    }
    Ok(())
}
