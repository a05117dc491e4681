//! Columns under construction. Promise: a record that fails leaves no value behind in any column. It holds because
//! values are only ever appended, each column knows its length, and `truncate` takes every column, nested ones
//! included, back to the number of rows that it had before the record.

use std::mem;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, PrimitiveArray,
    StringArray, StructArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use millstream_sdk::{LogicalType, Nested, TimeUnit};

use super::flaw::{Checked, Flaw, Reason};
use super::json::Shape;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::arrow_type;

/// A column that values are appended to.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) logical: LogicalType,
    pub(super) nullable: bool,
    pub(super) values: Values,
    /// The rows that are null, ascending: most columns have few.
    nulls: Vec<usize>,
}

/// The values, by how they lie in memory; a null has a placeholder.
#[derive(Debug)]
pub(super) enum Values {
    Bool(Vec<bool>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal { values: Vec<i128>, precision: u8, scale: u8 },
    Utf8(Bytes),
    Binary(Bytes),
    Uuid(Vec<[u8; 16]>),
    Date(Vec<i32>),
    Timestamp(Vec<i64>, TimeUnit),
    List { offsets: Vec<i32>, items: Box<Column> },
    Struct(Struct),
}

/// Values of different lengths: value `i` is `data[offsets[i]..offsets[i + 1]]`.
#[derive(Debug)]
pub(super) struct Bytes {
    offsets: Vec<i32>,
    data: Vec<u8>,
}

/// Named values.
#[derive(Debug)]
pub(super) struct Struct {
    pub(super) fields: Vec<StructField>,
    pub(super) rows: usize,
    /// How the JSON objects that become these values order their keys.
    pub(super) shape: Shape,
}

/// One field of a struct.
#[derive(Debug)]
pub(super) struct StructField {
    pub(super) name: String,
    pub(super) column: Column,
}

/// An offset as Arrow has it. Too large a one is caught by `finish`, before anybody sees it.
fn offset(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

fn too_large() -> Error {
    Error::new(ErrorKind::Input, "a block of records holds more than 2 GiB of one column")
        .help("lower `bytes` in [batch]")
}

impl Bytes {
    fn new() -> Self {
        Self { offsets: vec![0], data: Vec::new() }
    }

    pub(super) fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.end();
    }

    /// Where the next value's bytes go; `end` makes a value of them.
    #[inline]
    pub(super) fn open(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }

    /// Ends the value whose bytes were appended.
    #[inline]
    pub(super) fn end(&mut self) {
        self.offsets.push(offset(self.data.len()));
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.data.truncate(self.offsets.last().map_or(0, |end| end.cast_unsigned() as usize));
    }

    fn take(&mut self) -> Result<(OffsetBuffer<i32>, Buffer)> {
        if i32::try_from(self.data.len()).is_err() {
            return Err(too_large());
        }
        let mut offsets = Vec::with_capacity(self.offsets.len());
        offsets.push(0);
        let offsets = mem::replace(&mut self.offsets, offsets);
        Ok((OffsetBuffer::new(offsets.into()), Buffer::from_vec(taken(&mut self.data))))
    }
}

/// The content, leaving as much room as it took: blocks resemble each other.
fn taken<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    mem::replace(values, room)
}

fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
    arrow: &DataType,
) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(taken(values).into(), nulls).with_data_type(arrow.clone()))
}

/// Runs one expression on the vector of whatever kind of values has one.
macro_rules! each_vector {
    ($values:expr, $vector:ident => $each:expr, $bytes:ident => $on_bytes:expr, $list:pat => $on_list:expr, $fields:ident => $on_struct:expr) => {
        match $values {
            Values::Bool($vector) => $each,
            Values::Int8($vector) => $each,
            Values::Int16($vector) => $each,
            Values::Int32($vector) | Values::Date($vector) => $each,
            Values::Int64($vector) | Values::Timestamp($vector, _) => $each,
            Values::Float32($vector) => $each,
            Values::Float64($vector) => $each,
            Values::Decimal { values: $vector, .. } => $each,
            Values::Uuid($vector) => $each,
            Values::Utf8($bytes) | Values::Binary($bytes) => $on_bytes,
            $list => $on_list,
            Values::Struct($fields) => $on_struct,
        }
    };
}

