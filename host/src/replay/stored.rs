//! The files of rejects in their folder, and the rows in them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};
use crate::output::REJECTS;

/// The columns that hold the record itself: whoever only counts and lists leaves them out.
pub const RECORD_COLUMNS: [&str; 4] = ["record_key", "record_value", "headers", "row"];

/// Columns without which a file is none of rejects.
const NEEDED: [&str; 5] = ["reason", "detail", "source", "partition", "offset"];

/// The column that says which row of its file a row is, where it stands in another one: of a partition of a topic its offset.
pub(super) const NUMBER: &str = "@number";

/// Rows of a block.
const BLOCK_ROWS: usize = 1_024;

/// One file of rejects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Its name in the folder.
    pub name: Arc<str>,
    /// Where it is.
    pub path: PathBuf,
    /// When its rows were committed; when it was written, if no manifest names it.
    pub committed_at_ms: i64,
}

/// What a manifest says of an epoch's files.
#[derive(Deserialize)]
pub(super) struct Manifest {
    pub host: String,
    pub epoch: u64,
    pub committed_at_ms: i64,
    pub files: Vec<ManifestFile>,
}

#[derive(Deserialize)]
pub(super) struct ManifestFile {
    pub path: String,
    pub rows: u64,
}

/// The files of a folder, oldest first; none when it is not there.
pub fn files(folder: &Path) -> Result<Vec<StoredFile>> {
    let times = committed_at_ms(folder)?;
    let mut files = Vec::new();
    for path in entries(folder, "parquet")? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let committed_at_ms = match times.get(name) {
            Some(ms) => *ms,
            None => written_at_ms(&path)?,
        };
        files.push(StoredFile { name: name.into(), committed_at_ms, path });
    }
    files.sort_by(|one, other| (one.committed_at_ms, &one.name).cmp(&(other.committed_at_ms, &other.name)));
    Ok(files)
}

/// By file when its epoch was committed.
fn committed_at_ms(folder: &Path) -> Result<BTreeMap<String, i64>> {
    let mut times = BTreeMap::new();
    for (_, manifest) in manifests(folder)? {
        times.extend(manifest.files.into_iter().map(|file| (file.path, manifest.committed_at_ms)));
    }
    Ok(times)
}

/// The manifests of a folder, and where they are.
pub(super) fn manifests(folder: &Path) -> Result<Vec<(PathBuf, Manifest)>> {
    let mut manifests = Vec::new();
    for path in entries(&folder.join("_manifest"), "json")? {
        let text = match fs::read(&path) {
            // Its time was over in between.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            text => text.map_err(|error| unreadable(&path).caused_by(error))?,
        };
        let manifest = serde_json::from_slice(&text).map_err(|error| unreadable(&path).caused_by(error))?;
        manifests.push((path, manifest));
    }
    Ok(manifests)
}

