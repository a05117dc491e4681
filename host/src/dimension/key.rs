//! Keys as bytes. Equal keys give equal bytes, different keys different bytes, and numbers sort by value, so that
//! sorted keys lie side by side in RocksDB's blocks.
//!
//! | part of the key | bytes |
//! |---|---|
//! | `bool` | 1: 0 or 1 |
//! | integers, `date`, `timestamp`, `decimal` | their width, big endian, sign bit turned over |
//! | floats | their width, big endian, in IEEE total order; -0 is 0, every NaN is one NaN |
//! | `uuid` | 16, as they are |
//! | `utf8`, `binary` | length (4, big endian) and the bytes; without the length where it is the last part |

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    ArrowNativeType, DataType, Date32Type, Decimal128Type, DecimalType, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};

use crate::digest::hex;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{Column, arrow_type, logical_type};

/// Longer keys are refused at load: a key is stored with a length of 16 bits in the resident index.
pub(super) const MAX_KEY_BYTES: usize = u16::MAX as usize;

/// How a table's keys become bytes.
#[derive(Debug)]
pub(super) struct KeyLayout {
    parts: Vec<Part>,
    /// The bytes of every key, when no part is text or binary.
    width: Option<usize>,
}

#[derive(Debug)]
struct Part {
    column: Column,
    arrow: DataType,
    /// None for text and binary.
    width: Option<usize>,
}

/// The keys of a batch as bytes.
#[derive(Debug)]
pub(super) struct Keys {
    bytes: Buffer,
    places: Places,
    nulls: Option<NullBuffer>,
    rows: usize,
}

#[derive(Debug)]
enum Places {
    /// Every key has this width.
    Width(usize),
    /// Key `i` is `bytes[offsets[i]..offsets[i + 1]]`.
    Offsets(ScalarBuffer<i32>),
}

impl Keys {
    /// The number of keys.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the key of a row has no null in it.
    pub(super) fn is_valid(&self, row: usize) -> bool {
        self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
    }

    /// The bytes of all keys, back to back, when all have one width.
    pub(super) fn of_one_width(&self) -> Option<(usize, &[u8])> {
        match &self.places {
            Places::Width(width) => Some((*width, self.bytes.as_slice())),
            Places::Offsets(_) => None,
        }
    }

    /// The bytes of a key; any bytes for a key with a null in it.
    #[inline]
    pub(super) fn get(&self, row: usize) -> &[u8] {
        let (start, end) = match &self.places {
            Places::Width(width) => (row * width, (row + 1) * width),
            Places::Offsets(offsets) => (offsets[row].as_usize(), offsets[row + 1].as_usize()),
        };
        &self.bytes.as_slice()[start..end]
    }
}

impl KeyLayout {
    /// The layout of a table's key columns.
    pub(super) fn new(key: &[Column]) -> Result<Self> {
        let parts = key.iter().map(Part::new).collect::<Result<Vec<_>>>()?;
        let width = parts.iter().map(|part| part.width).sum();
        Ok(Self { parts, width })
    }

    /// The bytes of every key, when all have one width.
    pub(super) fn width(&self) -> Option<usize> {
        self.width
    }

    /// The columns of a batch in the types of the key. Integers of any width are fine (a value that does not fit is
    /// null: no such key); text may be a dictionary.
    pub(super) fn canonical(&self, columns: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        if columns.len() != self.parts.len() {
            let message = format!("the key has {} columns, {} were given", self.parts.len(), columns.len());
            return Err(Error::new(ErrorKind::Internal, message));
        }
        if columns.iter().any(|column| column.len() != columns[0].len()) {
            return Err(Error::new(ErrorKind::Internal, "the columns of the key differ in length"));
        }
        self.parts.iter().zip(columns).map(|(part, column)| part.canonical(column)).collect()
    }

    /// The keys of a batch; the columns are in the types of the key (`canonical`).
    pub(super) fn encode(&self, columns: &[ArrayRef]) -> Result<Keys> {
        let rows = columns.first().map_or(0, |column| column.len());
        let nulls =
            columns.iter().fold(None, |all, column| NullBuffer::union(all.as_ref(), column.logical_nulls().as_ref()));
        if let ([part], [column]) = (self.parts.as_slice(), columns)
            && part.width.is_none()
        {
            let (offsets, bytes) = varying(column)?;
            return Ok(Keys { bytes, places: Places::Offsets(offsets), nulls, rows });
        }
        match self.width {
            Some(width) => {
                let mut bytes = vec![0; rows * width];
                let mut at = 0;
                for (part, column) in self.parts.iter().zip(columns) {
                    write_part(column, &mut bytes, at, width)?;
                    at += part.width.unwrap_or(0);
                }
                Ok(Keys { bytes: Buffer::from_vec(bytes), places: Places::Width(width), nulls, rows })
            }
            None => {
                let (offsets, bytes) = self.encode_varying(columns, rows)?;
                Ok(Keys { bytes: Buffer::from_vec(bytes), places: Places::Offsets(offsets.into()), nulls, rows })
            }
        }
    }