impl Column {
    pub(super) fn new(logical: &LogicalType, nullable: bool) -> Self {
        let values = match logical {
            LogicalType::Bool => Values::Bool(Vec::new()),
            LogicalType::Int8 => Values::Int8(Vec::new()),
            LogicalType::Int16 => Values::Int16(Vec::new()),
            LogicalType::Int32 => Values::Int32(Vec::new()),
            LogicalType::Int64 => Values::Int64(Vec::new()),
            LogicalType::Float32 => Values::Float32(Vec::new()),
            LogicalType::Float64 => Values::Float64(Vec::new()),
            LogicalType::Decimal { precision, scale } => {
                Values::Decimal { values: Vec::new(), precision: *precision, scale: *scale }
            }
            LogicalType::Utf8 => Values::Utf8(Bytes::new()),
            LogicalType::Binary => Values::Binary(Bytes::new()),
            LogicalType::Uuid => Values::Uuid(Vec::new()),
            LogicalType::Date => Values::Date(Vec::new()),
            LogicalType::Timestamp(unit) => Values::Timestamp(Vec::new(), *unit),
            LogicalType::List(item) => Values::List { offsets: vec![0], items: Box::new(Self::nested(item)) },
            LogicalType::Struct(fields) => Values::Struct(Struct {
                fields: fields
                    .iter()
                    .map(|(name, nested)| StructField { name: name.clone(), column: Self::nested(nested) })
                    .collect(),
                rows: 0,
                shape: Shape::default(),
            }),
        };
        Self { logical: logical.clone(), nullable, values, nulls: Vec::new() }
    }

    fn nested(nested: &Nested) -> Self {
        Self::new(&nested.logical, nested.nullable)
    }

    /// The number of values.
    pub(super) fn len(&self) -> usize {
        each_vector!(&self.values, vector => vector.len(), bytes => bytes.offsets.len() - 1,
            Values::List { offsets, .. } => offsets.len() - 1, fields => fields.rows)
    }

    /// Takes back everything behind the first `rows` values.
    pub(super) fn truncate(&mut self, rows: usize) {
        while self.nulls.last().is_some_and(|row| *row >= rows) {
            self.nulls.pop();
        }
        each_vector!(&mut self.values, vector => vector.truncate(rows), bytes => bytes.truncate(rows),
        Values::List { offsets, items } => {
            offsets.truncate(rows + 1);
            items.truncate(offsets.last().map_or(0, |end| end.cast_unsigned() as usize));
        },
        fields => {
            fields.rows = rows;
            fields.fields.iter_mut().for_each(|field| field.column.truncate(rows));
        })
    }

    /// Appends a null where one is allowed.
    #[cold]
    pub(super) fn null(&mut self, otherwise: Reason) -> Checked<()> {
        if self.nullable {
            self.placeholder();
            return Ok(());
        }
        let what = match otherwise {
            Reason::MissingField => format!("{} expected, but the field is missing", self.logical),
            _ => format!("{} expected, found null", self.logical),
        };
        Err(Flaw::new(otherwise, what))
    }

    /// Appends a null, whatever is allowed: inside a struct that is null, or in a row that will be left out.
    pub(super) fn placeholder(&mut self) {
        self.nulls.push(self.len());
        each_vector!(&mut self.values, vector => vector.push(Default::default()), bytes => bytes.end(),
        Values::List { offsets, items } => offsets.push(offset(items.len())),
        fields => {
            fields.rows += 1;
            fields.fields.iter_mut().for_each(|field| field.column.placeholder());
        })
    }

    /// Appends a text to a column of text.
    pub(super) fn text(&mut self, text: &[u8]) {
        if let Values::Utf8(bytes) = &mut self.values {
            bytes.push(text);
        }
    }

    fn null_buffer(&mut self) -> Option<NullBuffer> {
        if self.nulls.is_empty() {
            return None;
        }
        let mut valid = vec![true; self.len()];
        for row in self.nulls.drain(..) {
            valid[row] = false;
        }
        Some(NullBuffer::new(BooleanBuffer::from(valid)))
    }

