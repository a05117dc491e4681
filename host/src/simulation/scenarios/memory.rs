//! Plays scenarios on the cluster in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::kafka::{Cluster, Isolation, MemoryKafka, Producer, Refusal};
use super::super::machine::{Client, Machine};
use super::super::transactions::{
    COMMITS, GROUP, INPUT, Membership, MemoryTopic, MemoryTransactions, OUTPUT, SharedMembership, offsets,
};
use super::{
    BRIEF_MS, MORE, Name, Outcome, PARTITIONS, Player, Step, TRANSACTION_MS, heads, host_takes, id, positions, tally,
};
use crate::error::{Error, ErrorKind, Result};
use crate::output::TopicWriter;

/// What passes while somebody waits.
const MOMENT_MS: i64 = 50;

/// Between the decision on a transaction and its markers: longer than a moment, so that both sides of it are seen.
const MARKING_MS: i64 = 120;

/// A cluster, and who is there.
pub struct MemoryPlayer {
    client: Client,
    producers: BTreeMap<Name, Producer>,
    members: BTreeMap<Name, Member>,
    hosts: BTreeMap<Name, Arc<MemoryTransactions>>,
}

struct Member {
    place: SharedMembership,
    is_alive: bool,
    /// What it was when it noted an offset, and the offset.
    noted: Option<(Membership, i64)>,
}

impl MemoryPlayer {
    /// Nobody is there.
    pub fn new() -> Self {
        let kafka = MemoryKafka::new(MARKING_MS);
        for (topic, partitions) in [(INPUT, PARTITIONS), (OUTPUT, 1), (MORE, 1), (COMMITS, 1)] {
            kafka.cluster().create_topic(topic, partitions);
        }
        let client = Client { kafka, machine: Machine::new() };
        Self { client, producers: BTreeMap::new(), members: BTreeMap::new(), hosts: BTreeMap::new() }
    }

