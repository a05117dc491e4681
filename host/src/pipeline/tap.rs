//! Taps: what a stage has just seen, kept for whoever wants to try something on it beside the stream, and rows that a
//! person asked for. A tap costs the stream one lock and some reference counts a batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::record::Refusal;

/// How many batches a tap keeps.
pub const RECENT_BATCHES: usize = 8;

/// A batch as it entered a stage.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its columns.
    pub columns: RecordBatch,
    /// What a plugin saw as now.
    pub now_ms: i64,
}

/// The tap in front of one stage, shared by all workers.
#[derive(Debug, Default)]
pub struct Tap {
    recent: Mutex<VecDeque<Sample>>,
    is_capturing: AtomicBool,
    capture: Mutex<Option<Capture>>,
}

/// Rows that somebody asked for.
#[derive(Debug)]
struct Capture {
    rows_left: usize,
    only_rejected: bool,
    taken: Vec<Sample>,
    done: Sender<Vec<Sample>>,
}

impl Tap {
    /// Called by a worker for each batch, when the stage is done with it.
    pub fn offer(&self, sample: Sample, rejects: &[Refusal]) {
        if self.is_capturing.load(Ordering::Relaxed) {
            self.take(&sample, rejects);
        }
        let mut recent = lock(&self.recent);
        if recent.len() == RECENT_BATCHES {
            recent.pop_front();
        }
        recent.push_back(sample);
    }

    /// The batches that the stage has seen last.
    pub fn recent(&self) -> Vec<Sample> {
        lock(&self.recent).iter().cloned().collect()
    }

    /// Asks for the next rows in front of the stage, or those of them that it rejects. They come at once when there are
    /// enough; see `end_capture`. A capture that was going on ends.
    pub fn capture(&self, rows: usize, only_rejected: bool) -> Receiver<Vec<Sample>> {
        let (done, taken) = bounded(1);
        *lock(&self.capture) = Some(Capture { rows_left: rows.max(1), only_rejected, taken: Vec::new(), done });
        self.is_capturing.store(true, Ordering::Relaxed);
        taken
    }

    /// Ends a capture; what it has taken so far.
    pub fn end_capture(&self) -> Vec<Sample> {
        self.is_capturing.store(false, Ordering::Relaxed);
        lock(&self.capture).take().map(|capture| capture.taken).unwrap_or_default()
    }

    fn take(&self, sample: &Sample, rejects: &[Refusal]) {
        let mut going_on = lock(&self.capture);
        let Some(capture) = going_on.as_mut() else { return };
        let columns = if capture.only_rejected {
            let mut rows: Vec<u32> = rejects.iter().map(|reject| reject.row).collect();
            rows.sort_unstable();
            rows.truncate(capture.rows_left);
            // Rows that were rejected are rows of the batch: taking them cannot fail.
            take_record_batch(&sample.columns, &UInt32Array::from(rows)).ok()
        } else {
            Some(sample.columns.slice(0, sample.columns.num_rows().min(capture.rows_left)))
        };
        let Some(columns) = columns.filter(|columns| columns.num_rows() > 0) else { return };
        capture.rows_left -= columns.num_rows();
        capture.taken.push(Sample { columns, now_ms: sample.now_ms });
        if capture.rows_left == 0
            && let Some(capture) = going_on.take()
        {
            self.is_capturing.store(false, Ordering::Relaxed);
            // Nobody waits any more: then the rows are not wanted.
            let _ = capture.done.send(capture.taken);
        }
    }
}

/// The taps of a pipeline, by stage; they outlive plans.
#[derive(Debug, Default)]
pub struct Taps(Mutex<BTreeMap<String, Arc<Tap>>>);

impl Taps {
    /// The tap in front of a stage.
    pub fn of(&self, stage: &str) -> Arc<Tap> {
        Arc::clone(lock(&self.0).entry(stage.to_owned()).or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn sample(values: std::ops::Range<i64>) -> Sample {
        let column = Arc::new(Int64Array::from_iter_values(values)) as _;
        Sample { columns: RecordBatch::try_from_iter([("id", column)]).unwrap(), now_ms: 0 }
    }

    fn ids(samples: &[Sample]) -> Vec<i64> {
        samples.iter().flat_map(|sample| sample.columns["id"].as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    fn refused(row: u32) -> Refusal {
        Refusal { row, reason: "r".to_owned(), detail: String::new() }
    }

    #[test]
    fn the_last_batches_are_kept() {
        let tap = Tap::default();
        (0..20).for_each(|number| tap.offer(sample(number..number + 1), &[]));
        assert_eq!(ids(&tap.recent()), (12..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_capture_takes_so_many_rows_and_no_more() {
        let tap = Tap::default();
        let taken = tap.capture(5, false);
        tap.offer(sample(0..3), &[]);
        assert!(taken.try_recv().is_err());
        tap.offer(sample(3..9), &[]);
        assert_eq!(ids(&taken.try_recv().unwrap()), [0, 1, 2, 3, 4]);
        tap.offer(sample(9..12), &[]);
        assert!(taken.try_recv().is_err() && tap.end_capture().is_empty());
    }

    #[test]
    fn a_capture_of_rejected_rows_takes_those_only_and_ends_when_asked() {
        let tap = Tap::default();
        let _taken = tap.capture(5, true);
        tap.offer(sample(0..3), &[refused(1)]);
        tap.offer(sample(3..6), &[]);
        tap.offer(sample(6..9), &[refused(2), refused(0)]);
        assert_eq!(ids(&tap.end_capture()), [1, 6, 8]);
    }
}
