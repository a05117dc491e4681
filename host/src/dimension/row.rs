//! Rows as bytes, in a layout of our own: the value in RocksDB and the row in the resident index are the same bytes,
//! and one function turns either into Arrow columns. That is why both ways of answering give the same columns.
//!
//! ```text
//! row   := nulls slots tail
//! nulls := one bit a column, least significant first, 1 for null; whole bytes
//! slots := one a column, at a fixed place
//! tail  := the bytes of text, binary and nested values, in the order of the columns
//! ```
//!
//! | column | slot |
//! |---|---|
//! | `bool` | 1 byte |
//! | numbers, `date`, `timestamp`, `decimal`, `uuid` | Arrow's bytes of the value (little endian on the machines we run on) |
//! | `utf8` with few distinct values | its code in the table-wide dictionary: 1, 2 or 4 bytes, little endian |
//! | other `utf8`, `binary` | where its bytes end in the tail: 4 bytes, little endian |
//! | `list`, `struct` | the same; the bytes are those of Arrow's row format |
//!
//! `LAYOUT` names this layout in a generation's manifest; a generation with another one is built anew.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BinaryArray, BooleanArray, DictionaryArray, StringArray, make_array,
    new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Int32Type};
use arrow::row::{RowConverter, SortField};

use crate::error::{Error, ErrorKind, Result};

/// The name of the layout; Arrow's version is in it because nested values use Arrow's row format.
pub(super) fn layout_name() -> String {
    let order = if cfg!(target_endian = "little") { "le" } else { "be" };
    format!("millstream-1-{order}-arrow-{}", arrow::ARROW_VERSION)
}

/// How a table's rows (without the key) become bytes and columns again.
#[derive(Debug)]
pub(super) struct RowLayout {
    columns: Vec<ColumnLayout>,
    null_bytes: usize,
    fixed_bytes: usize,
    null_row: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct ColumnLayout {
    /// The type of the column as it is handed out.
    pub(super) arrow: DataType,
    pub(super) slot: Slot,
    /// Where the slot starts in the row.
    pub(super) at: usize,
    /// Where the slot starts that tells where this column's bytes begin in the tail; none for the first of them.
    begins_at: Option<usize>,
}

#[derive(Debug)]
pub(super) enum Slot {
    Bool,
    Fixed { width: usize },
    Code { width: usize, values: ArrayRef },
    Text,
    Binary,
    Nested { converter: RowConverter, null_item: Vec<u8> },
}

impl Slot {
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Bool => 1,
            Self::Fixed { width } | Self::Code { width, .. } => *width,
            Self::Text | Self::Binary | Self::Nested { .. } => 4,
        }
    }

    pub(super) fn in_tail(&self) -> bool {
        matches!(self, Self::Text | Self::Binary | Self::Nested { .. })
    }

    fn new(arrow: &DataType, dictionary: Option<&ArrayRef>) -> Result<Self> {
        if let Some(values) = dictionary {
            let width = match values.len() {
                0..=0x100 => 1,
                0x101..=0x1_0000 => 2,
                _ => 4,
            };
            return Ok(Self::Code { width, values: values.clone() });
        }
        Ok(match arrow {
            DataType::Boolean => Self::Bool,
            DataType::Utf8 => Self::Text,
            DataType::Binary => Self::Binary,
            DataType::FixedSizeBinary(16) => Self::Fixed { width: 16 },
            DataType::List(_) | DataType::Struct(_) => {
                let converter = RowConverter::new(vec![SortField::new(arrow.clone())]).map_err(internal)?;
                let null = converter.convert_columns(&[new_null_array(arrow, 1)]).map_err(internal)?;
                let null_item = null.row(0).data().to_vec();
                Self::Nested { converter, null_item }
            }
            other => match other.primitive_width() {
                Some(width) => Self::Fixed { width },
                None => {
                    let message = format!("a dimension cannot hold values of type {other}");
                    return Err(Error::new(ErrorKind::Internal, message));
                }
            },
        })
    }
}

fn internal(error: arrow::error::ArrowError) -> Error {
    Error::new(ErrorKind::Internal, "a column does not convert").caused_by(error)
}

fn damaged(error: arrow::error::ArrowError) -> Error {
    Error::new(ErrorKind::Storage, "a stored row is damaged").caused_by(error)
}

