//! A plugin at work on a batch, whatever the plugin does.
//!
//! A call that traps, takes too long, needs too much memory or returns a broken patch is made again in halves, on a new
//! instance, until the guilty rows stand alone; those are rejected, with the failure's message and backtrace as the
//! detail. A row is guilty only when it fails in the first call of a new instance: what calls before it left behind is no
//! fault of its own. A half has its share of the time. When the first of two halves goes through, the other one has to
//! be the guilty one and is cut at once; where rows failed lately, a batch begins in pieces of about as many rows as lay
//! between them. A plugin may say over which row it trapped: in the first call of a new instance its word is enough, in
//! later calls when it was right before. What all this costs is counted (`patience`): a stage fails when its plugin is at fault, not the data.
//! The order of rows stays: parts are put in order at the end.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;

use super::assemble::{Part, merge};
use super::copies::Copies;
use super::patience::Patience;
use crate::config::Limits;
use crate::contract::{Call, Joined, Patch};
use crate::dimension::Snapshot;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::PlannedPlugin;
use crate::plugin::{DETAIL_MAX_BYTES, Failure, Instance, Plugin, crossing_bytes, cut, worked};
use crate::record::Refusal;

/// The time that even one row has: below it what a fresh instance does at first would count as the row's.
const DEADLINE_MIN: Duration = Duration::from_millis(50);
/// A batch may take one part in so many of the memory that a fresh instance has left: it lies there as it crossed, as
/// the plugin reads it, as the plugin builds its answer, and as the answer that crosses.
const MEMORY_PARTS: u64 = 8;
/// The bytes that may cross at once however little memory is left.
const CROSSING_MIN_BYTES: u64 = 64 * 1024;
/// A piece is never begun with fewer rows: so much does a call cost by itself.
const PIECE_MIN_ROWS: usize = 16;
/// A plugin whose word was right so often in a row is believed ..
const BELIEVED_AFTER: u32 = 8;
/// .. but each so many times its word is tried again.
const TRIED_EVERY: u32 = 64;

/// A stage's plugin, its instance, and what it may cost.
#[derive(Debug)]
pub struct Running {
    stage: Arc<str>,
    plugin: Arc<Plugin>,
    limits: Limits,
    instance: Option<Instance>,
    /// Whether the instance has not been called yet.
    fresh: bool,
    /// For each of the given tables the dimension's index; none when the plugin knows of it and may not read it.
    granted: Vec<Option<usize>>,
    crossing_bytes: u64,
    patience: Patience,
    /// How many rows a batch's pieces begin with.
    piece_rows: usize,
    /// How often in a row a new instance trapped over the row that an older one had named.
    right: u32,
}

/// Some rows of a batch that a call is still to be made for.
struct Piece {
    rows: Range<usize>,
    /// Whether it stems from a call that failed.
    probe: bool,
    /// Whether the next piece is the other half of the same rows.
    is_left: bool,
    /// Whether the fault has to be in it, because its other half went through.
    suspect: bool,
    /// The row that an instance named that had been called before.
    named: Option<usize>,
}

impl Piece {
    /// A part of rows that failed together.
    fn of(rows: Range<usize>) -> Self {
        Self { rows, probe: true, is_left: false, suspect: false, named: None }
    }
}

impl Running {
    /// Instantiates the plugin.
    pub fn new(stage: &Arc<str>, work: &PlannedPlugin, limits: &Limits, plugin: Arc<Plugin>) -> Result<Self> {
        let index = |name: &str| work.granted.iter().find(|(granted, _)| granted == name).map(|(_, index)| *index);
        let granted = work.given.tables.iter().map(|table| index(&table.name)).collect();
        let mut running = Self {
            stage: Arc::clone(stage),
            granted,
            plugin,
            limits: limits.clone(),
            instance: None,
            fresh: true,
            crossing_bytes: CROSSING_MIN_BYTES,
            patience: Patience::new(limits.trap_calls, limits.deadline),
            piece_rows: usize::MAX,
            right: 0,
        };
        let fresh_bytes = running.instance(work)?.memory_bytes();
        let left_bytes = limits.memory_bytes.saturating_sub(fresh_bytes);
        running.crossing_bytes = (left_bytes / MEMORY_PARTS).max(CROSSING_MIN_BYTES);
        Ok(running)
    }

    /// Counts the calls of bisection anew.
    pub fn begin_epoch(&mut self) {
        self.patience.begin_epoch();
    }

    /// The memory of the instance.
    pub fn memory_bytes(&self) -> u64 {
        self.instance.as_ref().map_or(0, Instance::memory_bytes)
    }

