//! RocksDB: the one file of Millstream that names it. A store is loaded once, from sorted rows through SST files, and
//! then only read; it is opened read-only, so it has no write-ahead log, no write buffers and no compaction.

use std::fs;
use std::path::{Path, PathBuf};

use rocksdb::{
    AsColumnFamilyRef, BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBPinnableSlice, DEFAULT_COLUMN_FAMILY_NAME, DataBlockIndexType, IngestExternalFileOptions, LogLevel,
    LruCacheOptions, Options, ReadOptions, SstFileWriter,
};

use crate::error::{Error, ErrorKind, Result};

/// Keys in one SST file take about this much.
const SST_FILE_BYTES: usize = 256 << 20;
/// Smaller blocks would read less for one key and hold more index; measured differences are small.
const BLOCK_BYTES: usize = 4 << 10;
/// About 1% of the keys that are not there cost a block read.
const FILTER_BITS_PER_KEY: f64 = 10.0;
const CACHE_SHARD_BITS: i32 = 2;
const MAX_OPEN_FILES: i32 = 512;

/// A key and its row, as they stand in the store.
#[derive(Debug, Default)]
pub(super) struct StoredRow {
    pub(super) key: Vec<u8>,
    pub(super) row: Vec<u8>,
}

fn storage(action: &str) -> impl FnOnce(rocksdb::Error) -> Error + '_ {
    move |error| Error::new(ErrorKind::Storage, format!("RocksDB: {action}")).caused_by(error)
}

/// Few shards: a cache that is cut in many small ones evicts what it needs most.
fn new_cache(cache_bytes: usize) -> Cache {
    let mut options = LruCacheOptions::default();
    options.set_capacity(cache_bytes);
    options.set_num_shard_bits(CACHE_SHARD_BITS);
    Cache::new_lru_cache_opts(&options)
}

fn options(cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_ribbon_filter(FILTER_BITS_PER_KEY);
    blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    // Index and filters count against the cache, in blocks like those of the rows: memory stays within what was asked
    // for, however large the table, and a small cache still holds the parts that are used.
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_metadata_block_size(BLOCK_BYTES);
    blocks.set_pin_top_level_index_and_filter(true);
    blocks.set_format_version(6);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_max_open_files(MAX_OPEN_FILES);
    options.set_write_buffer_size(1 << 20);
    options.set_keep_log_file_num(1);
    options.set_log_level(LogLevel::Error);
    options
}

/// Creates a store in `folder` from rows whose keys ascend strictly. `next` fills in the next row; false ends it.
pub(super) fn create(folder: &Path, mut next: impl FnMut(&mut StoredRow) -> Result<bool>) -> Result<()> {
    let mut options = options(&new_cache(1 << 20));
    options.create_if_missing(true);
    fs::create_dir_all(folder).map_err(|error| {
        Error::new(ErrorKind::Storage, format!("{} cannot be created", folder.display())).caused_by(error)
    })?;
    let mut files: Vec<PathBuf> = Vec::new();
    let mut row = StoredRow::default();
    let mut more = next(&mut row)?;
    while more {
        let path = folder.join(format!("sorted-{:06}.sst", files.len()));
        let mut writer = SstFileWriter::create(&options);
        writer.open(&path).map_err(storage("an SST file cannot be created"))?;
        let mut written_bytes = 0;
        while more && written_bytes < SST_FILE_BYTES {
            writer.put(&row.key, &row.row).map_err(storage("an SST file cannot be written"))?;
            written_bytes += row.key.len() + row.row.len();
            more = next(&mut row)?;
        }
        writer.finish().map_err(storage("an SST file cannot be closed"))?;
        files.push(path);
    }
    let db = DB::open(&options, folder).map_err(storage("a store cannot be created"))?;
    if !files.is_empty() {
        let mut ingest = IngestExternalFileOptions::default();
        ingest.set_move_files(true);
        db.ingest_external_file_opts(&ingest, files).map_err(storage("SST files cannot be taken in"))?;
    }
    Ok(())
}

/// Whether a file of a store holds rows, or says which files do: what has to be checksummed.
pub(super) fn is_content(file_name: &str) -> bool {
    file_name.ends_with(".sst") || file_name.starts_with("MANIFEST-") || file_name == "CURRENT"
}

/// A store, open for reading.
pub(super) struct Store {
    db: DB,
    cache: Cache,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.db.path()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a store with a block cache of this size.
    pub(super) fn open(folder: &Path, cache_bytes: usize) -> Result<Self> {
        let cache = new_cache(cache_bytes);
        let options = options(&cache);
        let family = ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, options.clone());
        let db = DB::open_cf_descriptors_read_only(&options, folder, [family], false)
            .map_err(storage("a store cannot be opened"))?;
        Ok(Self { db, cache })
    }

    /// Changes the size of the block cache.
    pub(super) fn resize_cache(&self, cache_bytes: usize) {
        self.cache.clone().set_capacity(cache_bytes);
    }

    /// The rows of keys that ascend.
    pub(super) fn get_sorted(&self, keys: &[&[u8]]) -> Result<Vec<Option<DBPinnableSlice<'_>>>> {
        let values = self.db.batched_multi_get_cf(self.family()?, keys.iter().copied(), true);
        values.into_iter().collect::<Result<_, _>>().map_err(storage("keys cannot be read"))
    }

    fn family(&self) -> Result<&impl AsColumnFamilyRef> {
        let missing = || Error::new(ErrorKind::Internal, "RocksDB: the default column family is missing");
        self.db.cf_handle(DEFAULT_COLUMN_FAMILY_NAME).ok_or_else(missing)
    }

    /// Reads all rows by key, past the cache.
    pub(super) fn scan(&self, mut each: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let mut reading = ReadOptions::default();
        reading.fill_cache(false);
        reading.set_readahead_size(2 << 20);
        let mut rows = self.db.raw_iterator_opt(reading);
        rows.seek_to_first();
        while let Some((key, row)) = rows.item() {
            each(key, row)?;
            rows.next();
        }
        rows.status().map_err(storage("rows cannot be read"))
    }
}
