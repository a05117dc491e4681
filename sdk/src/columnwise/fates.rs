//! What becomes of each row, when a stage finds it out column by column.

use crate::columns::{Column, Filtered, Patch, Refusal};
use crate::contract::Field;

/// Which rows are refused or left out so far. A row's first fate counts; what is said of it later is dropped, so that
/// each row ends in exactly one of kept, rejected, filtered.
#[derive(Debug)]
pub struct Fates {
    rows: u32,
    /// By row whether it left; empty as long as none did.
    left: Vec<bool>,
    rejects: Vec<Refusal>,
    filtered: Vec<Filtered>,
}

impl Fates {
    /// All of `rows` rows are kept.
    pub fn new(rows: u32) -> Self {
        Self { rows, left: Vec::new(), rejects: Vec::new(), filtered: Vec::new() }
    }

    /// How many rows the batch has.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Whether every row is kept.
    pub fn all_kept(&self) -> bool {
        self.left.is_empty()
    }

    /// Whether a row is kept.
    #[inline]
    pub fn is_kept(&self, row: u32) -> bool {
        !self.left.get(row as usize).copied().unwrap_or(false)
    }

    /// The row is wrong. `reason` is a short stable word; `detail` is about this row.
    pub fn reject(&mut self, row: u32, reason: &str, detail: impl Into<String>) {
        if self.leaves(row) {
            self.rejects.push(Refusal { row, reason: reason.to_owned(), detail: detail.into() });
        }
    }

    /// The row is left out on purpose.
    pub fn filter(&mut self, row: u32, reason: &str) {
        if self.leaves(row) {
            match self.filtered.iter_mut().find(|filtered| filtered.reason == reason) {
                Some(filtered) => filtered.rows.push(row),
                None => self.filtered.push(Filtered { reason: reason.to_owned(), rows: vec![row] }),
            }
        }
    }

    /// Notes that the row leaves; false when it already did.
    fn leaves(&mut self, row: u32) -> bool {
        if self.left.is_empty() {
            self.left = vec![false; self.rows as usize];
        }
        self.left.get_mut(row as usize).is_some_and(|left| !std::mem::replace(left, true))
    }

    /// The rows that are kept; none when all are.
    pub fn kept(&self) -> Option<Vec<u32>> {
        (!self.all_kept()).then(|| (0..self.rows).filter(|row| self.is_kept(*row)).collect())
    }

    /// The patch of a stage that keeps each row at most once. `columns` have all rows of the batch; those of rows that left
    /// are taken out.
    pub fn finish(self, fields: &[Field], columns: Vec<Column>) -> Patch {
        let Some(kept) = self.kept() else { return Patch::all(columns) };
        let taken = fields.iter().zip(&columns).map(|(field, column)| column.take(&field.logical, &kept)).collect();
        self.finish_rows(Some(kept), taken, Vec::new())
    }

    /// The patch, with the input row of each output row and columns and outputs of output rows: what
    /// [`Patch::rows`](crate::Patch), `columns` and `outputs` say.
    pub fn finish_rows(self, rows: Option<Vec<u32>>, columns: Vec<Column>, outputs: Vec<u16>) -> Patch {
        let Self { rejects, mut filtered, .. } = self;
        filtered.iter_mut().for_each(|filtered| filtered.rows.sort_unstable());
        Patch { rows, columns, outputs, rejects, filtered }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogicalType;

    #[test]
    fn the_first_fate_of_a_row_counts() {
        let mut fates = Fates::new(4);
        assert!(fates.all_kept() && fates.kept().is_none());
        fates.reject(2, "bad", "two");
        fates.filter(2, "bot");
        fates.filter(0, "bot");
        fates.reject(0, "bad", "zero");
        fates.reject(9, "bad", "there is no such row");
        assert_eq!(fates.kept(), Some(vec![1, 3]));
        let column = Column::of([10_i64, 11, 12, 13]).unwrap();
        let patch = fates.finish(&[Field::new("n", LogicalType::Int64)], vec![column]);
        assert_eq!(patch.columns, [Column::of([11_i64, 13]).unwrap()]);
        assert_eq!(patch.rejects, [Refusal { row: 2, reason: "bad".to_owned(), detail: "two".to_owned() }]);
        assert_eq!(patch.filtered, [Filtered { reason: "bot".to_owned(), rows: vec![0] }]);
    }
}
