//! One instance of a plugin: configured once, called batch by batch, thrown away after the first call that did not end
//! well. Three kinds of failure are told apart: what the plugin says about the batch (`Retry`, `Fatal`), what it returned
//! (`Broken`), and what became of it (`Trap`, `Deadline`, `OutOfMemory`).

use std::fmt;
use std::time::Duration;

use wasmtime::{Store, Trap, UpdateDeadline, WasmBacktrace};

use super::bindings::{Stage, StagePre, columns as wit_columns, transform as wit};
use super::check::{DETAIL_MAX_BYTES, check, cut};
use super::columns::{Lowered, bitmap, lower};
use super::contract::{GivenText, contract};
use super::dimensions::{GrantedTable, keys_allowed};
use super::log::InstanceLog;
use super::sandbox::{State, worked};
use crate::config::StageConfig;
use crate::contract::{Call, Contract, Given, Patch};
use crate::dimension::Snapshot;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Column;

/// How long `describe` and `configure` may work.
pub const CONFIGURE_DEADLINE: Duration = Duration::from_secs(10);

/// Most bytes that a plugin may hand over at once, in the host's own, somewhat larger structures; less when twice its
/// memory is less, which is enough for everything in it.
pub const HANDED_OVER_MAX_BYTES: u64 = 512 * 1024 * 1024;

/// How wasmtime says that more was handed over; the error's type is its own.
const FUEL_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";

/// Longest name of a frame.
const FRAME_MAX_BYTES: usize = 200;
/// Longest name and version of a plugin.
const NAME_MAX_BYTES: usize = 256;
/// Longest schema of a plugin's config; a longer one counts as none.
const SCHEMA_MAX_BYTES: usize = 1024 * 1024;

/// Why a call gave no patch.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The plugin says: the same batch may work later.
    Retry(String),
    /// The plugin says: this configuration never will.
    Fatal(String),
    /// What it returned is wrong: says what.
    Broken(String),
    /// It crashed.
    Trap {
        /// What happened, with what the plugin wrote to stderr last.
        message: String,
        /// The plugin's functions, innermost first, one a line.
        backtrace: String,
        /// The row that it says it crashed over.
        row: Option<usize>,
    },
    /// It worked longer than it may.
    Deadline {
        /// The time that it had, of the processor.
        after: Duration,
    },
    /// It asked for more memory than it may have, and crashed.
    OutOfMemory {
        /// What it may have.
        limit_bytes: u64,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(message) => write!(f, "the plugin asks to retry: {message}"),
            Self::Fatal(message) => write!(f, "the plugin gives up: {message}"),
            Self::Broken(message) => write!(f, "the plugin returned a broken patch: {message}"),
            Self::Trap { message, .. } => write!(f, "the plugin trapped: {message}"),
            Self::Deadline { after } => write!(f, "the plugin worked longer than {after:?}"),
            Self::OutOfMemory { limit_bytes } => {
                write!(f, "the plugin needs more than its {} of memory", mebibytes(*limit_bytes))
            }
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}

/// Where the time of one `process` went: the processor's, of the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crossing {
    /// Arrow to the interface's layout.
    pub lowering: Duration,
    /// The call: copies into the plugin's memory, its own work, copies out of it.
    pub call: Duration,
    /// What came back checked, and made Arrow again.
    pub checking: Duration,
}

/// The error of a host function that ends a call whose time is over.
#[derive(Debug)]
struct DeadlineOver;

impl fmt::Display for DeadlineOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline is over")
    }
}

impl std::error::Error for DeadlineOver {}

/// A plugin that runs.
pub struct Instance {
    store: Store<State>,
    stage: Stage,
    ended: bool,
    /// The config whose secrets must not be told.
    hidden: Option<StageConfig>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("memory_bytes", &self.memory_bytes()).finish_non_exhaustive()
    }
}

