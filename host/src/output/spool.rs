//! The spool: rows that were committed while their Parquet file is still open, in Arrow IPC. One segment an epoch,
//! worker and output, whatever the number of open files.
//!
//! A segment is a row of frames, `length (u32 LE) | CRC-32 (u32 LE) | content`; the content is an Arrow IPC stream of
//! rows, or a Parquet footer. A `Part` names the frames that belong to one open file; they are whole, so parts can be
//! copied into a later segment byte by byte. The checksum covers each frame: a part that does not read back as it was
//! written is an error, never fewer rows.

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use super::on_disk;
use super::token::Part;
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, ErrorKind, Result};

const HEADER_BYTES: usize = 8;

/// The segment of one epoch; made when the first frame comes.
pub(super) struct Segment<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    file: Option<Box<dyn DiskFile>>,
    bytes: u64,
}

impl<'a> Segment<'a> {
    pub(super) fn new(disk: &'a dyn Disk, path: PathBuf) -> Self {
        Self { disk, path, file: None, bytes: 0 }
    }

    /// Writes rows of one open file.
    pub(super) fn write_rows(&mut self, batches: &[RecordBatch]) -> Result<Part> {
        let offset = self.bytes;
        let fail = |error| Error::new(ErrorKind::Internal, "rows cannot be written to the spool").caused_by(error);
        let lean = batches.iter().map(without_unused_values).collect::<Result<Vec<_>, _>>().map_err(fail)?;
        for run in runs_of_one_schema(&lean) {
            self.write_frame(&encode(&lean[run]).map_err(fail)?)?;
        }
        Ok(self.part(offset, batches.iter().map(|batch| batch.num_rows() as u64).sum()))
    }

    /// Writes a footer.
    pub(super) fn write_footer(&mut self, footer: &[u8]) -> Result<Part> {
        let offset = self.bytes;
        self.write_frame(footer)?;
        Ok(self.part(offset, 0))
    }

    /// Copies older parts, so that one part takes the place of many.
    pub(super) fn copy(&mut self, parts: &[Part]) -> Result<Part> {
        let offset = self.bytes;
        for part in parts {
            let frames = read_part(self.disk, part)?;
            check_frames(part, &frames)?;
            self.write(&frames)?;
        }
        Ok(self.part(offset, parts.iter().map(|part| part.rows).sum()))
    }

    /// Makes it survive a crash; its name survives when the folder is synced. Whether anything was written.
    pub(super) fn finish(mut self) -> Result<bool> {
        match &mut self.file {
            Some(file) => file.sync().map_err(on_disk("sync the spool segment", &self.path)).map(|()| true),
            None => Ok(false),
        }
    }

    fn part(&self, offset: u64, rows: u64) -> Part {
        Part { segment: self.path.clone(), offset, bytes: self.bytes - offset, rows }
    }

    fn write_frame(&mut self, content: &[u8]) -> Result<()> {
        let length = u32::try_from(content.len())
            .map_err(|_| Error::new(ErrorKind::Internal, "a spool frame is larger than 4 GiB"))?;
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&length.to_le_bytes());
        header[4..].copy_from_slice(&crc32fast::hash(content).to_le_bytes());
        self.write(&header)?;
        self.write(content)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let fail = on_disk("write the spool segment", &self.path);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.disk.create(&self.path).map_err(&fail)?),
        };
        file.write_all(bytes).map_err(&fail)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Consecutive batches whose columns lie in memory in the same way: text may be a dictionary in one and plain in the next.
fn runs_of_one_schema(batches: &[RecordBatch]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, batch) in batches.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if batches[run.start].schema() == batch.schema() => run.end = index + 1,
            _ => runs.push(index..index + 1),
        }
    }
    runs
}

fn encode(batches: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &first.schema(), options)?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.into_inner()
}

