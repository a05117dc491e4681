//! One JSON value into one column.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use millstream_sdk::LogicalType;

use super::cursor::Cursor;
use super::object::{Fields, key_in, object};
use super::shape::{FieldId, UNKNOWN};
use super::unknown::{UnknownFields, duplicate};
use crate::decode::column::{Column, Struct, StructField, Values};
use crate::decode::flaw::{Checked, Flaw, Reason};
use crate::decode::number::{Misfit, Number, Writing};
use crate::decode::text;

/// What reading a value works with besides its column.
#[derive(Debug)]
pub(in crate::decode) struct Scratch {
    pub(in crate::decode) unknown: UnknownFields,
    /// Texts with escapes are decoded here.
    text: Vec<u8>,
}

impl Scratch {
    pub(in crate::decode) fn new(unknown: UnknownFields) -> Self {
        Self { unknown, text: Vec::new() }
    }
}

/// Reads the value under the cursor and appends it to the column.
#[inline]
pub(in crate::decode) fn value(cursor: &mut Cursor<'_>, column: &mut Column, scratch: &mut Scratch) -> Checked<()> {
    match (cursor.peek(), &mut column.values) {
        (Some(b'"'), Values::Utf8(bytes)) => {
            cursor.string_into(bytes.open())?;
            bytes.end();
            Ok(())
        }
        (Some(b'-' | b'0'..=b'9'), values) => {
            let start = cursor.at;
            let fits = match (cursor.plain_integer(), values) {
                (Some(integer), Values::Int64(values)) => append(values, integer),
                (Some(integer), Values::Int32(values)) => {
                    i32::try_from(integer).is_ok_and(|value| append(values, value))
                }
                (Some(integer), Values::Timestamp(values, unit)) => {
                    text::is_instant(integer, *unit) && append(values, integer)
                }
                _ => false,
            };
            if fits {
                return Ok(());
            }
            cursor.at = start;
            number_into(&cursor.number()?, column)
        }
        (Some(b'"'), _) => {
            let text = cursor.string(&mut scratch.text)?;
            text_into(text, column)
        }
        (Some(b't'), Values::Bool(values)) => {
            cursor.literal(b"true")?;
            values.push(true);
            Ok(())
        }
        (Some(b'f'), Values::Bool(values)) => {
            cursor.literal(b"false")?;
            values.push(false);
            Ok(())
        }
        (Some(b'n'), _) => {
            cursor.literal(b"null")?;
            column.null(Reason::NullValue)
        }
        (Some(b'['), Values::List { .. }) => list(cursor, column, scratch),
        (Some(b'{'), Values::Struct(value)) => structure(cursor, value, scratch),
        _ => other_kind(cursor, &column.logical),
    }
}

#[inline(always)]
fn append<T>(values: &mut Vec<T>, value: T) -> bool {
    values.push(value);
    true
}

/// The value under the cursor is of another kind than the column.
#[cold]
fn other_kind(cursor: &mut Cursor<'_>, expected: &LogicalType) -> Checked<()> {
    let start = cursor.at;
    cursor.skip_value()?;
    Err(Flaw::found(Reason::WrongType, expected, &cursor.text[start..cursor.at]))
}

#[cold]
fn misfitting(misfit: Misfit, expected: &LogicalType, number: &Number<'_>) -> Box<Flaw> {
    Flaw::found(misfit.reason(), expected, number.text)
}

/// Appends a number to a column that takes numbers.
pub(in crate::decode) fn number_into(number: &Number<'_>, column: &mut Column) -> Checked<()> {
    fn small<T: TryFrom<i64>>(number: &Number<'_>, values: &mut Vec<T>) -> Result<(), Misfit> {
        values.push(T::try_from(number.int64()?).map_err(|_| Misfit::OutOfRange)?);
        Ok(())
    }
    let fits = match &mut column.values {
        Values::Int8(values) => small(number, values),
        Values::Int16(values) => small(number, values),
        Values::Int32(values) => small(number, values),
        Values::Int64(values) => small(number, values),
        Values::Timestamp(values, unit) => match number.int64() {
            Ok(count) if !text::is_instant(count, *unit) => Err(Misfit::OutOfRange),
            count => count.map(|count| values.push(count)),
        },
        Values::Float32(values) => number.float32().map(|value| values.push(value)),
        Values::Float64(values) => number.float64().map(|value| values.push(value)),
        Values::Decimal { values, precision, scale } => {
            number.decimal(*precision, *scale).map(|value| values.push(value))
        }
        _ => return Err(Flaw::found(Reason::WrongType, &column.logical, number.text)),
    };
    fits.map_err(|misfit| misfitting(misfit, &column.logical, number))
}