    fn encode_varying(&self, columns: &[ArrayRef], rows: usize) -> Result<(Vec<i32>, Vec<u8>)> {
        let mut parts = Vec::with_capacity(columns.len());
        for (part, column) in self.parts.iter().zip(columns) {
            parts.push(match part.width {
                Some(width) => {
                    let mut bytes = vec![0; rows * width];
                    write_part(column, &mut bytes, 0, width)?;
                    (Places::Width(width), Buffer::from_vec(bytes))
                }
                None => {
                    let (offsets, bytes) = varying(column)?;
                    (Places::Offsets(offsets), bytes)
                }
            });
        }
        let (mut offsets, mut bytes) = (vec![0], Vec::new());
        for row in 0..rows {
            for (index, (places, part)) in parts.iter().enumerate() {
                match places {
                    Places::Width(width) => bytes.extend_from_slice(&part[row * width..(row + 1) * width]),
                    Places::Offsets(ends) => {
                        let value = &part[ends[row].as_usize()..ends[row + 1].as_usize()];
                        if index + 1 < parts.len() {
                            let length = ends[row + 1] - ends[row];
                            bytes.extend_from_slice(&length.to_be_bytes());
                        }
                        bytes.extend_from_slice(value);
                    }
                }
            }
            let end = i32::try_from(bytes.len());
            offsets.push(end.map_err(|_| Error::new(ErrorKind::Internal, "a batch's keys take more than 2 GiB"))?);
        }
        Ok((offsets, bytes))
    }

    /// A key as a person reads it: `7`, or `("EWR", 12)`; `None` when the bytes are no key of this layout.
    pub(super) fn text(&self, mut key: &[u8]) -> Option<String> {
        let mut texts = Vec::with_capacity(self.parts.len());
        for (index, part) in self.parts.iter().enumerate() {
            let last = index + 1 == self.parts.len();
            let length = match part.width {
                Some(width) => width,
                None if last => key.len(),
                None => {
                    let (length, rest) = key.split_first_chunk::<4>()?;
                    key = rest;
                    usize::try_from(u32::from_be_bytes(*length)).ok()?
                }
            };
            let (bytes, rest) = key.split_at_checked(length)?;
            key = rest;
            texts.push(part.text(bytes));
        }
        Some(match texts.as_slice() {
            [one] => one.clone(),
            several => format!("({})", several.join(", ")),
        })
    }
}

impl Part {
    fn new(column: &Column) -> Result<Self> {
        let arrow = arrow_type(&column.logical);
        let width = match &arrow {
            DataType::Boolean | DataType::Int8 => Some(1),
            DataType::Int16 => Some(2),
            DataType::Int32 | DataType::Float32 | DataType::Date32 => Some(4),
            DataType::Int64 | DataType::Float64 | DataType::Timestamp(..) => Some(8),
            DataType::Decimal128(..) | DataType::FixedSizeBinary(16) => Some(16),
            DataType::Utf8 | DataType::Binary => None,
            _ => {
                let message = format!("column \"{}\" is {}, which cannot be a key", column.name, column.logical);
                return Err(Error::new(ErrorKind::Config, message).help("keys are made of plain values"));
            }
        };
        Ok(Self { column: column.clone(), arrow, width })
    }

    fn canonical(&self, column: &ArrayRef) -> Result<ArrayRef> {
        if *column.data_type() == self.arrow {
            return Ok(column.clone());
        }
        let same = logical_type(column.data_type()).as_ref() == Some(&self.column.logical);
        let integers = column.data_type().is_integer() && self.arrow.is_integer();
        if !same && !integers {
            let message = format!(
                "key column \"{}\" is {}, the batch brings {}",
                self.column.name,
                self.column.logical,
                column.data_type()
            );
            return Err(Error::new(ErrorKind::Internal, message));
        }
        let options = CastOptions { safe: true, ..CastOptions::default() };
        cast_with_options(column, &self.arrow, &options)
            .map_err(|error| Error::new(ErrorKind::Internal, "a key column does not convert").caused_by(error))
    }

    fn text(&self, bytes: &[u8]) -> String {
        match self.arrow {
            DataType::Utf8 => format!("{:?}", String::from_utf8_lossy(bytes)),
            DataType::Boolean => (bytes == [1]).to_string(),
            DataType::Decimal128(_, scale) => Decimal128Type::format_decimal(integer(bytes), self.precision(), scale),
            _ if self.arrow.is_integer() || self.arrow.is_temporal() => integer(bytes).to_string(),
            DataType::Float32 => bytes.try_into().map_or_else(
                |_| String::new(),
                |bytes| f32::from_bits(unordered_32(u32::from_be_bytes(bytes))).to_string(),
            ),
            DataType::Float64 => bytes.try_into().map_or_else(
                |_| String::new(),
                |bytes| f64::from_bits(unordered_64(u64::from_be_bytes(bytes))).to_string(),
            ),
            _ => hex(bytes),
        }
    }