fn entries(folder: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| unreadable(folder).caused_by(error))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder).caused_by(error))?.path();
        if path.extension().is_some_and(|extension| extension == end) {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn written_at_ms(path: &Path) -> Result<i64> {
    let written = fs::metadata(path).and_then(|about| about.modified());
    let written = written.map_err(|error| unreadable(path).caused_by(error))?;
    let since = written.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn unreadable(path: &Path) -> Error {
    Error::new(ErrorKind::Input, format!("{} cannot be read", path.display()))
}

/// What a reject is called: its file, without what all have in common, and its row.
pub fn id_of(file: &str, row: i64) -> String {
    let stem = file.strip_suffix(".parquet").unwrap_or(file);
    format!("{}:{row}", stem.strip_prefix(&format!("{REJECTS}-")).unwrap_or(stem))
}

/// The file and the row of an id.
pub fn parse_id(id: &str) -> Option<(String, i64)> {
    let (stem, row) = id.rsplit_once(':')?;
    let row = row.parse().ok().filter(|row| *row >= 0)?;
    (!stem.is_empty()).then(|| (format!("{REJECTS}-{stem}.parquet"), row))
}

/// Some rows of a file, in order.
#[derive(Clone, Debug)]
pub struct Block {
    /// The file's name.
    pub file: Arc<str>,
    /// The number of the first row in the file.
    pub first_row: i64,
    /// The rows, in the columns that were asked for.
    pub rows: RecordBatch,
}

impl Block {
    /// The number of a row in its file.
    pub fn number(&self, row: usize) -> i64 {
        let numbers = self.rows.column_by_name(NUMBER).and_then(|column| column.as_primitive_opt::<Int64Type>());
        numbers.map_or(self.first_row + row as i64, |numbers| numbers.value(row))
    }

    /// A text; none when it is null, or the column is not there.
    pub fn text(&self, column: &str, row: usize) -> Option<&str> {
        let texts = self.rows.column_by_name(column)?.as_string_opt::<i32>()?;
        texts.is_valid(row).then(|| texts.value(row))
    }

    /// Bytes.
    pub fn bytes(&self, column: &str, row: usize) -> Option<&[u8]> {
        let values = self.rows.column_by_name(column)?.as_binary_opt::<i32>()?;
        values.is_valid(row).then(|| values.value(row))
    }

    /// The record's offset.
    pub fn offset(&self, row: usize) -> i64 {
        let offsets = self.rows.column_by_name("offset").and_then(|column| column.as_primitive_opt::<Int64Type>());
        offsets.map_or(0, |offsets| offsets.value(row))
    }

    /// The record's timestamp.
    pub fn timestamp_ms(&self, row: usize) -> Option<i64> {
        let times = self.rows.column_by_name("record_timestamp")?.as_primitive_opt::<TimestampMillisecondType>()?;
        times.is_valid(row).then(|| times.value(row))
    }

    /// How often it was tried again.
    pub fn attempts(&self, row: usize) -> i32 {
        let attempts = self.rows.column_by_name("attempts").and_then(|column| column.as_primitive_opt::<Int32Type>());
        attempts.map_or(0, |attempts| attempts.value(row))
    }
}

/// The rows of a file, a row group at a time at most: what was written in bounded memory is read in it.
pub struct Blocks {
    name: Arc<str>,
    path: PathBuf,
    file: File,
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    next_group: usize,
    next_row: i64,
    rows: Option<ParquetRecordBatchReader>,
}

impl Blocks {
    /// Opens a file; with `whole` its records too, else without `RECORD_COLUMNS`.
    ///
    /// # Errors
    /// `Input` when it is no whole file of rejects.
    pub fn open(name: &str, path: &Path, whole: bool) -> Result<Self> {
        let file = File::open(path).map_err(|error| unreadable(path).caused_by(error))?;
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
            .map_err(|error| unreadable(path).caused_by(error))?;
        let names: Vec<&str> = metadata.schema().fields().iter().map(|field| field.name().as_str()).collect();
        if let Some(missing) = NEEDED.iter().find(|needed| !names.contains(needed)) {
            let message = format!("{} is no file of rejects: it has no column \"{missing}\"", path.display());
            return Err(Error::new(ErrorKind::Input, message).help("keep other files out of the folder of rejects"));
        }
        let wanted = names.iter().copied().filter(|name| whole || !RECORD_COLUMNS.contains(name));
        let mask = ProjectionMask::columns(metadata.parquet_schema(), wanted);
        Ok(Self {
            name: name.into(),
            path: path.to_path_buf(),
            file,
            metadata,
            mask,
            next_group: 0,
            next_row: 0,
            rows: None,
        })
    }

    /// The next rows; none at the end.
    pub fn next_block(&mut self) -> Result<Option<Block>> {
        loop {
            if let Some(rows) = self.rows.as_mut().and_then(Iterator::next) {
                let rows = rows.map_err(|error| unreadable(&self.path).caused_by(error))?;
                let first_row = self.next_row;
                self.next_row += rows.num_rows() as i64;
                return Ok(Some(Block { file: Arc::clone(&self.name), first_row, rows }));
            }
            if self.next_group == self.metadata.metadata().num_row_groups() {
                return Ok(None);
            }
            let file = self.file.try_clone().map_err(|error| unreadable(&self.path).caused_by(error))?;
            let rows = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                .with_row_groups(vec![self.next_group])
                .with_projection(self.mask.clone())
                .with_batch_size(BLOCK_ROWS)
                .build()
                .map_err(|error| unreadable(&self.path).caused_by(error))?;
            self.rows = Some(rows);
            self.next_group += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_file_and_the_row() {
        let file = "rejects-0a1b2c3d-0001-00000002-w0-0000.parquet";
        assert_eq!(id_of(file, 7), "0a1b2c3d-0001-00000002-w0-0000:7");
        assert_eq!(parse_id("0a1b2c3d-0001-00000002-w0-0000:7"), Some((file.to_owned(), 7)));
        for wrong in ["", ":1", "a:", "a:-1", "a:x", "a"] {
            assert_eq!(parse_id(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_has_no_files() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(files(&folder.path().join("nowhere")).unwrap(), []);
    }
}