/// Appends a text (a JSON string, decoded) to a column that takes texts.
pub(in crate::decode) fn text_into(text: &[u8], column: &mut Column) -> Checked<()> {
    let appended = match &mut column.values {
        Values::Utf8(bytes) => {
            bytes.push(text);
            Ok(())
        }
        Values::Binary(bytes) => match BASE64.decode_vec(text, bytes.open()) {
            Ok(()) => {
                bytes.end();
                Ok(())
            }
            Err(_) => Err(Reason::BadBase64),
        },
        Values::Uuid(values) => text::uuid(text).map(|value| values.push(value)).ok_or(Reason::BadUuid),
        Values::Date(values) => text::date(text).map(|value| values.push(value)).ok_or(Reason::BadDate),
        Values::Timestamp(values, unit) => text::timestamp(text, *unit).map(|value| values.push(value)),
        Values::Decimal { values, precision, scale } => match Number::whole(text, Writing::Json) {
            Some(number) => number.decimal(*precision, *scale).map(|value| values.push(value)).map_err(Misfit::reason),
            None => Err(Reason::BadDecimal),
        },
        _ => Err(Reason::WrongType),
    };
    appended.map_err(|reason| unreadable(reason, text, &column.logical))
}

#[cold]
fn unreadable(reason: Reason, text: &[u8], expected: &LogicalType) -> Box<Flaw> {
    let quoted = [b"\"", text, b"\""].concat();
    match reason {
        Reason::MissingTimeZone => {
            Flaw::found(reason, format_args!("{expected} with `Z` or an offset like `+01:00`"), &quoted)
        }
        _ => Flaw::found(reason, expected, &quoted),
    }
}

fn list(cursor: &mut Cursor<'_>, column: &mut Column, scratch: &mut Scratch) -> Checked<()> {
    let Values::List { offsets, items } = &mut column.values else { return other_kind(cursor, &column.logical) };
    cursor.enter()?;
    scratch.unknown.open_list();
    let mut count = 0_usize;
    while cursor.next_item(count == 0)? {
        value(cursor, items, scratch).map_err(|flaw| in_item(flaw, count))?;
        count += 1;
    }
    scratch.unknown.close_list();
    offsets.push(i32::try_from(items.len()).unwrap_or(i32::MAX));
    Ok(())
}

#[cold]
fn in_item(flaw: Box<Flaw>, index: usize) -> Box<Flaw> {
    flaw.within(&format!("[{index}]"))
}

fn structure(cursor: &mut Cursor<'_>, value: &mut Struct, scratch: &mut Scratch) -> Checked<()> {
    let row = value.rows;
    object(cursor, &mut value.shape, &mut StructFields { fields: &mut value.fields, row, scratch })?;
    for field in &mut value.fields {
        if field.column.len() == row {
            field.column.null(Reason::MissingField).map_err(|flaw| flaw.within(&field.name))?;
        }
    }
    value.rows += 1;
    Ok(())
}

/// The fields of a struct, while one of its objects is read.
struct StructFields<'a> {
    fields: &'a mut [StructField],
    row: usize,
    scratch: &'a mut Scratch,
}

impl Fields for StructFields<'_> {
    fn find(&self, key: &[u8]) -> FieldId {
        let found = self.fields.iter().position(|field| field.name.as_bytes() == key);
        found.and_then(|index| FieldId::try_from(index).ok()).unwrap_or(UNKNOWN)
    }

    fn field(&mut self, cursor: &mut Cursor<'_>, field: FieldId, lead: std::ops::Range<usize>) -> Checked<()> {
        let Some(known) = self.fields.get_mut(field as usize) else { return self.scratch.unknown.meet(cursor, lead) };
        if known.column.len() > self.row {
            return Err(duplicate(key_in(cursor, lead)));
        }
        if !matches!(known.column.values, Values::Struct(_)) {
            return value(cursor, &mut known.column, self.scratch).map_err(|flaw| flaw.within(&known.name));
        }
        let outer = self.scratch.unknown.open(cursor, lead);
        value(cursor, &mut known.column, self.scratch).map_err(|flaw| flaw.within(&known.name))?;
        self.scratch.unknown.close(outer);
        Ok(())
    }
}