    fn precision(&self) -> u8 {
        match self.arrow {
            DataType::Decimal128(precision, _) => precision,
            _ => 0,
        }
    }
}

/// Reads a big-endian integer of any width whose sign bit was turned over.
fn integer(bytes: &[u8]) -> i128 {
    let Some(first) = bytes.first() else { return 0 };
    let start = if first & 0x80 == 0 { -1 } else { 0 };
    bytes.iter().enumerate().fold(start, |value, (index, byte)| {
        let byte = if index == 0 { byte ^ 0x80 } else { *byte };
        (value << 8) | i128::from(byte)
    })
}

fn varying(column: &ArrayRef) -> Result<(ScalarBuffer<i32>, Buffer)> {
    if let Some(text) = column.as_string_opt::<i32>() {
        Ok((text.offsets().inner().clone(), text.values().clone()))
    } else if let Some(binary) = column.as_binary_opt::<i32>() {
        Ok((binary.offsets().inner().clone(), binary.values().clone()))
    } else {
        Err(unexpected(column))
    }
}

fn unexpected(column: &ArrayRef) -> Error {
    Error::new(ErrorKind::Internal, format!("a key column of type {} was not expected", column.data_type()))
}

/// Writes `N` bytes of every row at `at` of its key of `width` bytes.
fn write<const N: usize, T: Copy>(values: &[T], out: &mut [u8], at: usize, width: usize, bytes: impl Fn(T) -> [u8; N]) {
    for (key, value) in out.chunks_exact_mut(width).zip(values) {
        key[at..at + N].copy_from_slice(&bytes(*value));
    }
}

const fn ordered_32(bits: u32) -> u32 {
    if bits >> 31 == 0 { bits ^ (1 << 31) } else { !bits }
}

const fn unordered_32(bits: u32) -> u32 {
    if bits >> 31 == 1 { bits ^ (1 << 31) } else { !bits }
}

const fn ordered_64(bits: u64) -> u64 {
    if bits >> 63 == 0 { bits ^ (1 << 63) } else { !bits }
}

const fn unordered_64(bits: u64) -> u64 {
    if bits >> 63 == 1 { bits ^ (1 << 63) } else { !bits }
}

fn float_32(value: f32) -> [u8; 4] {
    let one = if value.is_nan() { f32::NAN } else { value + 0.0 };
    ordered_32(one.to_bits()).to_be_bytes()
}

fn float_64(value: f64) -> [u8; 8] {
    let one = if value.is_nan() { f64::NAN } else { value + 0.0 };
    ordered_64(one.to_bits()).to_be_bytes()
}

fn write_bools(column: &BooleanArray, out: &mut [u8], at: usize, width: usize) {
    for (row, key) in out.chunks_exact_mut(width).enumerate() {
        key[at] = u8::from(column.value(row));
    }
}

fn write_uuids(column: &FixedSizeBinaryArray, out: &mut [u8], at: usize, width: usize) {
    for (row, key) in out.chunks_exact_mut(width).enumerate() {
        key[at..at + 16].copy_from_slice(column.value(row));
    }
}

