//! Row groups copied byte by byte from one Parquet file into another, without decoding them: how an open file comes back
//! after a restart, and how the small files that several workers close for the same partition become one.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{KeyValue, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::SerializedFileWriter;

use super::origin::{EPOCHS_KEY, Origin, READ_KEY};
use super::token::{Prepared, StagedFile};
use super::unfinished::{CountedFile, Paths, finish};
use super::{Place, in_parquet, on_disk};
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};

/// How much is read at once.
const READ_BYTES: usize = 128 << 10;

/// A file on a `Disk`, as the Parquet reader wants it.
pub(super) struct DiskReader {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    bytes: u64,
}

impl DiskReader {
    pub(super) fn open(disk: &Arc<dyn Disk>, path: &Path) -> io::Result<Self> {
        let bytes = disk.size_bytes(path)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Self { disk: disk.clone(), path: path.to_owned(), bytes })
    }
}

impl Length for DiskReader {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for DiskReader {
    type T = SequentialReader;

    fn get_read(&self, start: u64) -> parquet::errors::Result<SequentialReader> {
        let (disk, path) = (self.disk.clone(), self.path.clone());
        Ok(SequentialReader { disk, path, at: start, end: self.bytes, block: Vec::new(), used: 0 })
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<bytes::Bytes> {
        Ok(self.disk.read_at(&self.path, start, length)?.into())
    }
}

/// Reads a file in blocks from a place on.
pub(super) struct SequentialReader {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    at: u64,
    end: u64,
    block: Vec<u8>,
    used: usize,
}

impl Read for SequentialReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.block.len() {
            let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
            self.block = self.disk.read_at(&self.path, self.at, left.min(READ_BYTES))?;
            self.at += self.block.len() as u64;
            self.used = 0;
        }
        let count = buffer.len().min(self.block.len() - self.used);
        buffer[..count].copy_from_slice(&self.block[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}

/// The CRC-32 of the beginning of a file.
pub fn checksum(disk: &Arc<dyn Disk>, path: &Path, bytes: u64) -> io::Result<u32> {
    let (disk, path) = (disk.clone(), path.to_owned());
    let mut reader = SequentialReader { disk, path, at: 0, end: bytes, block: Vec::new(), used: 0 };
    let mut crc = crc32fast::Hasher::new();
    let mut block = vec![0; READ_BYTES];
    loop {
        match reader.read(&mut block)? {
            0 => return Ok(crc.finalize()),
            count => crc.update(&block[..count]),
        }
    }
}

/// Copies all row groups that `metadata` describes from a file to the end of another one.
pub(super) fn append_row_groups<W: Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    disk: &Arc<dyn Disk>,
    from: &Path,
    metadata: &ParquetMetaData,
) -> Result<()> {
    let fail = in_parquet("copy row groups of", from);
    let reader = DiskReader::open(disk, from).map_err(on_disk("read", from))?;
    for group in metadata.row_groups() {
        let mut target = writer.next_row_group().map_err(&fail)?;
        for column in group.columns() {
            let close = ColumnCloseResult {
                bytes_written: column.compressed_size().unsigned_abs(),
                rows_written: group.num_rows().unsigned_abs(),
                metadata: column.clone(),
                bloom_filter: None,
                column_index: None,
                offset_index: None,
            };
            target.append_column(&reader, close).map_err(&fail)?;
        }
        target.close().map_err(&fail)?;
    }
    Ok(())
}

/// Makes larger files of the small ones that the workers closed for the same partition in this epoch, so that at most one
/// file of it is smaller than half the target size. `tokens` are those of all workers for one output; the merged files
/// take the place of the tails that they were made of. `footer` are the entries of the merged files' footers, which hold
/// for all workers together.
///
/// The tails stay on the disk until the commit (`Prepared::obsolete`): they may begin with row groups that the last
/// commit still counts on.
pub fn merge_tails(
    tokens: &mut [Prepared],
    place: &Place,
    target_file_bytes: u64,
    footer: &[(String, String)],
    disk: &Arc<dyn Disk>,
) -> Result<()> {
    let enough = target_file_bytes / 2;
    let mut small: BTreeMap<String, Vec<Tail>> = BTreeMap::new();
    for token in tokens.iter_mut() {
        let (large, rest): (Vec<_>, Vec<_>) = token.tails.drain(..).partition(|file| file.bytes >= enough);
        token.tails = large;
        for file in rest {
            small.entry(file.partition.clone()).or_default().push(Tail::open(file, disk)?);
        }
    }
    let Some(first) = tokens.first_mut() else { return Ok(()) };
    let mut merged = 0;
    for tails in small.into_values() {
        for pack in packs(tails, enough) {
            if let [alone] = pack.as_slice() {
                first.tails.push(alone.file.clone());
                continue;
            }
            let Some(partition) = pack.first().map(|tail| &tail.file.partition) else { continue };
            first.tails.push(merge(&pack, &place.merged_paths(partition, first.epoch, merged), footer, disk)?);
            first.obsolete.extend(pack.into_iter().map(|tail| tail.file.staged));
            merged += 1;
        }
    }
    if merged > 0 {
        disk.sync_folder(&place.staging).map_err(on_disk("sync", &place.staging))?;
    }
    Ok(())
}

/// A closed file that is small, and what its footer says.
struct Tail {
    file: StagedFile,
    metadata: ParquetMetaData,
}

impl Tail {
    fn open(file: StagedFile, disk: &Arc<dyn Disk>) -> Result<Self> {
        let metadata = metadata_of(disk, &file.staged)?;
        Ok(Self { file, metadata })
    }