    /// Has the plugin work on a batch of at least one row, whose columns are `passed`.
    pub fn patch(
        &mut self,
        work: &PlannedPlugin,
        call: &Call,
        tables: &[Snapshot],
        passed: &RecordBatch,
    ) -> Result<Patch> {
        let tables = self.granted.iter().map(|index| match index {
            Some(index) => tables.get(*index).cloned().map(Some),
            None => Some(None),
        });
        let tables: Option<Vec<Option<Snapshot>>> = tables.collect();
        let tables = tables.ok_or_else(|| Error::new(ErrorKind::Internal, "a granted dimension is not there"))?;
        let mut parts = Vec::with_capacity(1);
        let mut copies = Copies::new(passed);
        for rows in narrow_enough(call, 0..call.columns.num_rows(), self.crossing_bytes) {
            self.bisect(work, call, &tables, rows, &mut copies, &mut parts)?;
        }
        parts.sort_by_key(Part::start);
        merge(parts, &work.contract)
    }

    fn bisect(
        &mut self,
        work: &PlannedPlugin,
        call: &Call,
        tables: &[Option<Snapshot>],
        whole: Range<usize>,
        copies: &mut Copies<'_>,
        parts: &mut Vec<Part>,
    ) -> Result<()> {
        let mut left = pieces(&whole, self.piece_rows);
        let mut failed = None;
        let mut guilty = 0;
        while let Some(piece) = left.pop() {
            let rows = piece.rows.clone();
            if piece.suspect && rows.len() > 1 {
                push_halves(&mut left, &rows);
                continue;
            }
            if let (true, Some(failure)) = (piece.probe, &failed) {
                self.patience.take_call().map_err(|cost| self.keeps_failing(&cost, failure))?;
            }
            if piece.suspect && !self.fresh {
                self.instance = None;
            }
            let began = worked();
            let was_fresh = self.instance.is_none() || self.fresh;
            let outcome = match self.call(work, call, tables, &rows, whole.len())? {
                Ok(patch) => copies.count(&self.stage, rows.start, patch)?,
                Err(failure) => Err(failure),
            };
            let took = worked().saturating_sub(began);
            match outcome {
                Ok(patch) => {
                    if piece.named.is_some() {
                        self.right = 0;
                    }
                    self.patience.passed(rows.len(), took);
                    if let (true, Some(right)) = (piece.is_left, left.last_mut()) {
                        right.suspect = true;
                    }
                    parts.push(Part::Patched { start: rows.start, rows: rows.len(), patch });
                }
                Err(failure) => {
                    self.instance = None;
                    self.patience.failed(took);
                    match named(&failure, &rows) {
                        Some(row) if was_fresh || self.is_believed() => {
                            self.right += u32::from(piece.named == Some(row));
                            guilty += 1;
                            self.patience.guilty();
                            parts.push(Part::Refused(refusal(row, &failure)?));
                            push_around(&mut left, &rows, row);
                        }
                        Some(row) => left.push(Piece { probe: true, named: Some(row), ..piece }),
                        None if rows.len() > 1 => push_halves(&mut left, &rows),
                        None if was_fresh => {
                            guilty += 1;
                            self.patience.guilty();
                            parts.push(Part::Refused(refusal(rows.start, &failure)?));
                        }
                        None => left.push(Piece { probe: true, ..piece }),
                    }
                    failed = Some(failure);
                }
            }
        }
        self.learn(whole.len(), guilty);
        Ok(())
    }

    /// Whether the plugin's word is enough for a row that it names in a call that is not an instance's first.
    fn is_believed(&mut self) -> bool {
        let believed = self.right >= BELIEVED_AFTER && !self.right.is_multiple_of(TRIED_EVERY);
        self.right += u32::from(believed);
        believed
    }

    /// Takes the size of pieces from how far guilty rows lay apart.
    fn learn(&mut self, rows: usize, guilty: usize) {
        self.piece_rows = match rows.checked_div(guilty) {
            Some(apart) => apart.max(PIECE_MIN_ROWS),
            None => self.piece_rows.saturating_mul(2),
        };
    }

    /// One call for a part of a batch. Failures that are about the batch are errors; those that halving may help are not.
    fn call(
        &mut self,
        work: &PlannedPlugin,
        call: &Call,
        tables: &[Option<Snapshot>],
        rows: &Range<usize>,
        whole_rows: usize,
    ) -> Result<Result<Patch, Failure>> {
        let deadline = deadline(self.limits.deadline, rows.len(), whole_rows);
        let part;
        let call = if rows.len() == call.columns.num_rows() {
            call
        } else {
            part = slice(call, rows);
            &part
        };
        let stage = Arc::clone(&self.stage);
        let instance = self.instance(work)?;
        let outcome = instance.process(call, &work.contract, tables, deadline)?;
        self.fresh = false;
        match outcome {
            Err(Failure::Retry(message)) => {
                let message = format!("stage \"{stage}\": the plugin asks to have the batch again later: {message}");
                Err(Error::new(ErrorKind::Unavailable, message))
            }
            Err(Failure::Fatal(message)) => {
                let message = format!("stage \"{stage}\": the plugin gives up: {message}");
                Err(Error::new(ErrorKind::Plugin, message).help("its configuration or its code has to change"))
            }
            outcome => Ok(outcome),
        }
    }

