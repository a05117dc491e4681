//! One Parquet file that is being written: finished row groups on the disk, one in memory, and the rows of the latter
//! that no spool segment holds yet.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::file::metadata::{FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataWriter};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;

use super::origin::{Origin, ReadRange};
use super::spool::Segment;
use super::token::{OpenFile, Part, Prefix, StagedFile};
use super::{in_parquet, on_disk};
use crate::disk::{Disk, DiskFile};
use crate::error::Result;

/// A file whose rows lie in more parts than this gets one part of all of them: the record and the number of segments stay
/// bounded, however long a file is open and however short the epochs are.
const MAX_PARTS: usize = 32;

/// A Parquet file without its footer.
pub(super) struct Unfinished {
    partition: String,
    paths: Paths,
    schema: SchemaRef,
    writer: SerializedFileWriter<CountedFile>,
    factory: ArrowRowGroupWriterFactory,
    group: Option<RowGroup>,
    /// Rows of this epoch that are in `group` only.
    pending: Vec<RecordBatch>,
    pending_bytes: u64,
    /// Rows of earlier epochs that are in `group` and in the spool.
    parts: Vec<Part>,
    prefix: Option<Prefix>,
    /// How many row groups `prefix` covers.
    prefix_groups: usize,
    first_row_ms: i64,
    origin: Origin,
    rows: u64,
    memory_bytes: u64,
}

/// Where a file is written and where it goes.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub(super) staged: PathBuf,
    pub(super) published: PathBuf,
}

/// What the columns of a file are and how they are encoded.
#[derive(Clone)]
pub(super) struct Layout {
    pub(super) schema: SchemaRef,
    pub(super) parquet: SchemaDescriptor,
    pub(super) properties: WriterProperties,
}

struct RowGroup {
    columns: Vec<ArrowColumnWriter>,
    rows: u64,
}

/// A file that counts and sums up what is written.
pub(super) struct CountedFile {
    file: Box<dyn DiskFile>,
    bytes: u64,
    crc: crc32fast::Hasher,
}

impl CountedFile {
    pub(super) fn create(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let file = disk.create(path).map_err(on_disk("create", path))?;
        Ok(Self { file, bytes: 0, crc: crc32fast::Hasher::new() })
    }

    /// Makes all of it survive a crash; its length and checksum.
    pub(super) fn sync(&mut self) -> io::Result<(u64, u32)> {
        self.file.sync()?;
        Ok((self.bytes, self.crc.clone().finalize()))
    }
}

impl Write for CountedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.crc.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Layout {
    /// Starts a file.
    pub(super) fn create(&self, disk: &dyn Disk, path: &Path) -> Result<SerializedFileWriter<CountedFile>> {
        let file = CountedFile::create(disk, path)?;
        SerializedFileWriter::new(file, self.parquet.root_schema_ptr(), Arc::new(self.properties.clone()))
            .map_err(in_parquet("start", path))
    }
}

impl Unfinished {
    /// Starts a file that will get its first row now.
    pub(super) fn create(
        disk: &dyn Disk,
        layout: &Layout,
        partition: &str,
        paths: Paths,
        first_row_ms: i64,
    ) -> Result<Self> {
        let writer = layout.create(disk, &paths.staged)?;
        let factory = ArrowRowGroupWriterFactory::new(&writer, layout.schema.clone());
        Ok(Self {
            partition: partition.to_owned(),
            paths,
            schema: layout.schema.clone(),
            writer,
            factory,
            group: None,
            pending: Vec::new(),
            pending_bytes: 0,
            parts: Vec::new(),
            prefix: None,
            prefix_groups: 0,
            first_row_ms,
            origin: Origin::default(),
            rows: 0,
            memory_bytes: 0,
        })
    }

    /// Adds rows that were written in `epoch` and made of records of `read`.
    pub(super) fn append(&mut self, rows: RecordBatch, epoch: u64, read: Option<&ReadRange>) -> Result<()> {
        self.encode(&rows)?;
        self.origin.add(epoch, read);
        self.pending_bytes += held_bytes(&rows);
        self.pending.push(rows);
        self.measure();
        Ok(())
    }

    /// Adds rows that the spool holds already.
    pub(super) fn append_spooled(&mut self, part: &Part, rows: &[RecordBatch]) -> Result<()> {
        rows.iter().try_for_each(|rows| self.encode(rows))?;
        self.parts.push(part.clone());
        self.measure();
        Ok(())
    }

    /// Adds whole row groups of another file. Nothing may wait in memory: their order would change.
    pub(super) fn append_prefix(
        &mut self,
        disk: &Arc<dyn Disk>,
        prefix: &Prefix,
        metadata: &ParquetMetaData,
    ) -> Result<()> {
        self.flush()?;
        super::merge::append_row_groups(&mut self.writer, disk, &prefix.staged, metadata)?;
        self.rows += prefix.rows;
        Ok(())
    }

    /// Makes the file as old as the oldest of those that it takes over, and made of what they were made of.
    pub(super) fn take_over(&mut self, file: &OpenFile) {
        self.first_row_ms = self.first_row_ms.min(file.first_row_ms);
        self.origin.merge(&file.origin);
    }

    fn encode(&mut self, rows: &RecordBatch) -> Result<()> {
        let fail = in_parquet("write", &self.paths.staged);
        let group = match &mut self.group {
            Some(group) => group,
            none => {
                let index = self.writer.flushed_row_groups().len();
                none.insert(RowGroup { columns: self.factory.create_column_writers(index).map_err(&fail)?, rows: 0 })
            }
        };
        let mut columns = group.columns.iter_mut();
        for (field, array) in self.schema.fields().iter().zip(rows.columns()) {
            for (leaf, column) in compute_leaves(field, array).map_err(&fail)?.iter().zip(&mut columns) {
                column.write(leaf).map_err(&fail)?;
            }
        }
        group.rows += rows.num_rows() as u64;
        self.rows += rows.num_rows() as u64;
        Ok(())
    }

