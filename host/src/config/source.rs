//! `[source.NAME]` and `[dimension.NAME]`: where rows come from.

use std::ops::RangeInclusive;

use millstream_sdk::LogicalType;

use super::columns::{self, Owner};
use super::document::{Entry, Value};
use super::keys::{DIMENSION, DIMENSION_FILE, Field, Keys, SOURCE, SOURCE_FILE, SOURCE_KAFKA, UNKNOWN};
use super::problem::{Problem, suggestion};
use super::reader::Reader;
use super::{
    Dimension, Duplicates, FileSource, Format, KafkaSource, Located, Lost, Source, SourceColumn, SourceKind, Start,
    Unknown, kafka, units,
};

const DIMENSION_MEMORY_BYTES: RangeInclusive<u64> = 0..=1 << 40;
const DEFAULT_DIMENSION_MEMORY_BYTES: u64 = 1 << 30;
const DEFAULT_SHRINK: f64 = 0.5;
const FILE_EXAMPLE: &str = "file = { path = \"clicks.jsonl.zst\" }";
const KAFKA_EXAMPLE: &str = "kafka = { brokers = \"localhost:9092\", topic = \"clicks\", group = \"clicks-to-lake\" }";

/// One `[source.NAME]`.
pub(super) fn source(reader: &mut Reader<'_>, entry: &Entry) -> Option<Source> {
    let field = Field::of(entry, "source");
    let name = reader.name(&entry.key, &entry.key_at, "source");
    let mut keys = Keys::of(reader, &field, &SOURCE, &format!("[source.clicks] with {FILE_EXAMPLE}"))?;
    let either = format!("write {FILE_EXAMPLE}, or {KAFKA_EXAMPLE}");
    let kind = keys.one_of(reader, ["file", "kafka"], &either).map(|(key, field)| {
        let kind = if key == "file" { file(reader, &field) } else { kafka_source(reader, &field) };
        (if key == "file" { Owner::File } else { Owner::Kafka }, kind)
    });
    let owner = kind.as_ref().map_or(Owner::Kafka, |(owner, _)| *owner);
    let format = keys.require(reader, "format", "format = \"json\"").and_then(|field| {
        let words = [("json", Format::Json), ("csv", Format::Csv), ("parquet", Format::Parquet)];
        let format = Located { value: reader.word(&field, &words)?, span: field.node.at.span() };
        if kind.is_some() && owner == Owner::Kafka && format.value != Format::Json {
            let help = "records of a topic are \"json\"; csv needs the header line of a file, and parquet is a file";
            reader.wrong(&field, "does not fit a topic", help);
        }
        Some(format)
    });
    let example = "columns = { event_id = \"utf8\", ts = \"timestamp(ms)\" }";
    let columns = keys.require(reader, "columns", example).and_then(|field| columns::read(reader, &field, owner));
    let unknown =
        keys.optional(reader, "unknown", Unknown::Ignore, |reader, field| unknown(reader, field, columns.as_deref()));
    let event_time = keys.take("event_time").and_then(|field| event_time(reader, &field, columns.as_deref()));
    keys.finish(reader);
    Some(Source { name: name?, kind: kind?.1?, format: format?, unknown: unknown?, event_time, columns: columns? })
}

