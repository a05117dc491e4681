//! Files as a source: JSON lines, CSV and Parquet; plain, `.gz` and `.zst`; named by paths and globs.
//!
//! The promise: over any number of runs each record is handed out exactly once in committed work. It holds because
//! - a position is the file's identity (digest of its head, length) and half-open ranges of offsets into its decompressed
//!   content (row numbers in Parquet); ranges start and end where records do, so what is not covered is read, and only that;
//! - a file is opened only after its head was compared: a replaced or shortened file is an error, never a wrong offset;
//! - each stretch of a file is handed to one worker only.
//!
//! What becomes of what:
//! - *A last line without its line end* is a record at the end of a run that does not follow. A source that follows takes
//!   whole lines only: the line waits, also through a restart. A line that a run took unfinished and that went on
//!   afterwards is an error that names the byte.
//! - *A compressed file that breaks off*: the whole records before the break are handed out, then an error names file and
//!   offset; with the whole file in its place reading goes on behind them. A source that follows waits for the rest.
//! - *An empty file* has no records. *A path or glob that finds nothing* is an error, except a glob of a source that
//!   follows or that has read files before.
//! - *A file that is gone*: fine when it had been read to its end, an error when it was a plain file that was read in part.
//!   Of compressed and Parquet files the end is not known from the position: a warning names them.
//! - *Blank lines* are no records. A UTF-8 byte order mark is passed over. CSV fields are separated by commas, the first
//!   record is the header.
//! - *A record beyond 64 MiB* is an error that names its offset: such a file is of another kind.
//! - *Parquet files* must be whole when they appear: write elsewhere, then move.

mod columns;
mod content;
mod identity;
mod reader;
mod splitter;
#[cfg(test)]
mod tests;
mod text;
mod work;

pub(crate) use identity::{check as check_identity, look as look_at};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::config::{self, Format};
use crate::error::{Error, ErrorKind, Result};
use crate::record::Partition;

use super::{FileIdentity, Position, Positions};
use content::Compression;
pub use reader::FileReader;
use work::Work;

/// The size of a part of a big plain file of JSON lines.
const CHUNK_BYTES: i64 = 32 << 20;

/// A source's files, found and compared with what was read of them before.
pub struct FileSource {
    work: Arc<Work>,
    settings: config::FileSource,
    committed: BTreeMap<Arc<str>, Position>,
    columns: Option<Arc<[String]>>,
}

/// A path or glob that finds nothing now.
#[derive(Debug, PartialEq, Eq)]
pub struct FindsNothing {
    /// What is wrong with it.
    pub message: String,
    /// The way out.
    pub help: String,
    /// A glob: a source that follows waits for files.
    pub may_wait: bool,
}

/// What a source's paths find nothing for, each with its index; nothing is opened.
///
/// # Errors
/// `Config` for what is no glob.
pub fn finds_nothing(settings: &config::FileSource) -> Result<Vec<(usize, FindsNothing)>> {
    let mut nothing = Vec::new();
    for (index, path) in settings.paths.iter().enumerate() {
        if named_by(&path.value)?.is_empty() {
            nothing.push((index, FindsNothing::of(&path.value)));
        }
    }
    Ok(nothing)
}

impl FindsNothing {
    fn of(pattern: &str) -> Self {
        let may_wait = is_glob(pattern);
        if Path::new(pattern).is_dir() {
            let help = format!("name its files with a glob, such as {pattern}/*.jsonl");
            return Self { message: format!("{pattern} is a folder"), help, may_wait: false };
        }
        let what = if may_wait { "no file matches" } else { "there is no file" };
        let help = "check the path; a relative one starts at the pipeline file's folder".to_owned();
        Self { message: format!("{what} {pattern}"), help, may_wait }
    }
}

impl FileSource {
    /// Finds the files and checks them against `committed` (of which only this source's positions count).
    ///
    /// With `follow` the source never ends: files grow, and `rescan` finds new ones.
    pub fn open(
        name: &str,
        settings: &config::FileSource,
        format: Format,
        committed: &Positions,
        follow: bool,
    ) -> Result<Self> {
        Self::open_in_chunks(name, settings, format, committed, follow, CHUNK_BYTES)
    }

    fn open_in_chunks(
        name: &str,
        settings: &config::FileSource,
        format: Format,
        committed: &Positions,
        follow: bool,
        chunk_bytes: i64,
    ) -> Result<Self> {
        let name: Arc<str> = name.into();
        let committed: BTreeMap<_, _> = committed
            .iter()
            .filter(|(partition, _)| partition.source == name)
            .map(|(partition, position)| (partition.key.clone(), position.clone()))
            .collect();
        let work = Arc::new(Work::new(name, format, follow, chunk_bytes));
        let source = Self { work, settings: settings.clone(), committed, columns: None };
        let found = source.find(true)?;
        source.check_gone(&found)?;
        source.add(found)?;
        Ok(source)
    }

    /// Of Parquet files only these top-level columns are read.
    pub fn with_columns(mut self, columns: Vec<String>) -> Self {
        self.columns = Some(columns.into());
        self
    }

