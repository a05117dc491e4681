//! A column of any Arrow type to a declared logical type. While rows may still turn out faulty everything is nullable;
//! `strict` gives the columns their declared nullability once the faulty rows are out.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, StructArray, UInt32Array, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType, Decimal128Type, Field, Float64Type, Int64Type};
use millstream_sdk::{LogicalType, Nested, TimeUnit};

use super::unreadable;
use crate::decode::column::{Column, broken};
use crate::decode::flaw::{Flaw, Reason};
use crate::decode::json::text_into;
use crate::error::Result;
use crate::schema::arrow_type;

/// A column in its declared type, but nullable at every depth, and what is wrong with some of its rows.
pub(super) struct Converted {
    pub(super) array: ArrayRef,
    pub(super) flaws: BTreeMap<usize, Box<Flaw>>,
}

impl Converted {
    /// A column that the file does not have.
    pub(super) fn missing(rows: usize, logical: &LogicalType, nullable: bool) -> Self {
        let flaw = || Flaw::new(Reason::MissingField, format!("{logical} expected, but the field is missing"));
        let flaws = if nullable { BTreeMap::new() } else { (0..rows).map(|row| (row, flaw())).collect() };
        Self { array: new_null_array(&loose_type(logical), rows), flaws }
    }

    fn sound(array: ArrayRef) -> Self {
        Self { array, flaws: BTreeMap::new() }
    }

    /// A refusal of every row that is not null.
    fn refused(source: &dyn Array, logical: &LogicalType) -> Self {
        let what = format!("{logical} expected, but the file has {}", source.data_type());
        let rows = (0..source.len()).filter(|row| source.is_valid(*row));
        let flaws = rows.map(|row| (row, Flaw::new(Reason::WrongType, what.clone()))).collect();
        Self { array: new_null_array(&loose_type(logical), source.len()), flaws }
    }
}

/// The Arrow type with everything nullable in it.
fn loose_type(logical: &LogicalType) -> DataType {
    fn loose(logical: &LogicalType) -> LogicalType {
        let nested = |nested: &Nested| Nested { logical: loose(&nested.logical), nullable: true };
        match logical {
            LogicalType::List(item) => LogicalType::List(Box::new(nested(item))),
            LogicalType::Struct(fields) => {
                LogicalType::Struct(fields.iter().map(|(name, field)| (name.clone(), nested(field))).collect())
            }
            other => other.clone(),
        }
    }
    arrow_type(&loose(logical))
}

/// Values that the target cannot hold become null.
fn cast(array: &dyn Array, to: &DataType) -> Result<ArrayRef> {
    cast_with_options(array, to, &CastOptions { safe: true, ..CastOptions::default() }).map_err(unreadable)
}

/// The rows with these indexes.
pub(super) fn keep_rows(array: &ArrayRef, rows: &[u32]) -> Result<ArrayRef> {
    if rows.len() == array.len() {
        return Ok(Arc::clone(array));
    }
    take(array, &UInt32Array::from(rows.to_vec()), None).map_err(unreadable)
}

/// Converts a column; rows whose value does not fit, or is null where it may not be, have a flaw.
pub(super) fn convert(source: &ArrayRef, logical: &LogicalType, nullable: bool) -> Result<Converted> {
    let source = &plain(source)?;
    let mut converted = match (source.data_type(), logical) {
        (DataType::Null, _) => Converted::sound(new_null_array(&loose_type(logical), source.len())),
        (DataType::List(_), LogicalType::List(item)) => list(source.as_list(), item)?,
        (DataType::Struct(_), LogicalType::Struct(fields)) => structure(source.as_struct(), fields)?,
        (from, _) if *from == arrow_type(logical) => Converted::sound(Arc::clone(source)),
        (DataType::Timestamp(_, _), LogicalType::Timestamp(unit)) => timestamp(source, *unit)?,
        (from, LogicalType::Timestamp(_)) if from.is_integer() => {
            let mut counted = numeric(source, &LogicalType::Int64)?;
            counted.array = cast(&counted.array, &arrow_type(logical))?;
            counted
        }
        (from, LogicalType::Int8 | LogicalType::Int16 | LogicalType::Int32 | LogicalType::Int64)
            if from.is_numeric() =>
        {
            numeric(source, logical)?
        }
        (from, LogicalType::Float32 | LogicalType::Float64) if from.is_integer() || from.is_floating() => {
            float(source, logical)?
        }
        (from, LogicalType::Decimal { .. }) if from.is_integer() || from.is_decimal() => numeric(source, logical)?,
        (
            DataType::Utf8,
            LogicalType::Uuid
            | LogicalType::Date
            | LogicalType::Timestamp(_)
            | LogicalType::Decimal { .. }
            | LogicalType::Binary,
        ) => texts(source.as_string::<i32>().iter().map(|text| text.map(str::as_bytes)), logical)?,
        (DataType::Binary, LogicalType::Utf8) => texts(source.as_binary::<i32>().iter(), logical)?,
        _ => Converted::refused(source, logical),
    };
    if !nullable {
        for row in (0..source.len()).filter(|row| source.is_null(*row)) {
            converted.flaws.insert(row, Flaw::new(Reason::NullValue, format!("{logical} expected, found null")));
        }
    }
    Ok(converted)
}

