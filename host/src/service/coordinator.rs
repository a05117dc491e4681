//! Ends epochs: all workers stop between two batches and prepare, one commit is made, they go on. A new plan comes in
//! between two epochs, in the same stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never, select};

use super::threads::{Event, Order, Replacement, WorkerThread};
use crate::clock::Clock;
use crate::commit::{CommitRecord, Epochs, PlanStamp};
use crate::error::{Error, ErrorKind, Result};
use crate::output::{Combine, Prepared, Staged, Token};
use crate::pipeline::{Counts, Ending, Phases, Share, Stopwatch};
use crate::source::Positions;

/// A checked plan with the parts of every worker, ready to take over.
pub struct Proposal {
    /// What the commits of the new plan say.
    pub stamp: PlanStamp,
    /// One for each worker.
    pub replacements: Vec<Replacement>,
    /// What changed, for the log and the summary: `stage clean: 1f2e.. -> 9a8b..`.
    pub what: String,
}

/// What happened at the end of an epoch, for whoever watches the run.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The commit.
    pub record: &'a CommitRecord,
    /// How long all workers stood still.
    pub pause: Duration,
    /// What a new plan changed, when one came in.
    pub swapped: Option<&'a str>,
}

/// What is told to the coordinator from outside.
pub enum Request {
    /// Finish the epoch and end.
    Stop,
    /// Change the plan at the next epoch boundary, which is now.
    Swap(Box<Proposal>),
}

/// What runs when an epoch was published: offsets are committed, progress is shown.
pub trait Observer {
    /// Called before each commit: notes in what was read which file each partition is.
    fn identify(&mut self, read: &mut Positions);

    /// Called at the end of each epoch, also of one in which nothing happened.
    fn look(&mut self) -> Result<()>;

    /// Called after each commit, before the workers go on. An error ends the run; the commit stays.
    fn ended(&mut self, ended: &Ended<'_>) -> Result<()>;
}

/// Drives workers through epochs.
pub struct Coordinator<'a> {
    /// The workers.
    pub workers: Vec<WorkerThread>,
    /// What they tell.
    pub events: Receiver<(usize, Event)>,
    /// What is asked from outside.
    pub requests: Receiver<Request>,
    /// The commit.
    pub epochs: Epochs,
    /// The plan that runs.
    pub stamp: PlanStamp,
    /// Time between two commits.
    pub interval: Duration,
    /// How the workers' files of each Parquet output become one token.
    pub combines: BTreeMap<String, Combine>,
    /// For the age of files.
    pub clock: Arc<dyn Clock>,
    /// Who watches.
    pub observer: &'a mut dyn Observer,
    /// CPU time by phase, of all workers and of the commits.
    pub phases: Phases,
    /// By worker, whether all its readers are at their end.
    pub at_end: Vec<bool>,
}

/// Why an epoch ends.
enum Reason {
    Due,
    AllAtEnd,
    Stop,
    Swap(Box<Proposal>),
}

/// What follows an epoch.
enum Next {
    SamePlan,
    Swap(Box<Proposal>),
    End,
}

