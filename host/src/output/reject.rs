//! Rejects: rows and records that were refused, with what is needed to judge them and to feed them in again. Always the
//! same columns, whatever the pipeline: `docs/outputs.md` has them. `crate::replay` reads them again.
//!
//! What a reject says depends on the record and on the plan only, never on the clock or on how often the epoch was run:
//! two runs over the same input make the same rejects.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryBuilder, Int32Builder, Int64Array, Int64Builder, RecordBatch, StringArray,
    StringBuilder, TimestampMillisecondBuilder, UInt32Array,
};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use millstream_sdk::LogicalType;
use serde_json::{Map, Value};

use super::reject_json::{headers_json, json_lines};
use crate::config::{Compression, ParquetOutput};
use crate::digest::from_hex;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Batch, Entry, Payload, Records, Refusal};
use crate::schema::Column;

/// A batch of rejects holds at most about this much of records: a large record of which many rows were refused stands in
/// each of them.
const BATCH_BYTES: usize = 64 << 20;

/// The name under which the header line of a CSV file stands among a reject's headers: its record alone does not say
/// which field is which. A file has no headers otherwise.
pub const CSV_HEADER: &str = "@csv_header";

/// The stage that refused rows.
#[derive(Clone, Copy, Debug)]
pub struct RefusedBy<'a> {
    /// Its name.
    pub stage: &'a str,
    /// Its plugin's SHA-256; none for a native stage.
    pub digest: Option<&'a str>,
}

/// The columns of rejects, in order.
pub fn reject_columns() -> Vec<Column> {
    let column = |name: &str, logical: LogicalType, nullable: bool| Column { name: name.to_owned(), logical, nullable };
    vec![
        column("pipeline", LogicalType::Utf8, false),
        column("stage", LogicalType::Utf8, true),
        column("digest", LogicalType::Utf8, true),
        column("reason", LogicalType::Utf8, false),
        column("detail", LogicalType::Utf8, false),
        column("source", LogicalType::Utf8, false),
        column("partition", LogicalType::Utf8, false),
        column("offset", LogicalType::Int64, false),
        column("record_timestamp", LogicalType::Timestamp(millstream_sdk::TimeUnit::Millisecond), true),
        column("record_key", LogicalType::Binary, true),
        column("record_value", LogicalType::Binary, true),
        column("headers", LogicalType::Utf8, true),
        column("row", LogicalType::Utf8, true),
        column("attempts", LogicalType::Int32, false),
    ]
}

/// How rejects are written to files: not partitioned (a source of files has no time to do it by), closed after a minute.
pub fn reject_settings(path: PathBuf) -> ParquetOutput {
    ParquetOutput {
        path,
        partition: Vec::new(),
        target_file_bytes: 128 << 20,
        max_age: Duration::from_secs(60),
        compression: Compression::Zstd(1),
    }
}

/// Rejects of a stage: the rows of `batch` as they entered it. `Refusal::row` counts the rows of `batch`.
pub fn reject_rows(pipeline: &str, by: RefusedBy<'_>, batch: &Batch, refusals: &[Refusal]) -> Result<Vec<RecordBatch>> {
    let picked = UInt32Array::from_iter_values(refusals.iter().map(|refusal| refusal.row));
    let rows = take_record_batch(&batch.columns, &picked).and_then(|rows| json_lines(&rows)).map_err(unwritable)?;
    let mut builder = Builder::new(pipeline, &batch.records);
    for (refusal, row) in refusals.iter().zip(&rows) {
        builder.push(batch.record_of(refusal.row as usize) as usize, refusal, Some(by), Some(row))?;
    }
    builder.finish()
}

/// Rejects of the decoder. `Refusal::row` counts the records.
pub fn reject_records(pipeline: &str, records: &Arc<Records>, refusals: &[Refusal]) -> Result<Vec<RecordBatch>> {
    let mut builder = Builder::new(pipeline, records);
    for refusal in refusals {
        builder.push(refusal.row as usize, refusal, None, None)?;
    }
    builder.finish()
}

/// Rejects that were tried again and could not go in where they have to: refused by whom they were refused before, with
/// the row as it was. `Refusal::row` counts the records.
pub fn reject_again(pipeline: &str, records: &Arc<Records>, refusals: &[Refusal]) -> Result<Vec<RecordBatch>> {
    let mut builder = Builder::new(pipeline, records);
    for refusal in refusals {
        let at = refusal.row as usize;
        match records.replayed().map(|replayed| &replayed.entry) {
            Some(Entry::Stage { name, digests, rows }) => {
                let digest = digests.is_valid(at).then(|| digests.value(at));
                let row = rows.is_valid(at).then(|| rows.value(at));
                builder.push(at, refusal, Some(RefusedBy { stage: name, digest }), row)?;
            }
            Some(Entry::Decoder) | None => builder.push(at, refusal, None, None)?,
        }
    }
    builder.finish()
}

