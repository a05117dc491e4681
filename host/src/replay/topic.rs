//! Rejects of a topic, taken into files of the data folder when somebody asks for a replay: so no worker waits for brokers
//! over them, and what is replayed stays what was chosen, whatever the topic's retention takes meanwhile.
//!
//! A partition of the topic stands for a file, `TOPIC/PARTITION`, and a record's offset for its row: so what was replayed is
//! noted as it is of files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use serde_json::{Map, Value};

use super::filter::Replayed;
use super::queue::{Request, unwritable};
use super::stored::NUMBER;
use crate::config::KafkaOutput;
use crate::disk::{Disk, DiskFile, RealDisk};
use crate::error::{Error, ErrorKind, Result};
use crate::output::kafka::{TopicReject, read_rejects};
use crate::output::rejects_of;

/// What waits to be written, of all partitions together: so many rejects, or so many bytes of text.
const WAITING_MAX_REJECTS: usize = 4_096;
const WAITING_MAX_BYTES: usize = 16 << 20;

/// What was taken of a topic.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The partitions with rows, as files are called.
    pub files: Vec<String>,
    /// Their rows.
    pub rows: u64,
    /// Those that were replayed already.
    pub skipped: u64,
    /// Those whose record was too long for the topic.
    pub without_record: u64,
}

/// What a partition is called as a file.
pub fn partition_file(topic: &str, partition: i32) -> String {
    format!("{topic}/{partition}")
}

/// The partition of the topic that such a name stands for.
pub(super) fn partition_of(topic: &str, file: &str) -> Option<i32> {
    file.strip_prefix(topic)?.strip_prefix('/')?.parse().ok()
}

/// What a reject of a topic is called.
pub fn topic_id(reject: &TopicReject) -> String {
    format!("{}:{}", reject.partition, reject.offset)
}

/// How many rejects of a pipeline are asked for, whether they were replayed or not.
pub(super) fn count_in(settings: &KafkaOutput, pipeline: &str, request: &Request) -> Result<u64> {
    let mut count = 0;
    read_rejects(settings, |reject| {
        count += u64::from(request.filter.has_topic(pipeline, &reject));
        Ok(())
    })?;
    Ok(count)
}

/// Takes what is asked for of a pipeline's rejects: by partition into a file at the path that `path` gives for its name.
pub(super) fn take(
    settings: &KafkaOutput,
    pipeline: &str,
    request: &Request,
    replayed: &Replayed,
    path: impl Fn(&str) -> PathBuf,
) -> Result<Taken> {
    let topic = &settings.topic.value;
    let (mut taken, mut files) = (Taken::default(), BTreeMap::new());
    let (mut waiting, mut waiting_bytes) = (0, 0);
    let ends = read_rejects(settings, |reject| {
        if !request.filter.has_topic(pipeline, &reject) {
            return Ok(());
        }
        let name = partition_file(topic, reject.partition);
        if !has_record(&reject.columns) {
            taken.without_record += 1;
        } else if !request.again && replayed.has(&name, reject.offset) {
            taken.skipped += 1;
        } else {
            taken.rows += 1;
            waiting += 1;
            waiting_bytes += reject.columns.values().filter_map(Value::as_str).map(str::len).sum::<usize>();
            files.entry(reject.partition).or_insert_with(|| Writing::new(path(&name))).rejects.push(reject);
            if waiting >= WAITING_MAX_REJECTS || waiting_bytes >= WAITING_MAX_BYTES {
                (waiting, waiting_bytes) = (0, 0);
                return files.values_mut().try_for_each(Writing::write);
            }
        }
        Ok(())
    })?;
    for (partition, end) in ends.into_iter().filter(|_| !request.again) {
        is_the_same(topic, partition, end, replayed)?;
    }
    for (partition, file) in files {
        file.finish()?;
        taken.files.push(partition_file(topic, partition));
    }
    Ok(taken)
}

/// A topic that was deleted and made again begins anew with its offsets: what was replayed of the one before is not of it.
fn is_the_same(topic: &str, partition: i32, end: i64, replayed: &Replayed) -> Result<()> {
    match replayed.end(&partition_file(topic, partition)).filter(|noted| *noted > end) {
        None => Ok(()),
        Some(noted) => {
            let what = format!(
                "partition {partition} of topic {topic:?} ends at offset {end}, but rejects up to offset {noted} were replayed \
                 from it: it is not the topic that it was"
            );
            Err(Error::new(ErrorKind::Input, what)
                .help("--again replays whatever is in it; give rejects another topic when one is made anew"))
        }
    }
}

/// Whether what was refused is in its reject: of one that would have been too long for the topic it is left out.
fn has_record(columns: &Map<String, Value>) -> bool {
    ["record_value", "record_value_hex"].iter().any(|name| columns.contains_key(*name))
}

/// A file that is written.
struct Writing {
    path: PathBuf,
    writer: Option<ArrowWriter<Box<dyn DiskFile>>>,
    rejects: Vec<TopicReject>,
}

