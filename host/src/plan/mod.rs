//! The plan: the checked pipeline. Which columns flow where, each stage's digest and config. Numbered; it changes only
//! between epochs. The plan knows contracts, never how a plugin runs.
//!
//! `build` walks the tree from the sources and asks each stage for its contract; `contract` holds a contract against
//! what is there; `output` does so for outputs; `prune` walks back and leaves out what nobody needs; `draw` shows the
//! result; `swap` says whether a plan may take another's place while the stream runs.

mod build;
mod contract;
mod draw;
mod names;
mod output;
mod prune;
mod swap;

#[cfg(test)]
mod tests;

pub use build::{Configure, Planned, Refused, build};

use std::sync::Arc;

use crate::config::{Missing, StageConfig};
use crate::contract::{Contract, Given};
use crate::schema::Column;

/// The checked pipeline. Indexes point into its own lists and, for tables, into the pipeline file's dimensions.
#[derive(Clone, Debug)]
pub struct Plan {
    /// 1 for the first plan of a data folder, one more with each change.
    pub number: u64,
    /// The pipeline's sources, in the file's order.
    pub sources: Vec<PlannedSource>,
    /// The stages, parents before children.
    pub stages: Vec<PlannedStage>,
    /// The outputs, in the file's order.
    pub outputs: Vec<PlannedOutput>,
}

/// A place in the tree from which rows are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Decoded rows of a source.
    Source(usize),
    /// What a stage lets through; of a routing stage all rows, whatever their route.
    Stage(usize),
    /// The rows that a routing stage sends to one of its `Contract::outputs`.
    Route {
        /// The stage.
        stage: usize,
        /// Index into the contract's outputs.
        output: u16,
    },
}

/// What of a source is decoded.
#[derive(Clone, Debug)]
pub struct PlannedSource {
    /// The source's name.
    pub name: Arc<str>,
    /// For each of the source's columns in the pipeline file, whether some stage or output needs it; with
    /// `unknown = { keep = .. }` one entry more, for that column.
    pub needed: Vec<bool>,
    /// The decoded columns: the needed ones, in the file's order, the one of kept unknown fields last.
    pub columns: Vec<Column>,
}

/// One stage.
#[derive(Clone, Debug)]
pub struct PlannedStage {
    /// The stage's name.
    pub name: Arc<str>,
    /// Index into the pipeline file's stages.
    pub index: usize,
    /// Where its rows come from.
    pub from: Place,
    /// The columns of the batches that reach it (those that it or something below it needs).
    pub input: Vec<Column>,
    /// What it does.
    pub work: Work,
    /// The columns of the batches that leave it: only what is needed below.
    pub output: Vec<Flow>,
}

/// Where a column that leaves a stage comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its name and type, behind the stage.
    pub column: Column,
    /// Its origin.
    pub origin: Origin,
}

/// The origin of a column that leaves a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is passed through: index into `PlannedStage::input`.
    Input(usize),
    /// The stage made it: index into the contract's `writes`, or into a native lookup's `PlannedLookup::columns`.
    Made(usize),
}

/// What a stage does.
#[derive(Clone, Debug)]
pub enum Work {
    /// It calls a plugin.
    Plugin(Box<PlannedPlugin>),
    /// It looks keys up natively.
    Lookup(PlannedLookup),
}

/// A plugin in its place.
#[derive(Clone, Debug)]
pub struct PlannedPlugin {
    /// The SHA-256 of the plugin's bytes, in lower-case hex.
    pub digest: Arc<str>,
    /// `config`; it is printed and hashed with `{ secret = "NAME" }` as it stands, but what `${..}` filled in is in clear, so
    /// it is not for logs.
    pub config: StageConfig,
    /// What it was told at `configure` (in its own names).
    pub given: Given,
    /// What it declared (in its own names).
    pub contract: Contract,
    /// For each of the contract's `reads` the index into `PlannedStage::input`.
    pub reads: Vec<usize>,
    /// The contract's lookups, resolved.
    pub lookups: Vec<PlannedLookup>,
    /// The dimensions that get-many may read: the plugin's name for it, and its index. Those of `tables` in the pipeline
    /// file; when it has none, those of the contract's lookups.
    pub granted: Vec<(String, usize)>,
}

/// A lookup, resolved.
#[derive(Clone, Debug)]
pub struct PlannedLookup {
    /// Index of the dimension.
    pub table: usize,
    /// For each part of the table's key the index into `PlannedStage::input`.
    pub key: Vec<usize>,
    /// The table's columns (indexes into `Table::columns`): of a plugin's lookup all that its contract asks for, in that
    /// order; of a native one those of `add` that somebody below needs.
    pub columns: Vec<usize>,
    /// What becomes of a row whose key is not there; a plugin's own lookups always say `Null`.
    pub missing: Missing,
}

/// One output.
#[derive(Clone, Debug)]
pub struct PlannedOutput {
    /// The output's name.
    pub name: Arc<str>,
    /// Index into the pipeline file's outputs.
    pub index: usize,
    /// Where its rows come from.
    pub from: Place,
    /// For each of its columns the index into the columns at `from`.
    pub take: Vec<usize>,
    /// Its columns.
    pub columns: Vec<Column>,
}

impl Plan {
    /// The columns of the batches at a place; all routes of a stage have the same.
    pub fn columns_at(&self, place: Place) -> Vec<Column> {
        match place {
            Place::Source(source) => self.sources[source].columns.clone(),
            Place::Stage(stage) | Place::Route { stage, .. } => {
                self.stages[stage].output.iter().map(|flow| flow.column.clone()).collect()
            }
        }
    }

    /// Whether a stage or an output reads from a source; of one that nobody reads nothing is decoded.
    pub fn reads_source(&self, source: usize) -> bool {
        let from = Place::Source(source);
        self.stages.iter().any(|stage| stage.from == from) || self.outputs.iter().any(|output| output.from == from)
    }
}
