//! Which input rows a patch keeps, refuses and leaves out, gathered row by row.

use std::borrow::Cow;

use crate::columns::{Column, Filtered, Patch, Refusal};
use crate::outcome::{Failure, Refused, Reject};

/// What was gathered so far. Rows come in ascending order, and each is handed to exactly one method, so that each input
/// row ends in exactly one of kept, rejected, filtered.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// None as long as every row was kept once: most batches of most stages end so.
    rows: Option<Vec<u32>>,
    rejects: Vec<Refusal>,
    filtered: Vec<Filtered>,
}

impl Kept {
    /// The row was kept once.
    #[inline(always)]
    pub(crate) fn once(&mut self, row: u32) {
        if let Some(rows) = &mut self.rows {
            rows.push(row);
        }
    }

    /// The row was kept `times` times, at least once.
    pub(crate) fn times(&mut self, row: u32, times: usize) {
        self.rows_before(row).extend(std::iter::repeat_n(row, times));
    }

    /// The row was left out on purpose.
    pub(crate) fn filter(&mut self, row: u32, reason: Cow<'static, str>) {
        self.rows_before(row);
        match self.filtered.iter_mut().find(|filtered| filtered.reason == reason) {
            Some(filtered) => filtered.rows.push(row),
            None => self.filtered.push(Filtered { reason: reason.into_owned(), rows: vec![row] }),
        }
    }

    /// The row was refused; fails when the batch is to fail.
    pub(crate) fn reject(&mut self, row: u32, reject: Reject) -> Result<(), Failure> {
        self.rows_before(row);
        match reject.0 {
            Refused::Row { reason, detail } => {
                self.rejects.push(Refusal { row, reason: reason.into_owned(), detail });
                Ok(())
            }
            Refused::Batch(failure) => Err(failure),
        }
    }

    fn rows_before(&mut self, row: u32) -> &mut Vec<u32> {
        self.rows.get_or_insert_with(|| (0..row).collect())
    }

    /// The patch.
    pub(crate) fn finish(self, columns: Vec<Column>, outputs: Vec<u16>) -> Patch {
        Patch { rows: self.rows, columns, outputs, rejects: self.rejects, filtered: self.filtered }
    }
}
