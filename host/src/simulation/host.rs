//! A host of the simulation, a step at a time: what `service::run` does with threads, here one after the other. Recovery,
//! the spool, workers, boundaries, probations and swaps are the binary's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::group::Dealt;
use super::job::{self, STAGE};
use super::kafka::Cluster;
use super::machine::{Client, HostDisk};
use super::transactions::{
    GROUP, INPUT, Membership, MemoryReader, MemoryTransactions, SharedMembership, committed, offsets, partition,
};
use crate::clock::{Clock, ManualClock};
use crate::commit::{
    self, CommitRecord, Epochs, PlanStamp, Recovered, Sharing, Step, Taker, Transaction, adopt, positions_of,
    settle_all,
};
use crate::config::BatchSettings;
use crate::disk::{Chance, Disk};
use crate::error::{Error, ErrorKind, Result};
use crate::output::{Opening, Token};
use crate::pipeline::{Counts, Ending, Worker};
use crate::service::{Boundary, Crossed, Inputs};
use crate::source::{Positions, Read, Reader};

/// Records of a block.
const BLOCK_RECORDS: usize = 12;
/// The version that every host begins with.
pub const FIRST_VERSION: i64 = 0;

/// A host and its machine.
pub struct Host {
    /// Its id.
    pub id: String,
    /// Its way to the cluster.
    pub client: Client,
    /// The wall clock of its machine.
    pub clock: Arc<ManualClock>,
    /// A version of the stage that somebody wants.
    pub wanted: Option<i64>,
    /// The versions that did not pass their probation.
    pub failed: BTreeSet<i64>,
    /// The highest epoch whose commit was made for sure.
    pub committed: Arc<AtomicU64>,
    disk: HostDisk,
    settings: job::Settings,
    interval_ms: i64,
    incarnation: u64,
    is_running: bool,
    versions: Vec<i64>,
    /// What it is in the group, over all runs of the process.
    place: Option<Membership>,
    /// How often it brought to an end what another host left.
    pub adopted: usize,
    down_until_ms: i64,
    chance: Chance,
    life: Option<Life>,
}

/// A run between two looks at the last commit.
struct Life {
    boundary: Boundary,
    workers: Vec<(Worker, MemoryReader)>,
    transactions: Option<Arc<MemoryTransactions>>,
    membership: SharedMembership,
    version: i64,
    due_ms: i64,
}

/// What a step was.
#[derive(Debug)]
pub enum Stepped {
    /// It is down.
    Down,
    /// It came back to its last commit, and has read nothing since.
    Recovered,
    /// It read a block.
    Read(usize),
    /// It ended an epoch.
    Ended(Crossed),
    /// Partitions come or go: the run ended, and begins again with what the group deals out then.
    Moved,
    /// It goes back to its last commit, in the same process or a new one.
    Failed(Error),
}

struct NoFiles;

impl Inputs for NoFiles {
    fn look(&mut self) -> Result<()> {
        Ok(())
    }

    fn identify(&mut self, _read: &mut Positions) {}
}

impl Host {
    /// A host that was never started.
    pub fn new(id: &str, client: Client, disk: HostDisk, settings: job::Settings, interval_ms: i64, seed: u64) -> Self {
        Self {
            id: id.to_owned(),
            client,
            clock: Arc::new(ManualClock::new(1_700_000_000_000)),
            wanted: None,
            failed: BTreeSet::new(),
            committed: Arc::default(),
            disk,
            settings,
            interval_ms,
            incarnation: 0,
            is_running: false,
            versions: vec![FIRST_VERSION],
            place: None,
            adopted: 0,
            down_until_ms: 0,
            chance: Chance(seed),
            life: None,
        }
    }

    fn now_ms(&self) -> i64 {
        self.client.kafka.cluster().now_ms()
    }

    /// One step.
    pub fn step(&mut self) -> Stepped {
        let now_ms = self.now_ms();
        if self.client.machine.is_dead() && self.is_running {
            return self.fell(Error::new(ErrorKind::Storage, "killed"));
        }
        let Some(mut life) = self.life.take() else {
            if now_ms < self.down_until_ms {
                return Stepped::Down;
            }
            return match self.start() {
                Ok(life) => {
                    self.life = Some(life);
                    Stepped::Recovered
                }
                Err(error) => self.fell(error),
            };
        };
        match self.work(&mut life) {
            Ok(stepped) => {
                if !matches!(stepped, Stepped::Ended(Crossed::Failed(_)) | Stepped::Moved) {
                    self.life = Some(life);
                }
                stepped
            }
            Err(error) => {
                drop(life);
                self.fell(error)
            }
        }
    }

