//! Dimensions: keyed tables that stages look up. RocksDB keeps the rows; a resident index of the same rows answers while
//! it fits the table's `memory`, else RocksDB itself.
//!
//! Promises, and why they hold:
//! - *A batch sees one generation.* A [`Snapshot`] holds one generation, which never changes; a reload builds the next one
//!   beside it and swaps one pointer.
//! - *A file is loaded as a whole or not at all.* A generation gets its name in one rename, after every check and sync
//!   (`generation`); a file that changed while it was read is not loaded (`load`). Whatever is refused, the generation
//!   before goes on serving.
//! - *Both ways of answering give the same columns.* The rows in memory and in RocksDB are the same bytes, and one
//!   function turns them into Arrow columns (`row`).
//! - *Nothing that the disk changed is served.* All checksums are compared when a generation is opened; RocksDB compares
//!   those of its blocks at every read.
//! - *Memory is bounded.* Index sizes are known before they are built, and are leased from the table's `memory`
//!   (`budget`).
//!
//! The way of a table: `shape` (columns) -> `file`, `text` (rows) -> `load` with `key`, `row`, `dictionary`, `sort` ->
//! `store` (RocksDB) and `generation` (its folder) -> `live` with `resident` (answers).

mod budget;
mod dictionary;
mod file;
mod generation;
mod key;
mod live;
mod load;
mod resident;
mod row;
mod shape;
mod sort;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use parking_lot::{Mutex, MutexGuard, RwLock};

use self::budget::Budget;
use self::file::{Stamp, digest};
use self::generation::{GenerationFolder, Manifest, newest};
use self::live::Generation;
use self::load::{Before, Load, load};
use self::row::layout_name;
use self::shape::Shape;
use self::status::Counters;
pub use self::status::{Lookups, ServedFrom, Status};
use crate::config;
use crate::contract::{Joined, Table};
use crate::error::{Error, ErrorKind, Result};

/// What a table looks like, without loading it: from the pipeline file, or from the footer of its Parquet file.
pub fn describe(settings: &config::Dimension) -> Result<Table> {
    Ok(Shape::of(settings).map_err(within(settings))?.table)
}

/// One table, shared by all workers.
#[derive(Debug)]
pub struct Dimension {
    settings: config::Dimension,
    data_folder: PathBuf,
    table: Table,
    budget: Arc<Budget>,
    current: RwLock<Arc<Generation>>,
    counters: Arc<Counters>,
    watch: Mutex<Watch>,
    /// The file that was refused, and why.
    refused: Mutex<Option<(Stamp, String)>>,
}

/// What is known of the file; its lock makes loads one at a time.
#[derive(Debug, Default)]
struct Watch {
    /// The file as it was when its content was last found to be that of the current generation.
    known: Option<Stamp>,
    /// The changed file as it was at the last look: it is loaded when the next look shows the same.
    candidate: Option<Stamp>,
}

/// What [`Dimension::reload_if_changed`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The file is the one that is loaded, or one that was refused before.
    Unchanged,
    /// The file is being changed; it is loaded when two looks in a row show the same.
    Changing,
    /// The changed file is loaded: lookups that begin from now on see this generation.
    Loaded {
        /// The generation.
        generation: u64,
        /// Its rows.
        rows: u64,
    },
    /// Nothing changed, but the table fits its memory by now: it is answered by the resident index.
    MadeResident,
}

fn within(settings: &config::Dimension) -> impl Fn(Error) -> Error + '_ {
    |error| error.within(format_args!("dimension \"{}\"", settings.name.value))
}

impl Dimension {
    /// Opens a table. `data_folder` is the table's own. The generation that lies there serves when it is whole and was
    /// made from this file by these settings; else the file is loaded. When a changed file is refused, the generation
    /// that lies there goes on serving, and [`Status::refused`] says why.
    ///
    /// # Errors
    /// `Config` and `Unavailable` for a file that is not there or is being written, `Input` for a file that is refused
    /// when there is no generation to go on with, `Storage` for a disk that fails.
    pub fn open(settings: &config::Dimension, data_folder: &Path) -> Result<Self> {
        Self::open_table(settings, data_folder).map_err(within(settings))
    }

