//! One worker's side of one Parquet output.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::SchemaDescriptor;

use super::encoding::{parquet_schema, properties};
use super::merge::checksum;
use super::origin::ReadRange;
use super::partition::Partitioner;
use super::spool::{Segment, read_footer, read_rows};
use super::token::{OpenFile, Prefix, Prepared, StagedFile};
use super::unfinished::{Layout, Unfinished};
use super::{Place, in_parquet, is_too_old, on_disk};
use crate::config::{Compression, ParquetOutput};
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Column;

/// How much one worker's side of one output may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most memory for rows that wait for the spool or for their row group; beyond, the largest row group is written.
    pub memory_bytes: u64,
    /// A row group is written when it takes about this much in the file.
    pub row_group_bytes: u64,
    /// A row group has at most this many rows, give or take a batch.
    pub row_group_rows: u64,
    /// Most files open at a time; beyond, the oldest is closed.
    pub open_files: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 64 << 20, row_group_bytes: 32 << 20, row_group_rows: 1 << 20, open_files: 64 }
    }
}

/// Which files an epoch closes.
#[derive(Clone, Copy, Debug)]
pub enum Closing<'a> {
    /// Those that are full or too old.
    Due,
    /// Those, and those of the given partitions: the ones that are due at another worker, so that `merge_tails` can make
    /// one file of all.
    DueAnd(&'a BTreeSet<String>),
    /// All: the end of the run, of a plan, or of the worker's hold on its source partitions.
    All,
}

/// One worker's side of one Parquet output. After an error it is unusable: take a new one and `restore` it.
pub struct ParquetWriter {
    place: Place,
    /// The worker's part of file names.
    slot: String,
    disk: Arc<dyn Disk>,
    columns: Vec<Column>,
    schema: SchemaRef,
    parquet_schema: SchemaDescriptor,
    partitioner: Partitioner,
    compression: Compression,
    target_file_bytes: u64,
    max_age_ms: i64,
    limits: Limits,
    footer: Vec<(String, String)>,
    /// How the columns are encoded, and how many rows that was chosen by.
    encodings: Option<(usize, WriterProperties)>,
    epoch: u64,
    /// Files opened in this epoch.
    opened: u32,
    /// Rows written in this epoch.
    rows: u64,
    /// The records that rows are made of now.
    read: Option<ReadRange>,
    open: BTreeMap<String, Unfinished>,
    /// Full; they get their footer at the end of the epoch.
    full: Vec<Unfinished>,
    /// Closed in this epoch before they were full or due.
    early: Vec<StagedFile>,
    closed_early: u64,
    /// What this writer, or the tokens it was restored from, put into staging and may not need any more.
    staged: BTreeSet<PathBuf>,
    names_changed: bool,
}

impl ParquetWriter {
    /// A writer without open files, whose first epoch is `epoch`.
    pub fn new(
        place: Place,
        settings: &ParquetOutput,
        columns: &[Column],
        limits: Limits,
        epoch: u64,
        disk: Arc<dyn Disk>,
    ) -> Result<Self> {
        let schema = Schema::new(columns.iter().map(Column::arrow_field).collect::<Vec<_>>());
        Ok(Self {
            slot: format!("{:02}", place.worker),
            disk,
            columns: columns.to_vec(),
            parquet_schema: parquet_schema(&schema)?,
            schema: schema.into(),
            partitioner: Partitioner::new(&place.output, &settings.partition, columns)?,
            compression: settings.compression,
            target_file_bytes: settings.target_file_bytes,
            max_age_ms: i64::try_from(settings.max_age.as_millis()).unwrap_or(i64::MAX),
            limits,
            footer: Vec::new(),
            encodings: None,
            epoch,
            opened: 0,
            rows: 0,
            read: None,
            open: BTreeMap::new(),
            full: Vec::new(),
            early: Vec::new(),
            closed_early: 0,
            staged: BTreeSet::new(),
            names_changed: false,
            place,
        })
    }

    /// A writer that has no other task than to finish the open files of a token whose output has since changed its columns
    /// or is gone. It writes them as they were meant, under names of its own.
    pub fn finishing(token: &Prepared, place: Place, limits: Limits, epoch: u64, disk: Arc<dyn Disk>) -> Result<Self> {
        let settings = ParquetOutput {
            path: token.lake.clone(),
            partition: Vec::new(),
            target_file_bytes: u64::MAX,
            max_age: std::time::Duration::ZERO,
            compression: Compression::Zstd(1),
        };
        let place = Place { output: token.output.clone(), lake: token.lake.clone(), ..place };
        let mut writer = Self::new(place, &settings, &token.parsed_columns()?, limits, epoch, disk)?;
        writer.slot = format!("{:02}-of-{:02}", writer.place.worker, token.worker);
        writer.restore(&token.open)?;
        Ok(writer)
    }

