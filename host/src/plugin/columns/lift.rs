//! The interface to Arrow, with every check. What is wrong is said as `column "x": node 2 (x.item): ..`.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
    ListArray, PrimitiveArray, StringArray, StructArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, ArrowTimestampType, DataType, Date32Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow::error::ArrowError;
use millstream_sdk::{LogicalType, Nested, TimeUnit};

use super::size::text_bytes;
use crate::plugin::bindings::columns as wit;
use crate::plugin::check::TEXT_MAX_BYTES;
use crate::schema::{Column, arrow_type};

/// Makes an Arrow array of a column that a plugin returned: `rows` values of the column's type.
///
/// Text that came as a dictionary stays one. The error says what is wrong and where.
pub fn lift(column: wit::ColumnResult, declared: &Column, rows: usize) -> Result<ArrayRef, String> {
    lift_within(column, declared, rows, &mut Text::default())
}

/// Makes an array of a column of several, which take from one allowance of text.
pub fn lift_within(
    column: wit::ColumnResult,
    declared: &Column,
    rows: usize,
    text: &mut Text,
) -> Result<ArrayRef, String> {
    let given = column.nodes.len();
    let mut nodes = Nodes { rest: column.nodes.into_iter(), read: 0, given, text };
    let nested = Nested { logical: declared.logical.clone(), nullable: declared.nullable };
    let array = nodes
        .array(&nested, rows, None, &Path { parent: None, name: &declared.name })
        .map_err(|wrong| format!("column \"{}\": {wrong}", declared.name))?;
    if nodes.rest.len() > 0 {
        let (name, read) = (&declared.name, nodes.read);
        return Err(format!("column \"{name}\" has {given} nodes, but {} needs {read}", declared.logical));
    }
    Ok(array)
}

/// The text of dictionaries, written out: a dictionary of one long value and many codes is small only as long as nobody
/// needs the text, and so are many of them.
#[derive(Default)]
pub struct Text {
    bytes: usize,
}

impl Text {
    /// Counts a column; an error when it is too much.
    pub fn take(&mut self, array: &dyn Array) -> Result<(), String> {
        self.bytes = self.bytes.saturating_add(text_bytes(array));
        let bytes = self.bytes;
        if bytes > TEXT_MAX_BYTES {
            return Err(format!("its text takes {bytes} bytes when it is written out, more than {TEXT_MAX_BYTES}"));
        }
        Ok(())
    }
}

/// Where in a column's tree a node stands.
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    name: &'a str,
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}.")?;
        }
        f.write_str(self.name)
    }
}

struct Nodes<'a> {
    rest: std::vec::IntoIter<wit::NodeResult>,
    read: usize,
    given: usize,
    text: &'a mut Text,
}

impl Nodes<'_> {
    /// The array of the next node and of those below it. `parent` is the validity of the struct around it.
    fn array(
        &mut self,
        nested: &Nested,
        rows: usize,
        parent: Option<&NullBuffer>,
        path: &Path<'_>,
    ) -> Result<ArrayRef, String> {
        let number = self.read;
        let Some(node) = self.rest.next() else {
            return Err(format!("it has {} nodes, but there is none for {path}", self.given));
        };
        self.read += 1;
        let place = |wrong: String| format!("node {number} ({path}): {wrong}");
        let nulls = validity(node.validity, nested.nullable, rows, parent).map_err(place)?;
        match (&nested.logical, node.values) {
            (LogicalType::List(item), wit::ValuesResult::Offsets(offsets)) => {
                let offsets = offset_buffer(offsets, rows, usize::MAX).map_err(place)?;
                let children = offsets.last().as_usize();
                let below = Path { parent: Some(path), name: "item" };
                let values = plain(self.array(item, children, None, &below)?, self.text).map_err(place)?;
                let DataType::List(field) = arrow_type(&nested.logical) else {
                    return Err(place(unlike(&nested.logical)));
                };
                built(ListArray::try_new(field, offsets, values, nulls)).map_err(place)
            }
            (LogicalType::Struct(fields), wit::ValuesResult::None) => {
                let mut children = Vec::with_capacity(fields.len());
                for (name, field) in fields {
                    let child = self.array(field, rows, nulls.as_ref(), &Path { parent: Some(path), name })?;
                    children.push(plain(child, self.text).map_err(place)?);
                }
                let DataType::Struct(fields) = arrow_type(&nested.logical) else {
                    return Err(place(unlike(&nested.logical)));
                };
                built(StructArray::try_new(fields, children, nulls)).map_err(place)
            }
            (logical, values) => flat(logical, values, rows, nulls).map_err(place),
        }
    }
}

