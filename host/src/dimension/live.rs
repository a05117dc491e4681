//! A generation that answers: from the resident index when it was built, else from RocksDB.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanBufferBuilder, DictionaryArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Int32Type};
use parking_lot::Mutex;

use super::ServedFrom;
use super::budget::{Budget, Lease};
use super::dictionary::dictionary_array;
use super::generation::{GenerationFolder, Manifest};
use super::key::{KeyLayout, Keys};
use super::resident::{Resident, resident_bytes};
use super::row::RowLayout;
use super::store::Store;
use crate::contract::{Joined, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::arrow_type;

/// RocksDB's block cache is never smaller; this much comes on top of the budget.
const MIN_CACHE_BYTES: u64 = 8 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) manifest: Manifest,
    keys: KeyLayout,
    layout: RowLayout,
    resident: OnceLock<(Resident, Lease)>,
    // Before `files`: RocksDB is closed before its files are removed.
    store: Store,
    /// What of the budget the block cache has.
    cache: Mutex<Option<Lease>>,
    files: Files,
}

#[derive(Debug)]
struct Files {
    folder: GenerationFolder,
    /// Whether they go when nobody holds the generation any more.
    retired: AtomicBool,
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.retired.load(Ordering::Acquire) {
            self.folder.remove();
        }
    }
}

impl Generation {
    /// Opens a generation whose checksums were compared, and makes it resident if the budget allows it.
    pub(super) fn open(
        folder: GenerationFolder,
        manifest: Manifest,
        table: &Table,
        budget: &Arc<Budget>,
    ) -> Result<Self> {
        let types: Vec<DataType> = table.columns.iter().map(|column| arrow_type(&column.logical)).collect();
        let values = |values: &Option<Vec<String>>| values.as_deref().map(dictionary_array);
        let dictionaries: Vec<_> = manifest.dictionaries.iter().map(values).collect();
        let generation = Self {
            keys: KeyLayout::new(&table.key)?,
            layout: RowLayout::new(&types, &dictionaries)?,
            resident: OnceLock::new(),
            store: Store::open(&folder.store_folder(), cache_bytes(0))?,
            cache: Mutex::new(None),
            files: Files { folder, retired: AtomicBool::new(false) },
            manifest,
        };
        generation.make_resident(budget)?;
        Ok(generation)
    }

    /// What the resident index takes, or would take.
    pub(super) fn resident_bytes(&self) -> u64 {
        let Manifest { rows, key_bytes, row_bytes, .. } = self.manifest;
        resident_bytes(rows, key_bytes, row_bytes, self.keys.width())
    }

    /// How it answers.
    pub(super) fn served_from(&self) -> ServedFrom {
        if self.resident.get().is_some() { ServedFrom::Resident } else { ServedFrom::RocksDb }
    }

    /// Builds the resident index if there is none and the budget allows it; whether there is one now.
    pub(super) fn make_resident(&self, budget: &Arc<Budget>) -> Result<bool> {
        if self.resident.get().is_some() {
            return Ok(true);
        }
        // The cache makes room first: it may hold half of the budget.
        self.set_cache(None);
        let Some(lease) = budget.lease(self.resident_bytes()) else {
            self.set_cache(Some(budget.lease_up_to(budget.limit_bytes() / 2)));
            return Ok(false);
        };
        let resident = self.build_resident()?;
        // Only one thread builds (the loader's lock), so nothing is set here yet.
        Ok(self.resident.set((resident, lease)).is_ok())
    }

    fn build_resident(&self) -> Result<Resident> {
        let Manifest { rows, key_bytes, row_bytes, .. } = self.manifest;
        let mut resident = Resident::with_capacity(rows, key_bytes, row_bytes, self.keys.width())?;
        self.store.scan(|key, row| {
            self.check(row)?;
            resident.insert(key, row)
        })?;
        if resident.rows() != rows {
            let message = format!(
                "generation {} holds {} rows, its manifest says {rows}",
                self.manifest.generation,
                resident.rows()
            );
            return Err(Error::new(ErrorKind::Storage, message));
        }
        Ok(resident)
    }

    fn set_cache(&self, lease: Option<Lease>) {
        let mut held = self.cache.lock();
        self.store.resize_cache(cache_bytes(lease.as_ref().map_or(0, Lease::bytes)));
        *held = lease;
    }

