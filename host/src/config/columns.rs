//! The `columns` of sources and dimensions: name, type, and where the value comes from.

use std::ops::Range;

use millstream_sdk::{LogicalType, Nested, TypeError};

use super::document::Value;
use super::keys::{COLUMN, Field, Keys};
use super::reader::{Reader, span_in, text_of};
use super::units::Mistake;
use super::{ColumnFrom, Located, SourceColumn};

const EXAMPLE: &str = "{ user_id = \"int64\", url = \"utf8?\" }";
const FORM_HELP: &str = "such as `timestamp(ms)`, `decimal(12,2)`, `list<utf8>`, `struct<sku: utf8, quantity: int32?>`; docs/pipeline.md lists the types";
const FROM_HELP: &str =
    "it is a field (\"device.os\" goes into objects), or @key, @timestamp, @partition, @offset, @headers.NAME";

/// Whose columns they are: what `from` can name depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A Kafka source has all metadata.
    Kafka,
    /// A file has offsets only.
    File,
    /// A dimension has none.
    Dimension,
}

/// The columns, in order.
pub(super) fn read(reader: &mut Reader<'_>, field: &Field<'_>, owner: Owner) -> Option<Vec<SourceColumn>> {
    let Value::Table(table) = &field.node.value else {
        reader.wrong_type(field, "a table", &format!("such as {EXAMPLE}"));
        return None;
    };
    if table.entries.is_empty() {
        reader.wrong(field, "names no column", &format!("such as {EXAMPLE}"));
        return None;
    }
    let columns: Vec<Option<SourceColumn>> =
        table.entries.iter().map(|entry| column(reader, &Field::of(entry, &field.path), &entry.key, owner)).collect();
    columns.into_iter().collect()
}

fn column(reader: &mut Reader<'_>, field: &Field<'_>, key: &str, owner: Owner) -> Option<SourceColumn> {
    let name = reader.name(key, field.key_at, "column");
    let own = || ColumnFrom::Field(vec![key.to_owned()]);
    let (nested, from) = match &field.node.value {
        Value::Table(table) if looks_like_dotted_key(table) => {
            let first = table.entries.first().map_or("x", |entry| entry.key.as_str());
            reader.wrong(
                field,
                "has no `type`",
                &format!(
                    "a field within an object is written {first} = {{ type = \"utf8?\", from = \"{key}.{first}\" }}"
                ),
            );
            return None;
        }
        Value::Table(_) => {
            let mut keys = Keys::of(reader, field, &COLUMN, "{ type = \"utf8?\", from = \"device.os\" }")?;
            let nested = keys.require(reader, "type", "type = \"utf8?\"").and_then(|field| logical(reader, &field));
            let from = keys.take("from").map(|field| from(reader, &field, owner, nested.as_ref()));
            keys.finish(reader);
            (nested, from.unwrap_or_else(|| Some(own())))
        }
        _ => (logical(reader, field), Some(own())),
    };
    let Nested { logical, nullable } = nested?;
    Some(SourceColumn { name: name?, logical, nullable, from: from? })
}

/// `columns.device.os = "utf8"` makes a table `device` with a key `os`, which nobody means.
fn looks_like_dotted_key(table: &super::document::Table) -> bool {
    let foreign =
        |key: &str| !COLUMN.keys.contains(&key) && super::problem::nearest(key, COLUMN.keys.iter().copied()).is_none();
    !table.entries.is_empty() && table.entries.iter().all(|entry| foreign(&entry.key))
}

