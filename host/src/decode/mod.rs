//! Records to columns. Promises:
//!
//! - A bad record never stops the stream and never takes another one with it: it becomes a refusal with its reason.
//! - What becomes of a record depends on its bytes and the source's declaration alone, not on the records around it:
//!   what the JSON decoder remembers of them is only ever a prediction that the record's own bytes confirm (`json`).
//! - A refused record leaves nothing in any column (`column`).
//! - Values are exact: an integer or a decimal never passes through a float, and what a column cannot hold is refused,
//!   not bent (`number`).
//!
//! `docs/decoding.md` says what becomes of each kind of value; a test writes it (`table`).

mod column;
mod columnar;
mod csv;
mod flaw;
mod json;
mod metadata;
mod number;
mod rows;
mod text;

pub mod infer;

#[cfg(test)]
mod json_text;
#[cfg(test)]
mod property;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

pub use self::flaw::Reason;

use self::columnar::ColumnDecoder;
use self::metadata::Metadata;
use self::rows::{RowDecoder, Rows};
use crate::config::{Format, SourceColumn, Unknown};
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Payload, Records, Refusal};
use crate::schema::arrow_type;

/// Decodes the records of one source, for one worker. It learns how the source's records look, so it is kept.
#[derive(Debug)]
pub struct Decoder {
    schema: SchemaRef,
    /// For each column of the schema where it comes from.
    origins: Vec<Origin>,
    fields: FieldDecoder,
    metadata: Vec<Metadata>,
}

/// Where a decoded column comes from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// Index into the columns that the field decoder makes.
    Field(usize),
    /// Index into `Decoder::metadata`.
    Metadata(usize),
}

#[derive(Debug)]
enum FieldDecoder {
    Rows(Box<RowDecoder>),
    /// What of such a source is tried again comes as JSON, one row a record.
    /// Some shapes of columns have no JSON: then there is no second decoder.
    Columns(ColumnDecoder, Option<Box<RowDecoder>>),
}

/// What became of a block of records.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The rows, in the order of their records, in `Decoder::schema`.
    pub columns: RecordBatch,
    /// For each row the record it was made from; none when no record was refused.
    pub record_of_row: Option<Vec<u32>>,
    /// The refused records, ascending; `row` is the record's index in the block.
    pub rejects: Vec<Refusal>,
    /// How many fields of the accepted records no column names, whether they are left out or kept.
    pub unknown_fields: u64,
}

