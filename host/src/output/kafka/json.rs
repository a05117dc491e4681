//! Rows as JSON: columns by name, in order, nulls written out; integers and decimals as exact numbers, other floats shortest
//! (NaN and infinities as null); timestamps as RFC 3339 in UTC (beyond the years -9999 to 9999 as their number), dates as
//! `2013-01-31`; uuids with hyphens, other binary as hexadecimal text; lists and structs as arrays and objects. The key is
//! the text of the key column (binary: its bytes); null: no key.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray};
use arrow::datatypes::{
    DataType, FieldRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use jiff::Timestamp;

pub(super) fn json_options() -> EncoderOptions {
    EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(SpecialEncoders))
}

/// The key column's values as bytes.
pub(super) enum Keys<'a> {
    Bytes(&'a ArrayRef),
    Special(&'a ArrayRef, Special<'a>),
    Text(&'a ArrayRef, ArrayFormatter<'a>),
}

impl<'a> Keys<'a> {
    /// Of a column of any type.
    pub fn new(column: &'a ArrayRef) -> Result<Self, ArrowError> {
        const OPTIONS: FormatOptions<'static> = FormatOptions::new();
        if let Some(special) = Special::of(column) {
            return Ok(Self::Special(column, special));
        }
        match column.data_type() {
            DataType::Utf8 | DataType::Binary => Ok(Self::Bytes(column)),
            _ => Ok(Self::Text(column, ArrayFormatter::try_new(column, &OPTIONS)?)),
        }
    }

    /// The row's key; none where it is null.
    pub fn text<'b>(&'b self, row: usize, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        buffer.clear();
        match self {
            Self::Bytes(column) | Self::Special(column, _) if column.is_null(row) => None,
            Self::Bytes(column) => Some(match column.as_string_opt::<i32>() {
                Some(texts) => texts.value(row).as_bytes(),
                None => column.as_binary::<i32>().value(row),
            }),
            Self::Special(_, special) => {
                special.push(row, buffer);
                Some(buffer)
            }
            // A dictionary's null may stand among its values: the logical nulls count.
            Self::Text(column, _) if column.logical_nulls().is_some_and(|nulls| nulls.is_null(row)) => None,
            Self::Text(_, formatter) => {
                buffer.extend_from_slice(formatter.value(row).to_string().as_bytes());
                Some(buffer)
            }
        }
    }
}

/// Values that arrow-json has no form for that suits us: uuids (plain hexadecimal text there), and instants in UTC (which
/// need a time zone database there).
pub(super) enum Special<'a> {
    Uuids(&'a FixedSizeBinaryArray),
    Instants(&'a [i64], TimeUnit),
}

impl<'a> Special<'a> {
    fn of(array: &'a dyn Array) -> Option<Self> {
        match array.data_type() {
            DataType::FixedSizeBinary(16) => array.as_fixed_size_binary_opt().map(Self::Uuids),
            DataType::Timestamp(unit, Some(_)) => {
                let values = match unit {
                    TimeUnit::Second => array.as_primitive_opt::<TimestampSecondType>()?.values(),
                    TimeUnit::Millisecond => array.as_primitive_opt::<TimestampMillisecondType>()?.values(),
                    TimeUnit::Microsecond => array.as_primitive_opt::<TimestampMicrosecondType>()?.values(),
                    TimeUnit::Nanosecond => array.as_primitive_opt::<TimestampNanosecondType>()?.values(),
                };
                Some(Self::Instants(values, *unit))
            }
            _ => None,
        }
    }

    fn push(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Uuids(uuids) => push_uuid(uuids.value(row), out),
            Self::Instants(values, unit) => {
                let value = values[row];
                let instant = match unit {
                    TimeUnit::Second => Timestamp::from_second(value),
                    TimeUnit::Millisecond => Timestamp::from_millisecond(value),
                    TimeUnit::Microsecond => Timestamp::from_microsecond(value),
                    TimeUnit::Nanosecond => Timestamp::from_nanosecond(value.into()),
                };
                // Writing to memory does not fail.
                let _ = match instant {
                    Ok(instant) => write!(out, "{instant}"),
                    Err(_) => write!(out, "{value}"),
                };
            }
        }
    }
}

impl Encoder for Special<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        self.push(row, out);
        out.push(b'"');
    }
}