impl RowLayout {
    /// The layout of columns of these types; text columns with a dictionary are stored and handed out as its codes.
    pub(super) fn new(types: &[DataType], dictionaries: &[Option<ArrayRef>]) -> Result<Self> {
        let null_bytes = types.len().div_ceil(8);
        let mut columns = Vec::with_capacity(types.len());
        let (mut at, mut begins_at) = (null_bytes, None);
        for (index, arrow) in types.iter().enumerate() {
            let dictionary = dictionaries.get(index).and_then(Option::as_ref);
            let slot = Slot::new(arrow, dictionary)?;
            let arrow = if dictionary.is_some() { dictionary_type() } else { arrow.clone() };
            let (width, in_tail) = (slot.width(), slot.in_tail());
            columns.push(ColumnLayout { arrow, slot, at, begins_at });
            if in_tail {
                begins_at = Some(at);
            }
            at += width;
        }
        let mut null_row = vec![0; at];
        null_row[..null_bytes].fill(0xff);
        Ok(Self { columns, null_bytes, fixed_bytes: at, null_row })
    }

    /// The columns' places.
    pub(super) fn columns(&self) -> &[ColumnLayout] {
        &self.columns
    }

    /// Nulls and slots: the part that every row has.
    pub(super) fn fixed_bytes(&self) -> usize {
        self.fixed_bytes
    }

    /// The bytes that hold the null bits.
    pub(super) fn null_bytes(&self) -> usize {
        self.null_bytes
    }

    /// A row full of nulls: what a key that is not there reads.
    pub(super) fn null_row(&self) -> &[u8] {
        &self.null_row
    }

    /// Whether bytes are a row of this layout, so that `decode` stays within them.
    pub(super) fn holds(&self, row: &[u8]) -> bool {
        let Some(tail_bytes) = row.len().checked_sub(self.fixed_bytes) else { return false };
        let mut end = 0;
        for column in self.columns.iter().filter(|column| column.slot.in_tail()) {
            let next = read_end(row, column.at);
            if next < end {
                return false;
            }
            end = next;
        }
        end == tail_bytes
    }

    /// Whether a column of a row is null.
    #[inline]
    pub(super) fn is_null(&self, row: &[u8], column: usize) -> bool {
        row[column / 8] & (1 << (column % 8)) != 0
    }

    /// The bytes of a value in the tail.
    #[inline]
    pub(super) fn tail_value<'a>(&self, row: &'a [u8], column: &ColumnLayout) -> &'a [u8] {
        let start = column.begins_at.map_or(0, |at| read_end(row, at));
        &row[self.fixed_bytes + start..self.fixed_bytes + read_end(row, column.at)]
    }

    /// Prepares the columns of a batch to be written as rows.
    pub(super) fn encoder<'a>(&'a self, columns: &'a [ArrayRef]) -> Result<RowEncoder<'a>> {
        let mut sources = Vec::with_capacity(columns.len());
        for (layout, column) in self.columns.iter().zip(columns) {
            sources.push(ColumnSource::new(layout, column)?);
        }
        Ok(RowEncoder { layout: self, sources })
    }

    /// One column of many rows. The rows are of this layout (`holds`), or its `null_row`.
    pub(super) fn decode(&self, rows: &[&[u8]], column: usize) -> Result<ArrayRef> {
        let (byte, mask) = (column / 8, 1u8 << (column % 8));
        let valid = BooleanBuffer::collect_bool(rows.len(), |row| rows[row][byte] & mask == 0);
        let nulls = Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0);
        let layout = &self.columns[column];
        let at = layout.at;
        Ok(match &layout.slot {
            Slot::Bool => {
                Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(rows.len(), |row| rows[row][at] != 0), nulls))
            }
            Slot::Fixed { width } => {
                let data = ArrayData::builder(layout.arrow.clone()).len(rows.len()).nulls(nulls);
                make_array(data.add_buffer(gather(rows, at, *width)).build().map_err(damaged)?)
            }
            Slot::Code { width, values } => {
                let codes = match width {
                    1 => rows.iter().map(|row| i32::from(row[at])).collect::<Vec<_>>(),
                    2 => rows.iter().map(|row| i32::from(u16::from_le_bytes(fixed(row, at)))).collect(),
                    _ => rows.iter().map(|row| i32::from_le_bytes(fixed(row, at))).collect(),
                };
                let codes = arrow::array::Int32Array::new(codes.into(), nulls);
                Arc::new(DictionaryArray::<Int32Type>::try_new(codes, values.clone()).map_err(damaged)?)
            }
            Slot::Text => {
                let (offsets, bytes) = self.gather_tail(rows, layout)?;
                Arc::new(StringArray::try_new(offsets, bytes, nulls).map_err(damaged)?)
            }
            Slot::Binary => {
                let (offsets, bytes) = self.gather_tail(rows, layout)?;
                Arc::new(BinaryArray::try_new(offsets, bytes, nulls).map_err(damaged)?)
            }
            Slot::Nested { converter, null_item } => {
                let parser = converter.parser();
                let values = rows.iter().map(|row| match self.is_null(row, column) {
                    true => parser.parse(null_item),
                    false => parser.parse(self.tail_value(row, layout)),
                });
                let mut columns = converter.convert_rows(values).map_err(damaged)?;
                columns.swap_remove(0)
            }
        })
    }

    fn gather_tail(&self, rows: &[&[u8]], column: &ColumnLayout) -> Result<(OffsetBuffer<i32>, Buffer)> {
        let mut offsets = Vec::with_capacity(rows.len() + 1);
        offsets.push(0);
        let mut bytes = Vec::with_capacity(rows.len() * 16);
        for row in rows {
            bytes.extend_from_slice(self.tail_value(row, column));
            offsets.push(i32::try_from(bytes.len()).map_err(|_| too_large())?);
        }
        Ok((OffsetBuffer::new(offsets.into()), Buffer::from_vec(bytes)))
    }
}

