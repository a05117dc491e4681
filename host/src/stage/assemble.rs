//! A patch and the batch that it is for become the batch that goes on: columns that pass through are taken with the
//! patch's rows (or, when every row was kept, not touched at all), the others come from the patch. Dictionaries stay
//! dictionaries.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_empty_array};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

use super::Applied;
use crate::contract::{Contract, Filtered, Patch};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Origin, PlannedStage};
use crate::record::{Batch, Refusal};
use crate::schema::{Column, arrow_type};

/// The batch that goes on, and what became of the other rows.
pub fn apply(planned: &PlannedStage, batch: &Batch, patch: Patch) -> Result<Applied> {
    let Patch { rows, columns: made, outputs, rejects, filtered } = patch;
    let kept_rows = rows.as_ref().map_or(batch.rows(), Vec::len);
    let multiplied = rows.as_deref().map_or(0, repeats);
    let record_of_row = match &rows {
        None => batch.record_of_row.clone(),
        Some(rows) => Some(rows.iter().map(|row| batch.record_of(*row as usize)).collect()),
    };
    let rows = rows.map(UInt32Array::from);
    let mut fields = Vec::with_capacity(planned.output.len());
    let mut columns = Vec::with_capacity(planned.output.len());
    for flow in &planned.output {
        let column = match (flow.origin, &rows) {
            (Origin::Input(index), None) => super::column(batch, index)?,
            (Origin::Input(index), Some(rows)) => {
                take(&super::column(batch, index)?, rows, None).map_err(|error| unfit(planned, error))?
            }
            (Origin::Made(index), _) => made.get(index).cloned().ok_or_else(|| {
                let message =
                    format!("stage \"{}\" made {} columns, column {index} is planned", planned.name, made.len());
                Error::new(ErrorKind::Internal, message)
            })?,
        };
        fields.push(Field::new(&flow.column.name, column.data_type().clone(), flow.column.nullable));
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(kept_rows));
    let columns = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|error| unfit(planned, error))?;
    let kept = Batch { columns, records: Arc::clone(&batch.records), record_of_row };
    Ok(Applied { kept, routes: outputs, rejects, filtered, multiplied })
}

fn unfit(planned: &PlannedStage, error: ArrowError) -> Error {
    let message = format!("the columns behind stage \"{}\" do not fit together", planned.name);
    Error::new(ErrorKind::Internal, message).caused_by(error)
}

fn repeats(rows: &[u32]) -> u64 {
    rows.windows(2).map(|pair| u64::from(pair[0] == pair[1])).sum()
}

/// The patch of no rows.
pub fn nothing(contract: &Contract) -> Patch {
    let columns = contract.writes.iter().map(|column| new_empty_array(&arrow_type(&column.logical))).collect();
    Patch { rows: None, columns, outputs: vec![], rejects: vec![], filtered: vec![] }
}

/// What became of a part of a batch.
pub enum Part {
    /// A call made a patch of the rows from `start` on.
    Patched { start: usize, rows: usize, patch: Patch },
    /// The row stands for itself: a plugin could not bear it.
    Refused(Refusal),
}

impl Part {
    /// Its first row.
    pub fn start(&self) -> usize {
        match self {
            Self::Patched { start, .. } => *start,
            Self::Refused(refusal) => refusal.row as usize,
        }
    }
}

/// Puts the parts of a batch together, which follow each other without a gap.
pub fn merge(parts: Vec<Part>, contract: &Contract) -> Result<Patch> {
    let parts = match <[Part; 1]>::try_from(parts) {
        Ok([Part::Patched { start: 0, patch, .. }]) => return Ok(patch),
        Ok(one) => Vec::from(one),
        Err(parts) => parts,
    };
    let mut all = Patch { rows: None, columns: vec![], outputs: vec![], rejects: vec![], filtered: vec![] };
    let (mut kept, mut made) = (Vec::new(), Vec::new());
    let mut every_row = true;
    for part in parts {
        match part {
            Part::Refused(refusal) => {
                every_row = false;
                all.rejects.push(refusal);
            }
            Part::Patched { start, rows, patch } => {
                let start =
                    u32::try_from(start).map_err(|_| Error::new(ErrorKind::Internal, "a batch is too large"))?;
                every_row &= patch.rows.is_none();
                match patch.rows {
                    None => kept.extend((start..).take(rows)),
                    Some(rows) => kept.extend(rows.iter().map(|row| start + row)),
                }
                all.outputs.extend(patch.outputs);
                all.rejects
                    .extend(patch.rejects.into_iter().map(|reject| Refusal { row: start + reject.row, ..reject }));
                for Filtered { reason, rows } in patch.filtered {
                    let rows = rows.iter().map(|row| start + row);
                    match all.filtered.iter_mut().find(|other| other.reason == reason) {
                        Some(other) => other.rows.extend(rows),
                        None => all.filtered.push(Filtered { reason, rows: rows.collect() }),
                    }
                }
                made.push(patch.columns);
            }
        }
    }
    all.rows = (!every_row).then_some(kept);
    let columns = contract.writes.iter().enumerate().map(|(index, column)| {
        let arrays: Vec<ArrayRef> = made.iter().filter_map(|columns| columns.get(index).cloned()).collect();
        joined(column, arrays).map_err(|error| {
            Error::new(ErrorKind::Internal, format!("cannot join column \"{}\"", column.name)).caused_by(error)
        })
    });
    all.columns = columns.collect::<Result<_>>()?;
    Ok(all)
}

/// The parts of one column as one array; text that came as a dictionary in one part and plain in another becomes plain.
fn joined(column: &Column, mut arrays: Vec<ArrayRef>) -> Result<ArrayRef, ArrowError> {
    let plain = arrow_type(&column.logical);
    arrays.retain(|array| !array.is_empty());
    let is_dictionary = |array: &ArrayRef| matches!(array.data_type(), DataType::Dictionary(..));
    if arrays.iter().any(is_dictionary) && !arrays.iter().all(is_dictionary) {
        for array in &mut arrays {
            *array = cast(array, &plain)?;
        }
    }
    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    if arrays.is_empty() { Ok(new_empty_array(&plain)) } else { concat(&arrays) }
}