impl Decoder {
    /// A decoder of a source's records.
    ///
    /// `needed` says for each of `columns` whether anybody reads it. With `Unknown::Keep` it may have one entry more,
    /// for the column that unknown fields are kept in; without the entry it is needed. That column comes last in the
    /// schema, as `utf8?`; its value is one JSON object, or null for a record without unknown fields.
    ///
    /// Errors (`Config`): a metadata column of a type that its origin does not have, two columns of one name, columns
    /// that take an object both as a whole and in parts.
    pub fn new(columns: &[SourceColumn], format: Format, unknown: &Unknown, needed: &[bool]) -> Result<Self> {
        let is_needed = |index: usize| needed.get(index).copied().unwrap_or(true);
        let keep = matches!(unknown, Unknown::Keep(_)) && is_needed(columns.len());
        let (mut fields, mut origins, mut metadata, mut taken) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, column) in columns.iter().enumerate() {
            let from_metadata = Metadata::new(column)?;
            if !is_needed(index) {
                continue;
            }
            match from_metadata {
                Some(column) => {
                    origins.push(Origin::Metadata(metadata.len()));
                    metadata.push(column);
                }
                None => {
                    origins.push(Origin::Field(taken.len()));
                    taken.push((index, column));
                }
            }
            fields.push(Field::new(&column.name.value, arrow_type(&column.logical), column.nullable));
        }
        if let (Unknown::Keep(name), true) = (unknown, keep) {
            origins.push(Origin::Field(taken.len()));
            fields.push(Field::new(name, DataType::Utf8, true));
        }
        check_names(columns, unknown)?;
        let fields_of = match format {
            Format::Json => FieldDecoder::Rows(Box::new(RowDecoder::json(columns, &taken, unknown, keep)?)),
            Format::Csv => FieldDecoder::Rows(Box::new(RowDecoder::csv(columns, &taken, unknown, keep))),
            Format::Parquet => FieldDecoder::Columns(
                ColumnDecoder::new(columns, &taken, unknown, keep),
                RowDecoder::json(columns, &taken, unknown, keep).ok().map(Box::new),
            ),
        };
        Ok(Self { schema: Arc::new(Schema::new(fields)), origins, fields: fields_of, metadata })
    }

    /// The needed columns in the file's order, and behind them the column of kept unknown fields.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Decodes a block of records.
    ///
    /// Errors (the whole block, not a record): a CSV header that names a declared field twice, or a block of more than
    /// 2 GiB (`Input`); a payload of another format (`Internal`).
    pub fn decode(&mut self, records: &Records) -> Result<Decoded> {
        let mut rows = match (&mut self.fields, &records.payload) {
            (FieldDecoder::Rows(decoder), Payload::Bytes(values)) => decoder.decode(records, values)?,
            (FieldDecoder::Columns(decoder, _), Payload::Columns(columns)) => decoder.decode(columns)?,
            (FieldDecoder::Rows(decoder) | FieldDecoder::Columns(_, Some(decoder)), Payload::Replayed(replayed)) => {
                decoder.decode(records, &replayed.values)?
            }
            _ => {
                let message = format!("source \"{}\" gave records of another format", records.partition.source);
                return Err(Error::new(ErrorKind::Internal, message));
            }
        };
        let mut metadata = Vec::with_capacity(self.metadata.len());
        let mut flaws = BTreeMap::new();
        for column in &mut self.metadata {
            let (array, found) = column.take(records, &rows.records)?;
            metadata.push(array);
            for (row, flaw) in found {
                flaws.entry(row).or_insert(flaw);
            }
        }
        let mut arrays: Vec<ArrayRef> = self
            .origins
            .iter()
            .map(|origin| match origin {
                Origin::Field(index) => Arc::clone(&rows.columns[*index]),
                Origin::Metadata(index) => Arc::clone(&metadata[*index]),
            })
            .collect();
        if !flaws.is_empty() {
            rows.rejects.extend(flaws.iter().map(|(row, flaw)| flaw.refusal(rows.records[*row])));
            rows.rejects.sort_by_key(|refusal| refusal.row);
            leave_out(&mut rows, &mut arrays, |row| flaws.contains_key(&row))?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.records.len()));
        let columns = RecordBatch::try_new_with_options(self.schema(), arrays, &options).map_err(column::broken)?;
        let record_of_row = (!rows.rejects.is_empty()).then_some(rows.records);
        Ok(Decoded { columns, record_of_row, rejects: rows.rejects, unknown_fields: rows.unknown_fields })
    }
}

fn leave_out(rows: &mut Rows, arrays: &mut [ArrayRef], refused: impl Fn(usize) -> bool) -> Result<()> {
    let kept: Vec<u32> =
        (0_u32..).zip(&rows.records).map(|(row, _)| row).filter(|row| !refused(*row as usize)).collect();
    rows.records = kept.iter().map(|row| rows.records[*row as usize]).collect();
    let kept = UInt32Array::from(kept);
    for array in arrays {
        *array = take(array, &kept, None).map_err(column::broken)?;
    }
    Ok(())
}

fn check_names(columns: &[SourceColumn], unknown: &Unknown) -> Result<()> {
    let names = columns.iter().map(|column| column.name.value.as_str());
    let kept = if let Unknown::Keep(name) = unknown { Some(name.as_str()) } else { None };
    let mut seen = std::collections::HashSet::new();
    match names.chain(kept).find(|name| !seen.insert(*name)) {
        Some(name) => Err(Error::new(ErrorKind::Config, format!("two columns have the name \"{name}\""))
            .help("give one of them another name; `from` says which field it takes")),
        None => Ok(()),
    }
}
