//! A stage at work: one worker's instance of a planned stage takes a batch and gives what becomes of its rows.
//!
//! Promise: every row of a batch comes out exactly once: kept (perhaps several times, counted), rejected or filtered, in
//! order; and a row that a plugin cannot bear stops neither the others nor the stream. It holds because a patch is used
//! only when each row has one fate in it (`plugin::check`), and because a call that fails is cut in halves until the
//! guilty rows stand alone (`bisect`). Failing for ever is bounded: by calls and time an epoch (`patience`), and by the
//! share of rejects. So is the memory that copies of rows take (`copies`).

mod assemble;
mod bisect;
mod copies;
mod lookup;
mod patience;
mod share;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};

use self::bisect::Running;
use self::lookup::NativeLookup;
use self::share::RejectedRows;
use crate::config;
use crate::contract::{Call, Filtered, Joined};
use crate::dimension::Snapshot;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{PlannedLookup, PlannedPlugin, PlannedStage, Work};
use crate::plugin::Plugin;
use crate::record::{Batch, Refusal};

pub use self::patience::LOST_MAX;

/// One worker's instance of a planned stage.
#[derive(Debug)]
pub struct Stage {
    planned: PlannedStage,
    work: AtWork,
    rejected: Option<RejectedRows>,
}

#[derive(Debug)]
enum AtWork {
    Plugin(Box<Running>),
    Lookup(NativeLookup),
    /// The simulation's stand-in for a plugin.
    #[cfg(test)]
    Native(Native),
}

/// A function in a plugin's place, and the version that it is told.
#[cfg(test)]
pub type Native = (fn(&Batch, i64) -> crate::contract::Patch, i64);

/// What became of a batch's rows.
#[derive(Debug)]
pub struct Applied {
    /// The rows that go on, with the columns of `PlannedStage::output`.
    pub kept: Batch,
    /// For each kept row an index into the contract's outputs; empty when the stage does not route.
    pub routes: Vec<u16>,
    /// The rows that were refused, by their index in the batch that came in.
    pub rejects: Vec<Refusal>,
    /// The rows that were left out on purpose, by reason; indexes as above.
    pub filtered: Vec<Filtered>,
    /// Rows made beyond one for each kept input row: the sum over kept rows of copies - 1.
    pub multiplied: u64,
}

impl Stage {
    /// Sets a stage up: a plugin is instantiated and configured.
    ///
    /// # Errors
    /// `Plugin` or `Config` when the plugin cannot be instantiated, or declares another contract than was planned.
    pub fn new(planned: &PlannedStage, settings: &config::Stage, plugin: Option<Arc<Plugin>>) -> Result<Self> {
        let work = match (&planned.work, &settings.kind, plugin) {
            (Work::Plugin(work), config::StageKind::Plugin(_), Some(plugin)) => {
                AtWork::Plugin(Box::new(Running::new(&planned.name, work, &settings.limits, plugin)?))
            }
            (Work::Lookup(lookup), config::StageKind::Lookup(settings), _) => {
                AtWork::Lookup(NativeLookup::new(planned, lookup, settings))
            }
            _ => {
                let message = format!("stage \"{}\" is planned as something else than the file says", planned.name);
                return Err(Error::new(ErrorKind::Internal, message));
            }
        };
        let rejected = settings.limits.rejected.map(|limit| RejectedRows::new(&planned.name, limit));
        Ok(Self { planned: planned.clone(), work, rejected })
    }

    /// A stage that runs a function where the plan has a plugin.
    #[cfg(test)]
    pub fn native(planned: &PlannedStage, work: Native) -> Self {
        Self { planned: planned.clone(), work: AtWork::Native(work), rejected: None }
    }

    /// Applies the stage to a batch.
    ///
    /// `tables` are the dimensions by their index, pinned for this batch. `now_ms` is the time that a plugin sees, by
    /// rights the batch's largest record timestamp; `elapsed` is the worker's own time since it began, over which the
    /// share of rejects is measured.
    ///
    /// # Errors
    /// `Unavailable` when the plugin asks to have the batch again later, or a table cannot be read; `Plugin` when the
    /// plugin gives up, keeps trapping, or rejects more than it may. Nothing of the batch was kept then.
    pub fn apply(&mut self, batch: &Batch, tables: &[Snapshot], now_ms: i64, elapsed: Duration) -> Result<Applied> {
        let patch = match &mut self.work {
            AtWork::Lookup(lookup) => lookup.patch(batch, tables)?,
            #[cfg(test)]
            AtWork::Native((work, version)) => work(batch, *version),
            AtWork::Plugin(running) => {
                let Work::Plugin(work) = &self.planned.work else {
                    return Err(Error::new(ErrorKind::Internal, "a plugin's stage is planned as a lookup"));
                };
                if batch.rows() == 0 {
                    assemble::nothing(&work.contract)
                } else {
                    let call = call(work, batch, tables, now_ms)?;
                    running.patch(work, &call, tables, &batch.columns)?
                }
            }
        };
        // Rows that are tried again were refused before: they say nothing about the stream.
        if let Some(rejected) = self.rejected.as_mut().filter(|_| batch.records.replayed().is_none()) {
            rejected.count(elapsed, batch.rows(), &patch.rejects)?;
        }
        assemble::apply(&self.planned, batch, patch)
    }

    /// Begins an epoch: the calls that bisection may cost are counted anew.
    pub fn begin_epoch(&mut self) {
        if let AtWork::Plugin(running) = &mut self.work {
            running.begin_epoch();
        }
    }

    /// The memory that the stage's plugin holds; 0 for a native lookup.
    pub fn memory_bytes(&self) -> u64 {
        match &self.work {
            AtWork::Plugin(running) => running.memory_bytes(),
            AtWork::Lookup(_) => 0,
            #[cfg(test)]
            AtWork::Native(_) => 0,
        }
    }
}

/// What crosses for a batch: the columns that the plugin reads, and the answers to its declared lookups.
pub fn call(work: &PlannedPlugin, batch: &Batch, tables: &[Snapshot], now_ms: i64) -> Result<Call> {
    let mut fields = Vec::with_capacity(work.reads.len());
    let mut columns = Vec::with_capacity(work.reads.len());
    for (declared, index) in work.contract.reads.iter().zip(&work.reads) {
        let column = column(batch, *index)?;
        fields.push(Field::new(&declared.name, column.data_type().clone(), true));
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.rows()));
    let columns =
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(|error| {
            Error::new(ErrorKind::Internal, "the columns that cross do not fit together").caused_by(error)
        })?;
    let lookups = work.lookups.iter().map(|planned| joined(planned, batch, tables)).collect::<Result<_>>()?;
    Ok(Call { columns, lookups, now_ms })
}

fn joined(planned: &PlannedLookup, batch: &Batch, tables: &[Snapshot]) -> Result<Joined> {
    let table = tables.get(planned.table).ok_or_else(|| {
        Error::new(
            ErrorKind::Internal,
            format!("dimension {} is planned, but there are {}", planned.table, tables.len()),
        )
    })?;
    let key: Vec<ArrayRef> = planned.key.iter().map(|index| column(batch, *index)).collect::<Result<_>>()?;
    table.lookup(&key, &planned.columns)
}

fn column(batch: &Batch, index: usize) -> Result<ArrayRef> {
    batch.columns.columns().get(index).cloned().ok_or_else(|| {
        let message = format!("column {index} is planned, but the batch has {}", batch.columns.num_columns());
        Error::new(ErrorKind::Internal, message)
    })
}

#[cfg(test)]
mod tests;