    /// Writes the row group in memory to the file: its rows need no spool any more.
    pub(super) fn flush(&mut self) -> Result<()> {
        if let Some(group) = self.group.take() {
            let fail = in_parquet("write", &self.paths.staged);
            let mut writer = self.writer.next_row_group().map_err(&fail)?;
            for column in group.columns {
                column.close().and_then(|chunk| chunk.append_to_row_group(&mut writer)).map_err(&fail)?;
            }
            writer.close().map_err(&fail)?;
        }
        self.pending.clear();
        self.pending_bytes = 0;
        self.parts.clear();
        self.measure();
        Ok(())
    }

    fn measure(&mut self) {
        let encoded: usize =
            self.group.iter().flat_map(|group| &group.columns).map(ArrowColumnWriter::memory_size).sum();
        self.memory_bytes = encoded as u64 + self.pending_bytes;
    }

    /// The bytes that it holds in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// The bytes that the row group in memory would take in the file, estimated.
    pub(super) fn group_bytes(&self) -> u64 {
        let columns = self.group.iter().flat_map(|group| &group.columns);
        columns.map(ArrowColumnWriter::get_estimated_total_bytes).sum::<usize>() as u64
    }

    /// The rows in the row group in memory.
    pub(super) fn group_rows(&self) -> u64 {
        self.group.as_ref().map_or(0, |group| group.rows)
    }

    /// About how large the file would be if it were closed now.
    pub(super) fn file_bytes(&self) -> u64 {
        self.writer.bytes_written() as u64 + self.group_bytes()
    }

    pub(super) fn first_row_ms(&self) -> i64 {
        self.first_row_ms
    }

    pub(super) fn staged(&self) -> &Path {
        &self.paths.staged
    }

    pub(super) fn partition(&self) -> &str {
        &self.partition
    }

    /// Makes everything in it durable, in the file or in the segment, and leaves it open.
    pub(super) fn settle(&mut self, segment: &mut Segment<'_>) -> Result<OpenFile> {
        if self.writer.flushed_row_groups().len() > self.prefix_groups {
            self.settle_prefix(segment)?;
        }
        if !self.pending.is_empty() {
            self.parts.push(segment.write_rows(&self.pending)?);
            self.pending.clear();
            self.pending_bytes = 0;
        }
        if self.parts.len() > MAX_PARTS {
            self.parts = vec![segment.copy(&self.parts)?];
        }
        self.measure();
        Ok(OpenFile {
            partition: self.partition.clone(),
            first_row_ms: self.first_row_ms,
            origin: self.origin.clone(),
            rows: self.rows,
            prefix: self.prefix.clone(),
            parts: self.parts.clone(),
        })
    }

    fn settle_prefix(&mut self, segment: &mut Segment<'_>) -> Result<()> {
        let staged = &self.paths.staged;
        self.writer.flush().map_err(on_disk("write", staged))?;
        let (bytes, crc32) = self.writer.inner_mut().sync().map_err(on_disk("sync", staged))?;
        let groups = self.writer.flushed_row_groups().to_vec();
        let rows: i64 = groups.iter().map(|group| group.num_rows()).sum();
        let descriptor = Arc::new(self.writer.schema_descr().clone());
        let metadata = ParquetMetaData::new(FileMetaData::new(1, rows, None, None, descriptor, None), groups);
        let mut footer = Vec::new();
        ParquetMetaDataWriter::new(&mut footer, &metadata).finish().map_err(in_parquet("describe", staged))?;
        let footer = segment.write_footer(&footer)?;
        self.prefix_groups = metadata.num_row_groups();
        self.prefix = Some(Prefix { staged: staged.clone(), bytes, crc32, rows: rows.unsigned_abs(), footer });
        Ok(())
    }

    /// Writes the footer and makes the file durable.
    pub(super) fn close(mut self, output: &str, footer: &[(String, String)]) -> Result<StagedFile> {
        self.flush()?;
        let Paths { staged, published } = self.paths;
        let (rows, bytes, crc32) = finish(self.writer, &staged, footer, &self.origin)?;
        let (output, partition) = (output.to_owned(), self.partition);
        Ok(StagedFile { output, partition, staged, published, rows, bytes, crc32, origin: self.origin })
    }
}

/// Writes a footer with its entries and syncs the file: its rows, its length and its checksum.
pub(super) fn finish(
    mut writer: SerializedFileWriter<CountedFile>,
    path: &Path,
    footer: &[(String, String)],
    origin: &Origin,
) -> Result<(u64, u64, u32)> {
    for (key, value) in footer.iter().chain(&origin.footer()) {
        writer.append_key_value_metadata(KeyValue::new(key.clone(), value.clone()));
    }
    let metadata = writer.finish().map_err(in_parquet("finish", path))?;
    let (bytes, crc32) = writer.inner_mut().sync().map_err(on_disk("sync", path))?;
    Ok((metadata.file_metadata().num_rows().unsigned_abs(), bytes, crc32))
}

/// What a batch takes in memory. The values of a dictionary that is larger than the batch are shared with others: they are
/// not counted; nor are the rows beside a slice.
fn held_bytes(rows: &RecordBatch) -> u64 {
    let of_column = |column: &ArrayRef| match column.as_any_dictionary_opt() {
        Some(dictionary) if dictionary.values().len() > column.len() => {
            dictionary.keys().to_data().get_slice_memory_size()
        }
        _ => column.to_data().get_slice_memory_size(),
    };
    rows.columns().iter().map(|column| of_column(column).unwrap_or(0)).sum::<usize>() as u64
}