    /// An error ends the process, or takes the run back to the last commit.
    fn fell(&mut self, error: Error) -> Stepped {
        let error = self.unless_gone(error);
        self.life = None;
        self.is_running = error.kind() == ErrorKind::Unavailable && !self.client.machine.is_dead();
        self.down_until_ms = self.now_ms() + self.chance.below(3_000) as i64;
        Stepped::Failed(error)
    }

    /// An error of a host that its group has let go of is none of its own: somebody else has its partitions.
    fn unless_gone(&self, error: Error) -> Error {
        let is_there = self.client.kafka.cluster().group(GROUP).hosts().contains(&self.id);
        if is_there || self.client.machine.is_dead() || !self.settings.has_topic {
            return error;
        }
        Error::new(ErrorKind::Unavailable, "the group has let go of this host").caused_by(error)
    }

    fn opening(&self, stamp: &PlanStamp, worker: usize, epoch: u64) -> Opening {
        Opening {
            host: commit::Host { id: self.id.clone(), incarnation: self.incarnation },
            worker,
            epoch,
            memory_bytes: self.settings.memory_bytes,
            footer: vec![("version".to_owned(), stamp.fingerprint.clone())],
            disk: Arc::new(self.disk.clone()),
            transactions: None,
        }
    }

    /// The way back to the last commit.
    fn start(&mut self) -> Result<Life> {
        if !self.is_running {
            self.client.machine.start();
            self.place = None;
            self.incarnation += 1;
            self.is_running = true;
        }
        let membership: SharedMembership = Arc::default();
        let transactions = match self.settings.has_topic {
            true => Some(MemoryTransactions::open(&self.client, &self.id, &membership)?),
            false => None,
        };
        let committed = Arc::clone(&self.committed);
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let clock: Arc<dyn Clock> = self.clock.clone();
        let (mut epochs, recovered) = Epochs::open(commit::Settings {
            disk,
            clock: Arc::clone(&clock),
            folder: PathBuf::from("/data").join(&self.id),
            host: commit::Host { id: self.id.clone(), incarnation: self.incarnation },
            lakes: job::lakes(),
            transaction: transactions.clone().map(|transactions| transactions as Arc<dyn Transaction>),
            is_host: true,
            reached: Box::new(move |step, epoch| {
                if step == Step::Committed {
                    committed.fetch_max(epoch, Ordering::Relaxed);
                }
            }),
        })?;
        self.settle(&mut epochs, &recovered)?;
        let version = self.choose(recovered.plan.as_ref());
        let stamp = number(recovered.plan.as_ref(), version);
        let combines = job::combines(&self.settings, &self.opening(&stamp, 0, 0));
        let boundary = Boundary::new(epochs, stamp, combines, clock);
        let mut life = Life {
            boundary,
            workers: Vec::new(),
            transactions,
            membership,
            version,
            due_ms: self.now_ms() + self.interval_ms,
        };
        self.hold(&life)?;
        self.share(&mut life)?;
        self.start_workers(&mut life)?;
        Ok(life)
    }

    /// Rows that were committed while their file was open get their file.
    fn settle(&self, epochs: &mut Epochs, recovered: &Recovered) -> Result<()> {
        let Some(plan) = recovered.plan.as_ref().filter(|_| recovered.outputs.values().any(Token::is_waiting)) else {
            return Ok(());
        };
        let tokens = settle_all(recovered, &self.opening(plan, 0, epochs.next_epoch()))?;
        epochs.commit(plan, &Positions::new(), tokens, Counts::default()).map(drop)
    }

    /// What ran last, but for what failed.
    fn choose(&self, plan: Option<&PlanStamp>) -> i64 {
        let ran = plan.and_then(|plan| job::version(plan.digests.get(STAGE)?));
        let before = self.versions.iter().rev().copied();
        ran.into_iter().chain(before).find(|version| !self.failed.contains(version)).unwrap_or(FIRST_VERSION)
    }

    fn start_workers(&self, life: &mut Life) -> Result<()> {
        let plan = job::plan(&self.settings, life.boundary.stamp.number, life.version);
        let epoch = life.boundary.epochs.next_epoch();
        let positions = life.boundary.epochs.last().map(|last| last.positions.clone()).unwrap_or_default();
        let owned = life.membership.lock().owned.clone();
        let known = offsets(&positions, &owned);
        for number in 0..self.settings.workers {
            let opening = self.opening(&life.boundary.stamp, number, epoch);
            let parts = job::parts(&self.settings, &plan, &life.boundary.stamp, &opening, life.transactions.as_ref())?;
            let worker = Worker::new(Arc::clone(&plan), vec![None], parts, Arc::default(), self.clock.clone());
            let dealt = owned.iter().copied().filter(|partition| partition % self.settings.workers == number);
            let from = |partition| known.get(&(INPUT.to_owned(), partition)).copied().unwrap_or(0);
            let reader = MemoryReader::new(&self.client, dealt.map(|partition| (partition, from(partition))).collect());
            life.workers.push((worker, reader));
        }
        Ok(())
    }