fn too_large() -> Error {
    let message = "the values found for one batch take more than 2 GiB in one column";
    Error::new(ErrorKind::Unavailable, message).help("make batches smaller: [batch] rows")
}

/// The type of a text column that has a table-wide dictionary.
pub(super) fn dictionary_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

#[inline]
fn fixed<const N: usize>(row: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&row[at..at + N]);
    bytes
}

#[inline]
fn read_end(row: &[u8], at: usize) -> usize {
    u32::from_le_bytes(fixed(row, at)) as usize
}

/// The bytes of one slot of every row, back to back, as an aligned buffer of integers of its width.
fn gather(rows: &[&[u8]], at: usize, width: usize) -> Buffer {
    macro_rules! integers {
        ($native:ty) => {
            Buffer::from_vec(rows.iter().map(|row| <$native>::from_ne_bytes(fixed(row, at))).collect::<Vec<_>>())
        };
    }
    match width {
        1 => integers!(i8),
        2 => integers!(i16),
        4 => integers!(i32),
        8 => integers!(i64),
        _ => integers!(i128),
    }
}

/// The columns of a batch, ready to be written as rows.
#[derive(Debug)]
pub(super) struct RowEncoder<'a> {
    layout: &'a RowLayout,
    sources: Vec<ColumnSource<'a>>,
}

#[derive(Debug)]
struct ColumnSource<'a> {
    nulls: Option<NullBuffer>,
    values: Values<'a>,
}

#[derive(Debug)]
enum Values<'a> {
    Bool(&'a BooleanArray),
    /// Values of one width, back to back.
    Fixed(Buffer, usize),
    Varying(&'a [i32], &'a [u8]),
    Nested(arrow::row::Rows),
}

impl<'a> ColumnSource<'a> {
    fn new(layout: &ColumnLayout, column: &'a ArrayRef) -> Result<Self> {
        let values = match &layout.slot {
            Slot::Bool => column.as_boolean_opt().map(Values::Bool),
            Slot::Fixed { width } => {
                let data = column.to_data();
                let start = data.offset() * width;
                data.buffers().first().map(|bytes| Values::Fixed(bytes.slice(start), *width))
            }
            Slot::Text => {
                column.as_string_opt::<i32>().map(|text| Values::Varying(text.value_offsets(), text.value_data()))
            }
            Slot::Binary => {
                column.as_binary_opt::<i32>().map(|binary| Values::Varying(binary.value_offsets(), binary.value_data()))
            }
            Slot::Nested { converter, .. } => {
                Some(Values::Nested(converter.convert_columns(std::slice::from_ref(column)).map_err(internal)?))
            }
            Slot::Code { .. } => None,
        };
        let unexpected =
            || Error::new(ErrorKind::Internal, format!("a column of type {} was not expected", column.data_type()));
        Ok(Self { nulls: column.nulls().cloned(), values: values.ok_or_else(unexpected)? })
    }
}

