//! Rows that a plugin makes of one row carry that row's other columns with them, which never were in the plugin's memory:
//! their bytes are counted before they are copied, so that no plugin makes the host's memory grow without a bound.

use arrow::array::RecordBatch;

use crate::contract::Patch;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::{Failure, row_bytes};

/// Most bytes of copies that may be made of a batch.
pub const COPIES_MAX_BYTES: usize = 256 * 1024 * 1024;
/// What a row takes beside its values: its place in the batch and in its record.
const ROW_BYTES: usize = 16;

/// The copies made of one batch.
pub struct Copies<'a> {
    columns: &'a RecordBatch,
    made_bytes: usize,
}

impl<'a> Copies<'a> {
    /// None yet, of a batch with these columns.
    pub fn new(columns: &'a RecordBatch) -> Self {
        Self { columns, made_bytes: 0 }
    }

    /// Counts the copies of a patch for the rows from `start` on.
    ///
    /// # Errors
    /// The outer error is the batch's: its parts make too many together. The inner one is the patch's own, which fewer
    /// rows may help.
    pub fn count(&mut self, stage: &str, start: usize, patch: Patch) -> Result<Result<Patch, Failure>> {
        let bytes = patch.rows.as_deref().map_or(0, |rows| self.bytes(start, rows));
        if bytes > COPIES_MAX_BYTES {
            let message = format!("its copies of rows take {bytes} bytes, more than {COPIES_MAX_BYTES}");
            return Ok(Err(Failure::Broken(message)));
        }
        self.made_bytes += bytes;
        if self.made_bytes > COPIES_MAX_BYTES {
            let rows = self.columns.num_rows();
            let message = format!(
                "stage \"{stage}\" makes copies of rows that take more than {COPIES_MAX_BYTES} bytes, of one batch of {rows} rows"
            );
            return Err(Error::new(ErrorKind::Plugin, message)
                .help("let fewer columns reach the stage, or make the batches smaller: `batch = { rows = .. }`"));
        }
        Ok(Ok(patch))
    }

    fn bytes(&self, start: usize, rows: &[u32]) -> usize {
        let repeated = rows.chunk_by(|one, next| one == next).filter(|same| same.len() > 1);
        let copied = repeated.map(|same| (same.len() - 1).saturating_mul(self.row_bytes(start + same[0] as usize)));
        copied.fold(0, usize::saturating_add)
    }

    fn row_bytes(&self, row: usize) -> usize {
        self.columns.columns().iter().map(|column| row_bytes(column, row)).fold(ROW_BYTES, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn patch(rows: Vec<u32>) -> Patch {
        Patch { rows: Some(rows), columns: vec![], outputs: vec![], rejects: vec![], filtered: vec![] }
    }

    #[test]
    fn only_copies_count_and_each_for_what_its_row_holds() {
        let wide = "x".repeat(1_000);
        let codes: DictionaryArray<Int32Type> = [wide.as_str(), "a", wide.as_str()].into_iter().collect();
        let columns: [(&str, ArrayRef); 3] = [
            ("n", Arc::new(Int64Array::from(vec![1, 2, 3]))),
            ("text", Arc::new(StringArray::from(vec!["", "", "ab"]))),
            ("code", Arc::new(codes)),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let copies = Copies::new(&batch);
        assert_eq!(copies.bytes(0, &[0, 1, 2]), 0);
        assert_eq!(copies.bytes(0, &[0, 1, 1, 1]), 2 * (16 + 8 + 1));
        assert_eq!(copies.bytes(1, &[1, 1]), 16 + 8 + 2 + 1_000);
    }

    #[test]
    fn too_many_at_once_are_the_patchs_fault_and_too_many_together_the_batchs() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20); 2]));
        let batch = RecordBatch::try_from_iter([("text", text)]).unwrap();
        let mut copies = Copies::new(&batch);
        let broken = copies.count("s", 0, patch(vec![0; 300])).unwrap().unwrap_err();
        assert!(matches!(broken, Failure::Broken(why) if why.contains("more than 268435456")));
        assert!(copies.count("s", 0, patch(vec![0; 200])).unwrap().is_ok());
        let error = copies.count("s", 1, patch(vec![0; 200])).unwrap_err();
        assert!(error.message().ends_with("of one batch of 2 rows"), "{error}");
    }
}
