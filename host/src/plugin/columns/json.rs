//! Cells as JSON, for cases and captures: spelled as `millstream_sdk::testing` spells them, checked as what comes back
//! from a plugin is.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field as ArrowField, Schema};
use millstream_sdk::{Dictionary, Field, Node, Values, Varlen, testing};
use serde_json::{Map, Value};

use super::{lift, lower};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::bindings::columns as wit;
use crate::schema::{Column, arrow_type};

/// An array of a column's type; a value that is not there is null. The error says what does not fit.
pub fn from_json(column: &Column, values: &[Option<&Value>]) -> Result<ArrayRef, String> {
    let made = testing::column_of_json(&field(column), values)?;
    lift(wit::ColumnResult { nodes: made.nodes.into_iter().map(lowered).collect() }, column, values.len())
}

/// Rows of these columns; the error names the row and what is wrong with it.
pub fn typed(columns: &[Column], rows: &[Map<String, Value>]) -> Result<RecordBatch, (usize, String)> {
    let mut fields = Vec::with_capacity(columns.len());
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
    for column in columns {
        let values: Vec<Option<&Value>> = rows.iter().map(|row| row.get(&column.name)).collect();
        let array = from_json(column, &values).map_err(|wrong| {
            let alone = |value: &Option<&Value>| from_json(column, &[*value]).err();
            let guilty = values.iter().enumerate().find_map(|(row, value)| Some((row, alone(value)?)));
            let (row, wrong) = guilty.unwrap_or((0, wrong));
            (row, format!("column \"{}\": {}", column.name, wrong.replace("row 0 is ", "it is ")))
        })?;
        fields.push(ArrowField::new(&column.name, arrow_type(&column.logical), column.nullable));
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| (0, error.to_string()))
}

/// The values of an array of a column's type.
///
/// # Errors
/// `Internal` when the array is of another type.
pub fn to_json(array: &ArrayRef, column: &Column) -> Result<Vec<Value>> {
    let nodes = lower(array, column)?.into_column().nodes.into_iter().map(lifted).collect();
    // A null in a column that is planned without one is shown, not refused.
    let field = Field { nullable: true, ..field(column) };
    testing::json_of_column(&field, &millstream_sdk::Column { nodes }, array.len()).map_err(|wrong| {
        Error::new(ErrorKind::Internal, format!("column \"{}\" has no JSON form: {wrong}", column.name))
    })
}

fn field(column: &Column) -> Field {
    Field { name: column.name.clone(), logical: column.logical.clone(), nullable: column.nullable }
}

fn lowered(node: Node) -> wit::NodeResult {
    let varlen = |values: Varlen| wit::VarlenResult { offsets: values.offsets, data: values.data };
    let values = match node.values {
        Values::None => wit::ValuesResult::None,
        Values::Bits(bitmap) => wit::ValuesResult::Bits(bitmap),
        Values::Int8(values) => wit::ValuesResult::Int8(values),
        Values::Int16(values) => wit::ValuesResult::Int16(values),
        Values::Int32(values) => wit::ValuesResult::Int32(values),
        Values::Int64(values) => wit::ValuesResult::Int64(values),
        Values::Float32(values) => wit::ValuesResult::Float32(values),
        Values::Float64(values) => wit::ValuesResult::Float64(values),
        Values::Fixed(bytes) => wit::ValuesResult::Fixed(bytes),
        Values::Varlen(values) => wit::ValuesResult::Varlen(varlen(values)),
        Values::Dictionary(Dictionary { codes, values }) => {
            wit::ValuesResult::Dictionary(wit::DictionaryResult { codes, values: varlen(values) })
        }
        Values::Offsets(offsets) => wit::ValuesResult::Offsets(offsets),
    };
    wit::NodeResult { validity: node.validity, values }
}

fn lifted(node: wit::NodeResult) -> Node {
    let varlen = |values: wit::VarlenResult| Varlen { offsets: values.offsets, data: values.data };
    let values = match node.values {
        wit::ValuesResult::None => Values::None,
        wit::ValuesResult::Bits(bitmap) => Values::Bits(bitmap),
        wit::ValuesResult::Int8(values) => Values::Int8(values),
        wit::ValuesResult::Int16(values) => Values::Int16(values),
        wit::ValuesResult::Int32(values) => Values::Int32(values),
        wit::ValuesResult::Int64(values) => Values::Int64(values),
        wit::ValuesResult::Float32(values) => Values::Float32(values),
        wit::ValuesResult::Float64(values) => Values::Float64(values),
        wit::ValuesResult::Fixed(bytes) => Values::Fixed(bytes),
        wit::ValuesResult::Varlen(values) => Values::Varlen(varlen(values)),
        wit::ValuesResult::Dictionary(dictionary) => {
            Values::Dictionary(Dictionary { codes: dictionary.codes, values: varlen(dictionary.values) })
        }
        wit::ValuesResult::Offsets(offsets) => Values::Offsets(offsets),
    };
    Node { validity: node.validity, values }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::testing::column;

    #[test]
    fn json_becomes_arrow_and_comes_back() {
        for (text, values) in [
            ("bool?", json!([true, null, false])),
            ("int64", json!([i64::MIN, i64::MAX])),
            ("float64?", json!([0.1, "NaN", null])),
            ("decimal(12,2)?", json!(["12.50", null, "-0.05"])),
            ("utf8?", json!(["", null, "grüße"])),
            ("binary", json!(["00ff"])),
            ("uuid", json!(["67e55044-10b1-426f-9247-bb680e5fe0c8"])),
            ("date?", json!(["1969-12-31", null])),
            ("timestamp(ms)?", json!(["2013-01-01T05:00:00.123Z", null])),
            ("list<struct<a: int8?>?>?", json!([[{ "a": 1 }, null, { "a": null }], null])),
        ] {
            let column = column("x", text);
            let given: Vec<Option<&Value>> = values.as_array().unwrap().iter().map(Some).collect();
            let array = from_json(&column, &given).unwrap();
            assert_eq!(Value::Array(to_json(&array, &column).unwrap()), values, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let wrong = |text: &str, value: Value| from_json(&column("x", text), &[Some(&value)]).unwrap_err();
        assert!(wrong("int8", json!(300)).contains("300 is no int8"));
        assert!(wrong("utf8", json!(null)).contains("null or missing"));
        assert!(
            wrong("decimal(4,2)", json!("123.00")).contains("column \"x\""),
            "{}",
            wrong("decimal(4,2)", json!("123.00"))
        );
    }
}
