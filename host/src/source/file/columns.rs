//! Blocks of rows from a Parquet file. A record's offset is its row number in the file.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};

use crate::config::BatchSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Partition, Payload, Records};
use crate::source::Ranges;

use super::work::{Job, Step};

/// A Parquet file that is being read.
pub(super) struct Columns {
    partition: Partition,
    reader: Option<ParquetRecordBatchReader>,
    /// The row numbers still to come, as ranges.
    rows: VecDeque<(i64, i64)>,
    /// Rows that were read and not handed out.
    rest: Option<RecordBatch>,
    total_rows: i64,
    read_bytes: Arc<AtomicU64>,
    bytes_per_row: f64,
}

impl Columns {
    /// Opens the rows that no earlier run read. `names`: the top-level columns wanted, all when none are given.
    pub fn open(
        file: File,
        job: &Job,
        names: Option<&[String]>,
        batch_rows: usize,
        read_bytes: Arc<AtomicU64>,
    ) -> Result<Self> {
        let length_bytes = job.identity.length_bytes;
        let mut columns = Self {
            partition: job.partition.clone(),
            reader: None,
            rows: VecDeque::new(),
            rest: None,
            total_rows: 0,
            read_bytes,
            bytes_per_row: 0.0,
        };
        if length_bytes == 0 {
            return Ok(columns);
        }
        let failed = |error| not_parquet(&job.partition, error);
        let mut builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
        columns.total_rows = builder.metadata().file_metadata().num_rows();
        columns.bytes_per_row = length_bytes as f64 / columns.total_rows.max(1) as f64;
        columns.rows = uncovered(&job.covered, columns.total_rows);
        if columns.rows.is_empty() {
            return Ok(columns);
        }
        if let Some(names) = names {
            let schema = builder.parquet_schema();
            let roots = (0..schema.root_schema().get_fields().len())
                .filter(|root| names.iter().any(|name| name == schema.root_schema().get_fields()[*root].name()));
            let mask = ProjectionMask::roots(schema, roots);
            builder = builder.with_projection(mask);
        }
        let selection = selection(&columns.rows, columns.total_rows);
        let builder = builder.with_batch_size(batch_rows.max(1)).with_row_selection(selection);
        columns.reader = Some(builder.build().map_err(failed)?);
        Ok(columns)
    }

    /// The next block, or the end.
    pub fn next(&mut self, bounds: &BatchSettings) -> Result<Step> {
        let batch = match self.rest.take() {
            Some(batch) => batch,
            None => match self.read_batch()? {
                Some(batch) => batch,
                None => return Ok(Step::Ended { offset: self.total_rows, read_to: self.total_rows, whole: true }),
            },
        };
        let (start, end) = self.rows.front().copied().unwrap_or((0, 0));
        let in_range = usize::try_from(end - start).unwrap_or(usize::MAX);
        let rows = rows_within(&batch, bounds).min(in_range).min(batch.num_rows());
        if rows < batch.num_rows() {
            self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        self.advance(rows as i64);
        self.read_bytes.fetch_add((rows as f64 * self.bytes_per_row) as u64, Ordering::Relaxed);
        let next_offset = start + rows as i64;
        Ok(Step::Block(Records {
            partition: self.partition.clone(),
            partition_number: 0,
            payload: Payload::Columns(batch.slice(0, rows)),
            csv_header: None,
            offsets: (start..next_offset).collect(),
            next_offset,
            timestamps_ms: Vec::new(),
            keys: None,
            headers: Vec::new(),
        }))
    }

    fn read_batch(&mut self) -> Result<Option<RecordBatch>> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        loop {
            match reader.next() {
                None => return Ok(None),
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                Some(Ok(batch)) => return Ok(Some(batch)),
                Some(Err(error)) => {
                    let row = self.rows.front().map_or(self.total_rows, |range| range.0);
                    return Err(Error::new(
                        ErrorKind::Input,
                        format!("file {} cannot be read from row {row} on", self.partition.key),
                    )
                    .help("put an undamaged file in its place: what was read stays read")
                    .caused_by(error));
                }
            }
        }
    }

    fn advance(&mut self, rows: i64) {
        if let Some(front) = self.rows.front_mut() {
            front.0 += rows;
            if front.0 >= front.1 {
                self.rows.pop_front();
            }
        }
    }
}

/// How many rows of a batch make a block.
fn rows_within(batch: &RecordBatch, bounds: &BatchSettings) -> usize {
    let bytes_per_row = batch.get_array_memory_size() / batch.num_rows().max(1);
    (bounds.bytes / bytes_per_row.max(1)).clamp(1, bounds.rows.max(1))
}

/// The row numbers below `total` that `covered` does not hold.
fn uncovered(covered: &Ranges, total: i64) -> VecDeque<(i64, i64)> {
    let mut gaps = VecDeque::new();
    let mut start = 0;
    for (from, to) in covered.as_slice() {
        if *from > start {
            gaps.push_back((start, (*from).min(total)));
        }
        start = start.max(*to);
    }
    if start < total {
        gaps.push_back((start, total));
    }
    gaps.retain(|gap| gap.0 < gap.1);
    gaps
}

fn selection(rows: &VecDeque<(i64, i64)>, total: i64) -> RowSelection {
    let mut selectors = Vec::with_capacity(2 * rows.len() + 1);
    let mut at = 0;
    for (start, end) in rows {
        selectors.push(RowSelector::skip((start - at) as usize));
        selectors.push(RowSelector::select((end - start) as usize));
        at = *end;
    }
    selectors.push(RowSelector::skip((total - at) as usize));
    selectors.retain(|selector| selector.row_count > 0);
    RowSelection::from(selectors)
}

fn not_parquet(partition: &Partition, error: parquet::errors::ParquetError) -> Error {
    Error::new(ErrorKind::Input, format!("file {} is not a whole Parquet file", partition.key))
        .help("write Parquet files elsewhere and move them into place when they are whole")
        .caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uncovered_rows_are_the_gaps() {
        let mut covered = Ranges::default();
        covered.add(2, 4);
        covered.add(8, 10);
        assert_eq!(uncovered(&covered, 12), [(0, 2), (4, 8), (10, 12)]);
        assert_eq!(uncovered(&covered, 10), [(0, 2), (4, 8)]);
        assert_eq!(uncovered(&covered, 3), [(0, 2)]);
        assert_eq!(uncovered(&Ranges::default(), 0), []);
    }
}