    /// Looks for files that appeared since; the number of new ones. For a source that follows.
    pub fn rescan(&self) -> Result<usize> {
        let found = self.find(false)?;
        self.add(found)
    }

    /// One reader a worker; they share the files.
    pub fn readers(&self, workers: usize) -> Vec<FileReader> {
        (0..workers).map(|_| FileReader::new(self.work.clone(), self.columns.clone())).collect()
    }

    /// Which file a partition of this source is, for its position: as it was when it was last opened.
    pub fn identity(&self, partition: &Partition) -> Option<FileIdentity> {
        if partition.source != self.work.source { None } else { self.work.identity(&partition.key) }
    }

    /// The size of all files, compressed as they are.
    pub fn total_bytes(&self) -> u64 {
        self.work.total_bytes.load(Ordering::Relaxed)
    }

    /// How much of `total_bytes` was read, by this run and those before.
    pub fn read_bytes(&self) -> u64 {
        self.work.read_bytes.load(Ordering::Relaxed).min(self.total_bytes())
    }

    /// The number of files found so far.
    pub fn files(&self) -> usize {
        self.work.files()
    }

    fn add(&self, found: BTreeMap<Arc<str>, PathBuf>) -> Result<usize> {
        let mut added = 0;
        for (key, path) in found {
            let committed = self.committed.get(&key);
            match self.work.add(path.clone(), key, committed) {
                Ok(new) => added += usize::from(new),
                Err(error) if self.work.follow && !path.exists() => {
                    tracing::debug!(%error, "a file went away while it was looked at");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(added)
    }

    /// The files that the source's paths and globs name, by key.
    fn find(&self, at_start: bool) -> Result<BTreeMap<Arc<str>, PathBuf>> {
        let mut found = BTreeMap::new();
        for pattern in &self.settings.paths {
            let mut named = named_by(&pattern.value)?;
            let may_be_empty = is_glob(&pattern.value) && (self.work.follow || !self.committed.is_empty());
            if at_start && named.is_empty() {
                if !may_be_empty {
                    return Err(self.nothing_there(&pattern.value));
                }
                tracing::info!(source = %self.work.source, pattern = %pattern.value, "no file matches yet");
            }
            found.append(&mut named);
        }
        Ok(found)
    }

    fn nothing_there(&self, pattern: &str) -> Error {
        let name = &self.work.source;
        if self.committed.contains_key(pattern) {
            return Error::new(
                ErrorKind::Input,
                format!("source {name:?}: file {pattern} was read before and is gone"),
            )
            .help("put it back, or take it out of the pipeline file");
        }
        let FindsNothing { message, help, .. } = FindsNothing::of(pattern);
        Error::new(ErrorKind::Config, format!("source {name:?}: {message}")).help(help)
    }

    /// What became of files that were read before and are not there any more.
    fn check_gone(&self, found: &BTreeMap<Arc<str>, PathBuf>) -> Result<()> {
        for (key, position) in &self.committed {
            let path = Path::new(&**key);
            if found.contains_key(key) || path.is_file() {
                // A file that is there and that the pipeline file no longer names is the operator's choice.
                continue;
            }
            let read_to = position.ranges.end().unwrap_or(0);
            let length = position.file.as_ref().map_or(0, |file| file.length_bytes as i64);
            let plain_text = self.work.format != Format::Parquet && Compression::of(path) == Compression::Plain;
            if !plain_text {
                tracing::warn!(source = %self.work.source, file = %key, "a file that was read before is gone");
            } else if read_to < length {
                return Err(Error::new(
                    ErrorKind::Input,
                    format!("source {:?}: file {key} is gone, read to byte {read_to} of {length}", self.work.source),
                )
                .help("put it back to have the rest of it read"));
            }
        }
        Ok(())
    }
}

fn is_glob(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

/// The files that a path or a glob names, by key.
fn named_by(pattern: &str) -> Result<BTreeMap<Arc<str>, PathBuf>> {
    let mut found = BTreeMap::new();
    let literal = Path::new(pattern);
    if literal.is_file() {
        insert(&mut found, literal.to_owned())?;
    } else if is_glob(pattern) {
        expand(pattern, &mut found)?;
    }
    Ok(found)
}

fn expand(pattern: &str, found: &mut BTreeMap<Arc<str>, PathBuf>) -> Result<()> {
    let wrong = |error: glob::PatternError| {
        Error::new(ErrorKind::Config, format!("{pattern:?} is not a glob")).caused_by(error)
    };
    for path in glob::glob(pattern).map_err(wrong)? {
        let path = path.map_err(|error| {
            Error::new(ErrorKind::Input, format!("cannot look for files that match {pattern}")).caused_by(error)
        })?;
        if path.is_file() {
            insert(found, path)?;
        }
    }
    Ok(())
}

fn insert(found: &mut BTreeMap<Arc<str>, PathBuf>, path: PathBuf) -> Result<()> {
    let Some(key) = path.to_str() else {
        return Err(Error::new(ErrorKind::Config, format!("the name of {} is not UTF-8", path.display()))
            .help("rename the file: its name is kept in the commit as text"));
    };
    found.insert(key.into(), path);
    Ok(())
}
