//! A destination that keeps what becomes of each row of a case.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use serde_json::{Map, Value};

use super::{Fate, Kind, LeftOut, Made, Refused};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::Destination;
use crate::plan::{Plan, PlannedStage, Work};
use crate::plugin::to_json;
use crate::record::{Batch, Records, Refusal};
use crate::schema::Column;
use crate::stage::Applied;

/// What becomes of each row; the offset of its record is its index.
pub struct Memory {
    plan: Arc<Plan>,
    kind: Kind,
    fates: Vec<Fate>,
}

impl Memory {
    /// For a case of so many rows.
    pub fn new(plan: Arc<Plan>, kind: Kind, rows: usize) -> Self {
        Self { plan, kind, fates: vec![Fate::default(); rows] }
    }

    /// What became of the rows.
    pub fn into_fates(self) -> Vec<Fate> {
        self.fates
    }

    fn fate(&mut self, records: &Records, record: u32) -> Result<&mut Fate> {
        let offset = records.offsets.get(record as usize).and_then(|offset| usize::try_from(*offset).ok());
        offset
            .and_then(|offset| self.fates.get_mut(offset))
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a row comes from no row of the case"))
    }

    fn keep(&mut self, batch: &Batch, to: &[Option<String>], rows: Vec<Map<String, Value>>) -> Result<()> {
        for (row, (to, made)) in to.iter().zip(rows).enumerate() {
            let fate = self.fate(&batch.records, batch.record_of(row))?;
            fate.made.push(Made { to: to.clone(), row: Some(made) });
        }
        Ok(())
    }
}

impl Destination for Memory {
    fn applied(&mut self, stage: usize, batch: &Batch, applied: &Applied, _now_ms: i64) -> Result<()> {
        let planned = Arc::clone(&self.plan);
        let planned = &planned.stages[stage];
        let by = (self.kind == Kind::Pipeline).then(|| planned.name.to_string());
        for left_out in &applied.filtered {
            for row in &left_out.rows {
                let fate = self.fate(&batch.records, batch.record_of(*row as usize))?;
                fate.filtered.push(LeftOut { by: by.clone(), reason: left_out.reason.clone() });
            }
        }
        let Work::Plugin(plugin) = &planned.work else { return Ok(()) };
        if self.kind == Kind::Plugin {
            let kept = &applied.kept;
            let columns = plugin.contract.writes.iter();
            let columns: Vec<(&Column, &ArrayRef)> =
                columns.filter_map(|column| Some((column, kept.columns.column_by_name(&column.name)?))).collect();
            let name = |row: usize| {
                let route = usize::from(*applied.routes.get(row)?);
                plugin.contract.outputs.get(route).cloned()
            };
            let to: Vec<Option<String>> = (0..kept.rows()).map(name).collect();
            self.keep(kept, &to, objects(&columns, kept.rows())?)?;
        }
        Ok(())
    }

    fn refuse_records(&mut self, source: usize, records: &Arc<Records>, refused: &[Refusal]) -> Result<()> {
        let by = format!("source.{}", self.plan.sources[source].name);
        for Refusal { row, reason, detail } in refused {
            let (reason, detail) = (reason.clone(), Some(detail.clone()));
            self.fate(records, *row)?.rejected.push(Refused { by: Some(by.clone()), reason, detail });
        }
        Ok(())
    }

    fn refuse_rows(&mut self, stage: &PlannedStage, batch: &Batch, refused: &[Refusal]) -> Result<()> {
        let by = (self.kind == Kind::Pipeline).then(|| stage.name.to_string());
        for Refusal { row, reason, detail } in refused {
            let (reason, detail) = (reason.clone(), Some(detail.clone()));
            let fate = self.fate(&batch.records, batch.record_of(*row as usize))?;
            fate.rejected.push(Refused { by: by.clone(), reason, detail });
        }
        Ok(())
    }

    fn write(&mut self, output: usize, columns: &RecordBatch, batch: &Batch) -> Result<()> {
        if self.kind == Kind::Pipeline {
            let plan = Arc::clone(&self.plan);
            let planned = &plan.outputs[output];
            let named: Vec<(&Column, &ArrayRef)> = planned.columns.iter().zip(columns.columns()).collect();
            let to = vec![Some(planned.name.to_string()); columns.num_rows()];
            self.keep(batch, &to, objects(&named, columns.num_rows())?)?;
        }
        Ok(())
    }
}

/// Rows as objects, every column in each, nulls too.
fn objects(columns: &[(&Column, &ArrayRef)], rows: usize) -> Result<Vec<Map<String, Value>>> {
    let mut objects = vec![Map::new(); rows];
    for (column, array) in columns {
        for (object, value) in objects.iter_mut().zip(to_json(array, column)?) {
            object.insert(column.name.clone(), value);
        }
    }
    Ok(objects)
}