impl Writing {
    fn new(path: PathBuf) -> Self {
        Self { path, writer: None, rejects: Vec::new() }
    }

    fn write(&mut self) -> Result<()> {
        let rejects = std::mem::take(&mut self.rejects);
        if rejects.is_empty() {
            return Ok(());
        }
        let failed = |error: ParquetError| unwritable(&self.path).caused_by(error);
        let rows =
            rejects_of(rejects.iter().map(|reject| &reject.columns)).map_err(|wrong| no_reject(&rejects, wrong))?;
        let block = numbered(&rows, &rejects).map_err(|error| failed(error.into()))?;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let file = RealDisk.create(&self.path).map_err(|error| unwritable(&self.path).caused_by(error))?;
                none.insert(ArrowWriter::try_new(file, block.schema(), None).map_err(failed)?)
            }
        };
        writer.write(&block).and_then(|()| writer.flush()).map_err(failed)
    }

    fn finish(mut self) -> Result<()> {
        self.write()?;
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let mut file = writer.into_inner().map_err(|error| unwritable(&self.path).caused_by(error))?;
        file.sync().map_err(|error| unwritable(&self.path).caused_by(error))
    }
}

/// The rows of rejects, with the rejects' offsets.
fn numbered(rows: &RecordBatch, rejects: &[TopicReject]) -> std::result::Result<RecordBatch, ArrowError> {
    let numbers: Int64Array = rejects.iter().map(|reject| reject.offset).collect();
    let schema = rows.schema();
    let columns = schema.fields().iter().map(|field| field.name().as_str()).zip(rows.columns().iter().cloned());
    let columns = columns.chain([(NUMBER, Arc::new(numbers) as ArrayRef)]);
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
}

/// The error of records of which one is no reject.
fn no_reject(records: &[TopicReject], wrong: ArrowError) -> Error {
    let first = records.iter().find(|record| rejects_of(std::iter::once(&record.columns)).is_err());
    let which = first.map(topic_id).unwrap_or_default();
    Error::new(ErrorKind::Input, format!("record {which} of the topic is no reject"))
        .caused_by(wrong)
        .help("keep other records out of the topic of rejects; --since passes earlier ones by")
}

#[cfg(test)]
mod tests {
    use super::super::stored::Blocks;
    use super::*;

    fn reject(offset: i64, value: &str) -> TopicReject {
        let columns = serde_json::json!({
            "pipeline": "p", "stage": null, "digest": null, "reason": "not_json", "detail": "d", "source": "s",
            "partition": "3", "offset": 10 + offset, "record_timestamp": 5, "record_key": null, "record_value_hex": value,
            "headers": "[]", "row": null, "attempts": 1,
        });
        let Value::Object(columns) = columns else { panic!("an object") };
        TopicReject { partition: 2, offset, written_at_ms: 0, columns }
    }

    #[test]
    fn what_is_taken_is_read_again_by_its_offsets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("2.parquet");
        let mut writing = Writing::new(path.clone());
        writing.rejects.push(reject(5, "ff00"));
        writing.write().unwrap();
        writing.rejects.push(reject(900, "7b"));
        writing.finish().unwrap();
        let mut blocks = Blocks::open("topic/2", &path, true).unwrap();
        for (number, value) in [(5, &b"\xff\x00"[..]), (900, b"{")] {
            let block = blocks.next_block().unwrap().unwrap();
            assert_eq!(
                (block.number(0), block.offset(0), block.bytes("record_value", 0)),
                (number, 10 + number, Some(value))
            );
            assert_eq!((block.text("stage", 0), block.attempts(0), block.timestamp_ms(0)), (None, 1, Some(5)));
        }
    }

    #[test]
    fn a_reject_without_its_record_cannot_go_in_again() {
        let whole = reject(1, "7b").columns;
        let cut: Map<String, Value> =
            whole.clone().into_iter().filter(|(name, _)| !name.starts_with("record_value")).collect();
        assert!(has_record(&whole) && !has_record(&cut));
        let tombstone: Map<String, Value> = cut.into_iter().chain([("record_value".to_owned(), Value::Null)]).collect();
        assert!(has_record(&tombstone));
    }

    #[test]
    fn what_is_no_reject_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut writing = Writing::new(folder.path().join("2.parquet"));
        writing.rejects = vec![reject(6, "7b"), TopicReject { columns: Map::new(), ..reject(7, "") }, reject(8, "7b")];
        let error = writing.finish().unwrap_err().to_string();
        assert!(error.contains("record 2:7 of the topic is no reject"), "{error}");
    }

    #[test]
    fn a_topic_that_was_made_again_is_noticed() {
        let mut replayed = Replayed::default();
        replayed.add("t/0", 7);
        assert!(is_the_same("t", 0, 8, &replayed).is_ok() && is_the_same("t", 1, 0, &replayed).is_ok());
        let error = is_the_same("t", 0, 7, &replayed).unwrap_err().to_string();
        assert!(error.contains("ends at offset 7, but rejects up to offset 8 were replayed"), "{error}");
    }
}