/// Puts `Special` in the place of arrow-json's own encoders, at any depth.
#[derive(Debug)]
struct SpecialEncoders;

impl EncoderFactory for SpecialEncoders {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        Ok(Special::of(array).map(|special| NullableEncoder::new(Box::new(special), array.nulls().cloned())))
    }
}

fn push_uuid(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
        StructArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    };
    use arrow::datatypes::{Field, Int32Type};
    use arrow::json::writer::make_encoder;

    use super::*;

    fn uuids() -> FixedSizeBinaryArray {
        FixedSizeBinaryArray::try_from_iter([(0..16).collect::<Vec<u8>>(), vec![255; 16]].into_iter()).unwrap()
    }

    #[test]
    fn rows_are_json_objects_with_exact_values() {
        let codes: DictionaryArray<Int32Type> = [Some("de"), None].into_iter().collect();
        let decimals = Decimal128Array::from(vec![Some(123_456), None]).with_precision_and_scale(12, 2).unwrap();
        let columns: [(&str, ArrayRef); 9] = [
            ("id", Arc::new(Int64Array::from(vec![i64::MAX, -1]))),
            ("text", Arc::new(StringArray::from(vec![Some("a\"\n\u{e9}"), None]))),
            ("amount", Arc::new(decimals)),
            ("ts", Arc::new(TimestampMillisecondArray::from(vec![1_357_016_400_123, 0]).with_timezone("UTC"))),
            ("us", Arc::new(TimestampMicrosecondArray::from(vec![1, 0]).with_timezone("UTC"))),
            ("day", Arc::new(Date32Array::from(vec![15_706, 0]))),
            ("country", Arc::new(codes)),
            ("share", Arc::new(Float64Array::from(vec![0.1, f64::NAN]))),
            ("uuid", Arc::new(uuids())),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
        let rows = StructArray::from(batch);
        let field: FieldRef = Arc::new(Field::new("row", rows.data_type().clone(), false));
        let options = json_options();
        let mut encoder = make_encoder(&field, &rows, &options).unwrap();
        let mut json = |row| {
            let mut out = Vec::new();
            encoder.encode(row, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            json(0),
            r#"{"id":9223372036854775807,"text":"a\"\né","amount":1234.56,"ts":"2013-01-01T05:00:00.123Z","us":"1970-01-01T00:00:00.000001Z","day":"2013-01-01","country":"de","share":0.1,"uuid":"00010203-0405-0607-0809-0a0b0c0d0e0f"}"#
        );
        assert_eq!(
            json(1),
            r#"{"id":-1,"text":null,"amount":null,"ts":"1970-01-01T00:00:00Z","us":"1970-01-01T00:00:00Z","day":"1970-01-01","country":null,"share":null,"uuid":"ffffffff-ffff-ffff-ffff-ffffffffffff"}"#
        );
    }

    #[test]
    fn keys_are_text_bytes_or_nothing() {
        let key = |column: ArrayRef, row| {
            let keys = Keys::new(&column).unwrap();
            keys.text(row, &mut Vec::new()).map(<[u8]>::to_vec)
        };
        assert_eq!(key(Arc::new(Int64Array::from(vec![-42])), 0), Some(b"-42".to_vec()));
        assert_eq!(key(Arc::new(Int64Array::from(vec![None])), 0), None);
        assert_eq!(key(Arc::new(StringArray::from(vec!["a"])), 0), Some(b"a".to_vec()));
        assert_eq!(key(Arc::new(BinaryArray::from(vec![Some(&[0_u8, 255][..]), None])), 0), Some(vec![0, 255]));
        assert_eq!(key(Arc::new(BinaryArray::from(vec![Some(&[0_u8, 255][..]), None])), 1), None);
        let codes: DictionaryArray<Int32Type> = [Some("de"), None].into_iter().collect();
        assert_eq!(key(Arc::new(codes.clone()), 0), Some(b"de".to_vec()));
        assert_eq!(key(Arc::new(codes), 1), None);
        let instants = TimestampMillisecondArray::from(vec![1_357_016_400_000]).with_timezone("UTC");
        assert_eq!(key(Arc::new(instants), 0), Some(b"2013-01-01T05:00:00Z".to_vec()));
        assert_eq!(key(Arc::new(uuids()), 0), Some(b"00010203-0405-0607-0809-0a0b0c0d0e0f".to_vec()));
    }
}