    /// Its files go when nobody holds it any more.
    pub(super) fn retire(&self) {
        self.files.retired.store(true, Ordering::Release);
    }

    fn check(&self, row: &[u8]) -> Result<()> {
        if self.layout.holds(row) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Storage, format!("generation {} holds a damaged row", self.manifest.generation)))
    }

    /// The Arrow type in which a column is handed out.
    pub(super) fn column_type(&self, column: usize) -> Option<&DataType> {
        self.layout.columns().get(column).map(|column| &column.arrow)
    }

    /// Answers a batch of keys; with which way it was answered.
    pub(super) fn lookup(&self, key: &[ArrayRef], columns: &[usize]) -> Result<(Joined, ServedFrom)> {
        if let Some(column) = columns.iter().find(|column| self.column_type(**column).is_none()) {
            return Err(Error::new(ErrorKind::Internal, format!("the table has no column number {column}")));
        }
        // Text that repeats is looked up once for each distinct value.
        if let [one] = key
            && let Some(text) = one.as_dictionary_opt::<Int32Type>()
            && text.values().len() <= text.len()
        {
            return self.answer(&[text.values().clone()], Some(text), columns);
        }
        self.answer(key, None, columns)
    }

    fn answer(
        &self,
        key: &[ArrayRef],
        codes: Option<&DictionaryArray<Int32Type>>,
        columns: &[usize],
    ) -> Result<(Joined, ServedFrom)> {
        let keys = self.keys.encode(&self.keys.canonical(key)?)?;
        if let Some((resident, _)) = self.resident.get() {
            let rows = resident.find(&keys, self.layout.null_row());
            return Ok((self.join(rows, codes, columns)?, ServedFrom::Resident));
        }
        let (order, distinct) = sorted(&keys);
        let values = self.store.get_sorted(&distinct)?;
        for value in values.iter().flatten() {
            self.check(value)?;
        }
        let mut rows = vec![self.layout.null_row(); keys.rows()];
        let mut found = BooleanBufferBuilder::new(keys.rows());
        found.append_n(keys.rows(), false);
        for (row, index) in order {
            if let Some(Some(value)) = values.get(index) {
                rows[row] = value;
                found.set_bit(row, true);
            }
        }
        Ok((self.join((rows, found.finish()), codes, columns)?, ServedFrom::RocksDb))
    }

    fn join(
        &self,
        (mut rows, mut found): (Vec<&[u8]>, BooleanBuffer),
        codes: Option<&DictionaryArray<Int32Type>>,
        columns: &[usize],
    ) -> Result<Joined> {
        if let Some(text) = codes {
            let (value_rows, value_found) = (rows, found);
            let code = |row| text.key(row).filter(|code| text.values().is_valid(*code));
            rows =
                (0..text.len()).map(|row| code(row).map_or(self.layout.null_row(), |code| value_rows[code])).collect();
            found =
                BooleanBuffer::collect_bool(text.len(), |row| code(row).is_some_and(|code| value_found.value(code)));
        }
        let columns = columns.iter().map(|column| self.layout.decode(&rows, *column)).collect::<Result<_>>()?;
        Ok(Joined { found, columns })
    }
}

fn cache_bytes(leased_bytes: u64) -> usize {
    usize::try_from(MIN_CACHE_BYTES.saturating_add(leased_bytes)).unwrap_or(usize::MAX)
}

/// The distinct keys of a batch in ascending order, and for each row with a key its place among them.
fn sorted(keys: &Keys) -> (Vec<(usize, usize)>, Vec<&[u8]>) {
    let mut rows: Vec<usize> = (0..keys.rows()).filter(|row| keys.is_valid(*row)).collect();
    rows.sort_unstable_by(|a, b| keys.get(*a).cmp(keys.get(*b)));
    let mut distinct: Vec<&[u8]> = Vec::with_capacity(rows.len());
    let mut order = Vec::with_capacity(rows.len());
    for row in rows {
        let key = keys.get(row);
        if distinct.last() != Some(&key) {
            distinct.push(key);
        }
        order.push((row, distinct.len() - 1));
    }
    (order, distinct)
}