fn file(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<SourceKind> {
    let mut keys = Keys::of(reader, field, &SOURCE_FILE, "{ path = \"clicks.jsonl.zst\" }")?;
    let example = "\"data/*.jsonl.zst\"";
    let paths = keys.require(reader, "path", &format!("path = {example}")).and_then(|field| {
        let paths = match &field.node.value {
            Value::Array(_) => reader.strings(&field, "[\"a.jsonl\", \"b.jsonl\"]")?,
            _ => vec![reader.string(&field, example)?],
        };
        let resolved = |path: Located<String>| {
            let value = reader.folder.join(&path.value).to_string_lossy().into_owned();
            Located { value, span: path.span }
        };
        Some(paths.into_iter().map(resolved).collect())
    });
    keys.finish(reader);
    Some(SourceKind::File(FileSource { paths: paths? }))
}

fn kafka_source(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<SourceKind> {
    let example = "{ brokers = \"localhost:9092\", topic = \"clicks\", group = \"clicks-to-lake\" }";
    let mut keys = Keys::of(reader, field, &SOURCE_KAFKA, example)?;
    let brokers = kafka::brokers(reader, &mut keys);
    let topic = kafka::topic(reader, &mut keys);
    let group = keys
        .require(
            reader,
            "group",
            "group = \"clicks-to-lake\"; the offsets that this group committed say where to go on",
        )
        .and_then(|field| reader.string(&field, "\"clicks-to-lake\""));
    let words = [("earliest", Start::Earliest), ("latest", Start::Latest)];
    let start = keys.optional(reader, "start", Start::Earliest, |reader, field| reader.word(field, &words));
    let words = [("fail", Lost::Fail), ("skip", Lost::Skip)];
    let lost = keys.optional(reader, "lost", Lost::Fail, |reader, field| reader.word(field, &words));
    let properties = kafka::properties(reader, &mut keys);
    keys.finish(reader);
    Some(SourceKind::Kafka(KafkaSource {
        brokers: brokers?,
        topic: topic?,
        group: group?,
        start: start?,
        lost: lost?,
        properties: properties?,
    }))
}

fn unknown(reader: &mut Reader<'_>, field: &Field<'_>, columns: Option<&[SourceColumn]>) -> Option<Unknown> {
    if !matches!(field.node.value, Value::Table(_)) {
        let words = [("ignore", false), ("reject", true)];
        return Some(if reader.word(field, &words)? { Unknown::Reject } else { Unknown::Ignore });
    }
    let mut keys = Keys::of(reader, field, &UNKNOWN, "{ keep = \"rest\" }")?;
    let kept = keys.require(reader, "keep", "keep = \"rest\": a column of this name gets them as one JSON object");
    let kept = kept.and_then(|field| {
        let name = reader.string(&field, "\"rest\"")?;
        if let Some(column) = columns.into_iter().flatten().find(|column| column.name.value == name.value) {
            let message = format!("`{}` keeps unknown fields in \"{}\", which is a column", field.path, name.value);
            let problem = Problem::error(message).at(&name.span, "here").at(&column.name.span, "the column");
            reader.problems.push(problem.help("give it a name of its own: it is a further column, of type utf8?"));
        }
        reader.name(&name.value, &field.node.at, "column")
    });
    keys.finish(reader);
    Some(Unknown::Keep(kept?.value))
}

fn event_time(reader: &mut Reader<'_>, field: &Field<'_>, columns: Option<&[SourceColumn]>) -> Option<Located<String>> {
    let name = reader.string(field, "\"ts\"")?;
    let columns = columns?;
    match columns.iter().find(|column| column.name.value == name.value) {
        None => {
            let known = columns.iter().map(|column| column.name.value.as_str());
            let hint = suggestion(&name.value, known, "there are no columns");
            let problem = Problem::error(format!("`{}` names no column: \"{}\"", field.path, name.value));
            reader.problems.push(field.node.at.mark(problem, hint));
        }
        Some(column) if !matches!(column.logical, LogicalType::Timestamp(_)) => {
            let logical = &column.logical;
            let problem = Problem::error(format!("`{}` names a column of type {logical}", field.path))
                .help("the time of an event is a timestamp, such as timestamp(ms)");
            let problem = field.node.at.mark(problem, "a timestamp is expected");
            reader.problems.push(problem.at(&column.name.span, format!("{logical} here")));
        }
        Some(_) => {}
    }
    Some(name)
}

/// One `[dimension.NAME]`.
pub(super) fn dimension(reader: &mut Reader<'_>, entry: &Entry) -> Option<Dimension> {
    let field = Field::of(entry, "dimension");
    let name = reader.name(&entry.key, &entry.key_at, "dimension");
    let example = "file = { path = \"users.parquet\", key = [\"user_id\"] }";
    let mut keys = Keys::of(reader, &field, &DIMENSION, &format!("[dimension.users] with {example}"))?;
    let table = keys.require(reader, "file", example).and_then(|field| dimension_file(reader, &field));
    let columns =
        keys.optional(reader, "columns", Vec::new(), |reader, field| columns::read(reader, field, Owner::Dimension));
    if let (Some(table), Some(columns)) = (&table, &columns) {
        check_dimension(reader, &keys, table, columns);
    }
    let shrink =
        keys.optional(reader, "shrink", DEFAULT_SHRINK, |reader, field| reader.unit(field, "\"50%\"", units::share));
    let memory_bytes = keys.optional(reader, "memory", DEFAULT_DIMENSION_MEMORY_BYTES, |reader, field| {
        reader.size(field, DIMENSION_MEMORY_BYTES)
    });
    keys.finish(reader);
    let DimensionFile { path, key, duplicates } = table?;
    Some(Dimension {
        name: name?,
        path,
        key,
        columns: columns?,
        duplicates,
        shrink: shrink?,
        memory_bytes: memory_bytes?,
    })
}

struct DimensionFile {
    path: Located<std::path::PathBuf>,
    key: Vec<Located<String>>,
    duplicates: Duplicates,
}

fn dimension_file(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<DimensionFile> {
    let mut keys = Keys::of(reader, field, &DIMENSION_FILE, "{ path = \"users.parquet\", key = [\"user_id\"] }")?;
    let path = keys.require(reader, "path", "path = \"users.parquet\"").and_then(|field| {
        let path = reader.path(&field, "\"users.parquet\"")?;
        if table_format(&path.value.to_string_lossy()).is_none() {
            let help = "the name ends in .csv, .jsonl, .json or .parquet; the first three may be compressed: .gz, .zst";
            reader.wrong(&field, "does not say by its end what the file is", help);
            return None;
        }
        Some(path)
    });
    let key = keys
        .require(reader, "key", "key = [\"user_id\"]: the columns that a row is found by")
        .and_then(|field| reader.strings(&field, "[\"user_id\"]"));
    let words = [("refuse", Duplicates::Refuse), ("first", Duplicates::First), ("last", Duplicates::Last)];
    let duplicates =
        keys.optional(reader, "duplicates", Duplicates::Refuse, |reader, field| reader.word(field, &words));
    keys.finish(reader);
    Some(DimensionFile { path: path?, key: key?, duplicates: duplicates? })
}

/// What a table's file is, by its name without `.gz` or `.zst`.
fn table_format(path: &str) -> Option<Format> {
    let compressed = path.strip_suffix(".gz").or_else(|| path.strip_suffix(".zst"));
    match compressed.unwrap_or(path).rsplit_once('.')?.1 {
        "csv" => Some(Format::Csv),
        "json" | "jsonl" => Some(Format::Json),
        "parquet" if compressed.is_none() => Some(Format::Parquet),
        _ => None,
    }
}

fn check_dimension(reader: &mut Reader<'_>, keys: &Keys<'_>, table: &DimensionFile, columns: &[SourceColumn]) {
    let owner = keys.owner();
    if columns.is_empty() && table_format(&table.path.value.to_string_lossy()) != Some(Format::Parquet) {
        let problem = Problem::error(format!("{owner} has no `columns`"))
            .at(&table.path.span, "only a Parquet file brings its own types")
            .help("add columns = { user_id = \"int64\", country = \"utf8?\" }");
        reader.problems.push(problem);
    }
    if columns.is_empty() {
        return;
    }
    for part in &table.key {
        match columns.iter().find(|column| column.name.value == part.value) {
            None => {
                let known = columns.iter().map(|column| column.name.value.as_str());
                let hint = suggestion(&part.value, known, "there are no columns");
                let message = format!("the key of {owner} names \"{}\", which is no column of it", part.value);
                reader.problems.push(Problem::error(message).at(&part.span, hint));
            }
            Some(column) if column.nullable => {
                let message = format!("the key of {owner} has the nullable column \"{}\"", part.value);
                let problem = Problem::error(message).at(&part.span, "here");
                let help = "a key is never null: take the `?` away; rows without a key are then refused with the file";
                reader.problems.push(problem.at(&column.name.span, "nullable here").help(help));
            }
            Some(_) => {}
        }
    }
}
