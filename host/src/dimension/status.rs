//! What a table does, in numbers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Which way lookups are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServedFrom {
    /// From the resident index, in memory.
    Resident,
    /// From RocksDB, because the index does not fit `memory`.
    RocksDb,
}

impl fmt::Display for ServedFrom {
    /// `resident` or `rocksdb`: the label of the metric.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resident => "resident",
            Self::RocksDb => "rocksdb",
        })
    }
}

/// A table at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The generation that answers, from 1; every load of a changed file is one more.
    pub generation: u64,
    /// Its rows.
    pub rows: u64,
    /// Rows of its file that are not in it because another row has their key (`duplicates = "first"` or `"last"`).
    pub duplicate_rows: u64,
    /// Which way it answers now.
    pub served_from: ServedFrom,
    /// What its resident index takes, or would take.
    pub resident_bytes: u64,
    /// What all generations of the table that are still held have of `memory`.
    pub memory_bytes: u64,
    /// What was looked up so far in the resident index.
    pub resident: Lookups,
    /// What was looked up so far in RocksDB.
    pub rocksdb: Lookups,
    /// Why the file, as it lies there now, was not loaded: an older generation goes on serving.
    pub refused: Option<String>,
}

/// What was looked up one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Calls, one for each batch.
    pub batches: u64,
    /// Keys asked for.
    pub keys: u64,
    /// Keys that were found.
    pub found: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    resident: Counter,
    rocksdb: Counter,
}

#[derive(Debug, Default)]
struct Counter {
    batches: AtomicU64,
    keys: AtomicU64,
    found: AtomicU64,
}

impl Counters {
    pub(super) fn count(&self, way: ServedFrom, keys: usize, found: usize) {
        let counter = match way {
            ServedFrom::Resident => &self.resident,
            ServedFrom::RocksDb => &self.rocksdb,
        };
        counter.batches.fetch_add(1, Ordering::Relaxed);
        counter.keys.fetch_add(keys as u64, Ordering::Relaxed);
        counter.found.fetch_add(found as u64, Ordering::Relaxed);
    }

    pub(super) fn resident(&self) -> Lookups {
        self.resident.read()
    }

    pub(super) fn rocksdb(&self) -> Lookups {
        self.rocksdb.read()
    }
}

impl Counter {
    fn read(&self) -> Lookups {
        Lookups {
            batches: self.batches.load(Ordering::Relaxed),
            keys: self.keys.load(Ordering::Relaxed),
            found: self.found.load(Ordering::Relaxed),
        }
    }
}
