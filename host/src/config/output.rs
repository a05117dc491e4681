//! `[output.NAME]` and `[rejects]`: where rows go.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::columns::located_part;
use super::document::Entry;
use super::keys::{Field, Keys, OUTPUT, OUTPUT_KAFKA, PARQUET, REJECTS, REJECTS_FILE, REJECTS_KAFKA};
use super::problem::Problem;
use super::reader::{Reader, text_of};
use super::{
    Compression, Delivery, KafkaOutput, Output, OutputKind, ParquetOutput, PartitionBy, PartitionTransform, Rejects,
    kafka, units,
};

const TARGET_FILE_BYTES: RangeInclusive<u64> = 4 << 10..=16 << 30;
const DEFAULT_TARGET_FILE_BYTES: u64 = 128 << 20;
const MAX_AGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(7 * 86_400);
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(60);
const KEEP: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_650 * 86_400);
const PARQUET_EXAMPLE: &str = "parquet = { path = \"lake/views\" }";
const KAFKA_EXAMPLE: &str = "kafka = { brokers = \"localhost:9092\", topic = \"views\" }";

/// One `[output.NAME]`.
pub(super) fn output(reader: &mut Reader<'_>, entry: &Entry) -> Option<Output> {
    let field = Field::of(entry, "output");
    let name = reader.name(&entry.key, &entry.key_at, "output");
    if entry.key == "rejects" {
        let problem = Problem::error("no output can have the name \"rejects\"")
            .help("rejected rows have a table of their own: [rejects]");
        reader.problems.push(entry.key_at.mark(problem, ""));
    }
    let mut keys = Keys::of(reader, &field, &OUTPUT, &format!("[output.views] with {PARQUET_EXAMPLE}"))?;
    let from = keys.optional(reader, "from", None, |reader, field| reader.string(field, "\"clean\"").map(Some));
    let columns = keys
        .optional(reader, "columns", None, |reader, field| reader.strings(field, "[\"event_id\", \"ts\"]").map(Some));
    let either = format!("write {PARQUET_EXAMPLE}, or {KAFKA_EXAMPLE}");
    let kind = match keys.one_of(reader, ["parquet", "kafka"], &either) {
        Some(("parquet", field)) => parquet(reader, &field).map(OutputKind::Parquet),
        Some((_, field)) => topic(reader, &field).map(OutputKind::Kafka),
        None => None,
    };
    keys.finish(reader);
    Some(Output { name: name?, from: from?, columns: columns?, kind: kind? })
}