    /// Sets the first epoch, when it is known only after the writer was made. Before any row, and before `restore`.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// The entries that footers get from now on; they are taken when a file is closed, which is in `prepare` but for files
    /// closed early. A file's epochs are added by the writer.
    pub fn set_footer(&mut self, entries: Vec<(String, String)>) {
        self.footer = entries;
    }

    /// Says which records the rows that come now are made of, for the footers.
    pub fn set_read(&mut self, read: Option<ReadRange>) {
        self.read = read;
    }

    /// Splits rows by partition and adds them to the open files. Text may be plain or a dictionary, and differ from batch to
    /// batch.
    pub fn write(&mut self, batch: &RecordBatch, now_ms: i64) -> Result<()> {
        if batch.num_columns() != self.schema.fields().len() {
            let (found, needed) = (batch.num_columns(), self.schema.fields().len());
            let message = format!("output `{}` was given {found} columns instead of {needed}", self.place.output);
            return Err(Error::new(ErrorKind::Internal, message));
        }
        for share in self.partitioner.split(batch)? {
            self.append(&share.folders, share.rows, batch, now_ms)?;
        }
        self.rows += batch.num_rows() as u64;
        while self.memory_bytes() > self.limits.memory_bytes && self.flush_largest()? {}
        Ok(())
    }

    fn append(&mut self, partition: &str, rows: RecordBatch, sample: &RecordBatch, now_ms: i64) -> Result<()> {
        self.open_file(partition, sample, now_ms)?;
        let Some(file) = self.open.get_mut(partition) else { return Ok(()) };
        file.append(rows, self.epoch, self.read.as_ref())?;
        if file.group_bytes() >= self.limits.row_group_bytes || file.group_rows() >= self.limits.row_group_rows {
            file.flush()?;
        }
        if file.file_bytes() >= self.target_file_bytes
            && let Some(mut file) = self.open.remove(partition)
        {
            file.flush()?;
            self.full.push(file);
        }
        while self.open.len() > self.limits.open_files || self.full.len() > self.limits.open_files {
            self.close_oldest(partition)?;
        }
        Ok(())
    }

    /// Opens the partition's file if it is not open.
    fn open_file(&mut self, partition: &str, sample: &RecordBatch, first_row_ms: i64) -> Result<()> {
        if self.open.contains_key(partition) {
            return Ok(());
        }
        let layout = self.layout(sample)?;
        let paths = self.place.file_paths(partition, self.epoch, &self.slot, self.opened);
        self.opened += 1;
        self.names_changed = true;
        self.staged.insert(paths.staged.clone());
        let file = Unfinished::create(self.disk.as_ref(), &layout, partition, paths, first_row_ms)?;
        self.open.insert(partition.to_owned(), file);
        Ok(())
    }

    fn layout(&mut self, sample: &RecordBatch) -> Result<Layout> {
        let rows = sample.num_rows();
        let properties = match &self.encodings {
            Some((sampled, properties)) if rows < *sampled => properties.clone(),
            _ => {
                let mut properties = properties(&self.schema, self.compression, sample)?;
                parquet::arrow::add_encoded_arrow_schema_to_metadata(&self.schema, &mut properties);
                self.encodings = Some((rows, properties.clone()));
                properties
            }
        };
        Ok(Layout { schema: self.schema.clone(), parquet: self.parquet_schema.clone(), properties })
    }

    /// Writes the row group of the file that holds most memory; false when no file holds any.
    fn flush_largest(&mut self) -> Result<bool> {
        match self.open.values_mut().max_by_key(|file| file.memory_bytes()) {
            Some(file) if file.memory_bytes() > 0 => file.flush().map(|()| true),
            _ => Ok(false),
        }
    }

    /// Closes one file for the limit of open files: the oldest but the one that was just written to.
    fn close_oldest(&mut self, current: &str) -> Result<()> {
        if let Some(file) = self.full.pop() {
            self.early.push(file.close(&self.place.output, &self.footer)?);
            return Ok(());
        }
        let others = self.open.values().filter(|file| file.partition() != current);
        let oldest = others.min_by_key(|file| file.first_row_ms()).map(|file| file.partition().to_owned());
        if let Some(file) = oldest.and_then(|oldest| self.open.remove(&oldest)) {
            self.early.push(file.close(&self.place.output, &self.footer)?);
            self.closed_early += 1;
        }
        Ok(())
    }