impl Coordinator<'_> {
    /// Runs until it is stopped, or all sources are at their end. The last epoch closes every file.
    pub fn run(&mut self) -> Result<()> {
        loop {
            match self.wait()? {
                Reason::Due => self.end_epoch(&self.due(), Next::SamePlan)?,
                Reason::AllAtEnd | Reason::Stop => return self.end_epoch(&Ending::All, Next::End),
                Reason::Swap(proposal) => self.end_epoch(&Ending::All, Next::Swap(proposal))?,
            }
        }
    }

    /// Waits for a reason to end the epoch.
    fn wait(&mut self) -> Result<Reason> {
        let due = crossbeam_channel::at(Instant::now() + self.interval);
        while !self.at_end.iter().all(|end| *end) {
            select! {
                recv(self.events) -> event => match event.map_err(gone)? {
                    (worker, Event::AtEnd) => self.at_end[worker] = true,
                    (_, Event::Pressure) => return Ok(Reason::Due),
                    (_, Event::Failed(error)) => return Err(error),
                    (_, Event::Prepared(_)) => return Err(Error::new(ErrorKind::Internal, "a worker prepared unasked")),
                },
                recv(self.requests) -> request => match request {
                    Ok(Request::Stop) => return Ok(Reason::Stop),
                    Ok(Request::Swap(proposal)) => return Ok(Reason::Swap(proposal)),
                    Err(_) => self.requests = never(),
                },
                recv(due) -> _ => return Ok(Reason::Due),
            }
        }
        Ok(Reason::AllAtEnd)
    }

    /// By output the partitions of which a worker has a file that is too old by now.
    fn due(&self) -> Ending {
        match self.epochs.last() {
            Some(last) => Ending::due(&self.combines, &last.outputs, self.clock.now_ms()),
            None => Ending::default(),
        }
    }

    fn end_epoch(&mut self, ending: &Ending, next: Next) -> Result<()> {
        let began = Instant::now();
        self.workers.iter().try_for_each(|worker| worker.tell(Order::Prepare(ending.clone())))?;
        let shares = self.collect()?;
        let mut watch = Stopwatch::start();
        let (mut read, outputs, counts) = self.merge(shares)?;
        self.observer.look()?;
        if matches!(next, Next::SamePlan)
            && counts == Counts::default()
            && outputs.values().all(|token| token.files.is_empty())
        {
            // Nothing was read and no file closed: what the last commit says is still all there is.
            return self.go_on();
        }
        self.observer.identify(&mut read);
        let record = self.epochs.commit(&self.stamp, &read, outputs, counts)?;
        self.phases.add("commit", watch.lap_ns());
        let swapped = match &next {
            Next::Swap(proposal) => Some(proposal.what.as_str()),
            Next::SamePlan | Next::End => None,
        };
        self.observer.ended(&Ended { record, pause: began.elapsed(), swapped })?;
        match next {
            Next::SamePlan => self.go_on(),
            Next::Swap(proposal) => self.swap(*proposal),
            // The workers stand still until they are dropped.
            Next::End => Ok(()),
        }
    }

    fn go_on(&self) -> Result<()> {
        let epoch = self.epochs.next_epoch();
        self.workers.iter().try_for_each(|worker| worker.tell(Order::Go { epoch }))
    }

    fn swap(&mut self, proposal: Proposal) -> Result<()> {
        self.stamp = proposal.stamp;
        for (worker, replacement) in self.workers.iter().zip(proposal.replacements) {
            worker.tell(Order::Replace { epoch: self.epochs.next_epoch(), next: Box::new(replacement) })?;
        }
        Ok(())
    }

    /// Waits until every worker has prepared.
    fn collect(&mut self) -> Result<Vec<Share>> {
        let mut shares: Vec<Option<Share>> = self.workers.iter().map(|_| None).collect();
        while shares.iter().any(Option::is_none) {
            match self.events.recv().map_err(gone)? {
                (worker, Event::Prepared(share)) => shares[worker] = Some(*share),
                (_, Event::Failed(error)) => return Err(error),
                (worker, Event::AtEnd) => self.at_end[worker] = true,
                (_, Event::Pressure) => {}
            }
        }
        Ok(shares.into_iter().flatten().collect())
    }

    fn merge(&mut self, shares: Vec<Share>) -> Result<(Positions, BTreeMap<String, Token>, Counts)> {
        let mut read = Positions::new();
        let mut counts = Counts::default();
        let mut prepared: BTreeMap<String, Vec<Prepared>> = BTreeMap::new();
        let mut tokens: BTreeMap<String, Token> = BTreeMap::new();
        for share in shares {
            for (partition, position) in share.positions {
                read.entry(partition).or_default().ranges.merge(&position.ranges);
            }
            counts.merge(&share.counts);
            self.phases.merge(&share.phases);
            for (output, staged) in share.outputs {
                match staged {
                    Staged::Parquet(part) => prepared.entry(output).or_default().push(*part),
                    Staged::Topic(rows) => tokens.entry(output).or_default().acknowledged_rows += rows,
                }
            }
        }
        for (output, parts) in prepared {
            let combine = self.combines.get(&output).ok_or_else(|| {
                Error::new(ErrorKind::Internal, format!("output \"{output}\" staged files, but has no folder"))
            })?;
            tokens.insert(output, combine.combine(parts)?);
        }
        Ok((read, tokens, counts))
    }
}

fn gone(_: crossbeam_channel::RecvError) -> Error {
    Error::new(ErrorKind::Internal, "all workers are gone")
}

/// A channel on which a run is asked for something; a swap waits until the one before was taken.
pub fn requests() -> (Sender<Request>, Receiver<Request>) {
    bounded(1)
}