    /// What it adds to a file that it is copied into: its own footer does not count.
    fn row_group_bytes(&self) -> u64 {
        self.metadata.row_groups().iter().map(|group| group.compressed_size().unsigned_abs()).sum()
    }
}

/// Files put together until they are enough; only the last pack may be too small.
fn packs(tails: Vec<Tail>, enough: u64) -> Vec<Vec<Tail>> {
    let mut packs = Vec::new();
    let (mut pack, mut bytes) = (Vec::new(), 0);
    for tail in tails {
        bytes += tail.row_group_bytes();
        pack.push(tail);
        if bytes >= enough {
            packs.push(std::mem::take(&mut pack));
            bytes = 0;
        }
    }
    packs.push(pack);
    packs.retain(|pack| !pack.is_empty());
    packs
}

fn merge(tails: &[Tail], paths: &Paths, footer: &[(String, String)], disk: &Arc<dyn Disk>) -> Result<StagedFile> {
    let Some(first) = tails.first() else {
        return Err(Error::new(ErrorKind::Internal, "there are no files to put together"));
    };
    let Paths { staged, published } = paths.clone();
    let mut writer = start_like(&first.metadata, footer, disk, &staged)?;
    let mut origin = Origin::default();
    for Tail { file, metadata } in tails {
        append_row_groups(&mut writer, disk, &file.staged, metadata)?;
        origin.merge(&file.origin);
    }
    let (rows, bytes, crc32) = finish(writer, &staged, footer, &origin)?;
    let (output, partition) = (first.file.output.clone(), first.file.partition.clone());
    Ok(StagedFile { output, partition, staged, published, rows, bytes, crc32, origin })
}

fn metadata_of(disk: &Arc<dyn Disk>, path: &Path) -> Result<ParquetMetaData> {
    let reader = DiskReader::open(disk, path).map_err(on_disk("read", path))?;
    ParquetMetaDataReader::new().parse_and_finish(&reader).map_err(in_parquet("read the footer of", path))
}

/// A new file with the columns of another one and its footer entries, as far as `footer` does not bring them.
fn start_like(
    metadata: &ParquetMetaData,
    footer: &[(String, String)],
    disk: &Arc<dyn Disk>,
    path: &Path,
) -> Result<SerializedFileWriter<CountedFile>> {
    let replaced = |entry: &KeyValue| {
        [EPOCHS_KEY, READ_KEY].contains(&entry.key.as_str()) || footer.iter().any(|(key, _)| *key == entry.key)
    };
    let entries = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    let entries: Vec<KeyValue> = entries.filter(|entry| !replaced(entry)).cloned().collect();
    let created_by = metadata.file_metadata().created_by().unwrap_or_default().to_owned();
    let properties = WriterProperties::builder()
        .set_created_by(created_by)
        .set_offset_index_disabled(true)
        .set_key_value_metadata(Some(entries))
        .build();
    let schema = metadata.file_metadata().schema_descr().root_schema_ptr();
    SerializedFileWriter::new(CountedFile::create(disk.as_ref(), path)?, schema, Arc::new(properties))
        .map_err(in_parquet("start", path))
}