fn unwritable(error: ArrowError) -> Error {
    Error::new(ErrorKind::Internal, "refused rows cannot be written as rejects").caused_by(error)
}

struct Builder<'a> {
    pipeline: &'a str,
    records: &'a Records,
    schema: Arc<Schema>,
    texts: [StringBuilder; 9],
    offset: Int64Builder,
    timestamp: TimestampMillisecondBuilder,
    key: BinaryBuilder,
    value: BinaryBuilder,
    attempts: Int32Builder,
    bytes: usize,
    batches: Vec<RecordBatch>,
}

impl<'a> Builder<'a> {
    fn new(pipeline: &'a str, records: &'a Records) -> Self {
        let fields: Vec<Field> = reject_columns().iter().map(Column::arrow_field).collect();
        Self {
            pipeline,
            records,
            schema: Schema::new(fields).into(),
            texts: Default::default(),
            offset: Int64Builder::new(),
            timestamp: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            key: BinaryBuilder::new(),
            value: BinaryBuilder::new(),
            attempts: Int32Builder::new(),
            bytes: 0,
            batches: Vec::new(),
        }
    }

    fn push(&mut self, record: usize, refusal: &Refusal, by: Option<RefusedBy<'_>>, row: Option<&str>) -> Result<()> {
        let records = self.records;
        let value = original(records, record)?;
        let key = records.keys.as_ref().filter(|keys| keys.is_valid(record)).map(|keys| keys.value(record));
        let headers = match &records.csv_header {
            Some(names) => {
                Some(headers_json(&[(CSV_HEADER.to_owned(), Some(Value::from(&names[..]).to_string().into_bytes()))]))
            }
            None => records.headers.get(record).map(|headers| headers_json(headers)),
        };
        self.bytes += value.as_ref().map_or(0, |value| value.len()) + row.map_or(0, str::len);
        let texts = [
            Some(self.pipeline),
            by.map(|by| by.stage),
            by.and_then(|by| by.digest),
            Some(&refusal.reason),
            Some(&refusal.detail),
            Some(&records.partition.source),
            Some(&records.partition.key),
            headers.as_deref(),
            row,
        ];
        self.texts.iter_mut().zip(texts).for_each(|(builder, text)| builder.append_option(text));
        self.offset.append_value(records.offsets[record]);
        self.timestamp.append_option(records.timestamps_ms.get(record).copied());
        self.key.append_option(key);
        self.value.append_option(value);
        let before = records.replayed().and_then(|replayed| replayed.attempts.get(record));
        self.attempts.append_value(before.map_or(0, |attempts| attempts.saturating_add(1)));
        if self.bytes >= BATCH_BYTES {
            self.end_batch()?;
        }
        Ok(())
    }