    fn open_table(settings: &config::Dimension, data_folder: &Path) -> Result<Self> {
        let stamp = Stamp::of(&settings.path.value)?;
        let budget = Budget::new(settings.memory_bytes);
        let found = open_newest(settings, data_folder, &budget)?;
        let mut watch = Watch { known: Some(stamp), candidate: None };
        let mut refused = None;
        let number = found.number + 1;
        let (generation, table) = match found.live {
            Some((live, table)) if same_file(&live.manifest, stamp, &settings.path.value)? => (live, table),
            Some((live, table)) => {
                let before = Before { rows: Some(live.manifest.rows), table: None };
                match load_generation(settings, data_folder, number, &before, &budget) {
                    Ok(Some(loaded)) => {
                        live.retire();
                        loaded
                    }
                    Ok(None) => {
                        tracing::warn!(dimension = %settings.name.value, "the table's file is being written: the last generation serves until it is whole");
                        watch.known = None;
                        (live, table)
                    }
                    Err(error) if error.kind() == ErrorKind::Input => {
                        tracing::warn!(dimension = %settings.name.value, %error, "the table's file is refused: the last generation goes on serving");
                        watch.known = None;
                        refused = Some((stamp, error.to_string()));
                        (live, table)
                    }
                    Err(error) => return Err(error),
                }
            }
            None => {
                let loaded = load_generation(settings, data_folder, number, &Before::default(), &budget)?;
                if let Some(stale) = found.stale {
                    stale.remove();
                }
                loaded.ok_or_else(|| {
                    let message = format!("{} changed while it was read", settings.path.value.display());
                    Error::new(ErrorKind::Unavailable, message).help("start again when it is written")
                })?
            }
        };
        Ok(Self {
            settings: settings.clone(),
            data_folder: data_folder.to_owned(),
            table,
            budget,
            current: RwLock::new(Arc::new(generation)),
            counters: Arc::default(),
            watch: Mutex::new(watch),
            refused: Mutex::new(refused),
        })
    }

    /// Its name, its key and its other columns; they stay the same as long as it is open.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The generation that answers now, to be held for a batch.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { generation: self.current(), counters: self.counters.clone() }
    }

    fn current(&self) -> Arc<Generation> {
        self.current.read().clone()
    }

    /// Looks at the file and loads it when it changed and has settled, that is when two calls in a row see the same
    /// length and time of change. To be called again and again, from one background thread.
    ///
    /// # Errors
    /// Why a changed file was refused (once for each change) or could not be read. The table goes on answering from the
    /// generation that it has.
    pub fn reload_if_changed(&self) -> Result<Reload> {
        self.reload().map_err(within(&self.settings))
    }

    fn reload(&self) -> Result<Reload> {
        let mut watch = self.watch.lock();
        let stamp = Stamp::of(&self.settings.path.value)?;
        let refused = self.refused().as_ref().is_some_and(|(refused, _)| *refused == stamp);
        if watch.known == Some(stamp) || refused {
            return self.make_resident();
        }
        if watch.candidate != Some(stamp) {
            watch.candidate = Some(stamp);
            return Ok(Reload::Changing);
        }
        let current = self.current();
        if same_file(&current.manifest, stamp, &self.settings.path.value)? {
            *watch = Watch { known: Some(stamp), candidate: None };
            *self.refused() = None;
            return Ok(Reload::Unchanged);
        }
        let before = Before { rows: Some(current.manifest.rows), table: Some(&self.table) };
        let number = current.manifest.generation + 1;
        let loaded = load_generation(&self.settings, &self.data_folder, number, &before, &self.budget);
        if let Err(error) = &loaded
            && error.kind() == ErrorKind::Input
        {
            *self.refused() = Some((stamp, error.to_string()));
        }
        let Some((generation, _)) = loaded? else {
            watch.candidate = None;
            return Ok(Reload::Changing);
        };
        *watch = Watch { known: Some(stamp), candidate: None };
        *self.refused() = None;
        let rows = generation.manifest.rows;
        *self.current.write() = Arc::new(generation);
        current.retire();
        Ok(Reload::Loaded { generation: number, rows })
    }

    /// A generation that was built beside a large one may have found no room in memory; now there may be.
    fn make_resident(&self) -> Result<Reload> {
        let current = self.current();
        let made = current.served_from() == ServedFrom::RocksDb && current.make_resident(&self.budget)?;
        Ok(if made { Reload::MadeResident } else { Reload::Unchanged })
    }

    /// What it does, in numbers.
    pub fn status(&self) -> Status {
        let current = self.current();
        Status {
            generation: current.manifest.generation,
            rows: current.manifest.rows,
            duplicate_rows: current.manifest.duplicates,
            served_from: current.served_from(),
            resident_bytes: current.resident_bytes(),
            memory_bytes: self.budget.used_bytes(),
            resident: self.counters.resident(),
            rocksdb: self.counters.rocksdb(),
            refused: self.refused().as_ref().map(|(_, why)| why.clone()),
        }
    }

    fn refused(&self) -> MutexGuard<'_, Option<(Stamp, String)>> {
        self.refused.lock()
    }
}

