//! Rejects as JSON, for topics.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, TimestampMillisecondType};
use arrow::error::ArrowError;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use serde_json::{Map, Value};

use super::partition::uuid_text;
use crate::digest::hex;

/// A record's headers as one JSON array of `{"name", "value"}`: a name may stand there several times. A value that is not
/// UTF-8 stands as `value_hex`.
pub(super) fn headers_json(headers: &[(String, Option<Vec<u8>>)]) -> String {
    let entries = headers.iter().map(|(name, value)| {
        let mut entry = Map::new();
        entry.insert("name".to_owned(), Value::from(name.as_str()));
        insert_bytes(&mut entry, "value", value.as_deref());
        Value::Object(entry)
    });
    Value::Array(entries.collect()).to_string()
}

fn insert_bytes(entry: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        None => entry.insert(name.to_owned(), Value::Null),
        Some(Ok(text)) => entry.insert(name.to_owned(), Value::from(text)),
        Some(Err(bytes)) => entry.insert(format!("{name}_hex"), Value::from(hex(bytes))),
    };
}

/// Rows as JSON objects: every column, nulls too; uuids in their text form, binaries in hex, instants in RFC 3339,
/// decimals as text, so that no digit is lost when they are read again.
pub(super) fn json_lines(rows: &RecordBatch) -> Result<Vec<String>, ArrowError> {
    let rows = as_json_types(rows)?;
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(&rows)?;
    writer.finish()?;
    let text = String::from_utf8(writer.into_inner()).map_err(|error| ArrowError::JsonError(error.to_string()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// The rows in types that arrow's JSON writer can spell: it knows no zone names without a database of zones, and uuids
/// only as bytes.
fn as_json_types(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    if rows.num_columns() == 0 {
        return Ok(rows.clone());
    }
    let spelled = |column: &ArrayRef| match column.data_type() {
        DataType::FixedSizeBinary(16) => {
            let uuids = column.as_fixed_size_binary();
            Ok(Arc::new(uuids.iter().map(|uuid| uuid.map(uuid_text)).collect::<StringArray>()) as ArrayRef)
        }
        data_type => cast(column, &decimals_as_text(&with_offset_zone(data_type))),
    };
    let schema = rows.schema();
    let named = schema.fields().iter().zip(rows.columns());
    let columns: Vec<(&String, ArrayRef)> =
        named.map(|(field, column)| Ok((field.name(), spelled(column)?))).collect::<Result<_, ArrowError>>()?;
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
}

/// The type with `+00:00` in the place of `UTC`, at any depth.
pub(super) fn with_offset_zone(data_type: &DataType) -> DataType {
    let within =
        |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_data_type(with_offset_zone(field.data_type())));
    match data_type {
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("+00:00".into())),
        DataType::List(item) => DataType::List(within(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(within).collect()),
        other => other.clone(),
    }
}

/// The type with text in the place of decimals, at any depth.
fn decimals_as_text(data_type: &DataType) -> DataType {
    let within =
        |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_data_type(decimals_as_text(field.data_type())));
    match data_type {
        DataType::Decimal128(..) => DataType::Utf8,
        DataType::List(item) => DataType::List(within(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(within).collect()),
        other => other.clone(),
    }
}

/// Rejects for a topic: one JSON object a row, with the same names as the columns. Original bytes that are not UTF-8 stand
/// as `record_key_hex` and `record_value_hex`; `record_timestamp` is in milliseconds. What would be longer than
/// `most_bytes` goes without the record and its row: the detail says so, and the position says where the record is.
pub fn reject_json(rejects: &RecordBatch, most_bytes: usize) -> Vec<String> {
    let text = |row| {
        let mut object = reject_object(rejects, row);
        let text = Value::Object(object.clone()).to_string();
        if text.len() <= most_bytes {
            return text;
        }
        for name in ["record_value", "record_value_hex", "record_key", "record_key_hex", "headers", "row"] {
            object.remove(name);
        }
        let detail = object.get("detail").and_then(Value::as_str).unwrap_or_default();
        let detail: String = detail.chars().take(most_bytes / 16).collect();
        let note =
            format!("{detail} (the record is left out: with it this is longer than the topic's {most_bytes} bytes)");
        object.insert("detail".to_owned(), note.into());
        Value::Object(object).to_string()
    };
    (0..rejects.num_rows()).map(text).collect()
}

/// One reject as a JSON object with the names of the columns.
pub fn reject_object(rejects: &RecordBatch, row: usize) -> Map<String, Value> {
    let mut object = Map::new();
    for (field, column) in rejects.schema().fields().iter().zip(rejects.columns()) {
        let name = field.name();
        let value = if column.is_null(row) {
            Value::Null
        } else if let Some(binary) = column.as_binary_opt::<i32>() {
            insert_bytes(&mut object, name, Some(binary.value(row)));
            continue;
        } else if let Some(text) = column.as_string_opt::<i32>() {
            Value::from(text.value(row))
        } else if let Some(number) = column.as_primitive_opt::<Int64Type>() {
            Value::from(number.value(row))
        } else if let Some(number) = column.as_primitive_opt::<Int32Type>() {
            Value::from(number.value(row))
        } else if let Some(time) = column.as_primitive_opt::<TimestampMillisecondType>() {
            Value::from(time.value(row))
        } else {
            Value::Null
        };
        object.insert(name.clone(), value);
    }
    object
}