/// The same values without an encoding: no dictionary, no view, no 64-bit offsets, no half floats.
fn plain(source: &ArrayRef) -> Result<ArrayRef> {
    let to = match source.data_type() {
        DataType::Dictionary(_, values) => return plain(&cast(source, values)?),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::FixedSizeBinary(bytes) if *bytes != 16 => DataType::Binary,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) | DataType::ListView(item) => {
            DataType::List(Arc::clone(item))
        }
        _ => return Ok(Arc::clone(source)),
    };
    cast(source, &to)
}

/// Integers and decimals, and floats that are integers, without losing a digit.
fn numeric(source: &ArrayRef, logical: &LogicalType) -> Result<Converted> {
    let to = arrow_type(logical);
    let array = cast(source, &to)?;
    // Widening back shows what was lost; a float that is no integer is cut by the cast.
    let back = if source.data_type().is_integer() { None } else { Some(cast(&array, source.data_type())?) };
    let mut flaws = BTreeMap::new();
    for row in (0..source.len()).filter(|row| source.is_valid(*row)) {
        let reason = match &back {
            _ if array.is_null(row) => Reason::OutOfRange,
            Some(back) if back.is_null(row) || !same(source, back, row) => Reason::Inexact,
            _ => continue,
        };
        flaws.insert(row, Flaw::found(reason, logical, shown(source, row).as_bytes()));
    }
    Ok(Converted { array, flaws })
}

fn same(left: &ArrayRef, right: &ArrayRef, row: usize) -> bool {
    if let (Some(left), Some(right)) =
        (left.as_primitive_opt::<Decimal128Type>(), right.as_primitive_opt::<Decimal128Type>())
    {
        return left.value(row) == right.value(row);
    }
    left.slice(row, 1).to_data() == right.slice(row, 1).to_data()
}

fn shown(array: &ArrayRef, row: usize) -> String {
    let value = without_zones(&array.slice(row, 1));
    value.ok().and_then(|value| arrow::util::display::array_value_to_string(&value, 0).ok()).unwrap_or_default()
}

/// The same instants, told in UTC: Arrow's text forms know no zone by its name.
pub(super) fn without_zones(array: &ArrayRef) -> Result<ArrayRef> {
    fn zoneless(arrow: &DataType) -> DataType {
        let field = |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_data_type(zoneless(field.data_type())));
        match arrow {
            DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("+00:00".into())),
            DataType::List(item) => DataType::List(field(item)),
            DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
            other => other.clone(),
        }
    }
    let to = zoneless(array.data_type());
    if to == *array.data_type() { Ok(Arc::clone(array)) } else { cast(array, &to) }
}

/// The nearest float; refused where a finite number would become infinite.
fn float(source: &ArrayRef, logical: &LogicalType) -> Result<Converted> {
    let array = cast(source, &arrow_type(logical))?;
    let (wide, narrow) = (cast(source, &DataType::Float64)?, cast(&array, &DataType::Float64)?);
    let (wide, narrow) = (wide.as_primitive::<Float64Type>(), narrow.as_primitive::<Float64Type>());
    let lost = |row: &usize| wide.is_valid(*row) && wide.value(*row).is_finite() && !narrow.value(*row).is_finite();
    let flaw = |row| Flaw::found(Reason::OutOfRange, logical, shown(source, row).as_bytes());
    let flaws = (0..source.len()).filter(lost).map(|row| (row, flaw(row))).collect();
    Ok(Converted { array, flaws })
}

