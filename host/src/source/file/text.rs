//! Blocks of records from a text file: JSON lines or CSV.

use std::sync::Arc;

use crate::config::BatchSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Partition, Payload, Records};
use crate::source::Ranges;
use crate::source::block::ByteColumn;

use super::content::Compression;
use super::splitter::{Broken, MAX_RECORD_BYTES, Next, Splitter};
use super::work::{Job, Step};

/// A text file, or a part of one, that is being read.
pub(super) struct Text {
    splitter: Splitter,
    partition: Partition,
    compression: Compression,
    header: Option<Arc<[String]>>,
    /// What earlier runs read of the part.
    covered: Ranges,
    /// Where the part, or the stretch before something covered, ends.
    stop: i64,
    end: i64,
    /// Whether a compressed file that breaks off is one that is still being written.
    may_grow: bool,
    /// An offset that was read before, while the file as it is now ends earlier: it is being written again.
    short_of: Option<i64>,
    last_bytes: usize,
    last_rows: usize,
}

impl Text {
    /// Reads the header of a CSV file and goes to where the job starts.
    pub fn open(mut splitter: Splitter, job: &Job, has_header: bool, may_grow: bool) -> Result<Self> {
        let header = if has_header { read_header(&mut splitter, job)? } else { None };
        let mut text = Self {
            splitter,
            partition: job.partition.clone(),
            compression: job.compression,
            header,
            covered: job.covered.clone(),
            stop: 0,
            end: job.end.unwrap_or(i64::MAX),
            may_grow,
            short_of: None,
            last_bytes: 0,
            last_rows: 0,
        };
        let start = job.start.max(text.splitter.position());
        text.go_to(start)?;
        Ok(text)
    }

    /// The next block, or how the part ended.
    pub fn next(&mut self, bounds: &BatchSettings) -> Result<Step> {
        if let Some(offset) = self.short_of {
            return Ok(Step::Ended { offset, read_to: self.splitter.content_position(), whole: false });
        }
        let rows = bounds.rows.max(1);
        let mut values = ByteColumn::with_capacity(self.last_rows, self.last_bytes);
        let mut offsets = Vec::with_capacity(self.last_rows);
        loop {
            let found = match self.splitter.peek() {
                Ok(Next::Record(found)) => found,
                _ if !offsets.is_empty() => break,
                Ok(Next::End) => return Ok(self.ended()),
                Err(broken) => return self.broken(broken),
            };
            if found.offset >= self.stop {
                if !offsets.is_empty() {
                    break;
                }
                if self.stop >= self.end {
                    return Ok(self.ended());
                }
                self.go_to(self.stop)?;
                continue;
            }
            if !offsets.is_empty() && values.bytes() + found.len() > bounds.bytes {
                break;
            }
            offsets.push(found.offset);
            values.push(Some(self.splitter.bytes(&found)))?;
            self.splitter.take();
            if offsets.len() >= rows {
                break;
            }
        }
        (self.last_rows, self.last_bytes) = (values.len(), values.bytes());
        Ok(Step::Block(self.block(offsets, values)))
    }

    fn block(&self, offsets: Vec<i64>, values: ByteColumn) -> Records {
        Records {
            partition: self.partition.clone(),
            partition_number: 0,
            payload: Payload::Bytes(values.finish()),
            csv_header: self.header.clone(),
            offsets,
            next_offset: self.splitter.position().min(self.stop),
            timestamps_ms: Vec::new(),
            keys: None,
            headers: Vec::new(),
        }
    }

    /// Goes to the first offset from `offset` on that no earlier run read.
    fn go_to(&mut self, offset: i64) -> Result<()> {
        let mut start = offset;
        while self.covered.covers(start) {
            let after = self.covered.as_slice().partition_point(|range| range.0 <= start);
            start = self.covered.as_slice()[after - 1].1;
        }
        let next_covered = self.covered.as_slice().iter().map(|range| range.0).find(|covered| *covered > start);
        self.stop = self.end.min(next_covered.unwrap_or(i64::MAX));
        let there = match self.splitter.skip_to(start) {
            Ok(there) => there,
            Err(error) if self.may_grow && error.kind() == std::io::ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(self.damaged(self.splitter.content_position(), error)),
        };
        if !there && self.may_grow {
            self.short_of = Some(start);
            return Ok(());
        }
        if !there {
            let position = self.splitter.content_position();
            return Err(Error::new(
                ErrorKind::Input,
                format!(
                    "file {} ends at byte {position} of its content, but {start} were read before",
                    self.partition.key
                ),
            )
            .help("put the file back as it was, or give the new one a name of its own"));
        }
        Ok(())
    }

    fn ended(&self) -> Step {
        let read_to = self.splitter.content_position();
        Step::Ended { offset: self.splitter.position(), read_to, whole: true }
    }

    fn broken(&mut self, broken: Broken) -> Result<Step> {
        match broken {
            Broken::Content { error, .. } if self.may_grow && error.kind() == std::io::ErrorKind::UnexpectedEof => {
                let read_to = self.splitter.content_position();
                Ok(Step::Ended { offset: self.splitter.position(), read_to, whole: false })
            }
            Broken::Content { offset, error } => Err(self.damaged(offset, error)),
            Broken::TooLong { offset } => Err(too_long(&self.partition.key, offset)),
        }
    }

    fn damaged(&self, offset: i64, error: std::io::Error) -> Error {
        damaged(&self.partition.key, self.compression, offset, error)
    }
}

/// The header line's fields; `None` when the file is empty.
fn read_header(splitter: &mut Splitter, job: &Job) -> Result<Option<Arc<[String]>>> {
    let found = match splitter.peek() {
        Ok(Next::Record(found)) => found,
        Ok(Next::End) => return Ok(None),
        Err(Broken::Content { offset, error }) => {
            return Err(damaged(&job.partition.key, job.compression, offset, error));
        }
        Err(Broken::TooLong { offset }) => return Err(too_long(&job.partition.key, offset)),
    };
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(splitter.bytes(&found));
    let mut fields = csv::StringRecord::new();
    reader.read_record(&mut fields).map_err(|error| {
        Error::new(ErrorKind::Input, format!("the header line of {} is not CSV in UTF-8", job.partition.key))
            .caused_by(error)
    })?;
    let header = fields.iter().map(str::to_owned).collect();
    splitter.take();
    Ok(Some(header))
}

fn damaged(file: &str, compression: Compression, offset: i64, error: std::io::Error) -> Error {
    let cut_off = error.kind() == std::io::ErrorKind::UnexpectedEof;
    if cut_off && compression != Compression::Plain {
        return Error::new(ErrorKind::Input, format!("file {file} breaks off after byte {offset} of its content"))
            .help("put the whole file in its place: what was read stays read, and reading goes on behind it")
            .caused_by(error);
    }
    let what = if compression == Compression::Plain { "cannot be read" } else { "is damaged" };
    Error::new(ErrorKind::Input, format!("file {file} {what} after byte {offset} of its content"))
        .help("put an undamaged file in its place: what was read stays read, and reading goes on behind it")
        .caused_by(error)
}

fn too_long(file: &str, offset: i64) -> Error {
    Error::new(
        ErrorKind::Input,
        format!("the record at byte {offset} of {file} is longer than {} MiB", MAX_RECORD_BYTES >> 20),
    )
    .help("is it one record a line, and is every quote of a CSV file closed? Remove or split that record")
}
