//! Ends epochs: all workers stop between two batches and prepare, one commit is made, they go on. A new plan comes in
//! between two epochs, in the same stop.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never, select};

use super::boundary::{Boundary, Crossed, Inputs};
use super::logic::Change;
use super::probation::Probation;
use super::threads::{Event, Order, Replacement, WorkerThread};
use crate::commit::{CommitRecord, PlanStamp};
use crate::config::Swap;
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::{Ending, Share, Stopwatch};

/// A checked plan with the parts of every worker, ready to take over.
pub struct Proposal {
    /// What the commits of the new plan say.
    pub stamp: PlanStamp,
    /// One for each worker.
    pub replacements: Vec<Replacement>,
    /// What changes.
    pub changes: Vec<Change>,
    /// How the changed stages are watched in their first epoch; empty when a person wants them whatever they do.
    pub watched: Vec<(Change, Swap)>,
}

/// What happened at the end of an epoch, for whoever watches the run.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The commit.
    pub record: &'a CommitRecord,
    /// How long all workers stood still.
    pub pause: Duration,
    /// What the plan that comes in now changes: its rows are in the next epoch.
    pub swapped: &'a [Change],
    /// What passed its probation in this epoch.
    pub passed: &'a [Change],
}

/// How a run went out.
#[derive(Debug)]
pub enum Outcome {
    /// All was read, or it was stopped.
    Done,
    /// Groups gave more partitions, or want some back: the run begins again with what it has then.
    Moved,
    /// Changed stages failed their probation: the epoch is not committed.
    Aborted {
        /// What was on probation.
        changes: Vec<Change>,
        /// Why it failed.
        why: String,
    },
}

/// What is told to the coordinator from outside.
pub enum Request {
    /// Finish the epoch and end.
    Stop,
    /// Change the plan at the next epoch boundary, which is now.
    Swap(Box<Proposal>),
}

/// What runs when an epoch was published: offsets are committed, progress is shown.
pub trait Observer: Inputs {
    /// Whether groups gave more partitions, or want some back.
    fn is_moved(&self) -> bool;

    /// Called after each commit, before the workers go on. An error ends the run; the commit stays.
    fn ended(&mut self, ended: &Ended<'_>) -> Result<()>;

    /// Called at the end of each epoch, behind `ended`, also where there was nothing to commit: all that was read so far is
    /// committed, and the workers stand still.
    fn settled(&mut self) -> Result<()>;
}

/// Drives workers through epochs.
pub struct Coordinator<'a> {
    /// The workers.
    pub workers: Vec<WorkerThread>,
    /// What they tell.
    pub events: Receiver<(usize, Event)>,
    /// What is asked from outside.
    pub requests: Receiver<Request>,
    /// Says when to look whether partitions moved.
    pub moved: Receiver<()>,
    /// What happens between two epochs.
    pub boundary: Boundary,
    /// Time between two commits.
    pub interval: Duration,
    /// Who watches.
    pub observer: &'a mut dyn Observer,
    /// By worker, whether all its readers are at their end.
    pub at_end: Vec<bool>,
}

/// Why an epoch ends.
enum Reason {
    Due,
    AllAtEnd,
    Stop,
    Moved,
    Swap(Box<Proposal>),
}

/// How the epochs ended.
enum Over {
    Done,
    Moved,
    /// Why a probation was failed.
    Failed(String),
}

/// What follows an epoch.
enum Next {
    SamePlan,
    Swap(Box<Proposal>),
    End,
}

