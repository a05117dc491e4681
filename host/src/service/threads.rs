//! A worker on its thread: it reads and processes until it is told to end the epoch, then stands still until the commit is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use crate::config::BatchSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::{Ending, Parts, Share, Stopwatch, Worker};
use crate::plan::Plan;
use crate::source::{Read, Reader};

/// The longest that a worker waits for records before it looks for orders.
const READ_WAIT: Duration = Duration::from_millis(20);

/// What a worker is told.
pub enum Order {
    /// Stop between two batches and prepare.
    Prepare(Ending),
    /// The commit is made: go on.
    Go {
        /// The epoch that begins now.
        epoch: u64,
    },
    /// The commit is made: go on with another plan.
    Replace {
        /// The epoch that begins now.
        epoch: u64,
        /// The plan.
        next: Box<Replacement>,
    },
}

/// Another plan and the worker's parts of it.
pub struct Replacement {
    /// The plan.
    pub plan: Arc<Plan>,
    /// By source the decoded column that holds the event time.
    pub event_time: Vec<Option<usize>>,
    /// This worker's parts.
    pub parts: Parts,
}

/// What a worker tells.
pub enum Event {
    /// It stands still and has prepared.
    Prepared(Box<Share>),
    /// All its readers are at their end.
    AtEnd,
    /// Its outputs hold more memory than its share: the epoch should end.
    Pressure,
    /// It failed and is gone. The epoch cannot be committed.
    Failed(Error),
}

/// A worker's thread, seen from the coordinator. Dropping it lets the thread end at its next look for orders.
pub struct WorkerThread {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl WorkerThread {
    /// Tells the worker something; an error when its thread is gone.
    pub fn tell(&self, order: Order) -> Result<()> {
        self.orders.send(order).map_err(|_| Error::new(ErrorKind::Internal, "a worker's thread is gone"))
    }
}

impl Drop for WorkerThread {
    fn drop(&mut self) {
        let (nobody, _) = bounded(0);
        drop(std::mem::replace(&mut self.orders, nobody));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a worker's thread ended by a panic");
        }
    }
}

/// What a worker's thread starts with.
pub struct Start {
    /// Its number, from 0.
    pub index: usize,
    /// The worker.
    pub worker: Worker,
    /// Its share of each source: index of the source, reader.
    pub readers: Vec<(usize, Box<dyn Reader>)>,
    /// The bounds of a batch.
    pub bounds: BatchSettings,
    /// Its outputs may hold this much.
    pub memory_bytes: u64,
    /// Records that were read, for whoever shows progress.
    pub progress: Arc<AtomicU64>,
    /// Where it tells.
    pub events: Sender<(usize, Event)>,
}

/// Starts a worker's thread.
pub fn start(start: Start) -> Result<WorkerThread> {
    let (orders, inbox) = bounded(2);
    let thread = std::thread::Builder::new()
        .name(format!("worker-{}", start.index))
        .spawn(move || {
            let (index, events) = (start.index, start.events.clone());
            // A worker that is gone without a word would be waited for without an end.
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(start, &inbox)));
            if let Err(error) = ended.unwrap_or_else(|_| Err(panicked(index))) {
                // Nobody listens any more when the coordinator is gone: then the error is its own.
                let _ = events.send((index, Event::Failed(error)));
            }
        })
        .map_err(|error| Error::new(ErrorKind::Unavailable, "a worker's thread cannot be started").caused_by(error))?;
    Ok(WorkerThread { orders, thread: Some(thread) })
}

fn panicked(index: usize) -> Error {
    Error::new(ErrorKind::Internal, format!("worker {index} panicked: this is a fault of Millstream"))
        .help("nothing of the epoch was committed; please report what it said above, with the pipeline file")
}

fn work(mut start: Start, orders: &Receiver<Order>) -> Result<()> {
    let mut at_end = vec![false; start.readers.len()];
    let mut told_end = false;
    let mut told_pressure = false;
    loop {
        let order = if at_end.iter().all(|end| *end) {
            if !std::mem::replace(&mut told_end, true) {
                tell(&start, Event::AtEnd)?;
            }
            orders.recv().map_err(|_| TryRecvError::Disconnected)
        } else {
            orders.try_recv()
        };
        match order {
            Ok(Order::Prepare(ending)) => {
                let share = start.worker.prepare(&ending)?;
                tell(&start, Event::Prepared(Box::new(share)))?;
                told_pressure = false;
                match orders.recv() {
                    Ok(Order::Replace { epoch, next }) => {
                        start.worker.replace(epoch, next.plan, next.event_time, next.parts);
                    }
                    Ok(Order::Go { epoch }) => start.worker.begin(epoch),
                    Ok(Order::Prepare(_)) => {
                        return Err(Error::new(ErrorKind::Internal, "a worker was told to prepare twice"));
                    }
                    Err(_) => return Ok(()),
                }
            }
            Ok(Order::Go { .. } | Order::Replace { .. }) => {
                return Err(Error::new(ErrorKind::Internal, "a worker was told to go on while it ran"));
            }
            Err(TryRecvError::Disconnected) => return Ok(()),
            Err(TryRecvError::Empty) => {}
        }
        read_once(&mut start, &mut at_end)?;
        if !told_pressure && start.worker.memory_bytes() > start.memory_bytes {
            told_pressure = true;
            tell(&start, Event::Pressure)?;
        }
    }
}

/// One block from each reader that is not at its end; only a single one may wait for records.
fn read_once(start: &mut Start, at_end: &mut [bool]) -> Result<()> {
    let open = at_end.iter().filter(|end| !**end).count();
    let wait = READ_WAIT / u32::try_from(open.max(1)).unwrap_or(1);
    for ((source, reader), at_end) in start.readers.iter_mut().zip(at_end).filter(|(_, end)| !**end) {
        let mut watch = Stopwatch::start();
        let read = reader.read(&start.bounds, wait)?;
        start.worker.add_phase("read", watch.lap_ns());
        match read {
            Read::Records(records) => {
                let number = records.len() as u64;
                start.worker.process(*source, records)?;
                start.progress.fetch_add(number, Ordering::Relaxed);
            }
            Read::Idle => {}
            Read::End => *at_end = true,
        }
    }
    Ok(())
}

fn tell(start: &Start, event: Event) -> Result<()> {
    start.events.send((start.index, event)).map_err(|_| Error::new(ErrorKind::Internal, "the coordinator is gone"))
}