    fn ask<T>(&self, what: &str, ask: impl FnOnce(&mut Cluster) -> T) -> Result<T> {
        let asked = self.client.ask(what, |cluster| Ok(ask(cluster)))?;
        asked.map_err(|refusal| Error::new(ErrorKind::Unavailable, format!("{what}: {refusal:?}")))
    }

    /// Takes what the group deals out; joins it first under the host's own name: who had it before is out.
    fn hold(&mut self, life: &Life) -> Result<()> {
        let mut place = match self.place.take() {
            Some(place) => place,
            None => {
                let member = self.ask("join", |cluster| {
                    let now_ms = cluster.now_ms();
                    cluster.group(GROUP).join(&self.id, now_ms)
                })?;
                Membership { member, ..Membership::default() }
            }
        };
        place.hold(|place| self.beat(place))?;
        *life.membership.lock() = place.clone();
        self.place = Some(place);
        Ok(())
    }

    fn beat(&self, place: &Membership) -> Result<Dealt> {
        let dealt = self.ask("heartbeat", |cluster| {
            let (now_ms, all) = (cluster.now_ms(), cluster.partitions(INPUT));
            cluster.group(GROUP).heartbeat(&place.member, &place.owned, all, now_ms)
        })?;
        dealt.ok_or_else(|| Error::new(ErrorKind::Unavailable, "the group has let go of this host"))
    }

    /// What `service::share` does: brings to an end what hosts left that are gone, finds where the partitions were read to,
    /// and says in a commit what this host was dealt.
    fn share(&mut self, life: &mut Life) -> Result<()> {
        let Some(transactions) = life.transactions.clone() else { return Ok(()) };
        let hosts = self.ask("hosts", |cluster| cluster.group(GROUP).hosts())?;
        let gone = |record: &&CommitRecord| !hosts.contains(&record.host) && record.is_unfinished();
        let records = transactions.read_records()?;
        for record in records.iter().filter(gone) {
            self.take_over(&record.host)?;
        }
        let records = transactions.read_records()?;
        let epochs = &mut life.boundary.epochs;
        let known = positions_of(records.iter().chain(epochs.last()));
        let owned = life.membership.lock().owned.clone();
        let by_records = offsets(&known, &owned);
        let mut starts = Vec::new();
        for number in &owned {
            let of_group = committed(&self.client, &(INPUT.to_owned(), *number))?;
            let of_records = by_records.get(&(INPUT.to_owned(), *number)).copied();
            if of_group != of_records {
                let what = format!("partition {number}: the group is at {of_group:?}, the records at {of_records:?}");
                return Err(Error::new(ErrorKind::Config, what));
            }
            starts.push((partition(*number), of_group.unwrap_or(0)));
        }
        epochs.start_at(&starts, &known);
        let assigned = starts.into_iter().map(|(partition, _)| partition).collect();
        let groups = BTreeMap::from([(INPUT.to_owned(), GROUP.to_owned())]);
        epochs.share(Sharing { groups, assigned, lakes: BTreeMap::new() });
        if !epochs.is_said() {
            epochs.commit(&life.boundary.stamp, &Positions::new(), BTreeMap::new(), Counts::default())?;
        }
        Ok(())
    }

    /// Brings the work of a host to an end that is gone.
    fn take_over(&mut self, gone: &str) -> Result<()> {
        let transactions = MemoryTransactions::open(&self.client, gone, &SharedMembership::default())?;
        let taker = Taker {
            disk: Arc::new(self.disk.clone()),
            clock: self.clock.clone(),
            folder: PathBuf::from("/data").join(&self.id),
            lakes: job::lakes(),
            opening: &|stamp, epoch| self.opening(stamp, 0, epoch),
        };
        adopt(&taker, transactions as Arc<dyn Transaction>)?;
        self.adopted += 1;
        Ok(())
    }

    fn work(&mut self, life: &mut Life) -> Result<Stepped> {
        if self.is_moved(life)? {
            let crossed = self.end_epoch(life, &Ending::All, false)?;
            return Ok(if matches!(crossed, Crossed::Failed(_)) { Stepped::Ended(crossed) } else { Stepped::Moved });
        }
        if let Some(next) = self.wanted.take() {
            return self.swap(life, next);
        }
        if self.now_ms() >= life.due_ms {
            life.due_ms = self.now_ms() + self.interval_ms;
            let ending = life.boundary.due();
            return self.end_epoch(life, &ending, true).map(Stepped::Ended);
        }
        let turn = self.chance.below(life.workers.len());
        let (worker, reader) = &mut life.workers[turn];
        let bounds = BatchSettings { rows: 1 + self.chance.below(BLOCK_RECORDS), bytes: 1 << 20 };
        match reader.read(&bounds, Duration::ZERO)? {
            Read::Records(records) => {
                let rows = records.len();
                worker.process(0, records)?;
                Ok(Stepped::Read(rows))
            }
            Read::Idle | Read::End => Ok(Stepped::Read(0)),
        }
    }