fn write_part(column: &ArrayRef, out: &mut [u8], at: usize, width: usize) -> Result<()> {
    macro_rules! integers {
        ($arrow:ty, $native:ty) => {
            write(column.as_primitive::<$arrow>().values(), out, at, width, |value| {
                (value ^ <$native>::MIN).to_be_bytes()
            })
        };
    }
    match column.data_type() {
        DataType::Boolean => write_bools(column.as_boolean(), out, at, width),
        DataType::Int8 => integers!(Int8Type, i8),
        DataType::Int16 => integers!(Int16Type, i16),
        DataType::Int32 => integers!(Int32Type, i32),
        DataType::Int64 => integers!(Int64Type, i64),
        DataType::Date32 => integers!(Date32Type, i32),
        DataType::Timestamp(TimeUnit::Second, _) => integers!(TimestampSecondType, i64),
        DataType::Timestamp(TimeUnit::Millisecond, _) => integers!(TimestampMillisecondType, i64),
        DataType::Timestamp(TimeUnit::Microsecond, _) => integers!(TimestampMicrosecondType, i64),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => integers!(TimestampNanosecondType, i64),
        DataType::Decimal128(..) => integers!(Decimal128Type, i128),
        DataType::Float32 => write(column.as_primitive::<Float32Type>().values(), out, at, width, float_32),
        DataType::Float64 => write(column.as_primitive::<Float64Type>().values(), out, at, width, float_64),
        DataType::FixedSizeBinary(16) => write_uuids(column.as_fixed_size_binary(), out, at, width),
        _ => return Err(unexpected(column)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray, UInt64Array, new_null_array,
    };
    use millstream_sdk::LogicalType;
    use proptest::prelude::*;

    use super::*;

    fn layout(types: &[LogicalType]) -> KeyLayout {
        let column = |(index, logical): (usize, &LogicalType)| Column {
            name: format!("k{index}"),
            logical: logical.clone(),
            nullable: false,
        };
        KeyLayout::new(&types.iter().enumerate().map(column).collect::<Vec<_>>()).unwrap()
    }

    fn encode(layout: &KeyLayout, columns: &[ArrayRef]) -> Vec<Option<Vec<u8>>> {
        let keys = layout.encode(&layout.canonical(columns).unwrap()).unwrap();
        (0..keys.rows()).map(|row| keys.is_valid(row).then(|| keys.get(row).to_vec())).collect()
    }

    proptest! {
        #[test]
        fn keys_of_numbers_sort_as_the_numbers_do(rows in prop::collection::vec((any::<i64>(), -5i32..5), 1..50)) {
            let layout = layout(&[LogicalType::Int32, LogicalType::Int64]);
            let first: ArrayRef = Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.1)));
            let second: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
            let mut by_key: Vec<_> = encode(&layout, &[first, second]).into_iter().zip(&rows).collect();
            by_key.sort();
            let mut sorted: Vec<_> = rows.iter().collect();
            sorted.sort_by_key(|row| (row.1, row.0));
            prop_assert_eq!(by_key.into_iter().map(|(_, row)| row).collect::<Vec<_>>(), sorted);
        }

        #[test]
        fn keys_of_two_texts_are_equal_only_if_both_texts_are(rows in prop::collection::vec(("[ab]{0,3}", "[ab]{0,3}"), 2..50)) {
            let layout = layout(&[LogicalType::Utf8, LogicalType::Utf8]);
            let first: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.0)));
            let second: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1)));
            let keys = encode(&layout, &[first, second]);
            for (one, key) in rows.iter().zip(&keys) {
                for (other, other_key) in rows.iter().zip(&keys) {
                    prop_assert_eq!(one == other, key == other_key);
                }
                prop_assert_eq!(layout.text(key.as_ref().unwrap()), Some(format!("({:?}, {:?})", one.0, one.1)));
            }
        }

        #[test]
        fn a_number_reads_as_it_was(value: i64, decimal in -10_i128.pow(17)..10_i128.pow(17), float in prop::num::f64::NORMAL) {
            let types = [LogicalType::Int64, LogicalType::Decimal { precision: 18, scale: 2 }, LogicalType::Float64];
            let layout = layout(&types);
            let decimals = Decimal128Array::from(vec![decimal]).with_precision_and_scale(18, 2).unwrap();
            let key = encode(&layout, &[
                Arc::new(Int64Array::from(vec![value])),
                Arc::new(decimals),
                Arc::new(Float64Array::from(vec![float])),
            ]);
            let expected = format!("({value}, {}, {float})", Decimal128Type::format_decimal(decimal, 18, 2));
            prop_assert_eq!(layout.text(key[0].as_ref().unwrap()), Some(expected));
        }
    }

    #[test]
    fn minus_zero_is_zero_and_every_nan_is_one() {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN, -1.0]));
        let keys = encode(&layout(&[LogicalType::Float64]), &[values]);
        assert_eq!(keys[0], keys[1]);
        assert_eq!(keys[2], keys[3]);
        assert!(keys[4] < keys[0]);
    }

    #[test]
    fn a_number_that_does_not_fit_the_key_is_no_key() {
        let values: ArrayRef = Arc::new(UInt64Array::from(vec![Some(7), Some(u64::MAX), None]));
        let keys = encode(&layout(&[LogicalType::Int32]), &[values]);
        assert_eq!(keys.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn a_null_in_any_part_is_no_key() {
        let layout = layout(&[LogicalType::Utf8, LogicalType::Int64]);
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("b")]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None]));
        let keys = encode(&layout, &[texts.clone(), numbers]);
        assert_eq!(keys.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false]);
        assert!(
            layout
                .canonical(std::slice::from_ref(&texts))
                .unwrap_err()
                .message()
                .contains("the key has 2 columns, 1 were given")
        );
        let wrong = layout.canonical(&[texts, new_null_array(&DataType::Boolean, 3)]).unwrap_err();
        assert_eq!(wrong.message(), "key column \"k1\" is int64, the batch brings Boolean");
    }
}