    /// The values as an Arrow array; the column is empty afterwards.
    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        let nulls = self.null_buffer();
        let arrow = arrow_type(&self.logical);
        Ok(match &mut self.values {
            Values::Bool(values) => Arc::new(BooleanArray::new(BooleanBuffer::from(taken(values)), nulls)),
            Values::Int8(values) => primitive::<Int8Type>(values, nulls, &arrow),
            Values::Int16(values) => primitive::<Int16Type>(values, nulls, &arrow),
            Values::Int32(values) => primitive::<Int32Type>(values, nulls, &arrow),
            Values::Int64(values) => primitive::<Int64Type>(values, nulls, &arrow),
            Values::Float32(values) => primitive::<Float32Type>(values, nulls, &arrow),
            Values::Float64(values) => primitive::<Float64Type>(values, nulls, &arrow),
            Values::Decimal { values, .. } => primitive::<Decimal128Type>(values, nulls, &arrow),
            Values::Date(values) => primitive::<Date32Type>(values, nulls, &arrow),
            Values::Timestamp(values, unit) => match unit {
                TimeUnit::Second => primitive::<TimestampSecondType>(values, nulls, &arrow),
                TimeUnit::Millisecond => primitive::<TimestampMillisecondType>(values, nulls, &arrow),
                TimeUnit::Microsecond => primitive::<TimestampMicrosecondType>(values, nulls, &arrow),
                TimeUnit::Nanosecond => primitive::<TimestampNanosecondType>(values, nulls, &arrow),
            },
            Values::Uuid(values) => {
                let bytes = Buffer::from_vec(taken(values).into_flattened());
                Arc::new(FixedSizeBinaryArray::try_new(16, bytes, nulls).map_err(broken)?)
            }
            Values::Utf8(bytes) => {
                let (offsets, data) = bytes.take()?;
                Arc::new(StringArray::try_new(offsets, data, nulls).map_err(broken)?)
            }
            Values::Binary(bytes) => {
                let (offsets, data) = bytes.take()?;
                Arc::new(BinaryArray::try_new(offsets, data, nulls).map_err(broken)?)
            }
            Values::List { offsets, items } => {
                if i32::try_from(items.len()).is_err() {
                    return Err(too_large());
                }
                let mut empty = Vec::with_capacity(offsets.len());
                empty.push(0);
                let offsets = OffsetBuffer::new(mem::replace(offsets, empty).into());
                let field = Arc::new(Field::new("item", arrow_type(&items.logical), items.nullable));
                Arc::new(ListArray::try_new(field, offsets, items.finish()?, nulls).map_err(broken)?)
            }
            Values::Struct(value) => {
                let DataType::Struct(fields) = arrow else { return Err(broken("a struct of another type")) };
                let rows = mem::take(&mut value.rows);
                let children =
                    value.fields.iter_mut().map(|field| field.column.finish()).collect::<Result<Vec<_>>>()?;
                Arc::new(StructArray::try_new_with_length(fields, children, nulls, rows).map_err(broken)?)
            }
        })
    }
}

/// Arrow refused what the decoder built.
pub(super) fn broken(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Internal, "the decoder built a column that Arrow refuses").caused_by(cause)
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;

    use super::*;

    #[test]
    fn truncating_takes_back_half_a_row_at_every_depth() {
        let logical = "list<struct<a: utf8?, b: list<int32>?>>".parse().expect("a type");
        let mut column = Column::new(&logical, true);
        column.placeholder();
        let Values::List { items, .. } = &mut column.values else { panic!("a list") };
        let Values::Struct(value) = &mut items.values else { panic!("a struct") };
        let Values::Utf8(bytes) = &mut value.fields[0].column.values else { panic!("utf8") };
        bytes.push(b"left over");
        bytes.open().extend_from_slice(b"half a value");
        column.truncate(1);
        column.placeholder();
        let array = column.finish().expect("an array");
        assert_eq!((array.len(), array.null_count()), (2, 2));
        assert_eq!(column.len(), 0);
    }

    #[test]
    fn a_null_struct_may_hold_what_may_not_be_null() {
        let logical = "struct<a: int32, b: struct<c: utf8>>".parse().expect("a type");
        let mut column = Column::new(&logical, true);
        column.placeholder();
        assert_eq!(column.finish().expect("an array").null_count(), 1);
        let mut strict = Column::new(&logical, false);
        assert_eq!(strict.null(Reason::MissingField).map_err(|flaw| flaw.reason), Err(Reason::MissingField));
        assert_eq!(strict.len(), 0);
    }
}
