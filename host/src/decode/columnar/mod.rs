//! Records that come as columns (Parquet): checked against the declared types by the rules of JSON, as far as these
//! apply. A value that does not fit makes a reject of its row, never of its block.

mod convert;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, new_null_array};
use arrow::compute::{is_null, nullif};
use arrow::datatypes::DataType;

use self::convert::{Converted, convert, keep_rows, strict, without_zones};
use super::flaw::{Flaw, Reason};
use super::json::Needed;
use super::rows::Rows;
use crate::config::{ColumnFrom, SourceColumn, Unknown};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Column;

/// Decodes blocks that are columns already.
#[derive(Debug)]
pub(super) struct ColumnDecoder {
    needed: Vec<(Column, Vec<String>)>,
    /// The first step of every declared path, needed or not.
    known: Vec<String>,
    unknown: Unknown,
    keep: bool,
}

impl ColumnDecoder {
    pub(super) fn new(columns: &[SourceColumn], needed: &[Needed<'_>], unknown: &Unknown, keep: bool) -> Self {
        let path = |column: &SourceColumn| match &column.from {
            ColumnFrom::Field(path) => path.clone(),
            _ => Vec::new(),
        };
        let declared = |column: &SourceColumn| Column {
            name: column.name.value.clone(),
            logical: column.logical.clone(),
            nullable: column.nullable,
        };
        Self {
            needed: needed.iter().map(|(_, column)| (declared(column), path(column))).collect(),
            known: columns.iter().filter_map(|column| path(column).into_iter().next()).collect(),
            unknown: unknown.clone(),
            keep,
        }
    }

    pub(super) fn decode(&self, batch: &RecordBatch) -> Result<Rows> {
        let mut flaws = BTreeMap::new();
        let mut columns = Vec::with_capacity(self.needed.len());
        for (column, path) in &self.needed {
            let Converted { array, flaws: found } = match at_path(batch, path)? {
                Some(array) => convert(&array, &column.logical, column.nullable)?,
                None => Converted::missing(batch.num_rows(), &column.logical, column.nullable),
            };
            for (row, flaw) in found {
                flaws.entry(row).or_insert_with(|| flaw.within(&column.name));
            }
            columns.push(array);
        }
        let unknown = self.unknown_columns(batch);
        if let (Unknown::Reject, Some(first)) = (&self.unknown, unknown.first()) {
            let what = format!("no column names the field \"{}\"", batch.schema_ref().field(*first).name());
            for row in 0..batch.num_rows() {
                flaws.entry(row).or_insert_with(|| Flaw::new(Reason::UnknownField, what.clone()));
            }
        }
        let rows: Vec<u32> = (0_u32..)
            .zip(0..batch.num_rows())
            .filter(|(_, row)| !flaws.contains_key(row))
            .map(|(index, _)| index)
            .collect();
        let mut finished = Vec::with_capacity(columns.len() + 1);
        for ((column, _), array) in self.needed.iter().zip(&columns) {
            finished.push(strict(&keep_rows(array, &rows)?, &column.logical)?);
        }
        if self.keep {
            finished.push(keep_rows(&kept(batch, &unknown)?, &rows)?);
        }
        Ok(Rows {
            columns: finished,
            unknown_fields: (unknown.len() * rows.len()) as u64,
            rejects: (0_u32..)
                .zip(0..batch.num_rows())
                .filter_map(|(index, row)| Some(flaws.get(&row)?.refusal(index)))
                .collect(),
            records: rows,
        })
    }

    fn unknown_columns(&self, batch: &RecordBatch) -> Vec<usize> {
        let fields = batch.schema_ref().fields().iter().enumerate();
        fields.filter(|(_, field)| !self.known.contains(field.name())).map(|(index, _)| index).collect()
    }
}

/// The column at the end of a path; null where a struct on the way is.
fn at_path(batch: &RecordBatch, path: &[String]) -> Result<Option<ArrayRef>> {
    let Some((first, rest)) = path.split_first() else { return Ok(None) };
    let Some(mut array) = batch.column_by_name(first).cloned() else { return Ok(None) };
    for name in rest {
        let Some(parent) = array.as_struct_opt() else { return Ok(None) };
        let Some(child) = parent.column_by_name(name) else { return Ok(None) };
        array = if parent.null_count() == 0 {
            Arc::clone(child)
        } else {
            is_null(parent).and_then(|absent| nullif(child, &absent)).map_err(unreadable)?
        };
    }
    Ok(Some(array))
}

/// The unknown columns' values that are not null, as one JSON object a row.
fn kept(batch: &RecordBatch, unknown: &[usize]) -> Result<ArrayRef> {
    if unknown.is_empty() {
        return Ok(new_null_array(&DataType::Utf8, batch.num_rows()));
    }
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    let schema = batch.schema_ref();
    let columns =
        unknown.iter().map(|index| Ok((schema.field(*index).name(), without_zones(batch.column(*index))?, true)));
    let unknown = RecordBatch::try_from_iter_with_nullable(columns.collect::<Result<Vec<_>>>()?).map_err(unreadable)?;
    writer.write(&unknown).and_then(|()| writer.finish()).map_err(unreadable)?;
    let lines = String::from_utf8(writer.into_inner()).map_err(unreadable)?;
    Ok(Arc::new(lines.lines().map(|line| (line != "{}").then_some(line)).collect::<StringArray>()))
}

/// Arrow could not convert what the file holds.
fn unreadable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Input, "the columns of a Parquet file cannot be converted").caused_by(cause)
}
