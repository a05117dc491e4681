//! What an output hands to the commit: which files an epoch closed, and everything that is needed to open the others
//! again. It becomes part of the commit record, so its meaning never changes within a version of the record.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::origin::Origin;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Column;

/// One worker's side of one Parquet output at the end of an epoch. All that it names is synced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The output's name.
    pub output: String,
    /// The worker that prepared it.
    pub worker: usize,
    /// The epoch.
    pub epoch: u64,
    /// The output's folder in the lake.
    pub lake: PathBuf,
    /// The output's columns, so that its open files can be finished when the pipeline has changed.
    pub columns: Vec<ColumnText>,
    /// How many rows were written in this epoch.
    pub rows: u64,
    /// Files closed because they reached the target size: to be published as they are.
    pub full: Vec<StagedFile>,
    /// Files closed before that, for their age or the end: `merge_tails` makes larger ones of them.
    pub tails: Vec<StagedFile>,
    /// The files that stay open. Complete: nothing of an older token is needed.
    pub open: Vec<OpenFile>,
    /// Files in staging that this worker does not need once the token is committed; see `obsolete`.
    #[serde(skip)]
    pub obsolete: Vec<PathBuf>,
}

/// A column as it is written in the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnText {
    /// Its name.
    pub name: String,
    /// Its type, as in the pipeline file.
    #[serde(rename = "type")]
    pub type_text: String,
}

/// A closed file that waits for the commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// The output's name.
    pub output: String,
    /// The partition folders below the lake folder, such as `day=2013-01-31/hour=07`; empty when not partitioned.
    pub partition: String,
    /// Where it is.
    pub staged: PathBuf,
    /// Where the commit moves it.
    pub published: PathBuf,
    /// Its rows, from the footer.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
    /// CRC-32 of all its bytes.
    pub crc32: u32,
    /// What its rows were made of.
    pub origin: Origin,
}

/// A file that stays open, as it was when the epoch ended: the row groups that are in it, and the rows behind them,
/// which are in the spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFile {
    /// The partition folders, as in `StagedFile`.
    pub partition: String,
    /// When its first row was written; its age counts from here, also after a restart.
    pub first_row_ms: i64,
    /// What its rows were made of.
    pub origin: Origin,
    /// Its rows: those of `prefix` and of `parts`.
    pub rows: u64,
    /// Its complete row groups.
    pub prefix: Option<Prefix>,
    /// The rows behind them.
    pub parts: Vec<Part>,
}

/// The synced beginning of an unfinished Parquet file: whole row groups, without a footer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefix {
    /// The unfinished file. What lies behind `bytes` does not count.
    pub staged: PathBuf,
    /// Length of the prefix.
    pub bytes: u64,
    /// CRC-32 of the prefix.
    pub crc32: u32,
    /// Rows in the row groups.
    pub rows: u64,
    /// Where the spool holds the footer that describes the row groups.
    pub footer: Part,
}

/// A piece of a spool segment that belongs to one open file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The segment.
    pub segment: PathBuf,
    /// Where in it the piece begins.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// The rows in it; 0 for a footer.
    pub rows: u64,
}

impl Prepared {
    /// The files in staging that must stay for as long as this is the last committed token: everything else there may go.
    pub fn needs(&self) -> BTreeSet<&Path> {
        let closed = self.full.iter().chain(&self.tails).map(|file| file.staged.as_path());
        closed.chain(self.open.iter().flat_map(OpenFile::needs)).collect()
    }

    /// The output's columns as they were when the token was made.
    pub fn parsed_columns(&self) -> Result<Vec<Column>> {
        self.columns
            .iter()
            .map(|column| {
                let nested: millstream_sdk::Nested = column.type_text.parse().map_err(|error| {
                    Error::new(
                        ErrorKind::Storage,
                        format!(
                            "the commit record of output `{}` gives column `{}` no valid type",
                            self.output, column.name
                        ),
                    )
                    .caused_by(error)
                })?;
                Ok(Column { name: column.name.clone(), logical: nested.logical, nullable: nested.nullable })
            })
            .collect()
    }
}

impl OpenFile {
    /// The files in staging that hold its rows.
    pub fn needs(&self) -> impl Iterator<Item = &Path> {
        let prefix = self.prefix.iter().flat_map(|prefix| [prefix.staged.as_path(), prefix.footer.segment.as_path()]);
        prefix.chain(self.parts.iter().map(|part| part.segment.as_path()))
    }
}

impl From<&Column> for ColumnText {
    fn from(column: &Column) -> Self {
        Self { name: column.name.clone(), type_text: column.type_text() }
    }
}

/// The files in staging that can be deleted once these tokens are committed: those of all workers for all outputs, since a
/// worker may need what another one no longer does. Files of published tails are among them.
pub fn obsolete(tokens: &[Prepared]) -> BTreeSet<PathBuf> {
    let needed: BTreeSet<&Path> = tokens.iter().flat_map(Prepared::needs).collect();
    let candidates = tokens.iter().flat_map(|token| &token.obsolete);
    candidates.filter(|path| !needed.contains(path.as_path())).cloned().collect()
}
