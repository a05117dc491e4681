//! The promise of `super`, tried: rows in are rows in published files and live spool, each once, whatever crashes.

mod crashes;
mod tails;
mod writer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::*;
use crate::config::{Compression, Located, ParquetOutput, PartitionBy, PartitionTransform};
use crate::disk::{Disk, MemoryDisk};
use crate::schema::Column;

const HOUR_MS: i64 = 3_600_000;

fn settings(target_file_bytes: u64) -> ParquetOutput {
    let column = Located { value: "ts".to_owned(), span: 0..0 };
    ParquetOutput {
        path: "/lake/views".into(),
        partition: vec![PartitionBy { column, transform: PartitionTransform::Hour }],
        target_file_bytes,
        max_age: Duration::from_secs(60),
        compression: Compression::Zstd(1),
    }
}

fn columns() -> Vec<Column> {
    [("id", "int64"), ("ts", "timestamp(ms)"), ("text", "utf8?")]
        .iter()
        .map(|(name, text)| {
            let nested: millstream_sdk::Nested = text.parse().unwrap();
            Column { name: (*name).to_owned(), logical: nested.logical, nullable: nested.nullable }
        })
        .collect()
}

fn place(worker: usize, incarnation: u64) -> Place {
    Place {
        output: "views".to_owned(),
        lake: "/lake/views".into(),
        staging: "/lake/views/.staging/h".into(),
        host: "h".to_owned(),
        incarnation,
        worker,
    }
}

const LIMITS: Limits = Limits { memory_bytes: 16 << 10, row_group_bytes: 6 << 10, row_group_rows: 400, open_files: 3 };

/// Rows with ids from `first` on; the text is a dictionary in every other batch.
fn rows(first: i64, count: i64, hours: i64) -> RecordBatch {
    let ids = first..first + count;
    let hour = |id: i64| if hours > 1 { id * 7 / 3 % hours } else { 0 };
    let texts: Vec<Option<String>> = ids
        .clone()
        .map(|id| (id % 11 != 0).then(|| format!("text {}", id.wrapping_mul(0x9E37_79B9) % 5_000)))
        .collect();
    let text: ArrayRef = if first % 2 == 0 {
        Arc::new(texts.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>())
    } else {
        Arc::new(StringArray::from(texts))
    };
    let ts = TimestampMillisecondArray::from_iter_values(ids.clone().map(|id| hour(id) * HOUR_MS)).with_timezone("UTC");
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef, false),
        ("ts", Arc::new(ts), false),
        ("text", text, true),
    ])
    .unwrap()
}

fn writer(worker: usize, incarnation: u64, epoch: u64, target: u64, disk: &Arc<dyn Disk>) -> ParquetWriter {
    ParquetWriter::new(place(worker, incarnation), &settings(target), &columns(), LIMITS, epoch, disk.clone()).unwrap()
}

fn read_file(disk: &dyn Disk, path: &Path) -> Vec<RecordBatch> {
    let content = Bytes::from(disk.read(path).unwrap());
    ParquetRecordBatchReaderBuilder::try_new(content).unwrap().build().unwrap().map(Result::unwrap).collect()
}

fn published_files(disk: &dyn Disk) -> Vec<PathBuf> {
    let files = disk.files_below(Path::new("/lake")).unwrap();
    files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "parquet")).collect()
}

/// The ids in published files, each checked to stand in its hour's folder with its text.
fn published_ids(disk: &dyn Disk) -> Vec<i64> {
    let mut ids = Vec::new();
    for path in published_files(disk) {
        for batch in read_file(disk, &path) {
            for row in 0..batch.num_rows() {
                let id = batch.column(0).as_primitive::<Int64Type>().value(row);
                let ts = batch.column(1).as_primitive::<arrow::datatypes::TimestampMillisecondType>().value(row);
                assert!(
                    path.to_string_lossy().contains(&format!("hour={:02}/", ts / HOUR_MS)),
                    "{id} lies in {path:?}"
                );
                let text = batch.column(2).as_string::<i32>();
                let expected = (id % 11 != 0).then(|| format!("text {}", id.wrapping_mul(0x9E37_79B9) % 5_000));
                assert_eq!(text.is_valid(row).then(|| text.value(row).to_owned()), expected, "the text of {id}");
                ids.push(id);
            }
        }
    }
    ids.sort_unstable();
    ids
}

/// What the commit does with tokens: publish their files, then delete what nobody needs.
fn publish(disk: &dyn Disk, tokens: &[Prepared]) -> io::Result<()> {
    let mut folders = BTreeSet::from([PathBuf::from("/lake/views/.staging/h")]);
    for file in tokens.iter().flat_map(|token| token.full.iter().chain(&token.tails)) {
        if disk.size_bytes(&file.published)? != Some(file.bytes) || disk.size_bytes(&file.staged)?.is_some() {
            disk.rename(&file.staged, &file.published)?;
        }
        folders.extend(file.published.parent().map(Path::to_owned));
    }
    folders.iter().try_for_each(|folder| disk.sync_folder(folder))
}