fn parquet(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<ParquetOutput> {
    let mut keys = Keys::of(reader, field, &PARQUET, "{ path = \"lake/views\" }")?;
    let path = keys
        .require(reader, "path", "path = \"lake/views\"")
        .and_then(|field| reader.path(&field, "\"lake/views\""))
        .map(|path| path.value);
    let partition = keys.optional(reader, "partition", Vec::new(), |reader, field| {
        let partition = reader.list(field, "[\"day(ts)\"]", partition_by)?;
        for (index, part) in partition.iter().enumerate() {
            check_folder(reader, part, &partition[..index]);
        }
        Some(partition)
    });
    let target_file_bytes = keys.optional(reader, "target_file", DEFAULT_TARGET_FILE_BYTES, |reader, field| {
        reader.size(field, TARGET_FILE_BYTES)
    });
    let max_age = keys.optional(reader, "max_age", DEFAULT_MAX_AGE, |reader, field| reader.duration(field, MAX_AGE));
    let compression = keys.optional(reader, "compression", Compression::Zstd(1), |reader, field| {
        reader.unit(field, "\"zstd(1)\"", units::compression)
    });
    keys.finish(reader);
    Some(ParquetOutput {
        path: path?,
        partition: partition?,
        target_file_bytes: target_file_bytes?,
        max_age: max_age?,
        compression: compression?,
    })
}

fn partition_by(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<PartitionBy> {
    let (transform, part) = reader.unit(field, "\"day(ts)\"", units::partition)?;
    let text = text_of(field.node)?;
    if part.is_empty() {
        reader.wrong(field, "has an empty string", "write \"day(column)\", \"hour(column)\" or \"column\"");
        return None;
    }
    Some(PartitionBy { column: located_part(reader, field, text, part), transform })
}

/// Two parts of a partition may not make the same folder.
fn check_folder(reader: &mut Reader<'_>, part: &PartitionBy, before: &[PartitionBy]) {
    if let Some(first) = before.iter().find(|first| folder(first) == folder(part)) {
        let problem = Problem::error(format!("two parts of the partition make the folder \"{}=..\"", folder(part)))
            .at(&part.column.span, "again here")
            .at(&first.column.span, "first here")
            .help("leave one of them out");
        reader.problems.push(problem);
    }
}

/// The name before the `=` of a partition's folder.
pub(crate) fn folder(part: &PartitionBy) -> &str {
    match part.transform {
        PartitionTransform::Value => &part.column.value,
        PartitionTransform::Day => "day",
        PartitionTransform::Hour => "hour",
    }
}

fn topic(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<KafkaOutput> {
    let mut keys = Keys::of(reader, field, &OUTPUT_KAFKA, "{ brokers = \"localhost:9092\", topic = \"views\" }")?;
    let brokers = kafka::brokers(reader, &mut keys);
    let topic = kafka::topic(reader, &mut keys);
    let key = keys.optional(reader, "key", None, |reader, field| reader.string(field, "\"user_id\"").map(Some));
    let format = keys.optional(reader, "format", (), |reader, field| reader.word(field, &[("json", ())]));
    let delivery = delivery(reader, &mut keys);
    let properties = kafka::properties(reader, &mut keys);
    keys.finish(reader);
    format?;
    Some(KafkaOutput { brokers: brokers?, topic: topic?, key: key?, delivery: delivery?, properties: properties? })
}

fn delivery(reader: &mut Reader<'_>, keys: &mut Keys<'_>) -> Option<Delivery> {
    let words = [("exactly_once", Delivery::ExactlyOnce), ("at_least_once", Delivery::AtLeastOnce)];
    keys.optional(reader, "delivery", Delivery::default(), |reader, field| reader.word(field, &words))
}

/// `[rejects]`; files below the data folder when it is not there.
pub(super) fn rejects(reader: &mut Reader<'_>, field: Option<&Field<'_>>, data: &Path) -> Option<Rejects> {
    let Some(field) = field else { return Some(Rejects::File { path: data.join("rejects"), keep: None }) };
    let example = "file = { path = \"lake/rejects\" }";
    let mut keys = Keys::of(reader, field, &REJECTS, &format!("[rejects] with {example}"))?;
    let either = format!("write {example}, or kafka = {{ brokers = \"localhost:9092\", topic = \"clicks.rejects\" }}");
    let rejects = match keys.one_of(reader, ["file", "kafka"], &either) {
        Some(("file", field)) => rejects_file(reader, &field),
        Some((_, field)) => rejects_topic(reader, &field).map(Rejects::Kafka),
        None => None,
    };
    keys.finish(reader);
    rejects
}

fn rejects_file(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<Rejects> {
    let mut keys = Keys::of(reader, field, &REJECTS_FILE, "{ path = \"lake/rejects\" }")?;
    let path = keys
        .require(reader, "path", "path = \"lake/rejects\"")
        .and_then(|field| reader.path(&field, "\"lake/rejects\""))
        .map(|path| path.value);
    let keep = keys.optional(reader, "keep", None, |reader, field| reader.duration(field, KEEP).map(Some));
    keys.finish(reader);
    Some(Rejects::File { path: path?, keep: keep? })
}

fn rejects_topic(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<KafkaOutput> {
    let example = "{ brokers = \"localhost:9092\", topic = \"clicks.rejects\" }";
    let mut keys = Keys::of(reader, field, &REJECTS_KAFKA, example)?;
    let brokers = kafka::brokers(reader, &mut keys);
    let topic = kafka::topic(reader, &mut keys);
    let delivery = delivery(reader, &mut keys);
    let properties = kafka::properties(reader, &mut keys);
    keys.finish(reader);
    Some(KafkaOutput { brokers: brokers?, topic: topic?, key: None, delivery: delivery?, properties: properties? })
}