/// The validity of a node: none when no row is null.
fn validity(
    bits: Vec<u8>,
    nullable: bool,
    rows: usize,
    parent: Option<&NullBuffer>,
) -> Result<Option<NullBuffer>, String> {
    if bits.is_empty() {
        return Ok(None);
    }
    let nulls = NullBuffer::new(bit_buffer(bits, rows, "validity")?);
    if nulls.null_count() == 0 {
        return Ok(None);
    }
    let masked = parent.is_some_and(|parent| parent.contains(&nulls));
    if !nullable && !masked {
        let first = (0..rows).find(|row| nulls.is_null(*row)).unwrap_or(0);
        return Err(format!("row {first} is null, but the column is not nullable"));
    }
    Ok(Some(nulls))
}

fn bit_buffer(bits: Vec<u8>, rows: usize, what: &str) -> Result<BooleanBuffer, String> {
    length(bits.len(), rows.div_ceil(8), what, "bytes", rows)?;
    Ok(BooleanBuffer::new(Buffer::from_vec(bits), 0, rows))
}

fn length(given: usize, wanted: usize, what: &str, unit: &str, rows: usize) -> Result<(), String> {
    if given == wanted { Ok(()) } else { Err(format!("{what} holds {given} {unit}, but {rows} rows need {wanted}")) }
}

fn flat(
    logical: &LogicalType,
    values: wit::ValuesResult,
    rows: usize,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, String> {
    use wit::ValuesResult as Given;
    match (logical, values) {
        (LogicalType::Bool, Given::Bits(bits)) => {
            Ok(Arc::new(BooleanArray::new(bit_buffer(bits, rows, "bits")?, nulls)))
        }
        (LogicalType::Int8, Given::Int8(values)) => primitive::<Int8Type>(values, rows, nulls),
        (LogicalType::Int16, Given::Int16(values)) => primitive::<Int16Type>(values, rows, nulls),
        (LogicalType::Int32, Given::Int32(values)) => primitive::<Int32Type>(values, rows, nulls),
        (LogicalType::Int64, Given::Int64(values)) => primitive::<Int64Type>(values, rows, nulls),
        (LogicalType::Float32, Given::Float32(values)) => primitive::<Float32Type>(values, rows, nulls),
        (LogicalType::Float64, Given::Float64(values)) => primitive::<Float64Type>(values, rows, nulls),
        (LogicalType::Date, Given::Int32(values)) => primitive::<Date32Type>(values, rows, nulls),
        (LogicalType::Timestamp(unit), Given::Int64(values)) => match unit {
            TimeUnit::Second => instant::<TimestampSecondType>(values, rows, nulls),
            TimeUnit::Millisecond => instant::<TimestampMillisecondType>(values, rows, nulls),
            TimeUnit::Microsecond => instant::<TimestampMicrosecondType>(values, rows, nulls),
            TimeUnit::Nanosecond => instant::<TimestampNanosecondType>(values, rows, nulls),
        },
        (LogicalType::Decimal { precision, scale }, Given::Fixed(bytes)) => {
            decimal(&bytes, *precision, *scale, rows, nulls)
        }
        (LogicalType::Uuid, Given::Fixed(bytes)) => {
            fixed_length(bytes.len(), rows)?;
            built(FixedSizeBinaryArray::try_new_with_len(16, Buffer::from_vec(bytes), nulls, rows))
        }
        (LogicalType::Binary, Given::Varlen(values)) => {
            let (offsets, data) = varlen(values, rows)?;
            built(BinaryArray::try_new(offsets, data, nulls))
        }
        (LogicalType::Utf8, Given::Varlen(values)) => Ok(Arc::new(text(values, rows, nulls)?)),
        (LogicalType::Utf8, Given::Dictionary(dictionary)) => text_by_code(dictionary, rows, nulls),
        (logical, _) => Err(unlike(logical)),
    }
}

/// Text below a list or a struct, written out: only a whole column stays a dictionary on its way through the host.
fn plain(child: ArrayRef, text: &mut Text) -> Result<ArrayRef, String> {
    if child.as_any_dictionary_opt().is_none() {
        return Ok(child);
    }
    text.take(&child)?;
    cast(&child, &DataType::Utf8).map_err(|wrong| wrong.to_string())
}

fn unlike(logical: &LogicalType) -> String {
    format!("its values are not in the layout of {logical}")
}

fn built<A: Array + 'static>(array: Result<A, ArrowError>) -> Result<ArrayRef, String> {
    array.map(|array| Arc::new(array) as ArrayRef).map_err(|wrong| wrong.to_string())
}