fn logical(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<Nested> {
    let Some(text) = text_of(field.node) else {
        reader.wrong_type(field, "a type", "a column is written as its type in quotes, such as \"int64\" or \"utf8?\"");
        return None;
    };
    match text.parse::<Nested>() {
        Ok(nested) => Some(nested),
        Err(error) => {
            let place = wrong_part(text, &error);
            let (message, help) = explained(&error.message, &text[place.clone()]);
            reader.mistake(field, text, Mistake::new(place, message, help));
            None
        }
    }
}

/// The word that a type's reader stopped at: the one before the stop when the message is about that.
fn wrong_part(text: &str, error: &TypeError) -> Range<usize> {
    let at = error.at.min(text.len());
    if let Some(word) = error.message.strip_prefix('`').and_then(|rest| rest.split('`').next())
        && !word.is_empty()
        && text[..at].ends_with(word)
    {
        return at - word.len()..at;
    }
    let rest = &text[at..];
    let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    at..at + word.max(rest.chars().next().map_or(0, char::len_utf8))
}

/// The message of a wrong type without the list of all types, which stands in the help, where the eye looks for it.
fn explained(message: &str, word: &str) -> (String, String) {
    const OTHER_NAMES: [(&str, &str); 24] = [
        ("string", "utf8"),
        ("text", "utf8"),
        ("str", "utf8"),
        ("varchar", "utf8"),
        ("int", "int64"),
        ("integer", "int64"),
        ("long", "int64"),
        ("bigint", "int64"),
        ("short", "int16"),
        ("byte", "int8"),
        ("uint8", "int16"),
        ("uint16", "int32"),
        ("uint32", "int64"),
        ("float", "float64"),
        ("double", "float64"),
        ("real", "float32"),
        ("number", "float64"),
        ("numeric", "decimal(38,9)"),
        ("boolean", "bool"),
        ("bytes", "binary"),
        ("datetime", "timestamp(ms)"),
        ("time", "timestamp(ms)"),
        ("array", "list<utf8>"),
        ("object", "struct<name: utf8>"),
    ];
    let (message, known) = message.split_once("; the types are ").unwrap_or((message, ""));
    let lower = word.to_lowercase();
    let other = OTHER_NAMES.iter().find(|(name, _)| *name == lower).map(|(_, meant)| *meant);
    let near = super::problem::nearest(
        word,
        [
            "bool",
            "int8",
            "int16",
            "int32",
            "int64",
            "float32",
            "float64",
            "decimal",
            "utf8",
            "binary",
            "uuid",
            "date",
            "timestamp",
        ],
    );
    let help = match (other.or(near), known) {
        (Some(meant), known) if word != meant && !known.is_empty() => format!("did you mean `{meant}`?"),
        (_, "") => FORM_HELP.to_owned(),
        (_, known) => format!("the types are {known}"),
    };
    let message = match message.strip_suffix(" expected") {
        Some(mark) => format!("{mark} is missing"),
        None => message.to_owned(),
    };
    (message, help)
}

fn from(reader: &mut Reader<'_>, field: &Field<'_>, owner: Owner, nested: Option<&Nested>) -> Option<ColumnFrom> {
    if matches!(field.node.value, Value::Array(_)) {
        let parts =
            reader.list(field, "[\"http\", \"status.code\"]", |reader, item| reader.string(item, "\"http\""))?;
        return Some(ColumnFrom::Field(parts.into_iter().map(|part| part.value).collect()));
    }
    let Located { value: text, .. } = reader.string(field, "\"device.os\" or \"@key\"")?;
    let Some(metadata) = text.strip_prefix('@') else {
        let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        if parts.iter().any(String::is_empty) {
            reader.wrong(field, "has an empty part between its dots", FROM_HELP);
            return None;
        }
        return Some(ColumnFrom::Field(parts));
    };
    let from = match metadata.split_once('.').unwrap_or((metadata, "")) {
        ("key", "") => ColumnFrom::Key,
        ("timestamp", "") => ColumnFrom::Timestamp,
        ("partition", "") => ColumnFrom::Partition,
        ("offset", "") => ColumnFrom::Offset,
        ("headers", name) if !name.is_empty() => ColumnFrom::Header(name.to_owned()),
        ("headers", _) => {
            reader.wrong(field, "lacks the header's name", "write \"@headers.NAME\"");
            return None;
        }
        (other, _) => {
            let near = super::problem::nearest(other, ["key", "timestamp", "partition", "offset", "headers.NAME"]);
            let near = near.map(|near| format!("did you mean \"@{near}\"? ")).unwrap_or_default();
            reader.wrong(field, &format!("is \"{text}\", which is no metadata"), &format!("{near}{FROM_HELP}"));
            return None;
        }
    };
    if let Some(nested) = nested {
        check_metadata(reader, field, &text, &from, owner, nested);
    }
    Some(from)
}

/// Each metadata has its types, and a file lacks what only Kafka knows.
fn check_metadata(
    reader: &mut Reader<'_>,
    field: &Field<'_>,
    text: &str,
    from: &ColumnFrom,
    owner: Owner,
    nested: &Nested,
) {
    let logical = &nested.logical;
    let (fits, wanted) = match from {
        ColumnFrom::Field(_) => return,
        ColumnFrom::Key | ColumnFrom::Header(_) => {
            (matches!(logical, LogicalType::Utf8 | LogicalType::Binary), "utf8 or binary")
        }
        ColumnFrom::Timestamp => (matches!(logical, LogicalType::Timestamp(_)), "a timestamp, such as timestamp(ms)"),
        ColumnFrom::Partition => (matches!(logical, LogicalType::Int32), "int32"),
        ColumnFrom::Offset => (matches!(logical, LogicalType::Int64), "int64"),
    };
    let only_kafka = !matches!(from, ColumnFrom::Offset | ColumnFrom::Partition);
    if owner == Owner::Dimension {
        reader.wrong(
            field,
            &format!("is {text}, but a dimension's rows have no metadata"),
            "name a field of the table",
        );
    } else if !fits {
        reader.wrong(field, &format!("is {text}, but the column is {logical}"), &format!("{text} is {wanted}"));
    } else if owner == Owner::File && only_kafka && !nested.nullable {
        let help = format!("make the column nullable (\"{logical}?\"), or leave it out");
        reader.wrong(field, &format!("is {text}, which files do not have"), &help);
    }
}

/// Where the name of a column of a string such as `day(ts)` lies.
pub(super) fn located_part(reader: &Reader<'_>, field: &Field<'_>, text: &str, part: Range<usize>) -> Located<String> {
    Located { value: text[part.clone()].to_owned(), span: span_in(reader, field, text, part) }
}
