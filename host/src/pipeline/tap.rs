//! Taps: what a stage has just seen, kept for whoever wants to try something on it beside the stream, and rows that a
//! person asked for. A tap costs the stream one lock and some reference counts a batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use crate::record::Refusal;

/// How many batches a tap keeps.
const RECENT_BATCHES: usize = 8;

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
    captures: AtomicU64,
    capture: Mutex<Option<Capture>>,
}

/// A capture that goes on.
#[derive(Debug)]
pub struct Capturing {
    number: u64,
    rows: Receiver<Vec<Sample>>,
}

/// Rows that somebody asked for.
#[derive(Debug)]
struct Capture {
    /// Tells it from those before and behind it.
    number: u64,
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
        let mut recent = self.recent.lock();
        let oldest = if recent.len() == RECENT_BATCHES { recent.pop_front() } else { None };
        recent.push_back(sample);
        // A batch is large: it is freed without the lock.
        drop(recent);
        drop(oldest);
    }

    /// The batches that the stage has seen last.
    pub fn recent(&self) -> Vec<Sample> {
        self.recent.lock().iter().cloned().collect()
    }

    /// Asks for the next rows in front of the stage, or those of them that it rejects; `captured` waits for them. A capture
    /// that was going on ends with what it has.
    pub fn capture(&self, rows: usize, only_rejected: bool) -> Capturing {
        let (done, taken) = bounded(1);
        let number = self.captures.fetch_add(1, Ordering::Relaxed);
        let capture = Capture { number, rows_left: rows.max(1), only_rejected, taken: Vec::new(), done };
        if let Some(before) = self.capture.lock().replace(capture) {
            // Nobody waits any more: then the rows are not wanted.
            let _ = before.done.send(before.taken);
        }
        self.is_capturing.store(true, Ordering::Relaxed);
        Capturing { number, rows: taken }
    }

    /// The rows of a capture, when there are enough; those that came when the patience is over.
    pub fn captured(&self, capturing: &Capturing, patience: Duration) -> Vec<Sample> {
        if let Ok(taken) = capturing.rows.recv_timeout(patience) {
            return taken;
        }
        let mut going_on = self.capture.lock();
        match going_on.take_if(|capture| capture.number == capturing.number) {
            Some(capture) => {
                self.is_capturing.store(false, Ordering::Relaxed);
                capture.taken
            }
            // Another one took its place, or its rows came just now.
            None => capturing.rows.try_recv().unwrap_or_default(),
        }
    }

    fn take(&self, sample: &Sample, rejects: &[Refusal]) {
        let mut going_on = self.capture.lock();
        let Some(capture) = going_on.as_mut() else {
            self.is_capturing.store(false, Ordering::Relaxed);
            return;
        };
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
        Arc::clone(self.0.lock().entry(stage.to_owned()).or_default())
    }
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
        let capturing = tap.capture(5, false);
        tap.offer(sample(0..3), &[]);
        assert!(capturing.rows.try_recv().is_err());
        tap.offer(sample(3..9), &[]);
        tap.offer(sample(9..12), &[]);
        assert_eq!(ids(&tap.captured(&capturing, Duration::ZERO)), [0, 1, 2, 3, 4]);
        assert!(tap.captured(&capturing, Duration::ZERO).is_empty());
    }

    #[test]
    fn a_capture_of_rejected_rows_takes_those_only_and_ends_when_its_time_is_over() {
        let tap = Tap::default();
        let capturing = tap.capture(5, true);
        tap.offer(sample(0..3), &[refused(1)]);
        tap.offer(sample(3..6), &[]);
        tap.offer(sample(6..9), &[refused(2), refused(0)]);
        assert_eq!(ids(&tap.captured(&capturing, Duration::ZERO)), [1, 6, 8]);
    }

    #[test]
    fn a_second_capture_ends_the_first_which_keeps_what_it_has() {
        let tap = Tap::default();
        let first = tap.capture(5, false);
        tap.offer(sample(0..3), &[]);
        let second = tap.capture(2, false);
        assert_eq!(ids(&tap.captured(&first, Duration::from_secs(60))), [0, 1, 2]);
        assert!(tap.captured(&first, Duration::ZERO).is_empty());
        tap.offer(sample(3..6), &[]);
        assert_eq!(ids(&tap.captured(&second, Duration::ZERO)), [3, 4]);
    }
}