fn primitive<T: ArrowPrimitiveType>(
    values: Vec<T::Native>,
    rows: usize,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, String> {
    length(values.len(), rows, "the column", "values", rows)?;
    built(PrimitiveArray::<T>::try_new(ScalarBuffer::from(values), nulls))
}

fn instant<T: ArrowTimestampType>(
    values: Vec<i64>,
    rows: usize,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, String> {
    length(values.len(), rows, "the column", "values", rows)?;
    built(PrimitiveArray::<T>::try_new(ScalarBuffer::from(values), nulls).map(|array| array.with_timezone("UTC")))
}

fn fixed_length(bytes: usize, rows: usize) -> Result<(), String> {
    match rows.checked_mul(16) {
        Some(wanted) => length(bytes, wanted, "fixed", "bytes", rows),
        None => Err(format!("{rows} rows are too many")),
    }
}

fn decimal(bytes: &[u8], precision: u8, scale: u8, rows: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef, String> {
    fixed_length(bytes.len(), rows)?;
    let (values, _) = bytes.as_chunks::<16>();
    let values: Vec<i128> = values.iter().map(|value| i128::from_le_bytes(*value)).collect();
    let limit = 10u128.checked_pow(u32::from(precision)).unwrap_or(u128::MAX);
    let too_long =
        |row: &usize| values[*row].unsigned_abs() >= limit && nulls.as_ref().is_none_or(|n| n.is_valid(*row));
    if values.iter().any(|value| value.unsigned_abs() >= limit)
        && let Some(row) = (0..rows).find(too_long)
    {
        return Err(format!("row {row} has more than the {precision} digits of decimal({precision},{scale})"));
    }
    let scale = i8::try_from(scale).map_err(|_| format!("a scale of {scale}"))?;
    built(
        Decimal128Array::try_new(ScalarBuffer::from(values), nulls)
            .and_then(|array| array.with_precision_and_scale(precision, scale)),
    )
}

/// Offsets for `rows` rows, ascending, within `most`. No offsets at all are those of no rows.
fn offset_buffer(offsets: Vec<u32>, rows: usize, most: usize) -> Result<OffsetBuffer<i32>, String> {
    if offsets.is_empty() && rows == 0 {
        return Ok(OffsetBuffer::new_empty());
    }
    length(offsets.len(), rows.saturating_add(1), "offsets", "entries", rows)?;
    if let Some(row) = first_descent(&offsets) {
        return Err(format!("offsets descend from {} to {} at row {row}", offsets[row], offsets[row + 1]));
    }
    let last = offsets.last().copied().unwrap_or(0);
    if last as usize > most {
        return Err(format!("offsets end at {last}, but there are {most} bytes"));
    }
    if i32::try_from(last).is_err() {
        return Err(format!("offsets end at {last}, beyond 2^31 - 1"));
    }
    Ok(OffsetBuffer::new(ScalarBuffer::from(Buffer::from_vec(offsets))))
}

fn first_descent(offsets: &[u32]) -> Option<usize> {
    let later = offsets.get(1..)?;
    // Summed without an early end, so that the common case is vectorised.
    let descents: usize = offsets.iter().zip(later).map(|(this, next)| usize::from(this > next)).sum();
    if descents == 0 { None } else { offsets.iter().zip(later).position(|(this, next)| this > next) }
}

fn varlen(values: wit::VarlenResult, rows: usize) -> Result<(OffsetBuffer<i32>, Buffer), String> {
    let offsets = offset_buffer(values.offsets, rows, values.data.len())?;
    Ok((offsets, Buffer::from_vec(values.data)))
}

fn text(values: wit::VarlenResult, rows: usize, nulls: Option<NullBuffer>) -> Result<StringArray, String> {
    let (offsets, data) = varlen(values, rows)?;
    StringArray::try_new(offsets.clone(), data.clone(), nulls).map_err(|wrong| {
        let broken = |ends: &[i32]| simdutf8::basic::from_utf8(&data[ends[0] as usize..ends[1] as usize]).is_err();
        match offsets.windows(2).position(broken) {
            Some(row) => format!("row {row} is not UTF-8"),
            None => wrong.to_string(),
        }
    })
}

fn text_by_code(dictionary: wit::DictionaryResult, rows: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef, String> {
    length(dictionary.codes.len(), rows, "codes", "entries", rows)?;
    let count = dictionary.values.offsets.len().saturating_sub(1);
    let values = text(dictionary.values, count, None).map_err(|wrong| format!("in the dictionary: {wrong}"))?;
    if count == 0 && nulls.as_ref().is_some_and(|nulls| nulls.null_count() == rows) {
        return Ok(Arc::new(StringArray::new_null(rows)));
    }
    let mut codes = dictionary.codes;
    if codes.iter().max().is_some_and(|most| *most as usize >= count) {
        for (row, code) in codes.iter_mut().enumerate() {
            if *code as usize >= count {
                if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                    return Err(format!("row {row} has code {code}, but the dictionary holds {count} values"));
                }
                *code = 0; // A null row's code means nothing; whoever reads codes without looking at nulls is safe so.
            }
        }
    }
    let keys = PrimitiveArray::<Int32Type>::try_new(ScalarBuffer::from(Buffer::from_vec(codes)), nulls);
    built(keys.and_then(|keys| DictionaryArray::try_new(keys, Arc::new(values))))
}