    /// Ends an epoch; when it is committed, the next one begins.
    fn end_epoch(&mut self, life: &mut Life, ending: &Ending, goes_on: bool) -> Result<Crossed> {
        let shares = life.workers.iter_mut().map(|(worker, _)| worker.prepare(ending)).collect::<Result<Vec<_>>>()?;
        let crossed = life.boundary.cross(shares, goes_on, &mut NoFiles)?;
        match &crossed {
            Crossed::Failed(_) => {
                self.failed.insert(life.version);
            }
            Crossed::Nothing | Crossed::Committed(_) => {
                let epoch = life.boundary.epochs.next_epoch();
                life.workers.iter_mut().for_each(|(worker, _)| worker.begin(epoch));
                self.commit_offsets(life);
            }
        }
        Ok(crossed)
    }

    /// Without transactions the group follows.
    fn commit_offsets(&self, life: &Life) {
        let Some(last) = life.boundary.epochs.last().filter(|_| life.transactions.is_none()) else { return };
        let Membership { member, generation, owned } = life.membership.lock().clone();
        let offsets = offsets(&last.positions, &owned);
        // The next commit makes up for it.
        drop(self.client.ask("offsets", |cluster| cluster.commit_offsets(GROUP, &member, generation, offsets)));
    }

    /// Another version takes over between two epochs.
    fn swap(&mut self, life: &mut Life, next: i64) -> Result<Stepped> {
        let crossed = self.end_epoch(life, &Ending::All, false)?;
        if matches!(crossed, Crossed::Failed(_)) {
            return Ok(Stepped::Ended(crossed));
        }
        let stamp = job::stamp(life.boundary.stamp.number + 1, next);
        let plan = job::plan(&self.settings, stamp.number, next);
        let epoch = life.boundary.epochs.next_epoch();
        life.boundary.swap(stamp, job::watched(life.version, next));
        for (number, (worker, _)) in life.workers.iter_mut().enumerate() {
            let stamp = &life.boundary.stamp;
            let opening = self.opening(stamp, number, epoch);
            let parts = job::parts(&self.settings, &plan, stamp, &opening, life.transactions.as_ref())?;
            worker.replace(epoch, Arc::clone(&plan), vec![None], parts);
        }
        life.version = next;
        self.versions.push(next);
        Ok(Stepped::Ended(crossed))
    }

    /// Tells the group that it is there; whether partitions came, or are wanted back.
    fn is_moved(&mut self, life: &Life) -> Result<bool> {
        let place = life.membership.lock().clone();
        match self.beat(&place) {
            Ok(dealt) => {
                life.membership.lock().generation = dealt.generation;
                Ok(dealt.free != place.owned)
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                let is_there = self.client.kafka.cluster().group(GROUP).is_known(&place.member);
                if is_there {
                    // It is asked again.
                    return Ok(false);
                }
                self.place = None;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Ends the last epoch and every file; false when the host has to go back first.
    pub fn finish(&mut self) -> Result<bool> {
        let Some(mut life) = self.life.take() else { return Ok(false) };
        match self.end_epoch(&mut life, &Ending::All, false) {
            Ok(Crossed::Failed(_)) => Ok(false),
            Ok(Crossed::Committed(_) | Crossed::Nothing) => {
                self.life = Some(life);
                Ok(true)
            }
            // What was asked for earlier has its answer only now.
            Err(error) if error.kind() == ErrorKind::Unavailable => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The last commit of a host that runs.
    pub fn epochs(&self) -> Option<&Epochs> {
        self.life.as_ref().map(|life| &life.boundary.epochs)
    }

    /// By partition where its readers are.
    pub fn read_to(&self) -> Vec<(usize, i64)> {
        let life = self.life.as_ref();
        life.map(|life| life.workers.iter().flat_map(|(_, reader)| reader.parts.clone()).collect()).unwrap_or_default()
    }
}

/// The same plan as before keeps its number.
fn number(before: Option<&PlanStamp>, version: i64) -> PlanStamp {
    let stamp = job::stamp(1, version);
    let number = match before {
        None => 1,
        Some(before) if before.fingerprint == stamp.fingerprint => before.number,
        Some(before) => before.number + 1,
    };
    PlanStamp { number, ..stamp }
}
