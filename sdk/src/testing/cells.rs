//! JSON values to columns and back, by logical type.

use std::fmt::Write;

use jiff::{Timestamp, civil::Date};
use serde_json::{Number, Value};
use uuid::Uuid;

use crate::bits::{self, Validity};
use crate::columns::{Column, Node, Values};
use crate::contract::Field;
use crate::read::{Nodes, ReadValue, WrongShape};
use crate::write::WriteValue;
use crate::{LogicalType, Nested, TimeUnit};

/// One row's value.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'v> {
    /// A value.
    Value(&'v Value),
    /// A null.
    Null,
    /// Where something around the value is null or was not found: what stands there means nothing.
    Filler,
}

impl<'v> Cell<'v> {
    /// The value of a key that may be missing.
    pub fn of(value: Option<&'v Value>) -> Self {
        match value {
            None | Some(Value::Null) => Self::Null,
            Some(value) => Self::Value(value),
        }
    }
}

/// A column of the field's type; fails with what does not fit.
pub fn column(field: &Field, cells: &[Cell<'_>]) -> Result<Column, String> {
    let nested = Nested { logical: field.logical.clone(), nullable: field.nullable };
    let mut nodes = Vec::new();
    write(&nested, cells, &mut nodes)?;
    Ok(Column { nodes })
}

fn write(nested: &Nested, cells: &[Cell<'_>], nodes: &mut Vec<Node>) -> Result<(), String> {
    let mut validity = Validity::default();
    let mut filled = Vec::with_capacity(cells.len());
    for (row, cell) in cells.iter().enumerate() {
        match cell {
            Cell::Null if nested.nullable => {
                validity.push_null();
                filled.push(Cell::Filler);
            }
            Cell::Null => return Err(format!("row {row} is null or missing, but the type is {nested}")),
            cell => {
                validity.push_valid();
                filled.push(*cell);
            }
        }
    }
    let own = nodes.len();
    write_values(&nested.logical, &filled, nodes)?;
    nodes[own].validity = validity.finish();
    Ok(())
}

fn write_values(logical: &LogicalType, cells: &[Cell<'_>], nodes: &mut Vec<Node>) -> Result<(), String> {
    match logical {
        LogicalType::Bool => flat(logical, cells, nodes, Value::as_bool),
        LogicalType::Int8 => flat(logical, cells, nodes, |value| i8::try_from(value.as_i64()?).ok()),
        LogicalType::Int16 => flat(logical, cells, nodes, |value| i16::try_from(value.as_i64()?).ok()),
        LogicalType::Int32 => flat(logical, cells, nodes, |value| i32::try_from(value.as_i64()?).ok()),
        LogicalType::Int64 => flat(logical, cells, nodes, Value::as_i64),
        LogicalType::Float32 => flat(logical, cells, nodes, |value| Some(float(value)? as f32)),
        LogicalType::Float64 => flat(logical, cells, nodes, float),
        LogicalType::Decimal { scale, .. } => flat(logical, cells, nodes, |value| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Some(unscaled(&text, *scale)?.to_le_bytes())
        }),
        LogicalType::Utf8 => flat(logical, cells, nodes, |value| value.as_str().map(str::to_owned)),
        LogicalType::Binary => flat(logical, cells, nodes, |value| from_hex(value.as_str()?)),
        LogicalType::Uuid => flat(logical, cells, nodes, |value| value.as_str()?.parse::<Uuid>().ok()),
        LogicalType::Date => flat(logical, cells, nodes, |value| value.as_str()?.parse::<Date>().ok()),
        LogicalType::Timestamp(unit) => flat(logical, cells, nodes, |value| match value {
            Value::String(text) => units(text.parse().ok()?, *unit),
            value => value.as_i64(),
        }),
        LogicalType::List(item) => {
            let mut offsets = vec![0];
            let mut items = Vec::new();
            for cell in cells {
                if let Cell::Value(value) = cell {
                    let list = value.as_array().ok_or_else(|| format!("{value} is no {logical}"))?;
                    items.extend(list.iter().map(|item| Cell::of(Some(item))));
                }
                offsets.push(u32::try_from(items.len()).map_err(|_| "too many items".to_owned())?);
            }
            nodes.push(Values::Offsets(offsets).into());
            write(item, &items, nodes)
        }
        LogicalType::Struct(fields) => {
            nodes.push(Values::None.into());
            for (name, nested) in fields {
                let field = |cell: &_| match cell {
                    Cell::Value(Value::Object(object)) => Ok(Cell::of(object.get(name))),
                    Cell::Value(value) => Err(format!("{value} is no {logical}")),
                    _ => Ok(Cell::Filler),
                };
                let cells = cells.iter().map(field).collect::<Result<Vec<_>, _>>()?;
                write(nested, &cells, nodes).map_err(|problem| format!("field `{name}`: {problem}"))?;
            }
            Ok(())
        }
    }
}

fn flat<T: WriteValue>(
    logical: &LogicalType,
    cells: &[Cell<'_>],
    nodes: &mut Vec<Node>,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<(), String> {
    let mut builder = T::builder(cells.len());
    for cell in cells {
        match cell {
            Cell::Value(value) => {
                read(value).ok_or_else(|| format!("{value} is no {logical}"))?.write(&mut builder);
            }
            _ => T::write_null(&mut builder),
        }
    }
    T::finish(builder, nodes);
    Ok(())
}

/// The column's values as JSON; fails when the column is not of the type.
pub fn values(nested: &Nested, nodes: &mut Nodes<'_>) -> Result<Vec<Value>, WrongShape> {
    let validity = &nodes.peek()?.validity;
    let is_valid = |row: usize| validity.is_empty() || bits::is_set(validity, row);
    let rows = nodes.rows();
    if !nested.nullable && !(0..rows).all(is_valid) {
        return Err(WrongShape(format!("it holds a null, but its type is {nested}")));
    }
    let mut all = read_values(&nested.logical, nodes, &is_valid)?;
    for (row, value) in all.iter_mut().enumerate() {
        if !is_valid(row) {
            *value = Value::Null;
        }
    }
    Ok(all)
}

fn read_values(
    logical: &LogicalType,
    nodes: &mut Nodes<'_>,
    is_valid: &dyn Fn(usize) -> bool,
) -> Result<Vec<Value>, WrongShape> {
    match logical {
        LogicalType::Bool => read(nodes, is_valid, |value: bool| value.into()),
        LogicalType::Int8 => read(nodes, is_valid, |value: i8| value.into()),
        LogicalType::Int16 => read(nodes, is_valid, |value: i16| value.into()),
        LogicalType::Int32 => read(nodes, is_valid, |value: i32| value.into()),
        LogicalType::Int64 => read(nodes, is_valid, |value: i64| value.into()),
        LogicalType::Float32 => read(nodes, is_valid, |value: f32| float_value(f64::from(value))),
        LogicalType::Float64 => read(nodes, is_valid, float_value),
        LogicalType::Decimal { scale, .. } => {
            read(nodes, is_valid, |bytes: [u8; 16]| decimal_text(i128::from_le_bytes(bytes), *scale).into())
        }
        LogicalType::Utf8 => read(nodes, is_valid, |text: String| text.into()),
        LogicalType::Binary => read(nodes, is_valid, |bytes: Vec<u8>| hex(&bytes).into()),
        LogicalType::Uuid => read(nodes, is_valid, |uuid: Uuid| uuid.to_string().into()),
        LogicalType::Date => read(nodes, is_valid, |date: Date| date.to_string().into()),
        LogicalType::Timestamp(unit) => read(nodes, is_valid, |units| match instant(units, *unit) {
            Some(instant) => instant.to_string().into(),
            None => units.into(),
        }),
        LogicalType::List(item) => {
            let rows = nodes.rows();
            let offsets = match &nodes.take()?.values {
                Values::Offsets(offsets) if offsets.len() == rows + 1 => offsets,
                other => {
                    return Err(WrongShape(format!("its values are `{}`, no list of {rows} rows", other.layout())));
                }
            };
            let items = nodes.with_rows(offsets[rows] as usize, |nodes| values(item, nodes))?;
            let list = |range: &[u32]| items.get(range[0] as usize..range[1] as usize).map(<[Value]>::to_vec);
            let lists: Option<Vec<_>> = offsets.windows(2).map(list).collect();
            let lists = lists.ok_or_else(|| WrongShape("its offsets do not ascend".to_owned()))?;
            Ok(lists.into_iter().map(Value::Array).collect())
        }
        LogicalType::Struct(fields) => {
            crate::row::take_struct(nodes)?;
            let mut objects = vec![serde_json::Map::new(); nodes.rows()];
            for (name, nested) in fields {
                // Under a null struct there may be nulls in a field that is not nullable.
                let nested = Nested { nullable: true, ..nested.clone() };
                for (object, value) in objects.iter_mut().zip(values(&nested, nodes)?) {
                    object.insert(name.clone(), value);
                }
            }
            Ok(objects.into_iter().map(Value::Object).collect())
        }
    }
}

fn read<'a, T: ReadValue<'a>>(
    nodes: &mut Nodes<'a>,
    is_valid: &dyn Fn(usize) -> bool,
    value: impl Fn(T) -> Value,
) -> Result<Vec<Value>, WrongShape> {
    let rows = nodes.rows();
    let reader = T::reader(nodes)?;
    let read = |row| match is_valid(row) {
        true => T::read(&reader, row).map(&value).map_err(|error| WrongShape(error.0)),
        false => Ok(Value::Null),
    };
    (0..rows).map(read).collect()
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_f64(),
    }
}

/// A number or, where JSON has none, `"NaN"`, `"inf"`, `"-inf"`.
fn float_value(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)
}

fn unscaled(text: &str, scale: u8) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let missing = usize::from(scale).checked_sub(fraction.len())?;
    format!("{whole}{fraction}{}", "0".repeat(missing)).parse().ok()
}

fn decimal_text(unscaled: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn units(instant: Timestamp, unit: TimeUnit) -> Option<i64> {
    let nanos_a_unit = 1_000_000_000 / i128::from(unit.per_second());
    i64::try_from(instant.as_nanosecond().div_euclid(nanos_a_unit)).ok()
}

fn instant(units: i64, unit: TimeUnit) -> Option<Timestamp> {
    let nanos_a_unit = 1_000_000_000 / i128::from(unit.per_second());
    Timestamp::from_nanosecond(i128::from(units).checked_mul(nanos_a_unit)?).ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn round_trip(logical: &str, given: Value) -> Vec<Value> {
        let nested: Nested = logical.parse().unwrap();
        let given = given.as_array().unwrap().clone();
        let cells: Vec<Cell<'_>> = given.iter().map(|value| Cell::of(Some(value))).collect();
        let field = Field { name: "x".to_owned(), logical: nested.logical.clone(), nullable: nested.nullable };
        let column = column(&field, &cells).unwrap_or_else(|problem| panic!("{logical}: {problem}"));
        let mut nodes = Nodes::new(&column.nodes, given.len());
        let values = values(&nested, &mut nodes).unwrap_or_else(|wrong| panic!("{logical}: {}", wrong.0));
        assert!(nodes.end().is_ok(), "{logical}: nodes are left");
        values
    }

    #[test]
    fn json_goes_to_columns_and_back() {
        for (logical, rows) in [
            ("bool?", json!([true, null, false])),
            ("int8", json!([-128, 127])),
            ("int64?", json!([i64::MIN, null, i64::MAX])),
            ("float64", json!([1.5, -0.25, "NaN", "inf"])),
            ("decimal(12,2)?", json!(["12.50", null, "-0.05", "0.00"])),
            ("decimal(38,0)", json!(["99999999999999999999999999999999999999", "-1"])),
            ("utf8?", json!(["", null, "grüße"])),
            ("binary", json!(["", "00ff"])),
            ("uuid", json!(["67e55044-10b1-426f-9247-bb680e5fe0c8"])),
            ("date?", json!(["1969-12-31", null, "2013-01-01"])),
            ("timestamp(s)", json!(["2013-01-01T05:00:00Z"])),
            ("timestamp(ns)?", json!(["1969-12-31T23:59:59.999999999Z", null])),
            ("list<utf8?>?", json!([["a", null], null, []])),
            ("list<list<int8>>", json!([[[1], []], [], [[2, 3]]])),
            (
                "struct<sku: utf8, tags: list<utf8>?>?",
                json!([{ "sku": "a", "tags": null }, null, { "sku": "b", "tags": ["x"] }]),
            ),
            ("list<struct<a: int8?>?>", json!([[{ "a": 1 }, null, { "a": null }]])),
        ] {
            assert_eq!(Value::Array(round_trip(logical, rows.clone())), rows, "{logical}");
        }
    }
}