    fn cluster(&self) -> parking_lot::MutexGuard<'_, Cluster> {
        self.client.kafka.cluster()
    }

    /// Asks until what is under way has ended.
    fn settled(&mut self, mut ask: impl FnMut(&mut Cluster) -> Result<(), Refusal>) -> Outcome {
        loop {
            let asked = ask(&mut self.cluster());
            match asked {
                Err(Refusal::Concurrent) => self.wait(),
                Err(refusal) => return Outcome::Refused(refusal),
                Ok(()) => return Outcome::Done,
            }
        }
    }

    fn init(&mut self, name: Name, timeout_ms: u64) -> Outcome {
        let mut producer = None;
        let outcome = self.settled(|cluster| {
            producer = Some(cluster.init_transactions(id(name), timeout_ms as i64)?);
            Ok(())
        });
        self.producers.extend(producer.map(|producer| (name, producer)));
        outcome
    }

    fn rows(&self, topic: &str, isolation: Isolation) -> Outcome {
        let (cluster, partition) = (self.cluster(), (topic.to_owned(), 0));
        let end = |isolation| cluster.end_offset(&partition, isolation);
        let (seen, _) = cluster.read(&partition, 0, usize::MAX, isolation);
        Outcome::Rows { seen: seen.len(), is_held: end(Isolation::Committed) < end(Isolation::Uncommitted) }
    }

    fn offsets(&self) -> Outcome {
        let all: Vec<_> = (0..PARTITIONS).map(|partition| (INPUT.to_owned(), partition)).collect();
        match self.cluster().committed(GROUP, &all) {
            Ok(offsets) => tally(offsets.into_values().collect()),
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// A member's heartbeat; it knows the generation from it. Whether partitions come or are wanted back, if it is a member.
    fn beat(&self, name: Name) -> Option<bool> {
        let mut place = self.members[name].place.lock();
        let mut cluster = self.cluster();
        let now_ms = cluster.now_ms();
        let dealt = cluster.group(GROUP).heartbeat(&place.member, &place.owned, PARTITIONS, now_ms)?;
        place.generation = dealt.generation;
        Some(dealt.free != place.owned)
    }

    fn join(&mut self, name: Name) -> Outcome {
        let mut cluster = self.cluster();
        let now_ms = cluster.now_ms();
        let member = cluster.group(GROUP).join(id(name), now_ms);
        drop(cluster);
        let place = SharedMembership::default();
        place.lock().member = member;
        self.members.insert(name, Member { place, is_alive: true, noted: None });
        self.hold(name)
    }

    fn hold(&self, name: Name) -> Outcome {
        let mut place = self.members[name].place.lock();
        let held = place.hold(|place| {
            let mut cluster = self.cluster();
            let now_ms = cluster.now_ms();
            let dealt = cluster.group(GROUP).heartbeat(&place.member, &place.owned, PARTITIONS, now_ms);
            dealt.ok_or_else(|| Error::new(ErrorKind::Unavailable, "no member"))
        });
        held.map_or(Outcome::Refused(Refusal::NotMember), |()| Outcome::Dealt(place.owned.len()))
    }

    fn note(&mut self, name: Name, offset: i64) -> Outcome {
        // A client hears of a new generation by itself.
        self.beat(name);
        if let Some(member) = self.members.get_mut(name) {
            let place = member.place.lock().clone();
            member.noted = Some((place, offset));
        }
        Outcome::Done
    }

    /// What a member noted.
    fn noted(&self, name: Name) -> (Membership, i64) {
        self.members[name].noted.clone().expect("a member that noted something")
    }

    fn send_offsets(&mut self, producer: Name, member: Name) -> Outcome {
        let (place, offset) = self.noted(member);
        let (producer, offsets) = (self.producers[producer].clone(), offsets(&positions(offset), &place.owned));
        self.settled(|cluster| cluster.send_offsets(&producer, GROUP, &place.member, place.generation, offsets.clone()))
    }

    fn commit_offsets(&mut self, name: Name) -> Outcome {
        // The client knows what it is by now.
        let place = self.members[name].place.lock().clone();
        let offsets = offsets(&positions(self.noted(name).1), &place.owned);
        self.settled(|cluster| cluster.commit_offsets(GROUP, &place.member, place.generation, offsets.clone()))
    }

    fn open(&mut self, name: Name) -> Outcome {
        let place = self.members.get(name).map(|member| Arc::clone(&member.place)).unwrap_or_default();
        match MemoryTransactions::open(&self.client, id(name), &place) {
            Ok(transactions) => {
                self.hosts.insert(name, transactions);
                Outcome::Done
            }
            Err(error) => went(Err(error)),
        }
    }

    fn die(&mut self, name: Name) {
        self.producers.remove(name);
        if let Some(member) = self.members.get_mut(name) {
            member.is_alive = false;
        }
        if let Some(host) = self.hosts.remove(name) {
            // Dropping it would abort.
            std::mem::forget(host);
        }
    }

    fn ask(&mut self, producer: Name, mut ask: impl FnMut(&mut Cluster, &Producer) -> Result<(), Refusal>) -> Outcome {
        let producer = self.producers[producer].clone();
        self.settled(|cluster| ask(cluster, &producer))
    }
}

fn row(_: usize) -> (String, Vec<u8>) {
    (String::new(), b"row".to_vec())
}

/// What became of a host's work.
fn went(done: Result<()>) -> Outcome {
    match done {
        Ok(()) => Outcome::Done,
        Err(error) if error.kind() == ErrorKind::Unavailable => Outcome::NotCommitted,
        Err(error) => panic!("{error:?}"),
    }
}

impl Player for MemoryPlayer {
    fn take(&mut self, step: Step) -> Outcome {
        match step {
            Step::Init(name) => self.init(name, TRANSACTION_MS),
            Step::InitBrief(name) => self.init(name, BRIEF_MS),
            Step::Begin(name) => self.ask(name, |cluster, producer| {
                cluster.begin(producer);
                Ok(())
            }),
            Step::Send(name, topic, rows) => self.ask(name, |cluster, producer| {
                cluster.send(Some(producer), &(topic.to_owned(), 0), (0..rows).map(row))
            }),
            Step::SendPlain(topic, rows) => {
                self.settled(|cluster| cluster.send(None, &(topic.to_owned(), 0), (0..rows).map(row)))
            }
            Step::SendOffsets(producer, member) => self.send_offsets(producer, member),
            Step::Commit(name) => self.ask(name, |cluster, producer| cluster.end(producer, true)),
            Step::Abort(name) => self.ask(name, |cluster, producer| cluster.end(producer, false)),
            Step::Die(name) => {
                self.die(name);
                Outcome::Done
            }
            Step::Rows(topic, isolation) => self.rows(topic, isolation),
            Step::Offsets => self.offsets(),
            Step::Join(name) => self.join(name),
            Step::HoldAgain(name) => self.hold(name),
            Step::IsMoved(name) => self.beat(name).map_or(Outcome::Refused(Refusal::NotMember), Outcome::IsMoved),
            Step::Note(name, offset) => self.note(name, offset),
            Step::CommitOffsets(name) => self.commit_offsets(name),
            Step::IsMember(name) => self.beat(name).map_or(Outcome::Refused(Refusal::NotMember), |_| Outcome::Done),
            Step::Members => Outcome::Members(self.cluster().group(GROUP).hosts().len()),
            Step::Open(name) => self.open(name),
            Step::HostRows(name, rows) => {
                went(MemoryTopic::new(&self.hosts[name], 0).write_values(&vec!["row".to_owned(); rows]))
            }
            Step::Epoch(..) | Step::LongEpoch(..) | Step::Half(..) | Step::End(_) | Step::GoBack(_) => {
                went(host_takes(&mut self.hosts, step))
            }
            Step::Compact => {
                while matches!(self.rows(COMMITS, Isolation::Committed), Outcome::Rows { is_held: true, .. }) {
                    self.wait();
                }
                self.cluster().compact(COMMITS);
                Outcome::Done
            }
            Step::Records(name) => match self.hosts[name].read_records() {
                Ok(records) => heads(&records),
                Err(error) => went(Err(error)),
            },
        }
    }

    fn wait(&mut self) {
        self.cluster().advance_ms(MOMENT_MS);
        for name in self.members.iter().filter(|(_, member)| member.is_alive).map(|(name, _)| *name) {
            self.beat(name);
        }
    }

    fn now_ms(&self) -> u64 {
        self.cluster().now_ms().unsigned_abs()
    }
}
