//! Loading: a table's file becomes a generation, or is refused as a whole.
//!
//! The file is looked at before and after it is read; when it changed in between, nothing is made of it. Rows are sorted
//! by key within bounded memory, what a key means that stands twice is decided in the sorted order (which keeps the
//! file's), and the result goes into RocksDB as SST files.

use std::path::Path;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::DataType;

use super::dictionary::{Distinct, Recode, dictionary_array};
use super::file::{Stamp, digest, rows_of_file};
use super::generation::{Building, ColumnText, GenerationFolder, Manifest, SourceFile};
use super::key::{KeyLayout, MAX_KEY_BYTES};
use super::row::{RowLayout, layout_name};
use super::shape::Shape;
use super::sort::{Merged, SortedRow, Sorter};
use super::store::{self, StoredRow};
use crate::config::{self, Duplicates};
use crate::contract::Table;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::arrow_type;

/// How many keys a message names.
const NAMED_KEYS: usize = 5;

/// What a load has to respect of the generation before.
#[derive(Debug, Default)]
pub(super) struct Before<'a> {
    /// Its rows: a file that lost too many of them is refused.
    pub(super) rows: Option<u64>,
    /// Its table: another one is refused.
    pub(super) table: Option<&'a Table>,
}

/// What became of a load that was not refused.
#[derive(Debug)]
pub(super) enum Load {
    /// The generation is there.
    Built(GenerationFolder, Box<Manifest>, Table),
    /// The file changed while it was read.
    Changed,
}

/// Loads the file as generation `number`.
pub(super) fn load(settings: &config::Dimension, data_folder: &Path, number: u64, before: &Before<'_>) -> Result<Load> {
    let path = &settings.path.value;
    let stamp = Stamp::of(path)?;
    let building = Building::begin(data_folder, number)?;
    let built = build(settings, &building, stamp, before);
    if Stamp::of(path).ok() != Some(stamp) {
        return Ok(Load::Changed);
    }
    let (manifest, table) = built?;
    Ok(Load::Built(building.publish(&manifest)?, Box::new(manifest), table))
}

fn build(
    settings: &config::Dimension,
    building: &Building,
    stamp: Stamp,
    before: &Before<'_>,
) -> Result<(Manifest, Table)> {
    let path = &settings.path.value;
    let sha256 = digest(path)?;
    let shape = Shape::of(settings)?;
    if before.table.is_some_and(|table| *table != shape.table) {
        let message = format!("{} has other columns than the table that is in use", path.display());
        return Err(Error::new(ErrorKind::Input, message).help("restart to take the new columns over"));
    }
    let types: Vec<DataType> = shape.table.columns.iter().map(|column| arrow_type(&column.logical)).collect();
    let plain = RowLayout::new(&types, &[])?;
    let keys = KeyLayout::new(&shape.table.key)?;
    let mut reading = Reading::new(settings, building, &shape, &types)?;
    for batch in rows_of_file(path, &shape)? {
        reading.batch(&keys, &plain, &batch?)?;
    }
    let (sorted, distinct) = reading.finish()?;

    let dictionaries: Vec<Option<Vec<String>>> =
        distinct.iter().map(|distinct| distinct.as_ref().and_then(Distinct::values)).collect();
    let arrays: Vec<Option<ArrayRef>> =
        dictionaries.iter().map(|values| values.as_deref().map(dictionary_array)).collect();
    let coded = RowLayout::new(&types, &arrays)?;
    let recode = Recode { plain: &plain, coded: &coded, distinct: &distinct };
    let mut unique = Unique::new(path, sorted, settings.duplicates, &keys);
    let mut manifest = Manifest {
        generation: building.number(),
        layout: layout_name(),
        settings: Shape::settings_text(settings),
        source: SourceFile { path: path.display().to_string(), stamp, sha256 },
        key: ColumnText::of(&shape.table.key),
        columns: ColumnText::of(&shape.table.columns),
        dictionaries,
        rows: 0,
        duplicates: 0,
        key_bytes: 0,
        row_bytes: 0,
        files: Vec::new(),
    };
    store::create(&building.store_folder(), |stored| {
        if !unique.next()? {
            return Ok(false);
        }
        let StoredRow { key, row } = stored;
        key.clone_from(&unique.current.key);
        recode.row(&unique.current.row, row)?;
        manifest.rows += 1;
        manifest.key_bytes += key.len() as u64;
        manifest.row_bytes += row.len() as u64;
        Ok(true)
    })?;
    manifest.duplicates = unique.duplicates;
    check_rows(settings, manifest.rows, before.rows)?;
    manifest.files = building.stored_files()?;
    Ok((manifest, shape.table))
}

fn check_rows(settings: &config::Dimension, rows: u64, before: Option<u64>) -> Result<()> {
    let Some(before) = before else { return Ok(()) };
    let least = before as f64 * (1.0 - settings.shrink);
    if rows as f64 >= least {
        return Ok(());
    }
    let message = format!(
        "{} has {rows} rows, the table in use has {before}: fewer than `shrink = {}` allows",
        settings.path.value.display(),
        settings.shrink
    );
    Err(Error::new(ErrorKind::Input, message)
        .help("if the rows are meant to be gone, set `shrink = 1.0` for this dimension and restart"))
}