    fn end_batch(&mut self) -> Result<()> {
        let [pipeline, stage, digest, reason, detail, source, partition, headers, row] =
            self.texts.each_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef);
        let columns: Vec<ArrayRef> = vec![
            pipeline,
            stage,
            digest,
            reason,
            detail,
            source,
            partition,
            Arc::new(self.offset.finish()),
            Arc::new(self.timestamp.finish()),
            Arc::new(self.key.finish()),
            Arc::new(self.value.finish()),
            headers,
            row,
            Arc::new(self.attempts.finish()),
        ];
        self.bytes = 0;
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(unwritable)?;
        if batch.num_rows() > 0 {
            self.batches.push(batch);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<RecordBatch>> {
        self.end_batch()?;
        Ok(self.batches)
    }
}

/// The record as it came; of a columnar source, where a record has no bytes of its own, the row as JSON.
fn original(records: &Records, record: usize) -> Result<Option<Vec<u8>>> {
    match &records.payload {
        Payload::Bytes(_) | Payload::Replayed(_) => Ok(records.value(record).map(<[u8]>::to_vec)),
        Payload::Columns(columns) => {
            let lines = json_lines(&columns.slice(record, 1)).map_err(unwritable)?;
            Ok(lines.into_iter().next().map(String::into_bytes))
        }
    }
}

/// Rejects of a topic as rows again: the other way of `reject_object`.
///
/// # Errors
/// Of a reject that lacks what each has.
pub fn rejects_of<'a>(
    objects: impl Iterator<Item = &'a Map<String, Value>> + Clone,
) -> std::result::Result<RecordBatch, ArrowError> {
    let texts = |name: &str| objects.clone().map(|object| object.get(name)?.as_str()).collect::<StringArray>();
    let numbers = |name: &str| objects.clone().map(|object| object.get(name)?.as_i64()).collect::<Int64Array>();
    let bytes = |name: &str| {
        let of = |object: &Map<String, Value>| match object.get(name).and_then(Value::as_str) {
            Some(text) => Some(text.as_bytes().to_vec()),
            None => from_hex(object.get(&format!("{name}_hex"))?.as_str()?),
        };
        objects.clone().map(of).collect::<BinaryArray>()
    };
    let columns = reject_columns();
    let arrays = columns.iter().map(|column| match column.arrow_field().data_type() {
        DataType::Utf8 => Ok(Arc::new(texts(&column.name)) as ArrayRef),
        DataType::Binary => Ok(Arc::new(bytes(&column.name)) as ArrayRef),
        other => cast(&numbers(&column.name), other),
    });
    let fields: Vec<Field> = columns.iter().map(Column::arrow_field).collect();
    RecordBatch::try_new(Schema::new(fields).into(), arrays.collect::<std::result::Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, DictionaryArray, FixedSizeBinaryArray, Int32Array, TimestampMillisecondArray};
    use arrow::datatypes::{Int32Type, Int64Type};

    use super::super::reject_json::{reject_json, reject_object};
    use super::*;
    use crate::record::Partition;

    fn records() -> Arc<Records> {
        Arc::new(Records {
            partition: Partition { source: "clicks".into(), key: "3".into() },
            partition_number: 3,
            payload: Payload::Bytes(BinaryArray::from_opt_vec(vec![Some(b"{\"a\":1}"), Some(b"\xff\x00"), None])),
            csv_header: None,
            offsets: vec![10, 12, 15],
            next_offset: 16,
            timestamps_ms: vec![1_000, 2_000, 3_000],
            keys: Some(BinaryArray::from_opt_vec(vec![Some(b"k"), None, Some(b"\xfe")])),
            headers: vec![
                vec![("trace".to_owned(), Some(b"t1".to_vec())), ("trace".to_owned(), Some(vec![0xff]))],
                Vec::new(),
                vec![("empty".to_owned(), None)],
            ],
        })
    }

    fn refusal(row: u32, reason: &str) -> Refusal {
        Refusal { row, reason: reason.to_owned(), detail: format!("detail of {row}") }
    }

    #[test]
    fn a_refused_record_keeps_its_bytes_key_and_headers() {
        let rejects =
            reject_records("p", &records(), &[refusal(0, "wrong_type"), refusal(1, "not_json"), refusal(2, "x")]);
        let rejects = rejects.unwrap();
        assert_eq!(rejects.len(), 1);
        let expected = [
            r#"{"pipeline":"p","stage":null,"digest":null,"reason":"wrong_type","detail":"detail of 0","source":"clicks","partition":"3","offset":10,"record_timestamp":1000,"record_key":"k","record_value":"{\"a\":1}","headers":"[{\"name\":\"trace\",\"value\":\"t1\"},{\"name\":\"trace\",\"value_hex\":\"ff\"}]","row":null,"attempts":0}"#,
            r#"{"pipeline":"p","stage":null,"digest":null,"reason":"not_json","detail":"detail of 1","source":"clicks","partition":"3","offset":12,"record_timestamp":2000,"record_key":null,"record_value_hex":"ff00","headers":"[]","row":null,"attempts":0}"#,
            r#"{"pipeline":"p","stage":null,"digest":null,"reason":"x","detail":"detail of 2","source":"clicks","partition":"3","offset":15,"record_timestamp":3000,"record_key_hex":"fe","record_value":null,"headers":"[{\"name\":\"empty\",\"value\":null}]","row":null,"attempts":0}"#,
        ];
        assert_eq!(reject_json(&rejects[0], 1 << 20), expected);
        // And the other way.
        let objects = (0..3).map(|row| reject_object(&rejects[0], row)).collect::<Vec<_>>();
        assert_eq!(rejects_of(objects.iter()).unwrap(), rejects[0]);
        let without_reason: Map<String, Value> =
            objects[0].clone().into_iter().filter(|(name, _)| name != "reason").collect();
        assert!(rejects_of(std::iter::once(&without_reason)).unwrap_err().to_string().contains("reason"));
    }

    #[test]
    fn a_refused_row_is_kept_as_it_entered_the_stage() {
        let country: DictionaryArray<Int32Type> = vec![Some("ch"), None, Some("de")].into_iter().collect();
        let ids = FixedSizeBinaryArray::try_from_iter((0u8..3).map(|row| [row; 16])).unwrap();
        let columns = RecordBatch::try_from_iter_with_nullable([
            ("n", Arc::new(Int64Array::from(vec![Some(7), None, Some(9)])) as ArrayRef, true),
            ("country", Arc::new(country), true),
            ("id", Arc::new(ids), false),
            ("ts", Arc::new(TimestampMillisecondArray::from(vec![0, 1, 2]).with_timezone("UTC")), false),
        ])
        .unwrap();
        let batch = Batch { columns, records: records(), record_of_row: Some(vec![0, 0, 1]) };
        let by = RefusedBy { stage: "clean", digest: Some("abc") };
        let rejects = reject_rows("p", by, &batch, &[refusal(1, "old"), refusal(2, "bad_url")]).unwrap();
        let column = |name: &str| rejects[0].column_by_name(name).unwrap().clone();
        let text = |name: &str| column(name).as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            text("row"),
            [
                r#"{"n":null,"country":null,"id":"01010101-0101-0101-0101-010101010101","ts":"1970-01-01T00:00:00.001Z"}"#,
                r#"{"n":9,"country":"de","id":"02020202-0202-0202-0202-020202020202","ts":"1970-01-01T00:00:00.002Z"}"#,
            ]
        );
        assert_eq!((text("stage")[0].as_str(), text("digest")[0].as_str()), ("clean", "abc"));
        assert_eq!(
            column("offset").as_primitive::<Int64Type>().values(),
            &[10, 12],
            "the records the rows were made from"
        );
        let by_columns: Vec<_> = reject_columns().iter().map(Column::arrow_field).collect();
        assert_eq!(rejects[0].schema().fields().iter().map(|f| f.as_ref().clone()).collect::<Vec<_>>(), by_columns);
    }

    #[test]
    fn what_is_too_long_for_a_topic_goes_without_its_record_and_says_so() {
        let records = Records {
            payload: Payload::Bytes(BinaryArray::from(vec![vec![b'x'; 5_000].as_slice(), b"y"])),
            ..records().as_ref().clone()
        };
        let rejects =
            reject_records("p", &Arc::new(records), &[refusal(0, "not_json"), refusal(1, "not_json")]).unwrap();
        let lines = reject_json(&rejects[0], 4_000);
        let [long, short]: [Value; 2] = [0, 1].map(|at| serde_json::from_str(&lines[at]).unwrap());
        assert!(lines[0].len() < 4_000 && long["record_value"].is_null() && long["offset"] == 10);
        assert!(long["detail"].as_str().unwrap().contains("longer than the topic's 4000 bytes"), "{long}");
        assert_eq!((&short["record_value"], &short["detail"]), (&"y".into(), &"detail of 1".into()));
    }

    #[test]
    fn a_columnar_source_gives_its_row_as_json() {
        let columns = RecordBatch::try_from_iter([
            ("a", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef),
            ("s", Arc::new(StringArray::from(vec!["x", "y"]))),
        ])
        .unwrap();
        let records = Records {
            payload: Payload::Columns(columns),
            keys: None,
            headers: Vec::new(),
            timestamps_ms: Vec::new(),
            ..records().as_ref().clone()
        };
        let rejects = reject_records("p", &Arc::new(records), &[refusal(1, "out_of_range")]).unwrap();
        let object: Value = serde_json::from_str(&reject_json(&rejects[0], 1 << 20)[0]).unwrap();
        assert_eq!(object["record_value"], r#"{"a":2,"s":"y"}"#);
        assert!(object["record_timestamp"].is_null() && object["headers"].is_null());
    }

    #[test]
    fn many_rows_of_a_large_record_make_several_batches() {
        let large = vec![b'x'; 10 << 20];
        let records = Records {
            payload: Payload::Bytes(BinaryArray::from(vec![large.as_slice()])),
            ..records().as_ref().clone()
        };
        let refusals: Vec<Refusal> = (0..20).map(|_| refusal(0, "x")).collect();
        let rejects = reject_records("p", &Arc::new(records), &refusals).unwrap();
        assert_eq!(rejects.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [7, 7, 6]);
    }
}