    /// The bytes that it holds in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.open.values().map(Unfinished::memory_bytes).sum()
    }

    /// How many files are open.
    pub fn open_files(&self) -> usize {
        self.open.len() + self.full.len()
    }

    /// How many files were closed, since the writer was made, only because too many were open.
    pub fn closed_early(&self) -> u64 {
        self.closed_early
    }

    /// The rows written in this epoch.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The partitions whose file is too old.
    pub fn due(&self, now_ms: i64) -> BTreeSet<String> {
        let due = self.open.values().filter(|file| is_too_old(file.first_row_ms(), now_ms, self.max_age_ms));
        due.map(|file| file.partition().to_owned()).collect()
    }

    /// Ends the epoch: closes what has to be closed, makes everything durable and says where it is. Later rows belong to the
    /// next epoch.
    pub fn prepare(&mut self, now_ms: i64, closing: Closing<'_>) -> Result<Prepared> {
        let mut due = match closing {
            Closing::All => self.open.keys().cloned().collect(),
            Closing::Due | Closing::DueAnd(_) => self.due(now_ms),
        };
        if let Closing::DueAnd(more) = closing {
            due.extend(more.iter().cloned());
        }
        let (output, footer) = (&self.place.output, &self.footer);
        let mut tails = std::mem::take(&mut self.early);
        for file in due.iter().filter_map(|partition| self.open.remove(partition)) {
            tails.push(file.close(output, footer)?);
        }
        let full = self.full.drain(..).map(|file| file.close(output, footer)).collect::<Result<Vec<_>>>()?;
        let (full_early, tails) = tails.into_iter().partition(|file| file.bytes >= self.target_file_bytes);
        let open = self.settle()?;
        if std::mem::take(&mut self.names_changed) {
            let staging = &self.place.staging;
            self.disk.sync_folder(staging).map_err(on_disk("sync", staging))?;
        }
        Ok(self.token([full, full_early].concat(), tails, open))
    }

    fn settle(&mut self) -> Result<Vec<OpenFile>> {
        let path = self.place.segment_path(self.epoch, &self.slot);
        let mut segment = Segment::new(self.disk.as_ref(), path.clone());
        let open = self.open.values_mut().map(|file| file.settle(&mut segment)).collect::<Result<Vec<_>>>()?;
        if segment.finish()? {
            self.names_changed = true;
            self.staged.insert(path);
        }
        Ok(open)
    }

    fn token(&mut self, full: Vec<StagedFile>, tails: Vec<StagedFile>, open: Vec<OpenFile>) -> Prepared {
        let mut token = Prepared {
            output: self.place.output.clone(),
            worker: self.place.worker,
            epoch: self.epoch,
            lake: self.place.lake.clone(),
            columns: self.columns.iter().map(Into::into).collect(),
            rows: std::mem::take(&mut self.rows),
            full,
            tails,
            open,
            obsolete: Vec::new(),
        };
        let needs = token.needs();
        let obsolete: Vec<PathBuf> =
            self.staged.iter().filter(|path| !needs.contains(path.as_path())).cloned().collect();
        let kept = token.open.iter().flat_map(OpenFile::needs).map(ToOwned::to_owned);
        let unsettled = self.open.values().map(|file| file.staged().to_owned());
        self.staged = kept.chain(unsettled).collect();
        token.obsolete = obsolete.into_iter().filter(|path| !self.staged.contains(path)).collect();
        self.epoch += 1;
        self.opened = 0;
        token
    }

    /// Opens files again that a committed token left open: those of this worker, or of workers that are no more. Their rows
    /// are not counted again. Before any row is written.
    pub fn restore(&mut self, open: &[OpenFile]) -> Result<()> {
        for file in open {
            // Row groups first, also when two workers had the partition: they are appended as a whole.
            if let Some(prefix) = &file.prefix {
                let metadata = self.check_prefix(prefix)?;
                let disk = self.disk.clone();
                self.reopen(file, &RecordBatch::new_empty(self.schema.clone()))?
                    .append_prefix(&disk, prefix, &metadata)?;
            }
            self.staged.extend(file.needs().map(ToOwned::to_owned));
        }
        for file in open {
            for part in &file.parts {
                let rows = read_rows(self.disk.as_ref(), part)?;
                let Some(sample) = rows.first() else { continue };
                self.reopen(file, sample)?.append_spooled(part, &rows)?;
            }
        }
        Ok(())
    }

    fn reopen(&mut self, file: &OpenFile, sample: &RecordBatch) -> Result<&mut Unfinished> {
        self.open_file(&file.partition, sample, file.first_row_ms)?;
        let message = "a file that was opened is not open";
        let reopened = self.open.get_mut(&file.partition).ok_or_else(|| Error::new(ErrorKind::Internal, message))?;
        reopened.take_over(file);
        Ok(reopened)
    }

    /// Reads a prefix's footer and compares the prefix with its checksum.
    fn check_prefix(&self, prefix: &Prefix) -> Result<ParquetMetaData> {
        let path = &prefix.staged;
        let found = checksum(&self.disk, path, prefix.bytes).map_err(on_disk("read committed rows in", path))?;
        if found != prefix.crc32 {
            return Err(Error::new(
                ErrorKind::Storage,
                format!("committed rows in {} (its first {} bytes) are damaged", path.display(), prefix.bytes),
            )
            .help("the disk lost or changed what was synced: restore the folder from a copy, or replay the source from an older position"));
        }
        let footer = Bytes::from(read_footer(self.disk.as_ref(), &prefix.footer)?);
        ParquetMetaDataReader::new().parse_and_finish(&footer).map_err(in_parquet("read the row groups of", path))
    }
}