    /// The instance, made anew when the last one ended.
    fn instance(&mut self, work: &PlannedPlugin) -> Result<&mut Instance> {
        if self.instance.is_none() {
            let (instance, contract) = self.plugin.instantiate(&self.stage, &work.config, &work.given, &self.limits)?;
            if contract != work.contract {
                let message = format!(
                    "stage \"{}\": the plugin declares another contract than before, with the same configuration",
                    self.stage
                );
                return Err(
                    Error::new(ErrorKind::Plugin, message).help("`configure` must depend on nothing but its arguments")
                );
            }
            self.instance = Some(instance);
            self.fresh = true;
        }
        self.instance.as_mut().ok_or_else(|| Error::new(ErrorKind::Internal, "an instance was made and is gone"))
    }

    fn keeps_failing(&self, cost: &str, failure: &Failure) -> Error {
        let message = format!("stage \"{}\" keeps failing: {cost}; last, {failure}", self.stage);
        let message = match failure {
            Failure::Trap { backtrace, .. } if !backtrace.is_empty() => format!("{message}\n{backtrace}"),
            _ => message,
        };
        Error::new(ErrorKind::Plugin, message)
            .help("the plugin is at fault, not single rows: mend it, or roll back; `limits = { trap_calls = .. }` allows more")
    }
}

/// Rows in pieces of about this many, the next one last.
fn pieces(whole: &Range<usize>, rows: usize) -> Vec<Piece> {
    let count = whole.len().div_ceil(rows.max(1)).max(1);
    let bound = |piece: usize| whole.start + whole.len() * piece / count;
    (0..count).rev().map(|at| Piece { probe: false, ..Piece::of(bound(at)..bound(at + 1)) }).collect()
}

fn push_halves(left: &mut Vec<Piece>, rows: &Range<usize>) {
    let middle = rows.start + rows.len() / 2;
    left.push(Piece::of(middle..rows.end));
    left.push(Piece { is_left: true, ..Piece::of(rows.start..middle) });
}

/// The rows behind a guilty one come first: only they may hold another, and the next instance is new.
fn push_around(left: &mut Vec<Piece>, rows: &Range<usize>, guilty: usize) {
    let around = [rows.start..guilty, guilty + 1..rows.end];
    left.extend(around.into_iter().filter(|rows| !rows.is_empty()).map(Piece::of));
}

/// The row of the batch that a plugin says it trapped over, when it is one of these.
fn named(failure: &Failure, rows: &Range<usize>) -> Option<usize> {
    match failure {
        Failure::Trap { row: Some(row), .. } => rows.start.checked_add(*row).filter(|row| rows.contains(row)),
        _ => None,
    }
}

/// The share of a deadline that a part of the rows has.
fn deadline(whole: Duration, rows: usize, whole_rows: usize) -> Duration {
    if rows == whole_rows {
        return whole;
    }
    whole.mul_f64(rows as f64 / whole_rows.max(1) as f64).max(DEADLINE_MIN.min(whole))
}

/// Cuts rows in halves until what crosses of each part fits, or is one row.
fn narrow_enough(call: &Call, rows: Range<usize>, most_bytes: u64) -> Vec<Range<usize>> {
    let mut parts = Vec::with_capacity(1);
    let mut left = vec![rows];
    while let Some(rows) = left.pop() {
        let whole = rows.len() == call.columns.num_rows();
        let bytes = if whole { crossing_bytes(call) } else { crossing_bytes(&slice(call, &rows)) };
        if rows.len() > 1 && bytes as u64 > most_bytes {
            let middle = rows.start + rows.len() / 2;
            left.push(middle..rows.end);
            left.push(rows.start..middle);
        } else {
            parts.push(rows);
        }
    }
    parts
}

fn slice(call: &Call, rows: &Range<usize>) -> Call {
    let joined = |joined: &Joined| Joined {
        found: joined.found.slice(rows.start, rows.len()),
        columns: joined.columns.iter().map(|column| column.slice(rows.start, rows.len())).collect(),
    };
    Call {
        columns: call.columns.slice(rows.start, rows.len()),
        lookups: call.lookups.iter().map(joined).collect(),
        now_ms: call.now_ms,
    }
}

/// The rejection of a row that a plugin cannot bear.
fn refusal(row: usize, failure: &Failure) -> Result<Refusal> {
    let row = u32::try_from(row).map_err(|_| Error::new(ErrorKind::Internal, "a batch is too large"))?;
    let (reason, detail) = match failure {
        Failure::Trap { message, backtrace, .. } => ("trap", format!("{message}\n{backtrace}")),
        Failure::Deadline { .. } => ("deadline", failure.to_string()),
        Failure::OutOfMemory { .. } => ("out_of_memory", failure.to_string()),
        Failure::Broken(message) => ("broken_patch", message.clone()),
        Failure::Retry(message) | Failure::Fatal(message) => ("failed", message.clone()),
    };
    Ok(Refusal { row, reason: reason.to_owned(), detail: cut(detail.trim_end().to_owned(), DETAIL_MAX_BYTES) })
}