impl RowEncoder<'_> {
    /// Appends a row to `out`.
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        out.resize(start + self.layout.fixed_bytes, 0);
        let tail = out.len();
        for (index, (source, layout)) in self.sources.iter().zip(&self.layout.columns).enumerate() {
            let null = source.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            if null {
                out[start + index / 8] |= 1 << (index % 8);
            }
            let at = start + layout.at;
            match &source.values {
                Values::Bool(values) if !null => out[at] = u8::from(values.value(row)),
                Values::Fixed(values, width) if !null => {
                    out[at..at + width].copy_from_slice(&values[row * width..(row + 1) * width]);
                }
                Values::Varying(offsets, bytes) if !null => {
                    out.extend_from_slice(&bytes[offsets[row] as usize..offsets[row + 1] as usize]);
                }
                Values::Nested(rows) if !null => out.extend_from_slice(rows.row(row).data()),
                _ => {}
            }
            if layout.slot.in_tail() {
                write_end(out, at, tail)?;
            }
        }
        Ok(())
    }
}

/// Writes into a slot where the tail, which starts at `tail`, ends by now.
pub(super) fn write_end(out: &mut [u8], at: usize, tail: usize) -> Result<()> {
    let end = u32::try_from(out.len() - tail)
        .map_err(|_| Error::new(ErrorKind::Input, "a row's text and binary values take more than 4 GiB"))?;
    out[at..at + 4].copy_from_slice(&end.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::Int32Array;
    use proptest::prelude::*;

    use super::*;

    fn columns(rows: &[(Option<i32>, Option<String>, Option<bool>)]) -> Vec<ArrayRef> {
        vec![
            Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1.as_ref()))),
            Arc::new(Int32Array::from_iter(rows.iter().map(|row| row.0))),
            Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.2))),
            Arc::new(BinaryArray::from_iter(rows.iter().map(|row| row.1.as_ref()))),
        ]
    }

    fn layout() -> RowLayout {
        RowLayout::new(&[DataType::Utf8, DataType::Int32, DataType::Boolean, DataType::Binary], &[]).unwrap()
    }

    fn encoded(layout: &RowLayout, columns: &[ArrayRef]) -> Vec<Vec<u8>> {
        let encoder = layout.encoder(columns).unwrap();
        let row = |row| {
            let mut bytes = Vec::new();
            encoder.write(row, &mut bytes).unwrap();
            bytes
        };
        (0..columns[0].len()).map(row).collect()
    }

    proptest! {
        #[test]
        fn rows_come_back_as_the_columns_that_they_were(
            rows in prop::collection::vec((any::<Option<i32>>(), any::<Option<String>>(), any::<Option<bool>>()), 1..50),
            start in 0usize..10,
        ) {
            let layout = layout();
            let start = start.min(rows.len() - 1);
            // A slice: its buffers do not begin where its values do.
            let columns: Vec<ArrayRef> = columns(&rows).iter().map(|column| column.slice(start, rows.len() - start)).collect();
            let encoded = encoded(&layout, &columns);
            let bytes: Vec<&[u8]> = encoded.iter().map(Vec::as_slice).collect();
            for (index, column) in columns.iter().enumerate() {
                prop_assert_eq!(&layout.decode(&bytes, index).unwrap(), column);
            }
        }

        #[test]
        fn bytes_that_are_no_row_are_known_as_such(bytes in prop::collection::vec(any::<u8>(), 0..40), cut in 0usize..40) {
            let layout = layout();
            let columns = columns(&[(Some(1), Some("text".to_owned()), None)]);
            let row = &encoded(&layout, &columns)[0];
            prop_assert!(layout.holds(row));
            prop_assert!(!layout.holds(&row[..cut.min(row.len() - 1)]));
            if layout.holds(&bytes) {
                // Values may be nonsense, but nothing is read outside of the row.
                for column in 0..4 {
                    let _ = layout.decode(&[&bytes], column);
                }
            }
        }
    }

    #[test]
    fn the_null_row_is_null_in_every_column() {
        let layout = layout();
        assert!(layout.holds(layout.null_row()));
        for column in 0..4 {
            assert_eq!(layout.decode(&[layout.null_row()], column).unwrap().null_count(), 1);
        }
    }
}
