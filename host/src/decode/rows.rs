//! Records that are bytes, one after the other, into rows.

use arrow::array::{Array, ArrayRef, BinaryArray};
use millstream_sdk::LogicalType;

use super::column::Column;
use super::csv::CsvFields;
use super::flaw::{Checked, Flaw, Reason, shortened};
use super::json::{Cursor, Needed, Scratch, Tree, UnknownFields};
use crate::config::{SourceColumn, Unknown};
use crate::error::Result;
use crate::record::{Records, Refusal};

/// The rows of a block, and the records that gave none.
#[derive(Debug)]
pub(super) struct Rows {
    /// The columns from fields, in the declared order; behind them the kept unknown fields when they are needed.
    pub(super) columns: Vec<ArrayRef>,
    /// The record of each row.
    pub(super) records: Vec<u32>,
    /// By record, ascending.
    pub(super) rejects: Vec<Refusal>,
    /// Fields that no column names, in accepted records.
    pub(super) unknown_fields: u64,
}

/// Decodes records one by one.
#[derive(Debug)]
pub(super) struct RowDecoder {
    format: RowFormat,
    columns: Vec<Column>,
    kept: Option<Column>,
    scratch: Scratch,
}

#[derive(Debug)]
enum RowFormat {
    Json(Tree),
    Csv(CsvFields),
}

impl RowDecoder {
    pub(super) fn json(columns: &[SourceColumn], needed: &[Needed<'_>], unknown: &Unknown, keep: bool) -> Result<Self> {
        Ok(Self::new(RowFormat::Json(Tree::new(columns, needed)?), needed, unknown, keep))
    }

    pub(super) fn csv(columns: &[SourceColumn], needed: &[Needed<'_>], unknown: &Unknown, keep: bool) -> Self {
        Self::new(RowFormat::Csv(CsvFields::new(columns, needed)), needed, unknown, keep)
    }

    fn new(format: RowFormat, needed: &[Needed<'_>], unknown: &Unknown, keep: bool) -> Self {
        let columns = needed.iter().map(|(_, column)| Column::new(&column.logical, column.nullable)).collect();
        let kept = keep.then(|| Column::new(&LogicalType::Utf8, true));
        Self { format, columns, kept, scratch: Scratch::new(UnknownFields::new(unknown, keep)) }
    }

    pub(super) fn decode(&mut self, records: &Records, values: &BinaryArray) -> Result<Rows> {
        if let RowFormat::Csv(fields) = &mut self.format {
            fields.bind(records.csv_header.as_ref())?;
        }
        let block = Block::new(values);
        let mut rows = Vec::with_capacity(values.len());
        let mut rejects = Vec::new();
        let unknown_before = self.scratch.unknown.count;
        for (index, record) in (0_u32..).zip(0..values.len()) {
            let unknown = self.scratch.unknown.count;
            match block.record(record).and_then(|(start, end)| self.record(block.data, start, end, rows.len())) {
                Ok(()) => rows.push(index),
                Err(flaw) => {
                    self.columns.iter_mut().chain(&mut self.kept).for_each(|column| column.truncate(rows.len()));
                    self.scratch.unknown.count = unknown;
                    rejects.push(flaw.refusal(index));
                }
            }
        }
        Ok(Rows {
            columns: self.columns.iter_mut().chain(&mut self.kept).map(Column::finish).collect::<Result<_>>()?,
            records: rows,
            rejects,
            unknown_fields: self.scratch.unknown.count - unknown_before,
        })
    }

    fn record(&mut self, data: &[u8], start: usize, end: usize, rows: usize) -> Checked<()> {
        self.scratch.unknown.begin();
        match &mut self.format {
            RowFormat::Json(tree) => {
                let mut cursor = Cursor::new(data, start, end);
                tree.record(&mut cursor, &mut self.columns, &mut self.scratch, rows)?;
            }
            RowFormat::Csv(fields) => fields.record(&data[start..end], &mut self.columns, &mut self.scratch)?,
        }
        if let Some(kept) = &mut self.kept {
            match self.scratch.unknown.kept() {
                Some(object) => kept.text(object),
                None => kept.placeholder(),
            }
        }
        Ok(())
    }
}

/// The bytes of a block of records, checked for UTF-8 in one go: that costs a fraction of checking each value.
struct Block<'a> {
    values: &'a BinaryArray,
    data: &'a [u8],
    /// The bytes from the first record to the last; none when some of them are not UTF-8.
    text: Option<&'a str>,
    start: usize,
}

impl<'a> Block<'a> {
    fn new(values: &'a BinaryArray) -> Self {
        let data = values.value_data();
        let offset = |at: usize| values.value_offsets()[at].cast_unsigned() as usize;
        let (start, end) = (offset(0), offset(values.len()));
        Self { values, data, text: simdutf8::basic::from_utf8(&data[start..end]).ok(), start }
    }

    /// Where the record lies in the block's bytes, if it is text.
    fn record(&self, record: usize) -> Checked<(usize, usize)> {
        let offset = |at: usize| self.values.value_offsets()[at].cast_unsigned() as usize;
        let (start, end) = (offset(record), offset(record + 1));
        if self.values.is_null(record) {
            return Err(Flaw::new(Reason::Tombstone, "the record has no value (a Kafka tombstone)"));
        }
        if start == end {
            return Err(Flaw::new(Reason::EmptyValue, "the value is empty"));
        }
        // A part of a text that begins and ends between two characters is a text.
        let is_text = match self.text {
            Some(text) => text.is_char_boundary(start - self.start) && text.is_char_boundary(end - self.start),
            None => simdutf8::basic::from_utf8(&self.data[start..end]).is_ok(),
        };
        if is_text { Ok((start, end)) } else { Err(not_utf8(&self.data[start..end])) }
    }
}

#[cold]
fn not_utf8(value: &[u8]) -> Box<Flaw> {
    let at = simdutf8::compat::from_utf8(value).err().map_or(0, |error| error.valid_up_to());
    Flaw::new(Reason::BadUtf8, format!("byte {at}: UTF-8 expected, found {}", shortened(&value[at..])))
}
