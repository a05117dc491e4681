//! What passes between the plan and a plugin, free of how the plugin runs: the contract that a configured plugin
//! declares, what it is given, and the patch that it returns for a batch.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::BooleanBuffer;

use crate::record::Refusal;
use crate::schema::Column;

/// What a configured plugin declares. Names are the plugin's own, before the pipeline file's `rename`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contract {
    /// The columns that cross to the plugin, in the order in which they cross.
    pub reads: Vec<Column>,
    /// The lookups that the host makes before each call.
    pub lookups: Vec<DeclaredLookup>,
    /// New columns, or replacements of columns of the same name.
    pub writes: Vec<Column>,
    /// The names that the plugin routes rows to; empty when it does not route.
    pub outputs: Vec<String>,
}

/// A lookup that a plugin declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredLookup {
    /// The dimension's name as the plugin says it.
    pub table: String,
    /// The columns of the stage's input that make the key, in the order of the table's key.
    pub key: Vec<String>,
    /// The table's columns that are handed over.
    pub columns: Vec<Column>,
}

/// What is upstream of a stage, told to the plugin at `configure`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The columns that reach the stage.
    pub columns: Vec<Column>,
    /// The dimensions that the stage is granted.
    pub tables: Vec<Table>,
    /// The names that other stages and outputs read from this stage (`from = "stage.name"`).
    pub outputs: Vec<String>,
}

/// A dimension as plans and plugins see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its name in the pipeline file.
    pub name: String,
    /// The key, in order.
    pub key: Vec<Column>,
    /// The other columns.
    pub columns: Vec<Column>,
}

/// The answer to a lookup of a batch of keys.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Whether the key is in the table, by row. A key with a null in it is never found.
    pub found: BooleanBuffer,
    /// The asked columns, each as long as `found`; null where the key was not found.
    pub columns: Vec<ArrayRef>,
}

/// What crosses to a plugin for one call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The columns of `Contract::reads`, in that order.
    pub columns: RecordBatch,
    /// The answers to `Contract::lookups`, in that order.
    pub lookups: Vec<Joined>,
    /// The batch's largest record timestamp: what the plugin sees as now.
    pub now_ms: i64,
}

/// What a plugin made of a batch, checked: every input row is in exactly one of kept, rejected, filtered.
#[derive(Clone, Debug)]
pub struct Patch {
    /// The input row of each output row, ascending; none when every row was kept once.
    pub rows: Option<Vec<u32>>,
    /// The columns of `Contract::writes`, in that order, one value an output row.
    pub columns: Vec<ArrayRef>,
    /// For each output row an index into `Contract::outputs`; empty when the stage does not route.
    pub outputs: Vec<u16>,
    /// Rows that were refused.
    pub rejects: Vec<Refusal>,
    /// Rows that were left out on purpose, by reason.
    pub filtered: Vec<Filtered>,
}

/// Rows that a stage left out on purpose, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filtered {
    /// A short stable word, such as `bot`: what they are counted by.
    pub reason: String,
    /// The input rows.
    pub rows: Vec<u32>,
}
