//! Rejects on their way in again: a record at the decoder of its source, a row at the stage that refused it, and nowhere
//! else: what became of its siblings stands.
//!
//! Promise: a reject that is tried again is lost in no case. It counts as read, and comes out as any row does; what cannot
//! go in, because the plan has changed, is refused again with the reason, as it was, so that it can be tried another time.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, RecordBatch, StringArray};
use serde_json::{Map, Value};

use super::walk::{Destination, Walk, latest_ms};
use crate::error::Result;
use crate::plugin::typed;
use crate::record::{Batch, Entry, REJECTS_SOURCE, Records, Refusal};
use crate::schema::Column;

/// The reason of a reject whose source or stage is not there any more.
const GONE: &str = "replay_gone";
/// The reason of a reject that does not have the columns that its stage reads now.
const MISFIT: &str = "replay_misfit";

impl Walk {
    /// Takes rejects that are tried again through what is left of the tree.
    pub(super) fn try_again(
        &mut self,
        records: &Arc<Records>,
        elapsed: Duration,
        to: &mut dyn Destination,
    ) -> Result<()> {
        let Some(replayed) = records.replayed() else { return Ok(()) };
        self.counts.add_read(REJECTS_SOURCE, records.len() as u64);
        let source = self.plan.sources.iter().position(|source| source.name == records.partition.source);
        match &replayed.entry {
            Entry::Decoder => {
                let name = &records.partition.source;
                match source {
                    Some(source) => self.enter_source(source, records, elapsed, to),
                    None => self.refuse_all(records, &format!("source.{name}"), &format!("no source \"{name}\""), to),
                }
            }
            Entry::Stage { name, rows, .. } => match self.plan.stages.iter().position(|stage| stage.name == *name) {
                Some(stage) => self.rows_again(stage, source, records, rows, elapsed, to),
                None => self.refuse_all(records, name, &format!("no stage \"{name}\""), to),
            },
        }
    }

    fn rows_again(
        &mut self,
        stage: usize,
        source: Option<usize>,
        records: &Arc<Records>,
        rows: &StringArray,
        elapsed: Duration,
        to: &mut dyn Destination,
    ) -> Result<()> {
        let name = Arc::clone(&self.plan.stages[stage].name);
        let (columns, kept, misfits) = fit(&self.plan.stages[stage].input, rows)?;
        self.refuse_again(records, &name, &misfits, to)?;
        if kept.is_empty() {
            return Ok(());
        }
        let now_ms = self.now_again(source, records, &columns);
        let record_of_row = (!misfits.is_empty()).then_some(kept);
        let batch = Batch { columns, records: Arc::clone(records), record_of_row };
        self.enter_stage(stage, &batch, now_ms, elapsed, to)
    }

    /// As for rows of the stream: the largest timestamp of the records, else of the event time if the stage has it.
    fn now_again(&self, source: Option<usize>, records: &Records, columns: &RecordBatch) -> i64 {
        let of_event_time = || {
            let source = source?;
            let column = &self.plan.sources[source].columns[self.event_time[source]?];
            latest_ms(columns.column_by_name(&column.name)?)
        };
        records.timestamps_ms.iter().copied().max().or_else(of_event_time).unwrap_or(0)
    }

    fn refuse_all(&mut self, records: &Arc<Records>, place: &str, what: &str, to: &mut dyn Destination) -> Result<()> {
        let detail = format!("the pipeline has {what} any more, where this was refused: bring it back to replay it");
        let refusal = |row| Refusal { row, reason: GONE.to_owned(), detail: detail.clone() };
        let refused: Vec<Refusal> = (0u32..).take(records.len()).map(refusal).collect();
        self.refuse_again(records, place, &refused, to)
    }

    fn refuse_again(
        &mut self,
        records: &Arc<Records>,
        place: &str,
        refused: &[Refusal],
        to: &mut dyn Destination,
    ) -> Result<()> {
        if refused.is_empty() {
            return Ok(());
        }
        refused.iter().for_each(|refusal| self.counts.add_rejected(place, &refusal.reason, 1));
        to.refuse_again(records, refused)
    }
}

/// Rows as JSON in the columns of a stage: those that fit, their indexes, and what is wrong with the others.
fn fit(columns: &[Column], rows: &StringArray) -> Result<(RecordBatch, Vec<u32>, Vec<Refusal>)> {
    let (mut objects, mut kept, mut misfits) = (Vec::with_capacity(rows.len()), Vec::new(), Vec::new());
    for (index, row) in (0u32..).zip(rows) {
        match row.ok_or_else(|| "the row is not in the reject".to_owned()).and_then(|row| object(columns, row)) {
            Ok(object) => {
                objects.push(object);
                kept.push(index);
            }
            Err(wrong) => misfits.push(misfit(index, &wrong)),
        }
    }
    match typed(columns, &objects) {
        Ok(batch) => Ok((batch, kept, misfits)),
        // One by one: each has its own detail.
        Err(_) => {
            let (mut fitting, mut of_fitting) = (Vec::with_capacity(objects.len()), Vec::new());
            for (index, object) in kept.into_iter().zip(objects) {
                match typed(columns, std::slice::from_ref(&object)) {
                    Ok(_) => {
                        fitting.push(object);
                        of_fitting.push(index);
                    }
                    Err((_, wrong)) => misfits.push(misfit(index, &wrong)),
                }
            }
            misfits.sort_by_key(|refusal| refusal.row);
            let batch = typed(columns, &fitting).map_err(|(_, wrong)| {
                crate::error::Error::new(crate::error::ErrorKind::Internal, format!("rows that fit do not: {wrong}"))
            })?;
            Ok((batch, of_fitting, misfits))
        }
    }
}

fn misfit(row: u32, wrong: &str) -> Refusal {
    let detail = format!("the row does not fit what the stage reads now: {wrong}");
    Refusal { row, reason: MISFIT.to_owned(), detail }
}

/// The row, which has to name every column: one that was not there is not the same as null.
fn object(columns: &[Column], row: &str) -> Result<Map<String, Value>, String> {
    let object: Map<String, Value> = serde_json::from_str(row).map_err(|error| format!("it is no JSON: {error}"))?;
    match columns.iter().find(|column| !object.contains_key(&column.name)) {
        Some(column) => Err(format!("it has no column \"{}\"", column.name)),
        None => Ok(object),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::plugin::testing::column;

    #[test]
    fn rows_that_fit_go_in_and_each_other_one_says_why_not() {
        let columns = [column("id", "int64"), column("price", "decimal(20,2)?")];
        let rows = StringArray::from(vec![
            Some(r#"{"id":1,"price":"123456789012345678.90","more":true}"#),
            Some(r#"{"id":"two","price":null}"#),
            Some(r#"{"id":3}"#),
            None,
            Some(r#"{"id":5,"price":null}"#),
        ]);
        let (batch, kept, misfits) = fit(&columns, &rows).unwrap();
        assert_eq!(kept, [0, 4]);
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[1, 5]);
        let said: Vec<_> = misfits.iter().map(|misfit| (misfit.row, misfit.detail.as_str())).collect();
        assert_eq!(said.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(said[0].1.contains("column \"id\"") && said[1].1.contains("it has no column \"price\""), "{said:?}");
    }
}