/// Another unit, cut off towards the past; without a time zone it counts as UTC.
fn timestamp(source: &ArrayRef, unit: TimeUnit) -> Result<Converted> {
    let logical = LogicalType::Timestamp(unit);
    let per_second = match source.data_type() {
        DataType::Timestamp(arrow::datatypes::TimeUnit::Second, _) => TimeUnit::Second.per_second(),
        DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, _) => TimeUnit::Millisecond.per_second(),
        DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _) => TimeUnit::Microsecond.per_second(),
        _ => TimeUnit::Nanosecond.per_second(),
    };
    let counts = cast(source, &DataType::Int64)?;
    let counts = counts.as_primitive::<Int64Type>();
    let convert = |count: i64| {
        if unit.per_second() >= per_second {
            count.checked_mul(unit.per_second() / per_second)
        } else {
            Some(count.div_euclid(per_second / unit.per_second()))
        }
    };
    let array: Int64Array = counts.iter().map(|count| count.and_then(convert)).collect();
    let flaw = |row| Flaw::found(Reason::OutOfRange, &logical, shown(source, row).as_bytes());
    let lost = |row: &usize| counts.is_valid(*row) && array.is_null(*row);
    let flaws = (0..array.len()).filter(lost).map(|row| (row, flaw(row))).collect();
    Ok(Converted { array: cast(&array, &arrow_type(&logical))?, flaws })
}

/// Texts by the rules of JSON strings.
fn texts<'a>(texts: impl Iterator<Item = Option<&'a [u8]>>, logical: &LogicalType) -> Result<Converted> {
    let mut column = Column::new(logical, true);
    let mut flaws = BTreeMap::new();
    for (row, text) in texts.enumerate() {
        let Some(text) = text else {
            column.placeholder();
            continue;
        };
        let read = match simdutf8::basic::from_utf8(text) {
            Ok(_) => text_into(text, &mut column),
            Err(_) => Err(Flaw::found(Reason::BadUtf8, logical, text)),
        };
        if let Err(flaw) = read {
            column.truncate(row);
            column.placeholder();
            flaws.insert(row, flaw);
        }
    }
    Ok(Converted { array: column.finish()?, flaws })
}

fn list(source: &ListArray, item: &Nested) -> Result<Converted> {
    let items = convert(source.values(), &item.logical, item.nullable)?;
    let mut flaws = BTreeMap::new();
    for (at, flaw) in items.flaws {
        let row = source.value_offsets().partition_point(|offset| *offset as usize <= at).wrapping_sub(1);
        if row < source.len() && source.is_valid(row) {
            let index = at - source.value_offsets()[row] as usize;
            flaws.entry(row).or_insert_with(|| flaw.within(&format!("[{index}]")));
        }
    }
    let field = Arc::new(Field::new("item", items.array.data_type().clone(), true));
    let offsets = OffsetBuffer::clone(source.offsets());
    let array = ListArray::try_new(field, offsets, items.array, source.nulls().cloned()).map_err(broken)?;
    Ok(Converted { array: Arc::new(array), flaws })
}

fn structure(source: &StructArray, declared: &[(String, Nested)]) -> Result<Converted> {
    let mut flaws = BTreeMap::new();
    let (mut fields, mut children) = (Vec::new(), Vec::new());
    for (name, nested) in declared {
        let child = match source.column_by_name(name) {
            Some(child) => convert(child, &nested.logical, nested.nullable)?,
            None => Converted::missing(source.len(), &nested.logical, nested.nullable),
        };
        for (row, flaw) in child.flaws {
            if source.is_valid(row) {
                flaws.entry(row).or_insert_with(|| flaw.within(name));
            }
        }
        fields.push(Field::new(name, child.array.data_type().clone(), true));
        children.push(child.array);
    }
    let array = StructArray::try_new_with_length(fields.into(), children, source.nulls().cloned(), source.len());
    Ok(Converted { array: Arc::new(array.map_err(broken)?), flaws })
}

/// The same values with the declared nullability.
pub(super) fn strict(array: &ArrayRef, logical: &LogicalType) -> Result<ArrayRef> {
    Ok(match (logical, arrow_type(logical)) {
        (LogicalType::List(item), DataType::List(field)) => {
            let list = array.as_list::<i32>();
            let items = strict(list.values(), &item.logical)?;
            Arc::new(ListArray::try_new(field, list.offsets().clone(), items, list.nulls().cloned()).map_err(broken)?)
        }
        (LogicalType::Struct(declared), DataType::Struct(fields)) => {
            let value = array.as_struct();
            let children =
                value.columns().iter().zip(declared).map(|(child, (_, nested))| strict(child, &nested.logical));
            let children = children.collect::<Result<Vec<_>>>()?;
            let rows = value.len();
            Arc::new(StructArray::try_new_with_length(fields, children, value.nulls().cloned(), rows).map_err(broken)?)
        }
        _ => Arc::clone(array),
    })
}