impl Coordinator<'_> {
    /// Runs until it is stopped, or all sources are at their end. The last epoch closes every file.
    pub fn run(&mut self) -> Result<Outcome> {
        match self.work() {
            Ok(Over::Failed(why)) => Ok(self.aborted(why)),
            Ok(Over::Moved) => Ok(Outcome::Moved),
            Ok(Over::Done) => Ok(Outcome::Done),
            // A stage that fails for good in its first epoch did not pass.
            Err(error) if error.kind() == ErrorKind::Plugin && self.boundary.probation.is_some() => {
                Ok(self.aborted(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    fn aborted(&mut self, why: String) -> Outcome {
        Outcome::Aborted { changes: self.boundary.on_probation(), why }
    }

    /// One epoch after the other.
    fn work(&mut self) -> Result<Over> {
        loop {
            let reason = self.wait()?;
            let over = match &reason {
                Reason::AllAtEnd | Reason::Stop => Some(Over::Done),
                Reason::Moved => Some(Over::Moved),
                Reason::Due | Reason::Swap(_) => None,
            };
            let failed = match reason {
                Reason::Due => self.end_epoch(&self.boundary.due(), Next::SamePlan)?,
                Reason::AllAtEnd | Reason::Stop | Reason::Moved => self.end_epoch(&Ending::All, Next::End)?,
                Reason::Swap(proposal) => self.end_epoch(&Ending::All, Next::Swap(proposal))?,
            };
            if let Some(over) = failed.map(Over::Failed).or(over) {
                return Ok(over);
            }
        }
    }

    /// Waits for a reason to end the epoch.
    fn wait(&mut self) -> Result<Reason> {
        let held_open = self.boundary.probation.as_ref().map(Probation::left).unwrap_or_default();
        let due = crossbeam_channel::at(Instant::now() + self.interval.max(held_open));
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
                recv(self.moved) -> _ => if self.observer.is_moved() {
                    return Ok(Reason::Moved);
                },
                recv(due) -> _ => return Ok(Reason::Due),
            }
        }
        // What came meanwhile has an end of its own.
        Ok(if self.observer.is_moved() { Reason::Moved } else { Reason::AllAtEnd })
    }

    /// Ends the epoch. Not committed is one in which a probation was failed: says why.
    fn end_epoch(&mut self, ending: &Ending, next: Next) -> Result<Option<String>> {
        let began = Instant::now();
        self.workers.iter().try_for_each(|worker| worker.tell(Order::Prepare(ending.clone())))?;
        let shares = self.collect()?;
        let mut watch = Stopwatch::start();
        let goes_on = matches!(next, Next::SamePlan);
        let passed = match self.boundary.cross(shares, goes_on, &mut *self.observer)? {
            Crossed::Failed(why) => return Ok(Some(why)),
            Crossed::Nothing => {
                self.observer.settled()?;
                self.go_on()?;
                return Ok(None);
            }
            Crossed::Committed(passed) => passed,
        };
        self.boundary.phases.add("commit", watch.lap_ns());
        let record = self
            .boundary
            .epochs
            .last()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the commit that was just made is gone"))?;
        let swapped: &[Change] = match &next {
            Next::Swap(proposal) => &proposal.changes,
            Next::SamePlan | Next::End => &[],
        };
        self.observer.ended(&Ended { record, pause: began.elapsed(), swapped, passed: &passed })?;
        self.observer.settled()?;
        match next {
            Next::SamePlan => self.go_on()?,
            Next::Swap(proposal) => self.swap(*proposal)?,
            // The workers stand still until they are dropped.
            Next::End => {}
        }
        Ok(None)
    }

    fn go_on(&self) -> Result<()> {
        let epoch = self.boundary.epochs.next_epoch();
        self.workers.iter().try_for_each(|worker| worker.tell(Order::Go { epoch }))
    }

    fn swap(&mut self, proposal: Proposal) -> Result<()> {
        self.boundary.swap(proposal.stamp, proposal.watched);
        for (worker, replacement) in self.workers.iter().zip(proposal.replacements) {
            worker.tell(Order::Replace { epoch: self.boundary.epochs.next_epoch(), next: Box::new(replacement) })?;
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
}

fn gone(_: crossbeam_channel::RecvError) -> Error {
    Error::new(ErrorKind::Internal, "all workers are gone")
}

/// A channel on which a run is asked for something; a swap waits until the one before was taken.
pub fn requests() -> (Sender<Request>, Receiver<Request>) {
    bounded(1)
}
