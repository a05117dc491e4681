//! A native lookup: columns of a dimension beside the rows' own, without a plugin.

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::{filter, not};
use arrow::util::display::array_value_to_string;

use super::joined;
use crate::config::{LookupStage, Missing};
use crate::contract::{Filtered, Joined, Patch};
use crate::dimension::Snapshot;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{PlannedLookup, PlannedStage};
use crate::plugin::{DETAIL_MAX_BYTES, cut};
use crate::record::{Batch, Refusal};

/// Why a row without a row in the table is rejected or filtered.
pub const LOOKUP_MISSING: &str = "lookup_missing";

/// A native lookup at work.
#[derive(Debug)]
pub struct NativeLookup {
    planned: PlannedLookup,
    table: String,
    key: Vec<String>,
}

impl NativeLookup {
    pub fn new(stage: &PlannedStage, planned: &PlannedLookup, settings: &LookupStage) -> Self {
        let name = |index: &usize| stage.input.get(*index).map(|column| column.name.clone()).unwrap_or_default();
        let key = planned.key.iter().map(name).collect();
        Self { planned: planned.clone(), table: settings.table.value.clone(), key }
    }

    /// Looks a batch's keys up: the table's columns are what a plugin would have written.
    pub fn patch(&self, batch: &Batch, tables: &[Snapshot]) -> Result<Patch> {
        let Joined { found, columns } = joined(&self.planned, batch, tables)?;
        let everything = Patch { rows: None, columns, outputs: vec![], rejects: vec![], filtered: vec![] };
        if self.planned.missing == Missing::Null || found.count_set_bits() == found.len() {
            return Ok(everything);
        }
        let found = BooleanArray::new(found, None);
        let wrong = |error| Error::new(ErrorKind::Internal, "cannot pick the rows of a lookup").caused_by(error);
        let pick = |column: &ArrayRef| filter(column, &found).map_err(wrong);
        let columns = everything.columns.iter().map(pick).collect::<Result<_>>()?;
        let missing = not(&found).map_err(wrong)?;
        let missing: Vec<u32> = (0u32..).zip(missing.values()).filter_map(|(row, is)| is.then_some(row)).collect();
        let rows = (0u32..).zip(found.values()).filter_map(|(row, is)| is.then_some(row)).collect();
        let patch = Patch { rows: Some(rows), columns, ..everything };
        Ok(if self.planned.missing == Missing::Filter {
            Patch { filtered: vec![Filtered { reason: LOOKUP_MISSING.to_owned(), rows: missing }], ..patch }
        } else {
            let refuse = |row: u32| Refusal { row, reason: LOOKUP_MISSING.to_owned(), detail: self.detail(batch, row) };
            Patch { rejects: missing.into_iter().map(refuse).collect(), ..patch }
        })
    }

    /// `"users" has no row with user_id = 42`
    fn detail(&self, batch: &Batch, row: u32) -> String {
        let part = |(name, index): (&String, &usize)| {
            let column: &dyn Array = batch.columns.column(*index);
            if column.is_null(row as usize) {
                return format!("{name} = null");
            }
            let value = array_value_to_string(column, row as usize).unwrap_or_else(|_| "?".to_owned());
            format!("{name} = {value}")
        };
        let key: Vec<String> = self.key.iter().zip(&self.planned.key).map(part).collect();
        cut(format!("\"{}\" has no row with {}", self.table, key.join(", ")), DETAIL_MAX_BYTES)
    }
}
