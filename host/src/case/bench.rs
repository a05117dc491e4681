//! What a plugin costs a row: the rows of cases, repeated to batches of several sizes, through one instance. Time is the
//! processor's, so that a busy machine changes little.

use std::hint::black_box;
use std::time::{Duration, Instant};

use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use super::{Case, Trial};
use crate::contract::{Call, Patch};
use crate::decode::Decoder;
use crate::dimension::{Dimension, Snapshot};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{PlannedPlugin, Work};
use crate::plugin::{Crossing, Plugin, crossing_bytes, worked};
use crate::record::Batch;
use crate::stage;

/// Calls before the time is taken: the plugin's memory has grown and the code is warm then.
const WARM_CALLS: usize = 5;

/// What a plugin costs in batches of one size, each figure a row and the median of many calls.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// Rows a call.
    pub rows: usize,
    /// How often it was called.
    pub calls: usize,
    /// The host's lookups that the contract declares, in ns.
    pub lookups_ns: f64,
    /// Arrow to the interface's layout, in ns.
    pub lowering_ns: f64,
    /// The copies into and out of the plugin's memory, in ns: what copying the same bytes costs within the host.
    pub copies_ns: f64,
    /// The plugin's own work, in ns: the call without the copies.
    pub plugin_ns: f64,
    /// What came back checked and made Arrow again, in ns.
    pub checking_ns: f64,
}

impl Cost {
    /// Everything but the lookups, which cost a native stage as much.
    pub fn total_ns(&self) -> f64 {
        self.boundary_ns() + self.plugin_ns
    }

    /// What a stage linked into the host would not cost.
    pub fn boundary_ns(&self) -> f64 {
        self.lowering_ns + self.copies_ns + self.checking_ns
    }
}

/// Measures a plugin on the rows of a case for about `time`, in batches of `rows` rows.
///
/// # Errors
/// `Config` for a case without rows, `Plugin` when a call fails.
pub fn bench(trial: &Trial, case: &Case, plugin: &Plugin, rows: usize, time: Duration) -> Result<Cost> {
    let Some(Work::Plugin(work)) = trial.plan().stages.first().map(|stage| &stage.work) else {
        return Err(Error::new(ErrorKind::Internal, "a plugin's case has no plugin's stage"));
    };
    let batch = batch(trial, case, rows)?;
    let tables: Vec<Snapshot> = trial.tables().iter().map(Dimension::snapshot).collect();
    let limits = case.header.limits().map_err(|wrong| Error::new(ErrorKind::Config, wrong))?;
    let now_ms = batch.records.timestamps_ms.first().copied().unwrap_or(0);
    let call = stage::call(work, &batch, &tables, now_ms)?;
    let lookups = median((0..WARM_CALLS * 5).map(|_| timed(|| stage::call(work, &batch, &tables, now_ms).map(drop))))?;
    let (mut instance, _) = plugin.instantiate("bench", &work.config, &work.given, &limits)?;
    let granted = granted(work, &tables);
    let mut once = || -> Result<(Patch, Crossing)> {
        let (returned, crossing) = instance.process_timed(&call, &work.contract, &granted, limits.deadline)?;
        let patch = returned.map_err(|failure| {
            Error::new(ErrorKind::Plugin, format!("{}: {failure}", case.path.display()))
                .help("a batch that traps cannot be measured: `plugin test` shows the guilty rows")
        })?;
        Ok((patch, crossing))
    };
    let mut patch = once()?.0;
    for _ in 1..WARM_CALLS {
        patch = once()?.0;
    }
    let mut crossings = Vec::new();
    let began = Instant::now();
    while began.elapsed() < time || crossings.len() < WARM_CALLS {
        crossings.push(once()?.1);
    }
    let part = |of: fn(&Crossing) -> Duration| median(crossings.iter().map(|crossing| Ok(of(crossing))));
    let copies = copies(&call, &patch)?;
    let whole_call = part(|crossing| crossing.call)?;
    let a_row = |time: Duration| time.as_nanos() as f64 / rows as f64;
    Ok(Cost {
        rows,
        calls: crossings.len(),
        lookups_ns: if work.lookups.is_empty() { 0.0 } else { a_row(lookups) },
        lowering_ns: a_row(part(|crossing| crossing.lowering)?),
        copies_ns: a_row(copies.min(whole_call)),
        plugin_ns: a_row(whole_call.saturating_sub(copies)),
        checking_ns: a_row(part(|crossing| crossing.checking)?),
    })
}

/// The case's rows, repeated to as many as wanted.
fn batch(trial: &Trial, case: &Case, rows: usize) -> Result<Batch> {
    let mut decoded = Vec::new();
    let pipeline = trial.pipeline();
    let (source, planned) = (&pipeline.sources[0], &trial.plan().sources[0]);
    let mut decoder = Decoder::new(&source.columns, source.format.value, &source.unknown, &planned.needed)?;
    let mut first = None;
    for (_, records) in trial.blocks(case)? {
        decoded.push(decoder.decode(&records)?.columns);
        first.get_or_insert(records);
    }
    let internal = |error| Error::new(ErrorKind::Internal, "the rows cannot be repeated").caused_by(error);
    let all: RecordBatch = arrow::compute::concat_batches(&decoder.schema(), &decoded).map_err(internal)?;
    let (Some(records), true) = (first, all.num_rows() > 0) else {
        let message = format!("{} has no row to measure with", case.path.display());
        return Err(Error::new(ErrorKind::Config, message));
    };
    let picked = UInt32Array::from_iter_values((0..rows).map(|row| (row % all.num_rows()) as u32));
    let columns = take_record_batch(&all, &picked).map_err(internal)?;
    Ok(Batch { columns, records: records.into(), record_of_row: Some(vec![0; rows]) })
}

fn granted(work: &PlannedPlugin, tables: &[Snapshot]) -> Vec<Option<Snapshot>> {
    let snapshot = |name: &str| {
        let (_, index) = work.granted.iter().find(|(granted, _)| granted == name)?;
        tables.get(*index).cloned()
    };
    work.given.tables.iter().map(|table| snapshot(&table.name)).collect()
}

/// The time that copying costs: the bytes that go in and those that come out, once each, into memory that is there.
fn copies(call: &Call, patch: &Patch) -> Result<Duration> {
    let back: usize = patch.columns.iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum();
    let bytes = crossing_bytes(call) + back + patch.rows.as_ref().map_or(0, |rows| 4 * rows.len());
    let from = vec![1_u8; bytes];
    let mut to = vec![0_u8; bytes];
    median((0..50).map(|_| {
        timed(|| {
            to.copy_from_slice(black_box(&from));
            black_box(&to);
            Ok(())
        })
    }))
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let began = worked();
    work()?;
    Ok(worked().saturating_sub(began))
}

fn median(times: impl Iterator<Item = Result<Duration>>) -> Result<Duration> {
    let mut times = times.collect::<Result<Vec<Duration>>>()?;
    times.sort_unstable();
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}