/// One generation of a table, held for as long as a batch needs it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    generation: Arc<Generation>,
    counters: Arc<Counters>,
}

impl Snapshot {
    /// Looks up a batch of keys: `key` is one column for each part of the table's key, in its order, all of one length;
    /// `columns` are indexes into [`Table::columns`]. Integers of any width, and text as plain text or a dictionary, are
    /// taken as keys; a key with a null in it is not found.
    ///
    /// The columns have the types that [`Snapshot::column_type`] says.
    ///
    /// # Errors
    /// `Internal` for a key or a column that the table has not, `Storage` when RocksDB cannot read.
    pub fn lookup(&self, key: &[ArrayRef], columns: &[usize]) -> Result<Joined> {
        let (joined, way) = self.generation.lookup(key, columns)?;
        self.counters.count(way, joined.found.len(), joined.found.count_set_bits());
        Ok(joined)
    }

    /// Which generation it is, from 1.
    pub fn generation(&self) -> u64 {
        self.generation.manifest.generation
    }

    /// The Arrow type in which a column is handed out, the same for all batches of a generation: for text
    /// `Dictionary(Int32, Utf8)`, all batches with the same values array, if the table has few distinct values in that
    /// column (at most 4,096, of at most 1 MiB), else `Utf8`; for anything else `schema::arrow_type`.
    pub fn column_type(&self, column: usize) -> Option<&DataType> {
        self.generation.column_type(column)
    }
}

/// What lies in a data folder.
#[derive(Debug, Default)]
struct Found {
    /// The last number that was used.
    number: u64,
    /// The newest generation, if it is whole and was made by these settings.
    live: Option<(Generation, Table)>,
    /// Else its folder, to be removed when there is another one.
    stale: Option<GenerationFolder>,
}

fn open_newest(settings: &config::Dimension, data_folder: &Path, budget: &Arc<Budget>) -> Result<Found> {
    let Some((number, folder)) = newest(data_folder)? else { return Ok(Found::default()) };
    let dimension = &settings.name.value;
    let verified = folder.verify().and_then(|manifest| Ok((manifest.table(dimension)?, manifest)));
    match verified {
        Ok((table, manifest))
            if manifest.layout == layout_name() && manifest.settings == Shape::settings_text(settings) =>
        {
            let generation = Generation::open(folder, manifest, &table, budget)?;
            Ok(Found { number, live: Some((generation, table)), stale: None })
        }
        Ok(_) => {
            tracing::info!(%dimension, generation = number, "settings or layout changed: the table is loaded anew");
            Ok(Found { number, live: None, stale: Some(folder) })
        }
        Err(error) => {
            tracing::warn!(%dimension, generation = number, %error, "the generation is damaged: the table is loaded anew");
            Ok(Found { number, live: None, stale: Some(folder) })
        }
    }
}

/// Loads the file as a new generation and opens it; none when the file changed meanwhile.
fn load_generation(
    settings: &config::Dimension,
    data_folder: &Path,
    number: u64,
    before: &Before<'_>,
    budget: &Arc<Budget>,
) -> Result<Option<(Generation, Table)>> {
    match load(settings, data_folder, number, before)? {
        Load::Changed => Ok(None),
        Load::Built(folder, manifest, table) => {
            let generation = Generation::open(folder, *manifest, &table, budget)?;
            tracing::info!(
                dimension = %settings.name.value,
                generation = number,
                rows = generation.manifest.rows,
                served_from = %generation.served_from(),
                "the table is loaded"
            );
            Ok(Some((generation, table)))
        }
    }
}

/// Whether the file is the one that a generation was loaded from: by length and time of change, else by its content.
fn same_file(manifest: &Manifest, stamp: Stamp, path: &Path) -> Result<bool> {
    let source = &manifest.source;
    let same_length = source.stamp.length_bytes == stamp.length_bytes;
    Ok(same_length && (source.stamp == stamp || source.sha256 == digest(path)?))
}
