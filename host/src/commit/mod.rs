//! Epochs and their commit. Promise: every row of an epoch is in the lake exactly once, or the epoch never was.
//!
//! All workers stand between two batches when an epoch ends, and each has prepared: what it wrote since the last commit
//! is on disk and synced, either in whole files under a staged name or in the spool, or in an open transaction (`kafka`). Then,
//! in this order:
//!
//! | step | what it does | a crash right behind it leaves | what the next start does |
//! |---|---|---|---|
//! | prepared | outputs are staged and synced | staged files that no record names | deletes them, reads from the last commit's positions |
//! | transacted | with topics that get each row once: the transaction is committed, see `kafka` | a record in the commit topic that is ahead of the log | writes it into the log, publishes its files |
//! | written | the record is in the log, not synced | a record that is whole, or torn | whole: writes it again and syncs it, then as committed; torn: cuts it off, then as prepared |
//! | committed | the log is synced | staged files that the record names | publishes them |
//! | published | files have their final names, folders are synced | all files, no manifest | publishes again: a file that has its name already is done |
//! | manifested | the epoch's manifest names its files | a log without the finished mark | publishes again, which changes nothing |
//! | finished | the mark is in the log | leftovers in staging | deletes them |
//!
//! A record names every file and every part of the spool that the epoch needs, with length and checksum; positions and
//! files are in one record, so neither is ever true without the other. Epoch n + 1 is written only behind the finished
//! mark of n. Publishing renames within a file system, so a file is whole under its final name or not there.

mod adopt;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
mod epochs;
mod folder;
mod kafka;
mod lakes;
mod log;
mod record;
mod rewind;
pub(crate) mod topic;
#[cfg(test)]
mod topic_tests;

pub use adopt::{Taker, adopt, settle_all};
pub use epochs::{Epochs, Recovered, Settings, Step, Transaction};
pub use folder::{Copied, DataFolder, Host, fresh_id};
pub use kafka::{Cluster, Fenced, GroupOffsets, Transactions};
pub use lakes::staging_folder;
pub use log::last_commit;
pub use record::{CommitRecord, ConfigChange, PlanStamp, Sharing, positions_of};
pub use rewind::{LakeFile, Point, RemovedFile, Rewind};