impl Instance {
    /// A new instance with a memory limit, not configured.
    pub(super) fn new(pre: &StagePre<State>, log: &InstanceLog, memory_bytes: u64) -> Result<Self, Failure> {
        let limit = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        let mut store = Store::new(pre.engine(), State::new(log, limit));
        store.limiter(|state| &mut state.memory);
        let handed_over = memory_bytes.saturating_mul(2).min(HANDED_OVER_MAX_BYTES);
        store.set_hostcall_fuel(usize::try_from(handed_over).unwrap_or(usize::MAX));
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|state| {
            if state.data().call.is_over() { Err(DeadlineOver.into()) } else { Ok(UpdateDeadline::Continue(1)) }
        });
        store.data_mut().begin_call(0, CONFIGURE_DEADLINE, 0);
        match pre.instantiate(&mut store) {
            Ok(stage) => Ok(Self { store, stage, ended: false, hidden: None }),
            Err(error) => Err(failure(&mut store, &error)),
        }
    }

    /// What the plugin says about itself.
    pub(super) fn describe(&mut self) -> Result<wit::About, Failure> {
        let about = self
            .call(0, 0, CONFIGURE_DEADLINE, |stage, store| stage.millstream_stage_transform().call_describe(store))?;
        Ok(wit::About {
            name: cut(about.name, NAME_MAX_BYTES),
            version: cut(about.version, NAME_MAX_BYTES),
            config_schema: about.config_schema.filter(|schema| schema.len() <= SCHEMA_MAX_BYTES),
        })
    }

    /// Configures the plugin and grants it its tables. The inner error is the plugin's own word.
    pub(super) fn configure(
        &mut self,
        config: &StageConfig,
        given: &Given,
    ) -> Result<Result<Contract, String>, Failure> {
        self.hidden = config.has_secrets().then(|| config.clone());
        let text = GivenText::new(given);
        let resolved = config.resolved();
        let declared = self.call(0, 0, CONFIGURE_DEADLINE, |stage, store| {
            text.with(|given| stage.millstream_stage_transform().call_configure(store, &resolved, given))
        });
        let declared = declared.map_err(|failure| self.without_secrets(failure))?;
        let granted = given.tables.iter().map(|table| GrantedTable { table: table.clone(), snapshot: None });
        self.store.data_mut().tables = granted.collect();
        let declared = declared.map_err(|refused| self.hide(refused));
        declared.map_or_else(
            |refused| Ok(Err(cut(refused, DETAIL_MAX_BYTES))),
            |declared| {
                contract(declared).map(Ok).map_err(|wrong| Failure::Broken(cut(self.hide(wrong), DETAIL_MAX_BYTES)))
            },
        )
    }

    /// A text of the plugin's as it may be shown.
    fn hide(&self, text: String) -> String {
        match &self.hidden {
            Some(config) => config.hide(text),
            None => text,
        }
    }

    fn without_secrets(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Retry(message) => Failure::Retry(self.hide(message)),
            Failure::Fatal(message) => Failure::Fatal(self.hide(message)),
            Failure::Broken(message) => Failure::Broken(self.hide(message)),
            Failure::Trap { message, backtrace, row } => Failure::Trap { message: self.hide(message), backtrace, row },
            other @ (Failure::Deadline { .. } | Failure::OutOfMemory { .. }) => other,
        }
    }

    /// What a patch says in words, as it may be shown. Its columns are data, which only the plugin knows the meaning of.
    fn patch_without_secrets(&self, mut patch: Patch) -> Patch {
        if self.hidden.is_some() {
            for reject in &mut patch.rejects {
                reject.reason = self.hide(std::mem::take(&mut reject.reason));
                reject.detail = self.hide(std::mem::take(&mut reject.detail));
            }
            for filtered in &mut patch.filtered {
                filtered.reason = self.hide(std::mem::take(&mut filtered.reason));
            }
        }
        patch
    }

    /// Has the plugin work on a batch; the patch is checked.
    ///
    /// `tables` are the rows of `Given::tables`, in that order, for `get-many`; none for those that are not granted. After any failure but `Retry` and `Fatal`
    /// the instance is of no more use.
    ///
    /// # Errors
    /// The outer error is the host's own: a column is not of the type that was planned.
    pub fn process(
        &mut self,
        call: &Call,
        contract: &Contract,
        tables: &[Option<Snapshot>],
        deadline: Duration,
    ) -> Result<Result<Patch, Failure>> {
        self.process_by(call, contract, tables, deadline, || Duration::ZERO).map(|(returned, _)| returned)
    }

    /// As `process`, and where the time went.
    pub fn process_timed(
        &mut self,
        call: &Call,
        contract: &Contract,
        tables: &[Option<Snapshot>],
        deadline: Duration,
    ) -> Result<(Result<Patch, Failure>, Crossing)> {
        self.process_by(call, contract, tables, deadline, worked)
    }

    fn process_by(
        &mut self,
        call: &Call,
        contract: &Contract,
        tables: &[Option<Snapshot>],
        deadline: Duration,
        clock: impl Fn() -> Duration,
    ) -> Result<(Result<Patch, Failure>, Crossing)> {
        let began = clock();
        let columns = lower_all(call.columns.columns(), &contract.reads)?;
        let mut lookups = Vec::with_capacity(call.lookups.len());
        for (joined, declared) in call.lookups.iter().zip(&contract.lookups) {
            lookups.push((bitmap(&joined.found), lower_all(&joined.columns, &declared.columns)?));
        }
        for (granted, snapshot) in self.store.data_mut().tables.iter_mut().zip(tables) {
            granted.snapshot.clone_from(snapshot);
        }
        let rows = call.columns.num_rows();
        let ready = clock();
        let returned = self.cross(rows, &columns, &lookups, call.now_ms, deadline);
        let back = clock();
        for granted in &mut self.store.data_mut().tables {
            granted.snapshot = None;
        }
        let returned = returned.and_then(|patch| {
            check(patch, contract, rows).map_err(|wrong| {
                self.ended = true;
                Failure::Broken(cut(wrong, DETAIL_MAX_BYTES))
            })
        });
        let shown = returned.map(|patch| self.patch_without_secrets(patch));
        Ok((
            shown.map_err(|failure| self.without_secrets(failure)),
            Crossing {
                lowering: ready.saturating_sub(began),
                call: back.saturating_sub(ready),
                checking: clock().saturating_sub(back),
            },
        ))
    }

    fn cross(
        &mut self,
        rows: usize,
        columns: &[Lowered],
        lookups: &[(arrow::buffer::Buffer, Vec<Lowered>)],
        now_ms: i64,
        deadline: Duration,
    ) -> Result<wit::Patch, Failure> {
        let number = u32::try_from(rows).map_err(|_| Failure::Fatal(format!("a batch of {rows} rows is too large")))?;
        let nodes: Vec<_> = columns.iter().map(Lowered::nodes).collect();
        let joined_nodes: Vec<Vec<_>> =
            lookups.iter().map(|(_, columns)| columns.iter().map(Lowered::nodes).collect()).collect();
        let joined_columns: Vec<Vec<_>> = joined_nodes.iter().map(|nodes| params(nodes)).collect();
        let lookups: Vec<_> = lookups
            .iter()
            .zip(&joined_columns)
            .map(|((found, _), columns)| wit::Joined { found: found.as_slice(), columns })
            .collect();
        let columns = params(&nodes);
        let batch = wit::Batch { rows: number, columns: &columns, lookups: &lookups };
        let returned = self.call(rows, now_ms, deadline, |stage, store| {
            stage.millstream_stage_transform().call_process(store, batch)
        })?;
        returned.map_err(|failure| match failure {
            wit::Failure::Retry(message) => Failure::Retry(cut(message, DETAIL_MAX_BYTES)),
            wit::Failure::Fatal(message) => Failure::Fatal(cut(message, DETAIL_MAX_BYTES)),
        })
    }

    /// One call of one of the plugin's functions, for so many rows.
    fn call<R>(
        &mut self,
        rows: usize,
        now_ms: i64,
        deadline: Duration,
        call: impl FnOnce(&Stage, &mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, Failure> {
        if self.ended {
            return Err(Failure::Fatal("the instance has ended".to_owned()));
        }
        self.store.data_mut().begin_call(now_ms, deadline, keys_allowed(rows));
        match call(&self.stage, &mut self.store) {
            Ok(returned) => {
                let state = self.store.data();
                state.stdout.end_call();
                state.stderr.end_call();
                Ok(returned)
            }
            Err(error) => {
                self.ended = true;
                Err(failure(&mut self.store, &error))
            }
        }
    }

    /// The memory that the instance holds now.
    pub fn memory_bytes(&self) -> u64 {
        self.store.data().memory.used_bytes as u64
    }
}

fn lower_all(arrays: &[arrow::array::ArrayRef], declared: &[Column]) -> Result<Vec<Lowered>> {
    if arrays.len() != declared.len() {
        let message = format!("{} columns are to cross, but the contract reads {}", arrays.len(), declared.len());
        return Err(Error::new(ErrorKind::Internal, message));
    }
    arrays.iter().zip(declared).map(|(array, column)| lower(array, column)).collect()
}

fn params<'a>(nodes: &'a [Vec<wit_columns::NodeParam<'a>>]) -> Vec<wit_columns::ColumnParam<'a>> {
    nodes.iter().map(|nodes| wit_columns::ColumnParam { nodes }).collect()
}

/// What a call that did not end well comes to.
fn failure(store: &mut Store<State>, error: &wasmtime::Error) -> Failure {
    let state = store.data();
    state.stdout.end_call();
    let said = state.stderr.end_call();
    if state.memory.denied {
        return Failure::OutOfMemory { limit_bytes: state.memory.limit_bytes as u64 };
    }
    if error.downcast_ref::<DeadlineOver>().is_some() {
        return Failure::Deadline { after: state.call.deadline };
    }
    let cause = error.root_cause().to_string();
    if cause.ends_with(FUEL_EXHAUSTED) {
        let most = mebibytes(store.hostcall_fuel() as u64);
        return Failure::Broken(format!("it hands over more than {most} at once"));
    }
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    if backtrace.is_none() && error.downcast_ref::<Trap>().is_none() {
        return Failure::Broken(cut(cause, DETAIL_MAX_BYTES));
    }
    let (said, row) = told_row(&said);
    let message = if said.is_empty() { cause } else { format!("{cause}: {said}") };
    Failure::Trap {
        message: cut(message, DETAIL_MAX_BYTES / 2),
        backtrace: backtrace.map(shortened).unwrap_or_default(),
        row,
    }
}

/// What a plugin said last, without the line that names the row over which it trapped.
fn told_row(said: &str) -> (&str, Option<usize>) {
    let (before, last) = said.rsplit_once('\n').unwrap_or(("", said));
    match last.strip_prefix("millstream: row ").and_then(|row| row.parse().ok()) {
        Some(row) => (before.trim_end(), Some(row)),
        None => (said, None),
    }
}

/// A backtrace's functions, demangled, innermost first, without their addresses in the binary.
fn shortened(backtrace: &WasmBacktrace) -> String {
    let text = backtrace.to_string();
    // The first line is a heading; then `0: plugin.wasm!function`, one frame a line.
    let frames = text.lines().skip(1).filter_map(|line| line.split_once(": "));
    let frames = frames.map(|(_, function)| cut(function.to_owned(), FRAME_MAX_BYTES));
    cut(frames.collect::<Vec<_>>().join("\n"), DETAIL_MAX_BYTES / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_a_trap_is_the_last_line_that_was_said() {
        assert_eq!(told_row("panicked at a:\nno\nmillstream: row 7"), ("panicked at a:\nno", Some(7)));
        assert_eq!(told_row("millstream: row 7"), ("", Some(7)));
        for none in ["", "millstream: row 7\nno", "millstream: row x", "millstream: row -1"] {
            assert_eq!(told_row(none), (none, None));
        }
    }
}