/// A dictionary that is larger than the batch (a dimension's whole column) would be written with every batch: then its
/// text is written plain. Fields are nullable: what is null was checked when the row was written.
fn without_unused_values(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(plain_if_large).collect::<Result<Vec<ArrayRef>, _>>()?;
    let fields: Vec<Field> = columns
        .iter()
        .zip(batch.schema().fields())
        .map(|(column, field)| Field::new(field.name(), column.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(Schema::new(fields).into(), columns)
}

fn plain_if_large(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match (column.data_type(), column.as_any_dictionary_opt()) {
        (DataType::Dictionary(_, values), Some(dictionary)) if dictionary.values().len() > column.len() => {
            cast(column, values)
        }
        _ => Ok(column.clone()),
    }
}

/// Reads the rows of a part.
pub(super) fn read_rows(disk: &dyn Disk, part: &Part) -> Result<Vec<RecordBatch>> {
    let frames = read_part(disk, part)?;
    let mut batches = Vec::new();
    for range in check_frames(part, &frames)? {
        let stream =
            StreamReader::try_new(&frames[range], None).map_err(|error| broken(part, "is not Arrow IPC", error))?;
        for batch in stream {
            batches.push(batch.map_err(|error| broken(part, "is not Arrow IPC", error))?);
        }
    }
    let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    if rows != part.rows {
        return Err(broken(part, "has other rows than were committed", format!("{rows} instead of {}", part.rows)));
    }
    Ok(batches)
}

/// Reads a footer.
pub(super) fn read_footer(disk: &dyn Disk, part: &Part) -> Result<Vec<u8>> {
    let frames = read_part(disk, part)?;
    let range = check_frames(part, &frames)?.into_iter().next();
    range.map(|range| frames[range].to_vec()).ok_or_else(|| broken(part, "holds no footer", "it is empty"))
}

fn read_part(disk: &dyn Disk, part: &Part) -> Result<Vec<u8>> {
    let bytes = usize::try_from(part.bytes).map_err(|error| broken(part, "is too large", error))?;
    disk.read_at(&part.segment, part.offset, bytes).map_err(|error| broken(part, "cannot be read", error))
}

/// Where the contents of the frames lie, each checked against its checksum.
fn check_frames(part: &Part, frames: &[u8]) -> Result<Vec<Range<usize>>> {
    let mut contents = Vec::new();
    let mut at = 0;
    while at < frames.len() {
        let content = frame_at(frames, at).ok_or_else(|| broken(part, "is damaged", "a checksum does not match"))?;
        at = content.end;
        contents.push(content);
    }
    Ok(contents)
}

fn frame_at(frames: &[u8], at: usize) -> Option<Range<usize>> {
    let length: [u8; 4] = frames.get(at..at + 4)?.try_into().ok()?;
    let crc: [u8; 4] = frames.get(at + 4..at + HEADER_BYTES)?.try_into().ok()?;
    let start = at + HEADER_BYTES;
    let content = start..start.checked_add(usize::try_from(u32::from_le_bytes(length)).ok()?)?;
    (crc32fast::hash(frames.get(content.clone())?) == u32::from_le_bytes(crc)).then_some(content)
}

fn broken(part: &Part, what: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let place: &Path = &part.segment;
    Error::new(
        ErrorKind::Storage,
        format!("committed rows in {} (bytes {} to {}) {what}", place.display(), part.offset, part.offset + part.bytes),
    )
    .help("the disk lost or changed what was synced: restore the folder from a copy, or replay the source from an older position")
    .caused_by(cause)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, Int32Array, Int64Array, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;
    use crate::disk::MemoryDisk;

    fn start<'a>(disk: &'a MemoryDisk, name: &str) -> Segment<'a> {
        Segment::new(disk, Path::new("/lake/.staging").join(name))
    }

    fn plain(texts: &[&str]) -> RecordBatch {
        RecordBatch::try_from_iter([("s", Arc::new(StringArray::from(texts.to_vec())) as ArrayRef)]).unwrap()
    }

    fn coded(values: &[&str], keys: &[i32]) -> RecordBatch {
        let values = Arc::new(StringArray::from(values.to_vec()));
        let array = DictionaryArray::<Int32Type>::new(Int32Array::from(keys.to_vec()), values);
        RecordBatch::try_from_iter([("s", Arc::new(array) as ArrayRef)]).unwrap()
    }

    fn texts(batches: &[RecordBatch]) -> Vec<String> {
        let plain = |batch: &RecordBatch| cast(batch.column(0), &DataType::Utf8).unwrap();
        batches
            .iter()
            .flat_map(|batch| plain(batch).as_string::<i32>().iter().map(|s| s.unwrap().to_owned()).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn plain_and_coded_text_read_back_also_after_a_copy() {
        let disk = MemoryDisk::new();
        let batches = [
            plain(&["a", "b"]),
            coded(&["x", "y"], &[1, 0, 1]),
            coded(&["z"], &[0]),
            coded(&["u", "v", "w"], &[2]),
            plain(&["c"]),
        ];
        let mut segment = start(&disk, "1");
        let first = segment.write_rows(&batches).unwrap();
        let second = segment.write_rows(&batches[..1]).unwrap();
        assert!(segment.finish().unwrap());
        let expected = ["a", "b", "y", "x", "y", "z", "w", "c"];
        assert_eq!(texts(&read_rows(&disk, &first).unwrap()), expected);
        let mut later = start(&disk, "2");
        let copied = later.copy(&[first, second]).unwrap();
        assert_eq!(texts(&read_rows(&disk, &copied).unwrap()), [&expected[..], &["a", "b"]].concat());
    }

    #[test]
    fn a_segment_without_rows_makes_no_file() {
        let disk = MemoryDisk::new();
        assert!(!start(&disk, "1").finish().unwrap());
        assert_eq!(disk.operations(), 0);
    }

    #[test]
    fn damage_is_an_error_wherever_it_is() {
        let disk = MemoryDisk::new();
        let numbers =
            RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef)]).unwrap();
        let mut segment = start(&disk, "1");
        let part = segment.write_rows(&[numbers]).unwrap();
        segment.finish().unwrap();
        for offset in 0..part.bytes as usize {
            disk.corrupt(&part.segment, offset).unwrap();
            let error = read_rows(&disk, &part).expect_err("a changed byte went unseen");
            assert!(error.message().contains("committed rows in"), "{error}");
            disk.corrupt(&part.segment, offset).unwrap();
        }
        assert!(read_rows(&disk, &part).is_ok());
        let longer = Part { bytes: part.bytes + 1, ..part.clone() };
        assert!(read_rows(&disk, &longer).is_err(), "a short segment went unseen");
        let other = Part { rows: 4, ..part };
        assert!(read_rows(&disk, &other).is_err(), "missing rows went unseen");
    }
}