/// The first pass: rows in the order of the file.
struct Reading<'a> {
    path: &'a Path,
    sorter: Sorter,
    /// For each text column its distinct values.
    distinct: Vec<Option<Distinct>>,
    keys: usize,
    rows: u64,
    null_keys: u64,
    first_null_key: u64,
    row: Vec<u8>,
}

impl<'a> Reading<'a> {
    fn new(settings: &'a config::Dimension, building: &Building, shape: &Shape, types: &[DataType]) -> Result<Self> {
        let budget_bytes = (settings.memory_bytes / 4).clamp(16 << 20, 256 << 20);
        let budget_bytes = usize::try_from(budget_bytes).unwrap_or(usize::MAX);
        Ok(Self {
            path: &settings.path.value,
            sorter: Sorter::new(building.scratch_folder()?, budget_bytes),
            distinct: types.iter().map(|arrow| (*arrow == DataType::Utf8).then(Distinct::default)).collect(),
            keys: shape.table.key.len(),
            rows: 0,
            null_keys: 0,
            first_null_key: 0,
            row: Vec::new(),
        })
    }

    fn batch(&mut self, layout: &KeyLayout, plain: &RowLayout, columns: &[ArrayRef]) -> Result<()> {
        let (key, others) = columns.split_at(self.keys);
        let keys = layout.encode(key)?;
        let encoder = plain.encoder(others)?;
        for row in 0..keys.rows() {
            let number = self.rows;
            self.rows += 1;
            if !keys.is_valid(row) {
                self.first_null_key = if self.null_keys == 0 { number } else { self.first_null_key };
                self.null_keys += 1;
                continue;
            }
            let key = keys.get(row);
            if key.len() > MAX_KEY_BYTES {
                let message = format!("{}: row {}: the key takes {} bytes", self.path.display(), number + 1, key.len());
                return Err(
                    Error::new(ErrorKind::Input, message).help(format!("keys take at most {MAX_KEY_BYTES} bytes"))
                );
            }
            self.row.clear();
            encoder.write(row, &mut self.row)?;
            self.sorter.push(number, key, &self.row)?;
        }
        for (distinct, column) in self.distinct.iter_mut().zip(others) {
            if let (Some(distinct), Some(text)) = (distinct, column.as_string_opt::<i32>()) {
                distinct.observe(text);
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(Merged, Vec<Option<Distinct>>)> {
        if self.null_keys > 0 {
            let first = self.first_null_key + 1;
            let rows = if self.null_keys == 1 { "row has" } else { "rows have" };
            let message = format!(
                "{}: {} {rows} a null in the key, the first is row {first}",
                self.path.display(),
                self.null_keys
            );
            return Err(Error::new(ErrorKind::Input, message)
                .help("a key without a value can never be found: leave such rows out"));
        }
        Ok((self.sorter.finish()?, self.distinct))
    }
}

/// Sorted rows, one a key.
struct Unique<'a> {
    path: &'a Path,
    sorted: Merged,
    policy: Duplicates,
    keys: &'a KeyLayout,
    current: SortedRow,
    /// The first row of the next key, when it was read already.
    ahead: Option<SortedRow>,
    started: bool,
    duplicates: u64,
    named: Vec<String>,
}

impl<'a> Unique<'a> {
    fn new(path: &'a Path, sorted: Merged, policy: Duplicates, keys: &'a KeyLayout) -> Self {
        let current = SortedRow::default();
        Self { path, sorted, policy, keys, current, ahead: None, started: false, duplicates: 0, named: Vec::new() }
    }

    /// Moves `current` to the row of the next key; false behind the last. An error when a key stands twice and that is
    /// refused: it counts all of them first.
    fn next(&mut self) -> Result<bool> {
        loop {
            if !self.advance()? {
                return if self.named.is_empty() { Ok(false) } else { Err(self.refusal()) };
            }
            if self.named.is_empty() {
                return Ok(true);
            }
        }
    }

    fn advance(&mut self) -> Result<bool> {
        if !self.started {
            self.started = true;
            self.ahead = self.sorted.next()?.cloned();
        }
        let Some(ahead) = &mut self.ahead else { return Ok(false) };
        std::mem::swap(&mut self.current, ahead);
        loop {
            match self.sorted.next()? {
                Some(row) if row.key == self.current.key => {
                    self.duplicates += 1;
                    match self.policy {
                        Duplicates::First => {}
                        Duplicates::Last => self.current.clone_from(row),
                        Duplicates::Refuse if self.named.len() < NAMED_KEYS => {
                            let key = self.keys.text(&row.key).unwrap_or_default();
                            self.named.push(format!("{key} (rows {} and {})", self.current.number + 1, row.number + 1));
                        }
                        Duplicates::Refuse => {}
                    }
                }
                Some(row) => {
                    ahead.clone_from(row);
                    return Ok(true);
                }
                None => {
                    self.ahead = None;
                    return Ok(true);
                }
            }
        }
    }

    fn refusal(&self) -> Error {
        let rows = if self.duplicates == 1 { "row has" } else { "rows have" };
        let (path, keys) = (self.path.display(), self.named.join(", "));
        let message = format!("{path}: {} {rows} a key that stands there already: {keys}", self.duplicates);
        Error::new(ErrorKind::Input, message)
            .help("correct the file, or let one row count: `duplicates = \"first\"` or `\"last\"`")
    }
}
