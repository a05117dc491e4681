//! A Kafka cluster in memory: logs, transactions and groups as a client meets them, with a time of its own that only moves
//! when it is told to.
//!
//! What it has of the real one, because the commit leans on it:
//! - a transaction is first *decided* and later *marked*: between the two its rows hold the stable end of each partition back,
//!   its offsets are unstable, and its producer is told to come again;
//! - a marker takes an offset, and rows of aborted transactions stay in the log: offsets have gaps;
//! - whoever initialises a transactional id ends what the one before left open and fences it; a transaction that lasts longer
//!   than its timeout is aborted by the cluster, and its producer is fenced as well;
//! - offsets in a transaction are refused from somebody who is no member of the group's generation; a transaction that had
//!   them refused can only be aborted.
//!
//! What it does not have: replicas and their failures, batches. Answers that get lost are the client's matter.
//! That it does what a real one does is shown by `scenarios`, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::group::{Committed, Group};

/// A partition of a topic.
pub type TopicPartition = (String, usize);

/// Why the cluster does not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Somebody else took the transactional id, or the transaction lasted too long.
    Fenced,
    /// The transaction before is decided and not marked yet: ask again.
    Concurrent,
    /// No transaction was begun.
    NotOpen,
    /// Not a member of the group, or of an older generation.
    NotMember,
    /// Offsets of the group are in a transaction that has not ended.
    Unstable,
}

/// What a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Everything, to the end of the log.
    Uncommitted,
    /// Rows of committed transactions, to the first row of one that is open.
    Committed,
}

/// Who sends in transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its transactional id.
    pub id: String,
    /// Counts those who had the id: only the last one counts.
    pub epoch: u32,
}

/// A record with its offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its offset.
    pub offset: i64,
    /// Its key; empty without one.
    pub key: String,
    /// Its value.
    pub value: Vec<u8>,
}

/// A cluster. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct MemoryKafka(Arc<Mutex<Cluster>>);

/// What the cluster knows.
#[derive(Debug, Default)]
pub struct Cluster {
    now_ms: i64,
    /// Between the decision on a transaction and its markers.
    marking_ms: i64,
    logs: BTreeMap<TopicPartition, Log>,
    producers: BTreeMap<String, Transactional>,
    groups: BTreeMap<String, Group>,
}

#[derive(Debug, Default)]
struct Log {
    entries: Vec<Entry>,
    /// By transactional id the offset of the first row that is not decided or not marked.
    undecided: BTreeMap<String, i64>,
    /// Rows that nobody may see: those of an id between two offsets.
    aborted: Vec<(String, i64, i64)>,
}

#[derive(Debug)]
enum Entry {
    Row {
        key: String,
        value: Vec<u8>,
        producer: Option<String>,
    },
    Marker,
    /// Compaction took it.
    Gone,
}

/// What is known of a transactional id.
#[derive(Debug, Default)]
struct Transactional {
    epoch: u32,
    timeout_ms: i64,
    /// What the producer knows, and the brokers hear of with the first row or offset.
    is_begun: bool,
    open: Option<Transaction>,
    /// Decided: whether it is committed, and when it is marked.
    ending: Option<(Transaction, bool, i64)>,
}

#[derive(Debug, Default)]
struct Transaction {
    began_ms: i64,
    partitions: BTreeSet<TopicPartition>,
    offsets: BTreeMap<String, BTreeMap<TopicPartition, Committed>>,
    /// Why it can only be aborted.
    failed: Option<Refusal>,
}

impl MemoryKafka {
    /// A cluster whose markers take so long.
    pub fn new(marking_ms: i64) -> Self {
        Self(Arc::new(Mutex::new(Cluster { marking_ms, ..Cluster::default() })))
    }

    /// Asks the cluster.
    pub fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.0.lock()
    }
}

impl Cluster {
    /// The time, in ms since it began.
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Lets time pass: what is due is marked, and transactions that last too long are aborted.
    pub fn advance_ms(&mut self, ms: i64) {
        self.now_ms += ms;
        let now_ms = self.now_ms;
        self.groups.values_mut().for_each(|group| group.look(now_ms));
        for id in self.producers.keys().cloned().collect::<Vec<_>>() {
            let Some(state) = self.producers.get_mut(&id) else { continue };
            let is_late = |open: &Transaction| open.began_ms + state.timeout_ms <= now_ms;
            if state.open.as_ref().is_some_and(is_late) {
                state.epoch += 1;
                self.decide(&id, false);
            }
            self.mark_due(&id);
        }
    }

    /// Makes a topic.
    pub fn create_topic(&mut self, topic: &str, partitions: usize) {
        for partition in 0..partitions {
            self.logs.entry((topic.to_owned(), partition)).or_default();
        }
    }

    /// Compacts a topic: of the rows that every reader sees, the last one of each key is left.
    pub fn compact(&mut self, topic: &str) {
        self.logs.iter_mut().filter(|((name, _), _)| name == topic).for_each(|(_, log)| log.compact());
    }

    /// Whether compaction took something of a topic.
    pub fn is_compacted(&self, topic: &str) -> bool {
        let mut logs = self.logs.iter().filter(|((name, _), _)| name == topic);
        logs.any(|(_, log)| log.entries.iter().any(|entry| matches!(entry, Entry::Gone)))
    }

    /// The number of a topic's partitions.
    pub fn partitions(&self, topic: &str) -> usize {
        self.logs.keys().filter(|(name, _)| name == topic).count()
    }

    /// The producer of a transactional id: ends what the one before left open, and fences it.
    pub fn init_transactions(&mut self, id: &str, timeout_ms: i64) -> Result<Producer, Refusal> {
        let state = self.producers.entry(id.to_owned()).or_default();
        state.timeout_ms = timeout_ms;
        state.is_begun = false;
        if state.ending.is_some() {
            return Err(Refusal::Concurrent);
        }
        state.epoch += 1;
        let epoch = state.epoch;
        if state.open.is_some() {
            self.decide(id, false);
            return Err(Refusal::Concurrent);
        }
        Ok(Producer { id: id.to_owned(), epoch })
    }

    /// Begins a transaction. The brokers do not hear of it: whoever is fenced is told with the first row.
    pub fn begin(&mut self, producer: &Producer) {
        if let Ok(state) = self.current(producer) {
            state.is_begun = true;
        }
    }

    /// Appends rows; with a producer in its transaction.
    pub fn send(
        &mut self,
        producer: Option<&Producer>,
        to: &TopicPartition,
        rows: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Result<(), Refusal> {
        if let Some(producer) = producer {
            self.open(producer)?.partitions.insert(to.clone());
        }
        let id = producer.map(|producer| producer.id.clone());
        let log = self.logs.entry(to.clone()).or_default();
        if let Some(id) = &id {
            log.undecided.entry(id.clone()).or_insert(log.entries.len() as i64);
        }
        let rows = rows.into_iter().map(|(key, value)| Entry::Row { key, value, producer: id.clone() });
        log.entries.extend(rows);
        Ok(())
    }

    /// Puts a group's offsets into the transaction, for a member of the group's generation.
    pub fn send_offsets(
        &mut self,
        producer: &Producer,
        group: &str,
        member: &str,
        generation: u32,
        offsets: BTreeMap<TopicPartition, i64>,
    ) -> Result<(), Refusal> {
        let of_group = self.groups.entry(group.to_owned()).or_default();
        let written = of_group.write(member, generation, offsets);
        let open = self.open(producer)?;
        match written {
            Ok(written) => open.offsets.entry(group.to_owned()).or_default().extend(written),
            Err(refusal) => open.failed = Some(refusal),
        }
        open.failed.map_or(Ok(()), Err)
    }

    /// Commits a group's offsets in no transaction, for a member of the group's generation.
    pub fn commit_offsets(
        &mut self,
        group: &str,
        member: &str,
        generation: u32,
        offsets: BTreeMap<TopicPartition, i64>,
    ) -> Result<(), Refusal> {
        let group = self.group(group);
        let written = group.write(member, generation, offsets)?;
        group.commit(written);
        Ok(())
    }

    /// Commits or aborts the producer's transaction.
    pub fn end(&mut self, producer: &Producer, is_commit: bool) -> Result<(), Refusal> {
        let state = self.current(producer)?;
        if !state.is_begun {
            return Err(Refusal::NotOpen);
        }
        if let Some(refusal) = state.open.as_ref().and_then(|open| open.failed).filter(|_| is_commit) {
            return Err(refusal);
        }
        state.is_begun = false;
        self.decide(&producer.id, is_commit);
        self.mark_due(&producer.id);
        Ok(())
    }

    /// What a reader is given from an offset on, at most so many records; and the offset to go on from.
    pub fn read(&self, from: &TopicPartition, offset: i64, most: usize, isolation: Isolation) -> (Vec<Message>, i64) {
        let Some(log) = self.logs.get(from) else { return (Vec::new(), offset) };
        let end = log.end(isolation);
        let (mut messages, mut next) = (Vec::new(), offset);
        while next < end && messages.len() < most {
            if let Entry::Row { key, value, producer } = &log.entries[next as usize]
                && (isolation == Isolation::Uncommitted || !log.is_aborted(producer.as_deref(), next))
            {
                messages.push(Message { offset: next, key: key.clone(), value: value.clone() });
            }
            next += 1;
        }
        (messages, next)
    }

    /// Everything that a reader of committed records sees of a topic, by partition.
    pub fn read_all(&self, topic: &str) -> Vec<Vec<Message>> {
        let all = |partition| self.read(&(topic.to_owned(), partition), 0, usize::MAX, Isolation::Committed).0;
        (0..self.partitions(topic)).map(all).collect()
    }

    /// The end of a partition, as a reader sees it.
    pub fn end_offset(&self, of: &TopicPartition, isolation: Isolation) -> i64 {
        self.logs.get(of).map_or(0, |log| log.end(isolation))
    }

    /// A group.
    pub fn group(&mut self, group: &str) -> &mut Group {
        self.groups.entry(group.to_owned()).or_default()
    }

    /// The offsets that a group committed for these partitions.
    pub fn committed(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, Refusal> {
        let in_transaction = |transaction: &Transaction| {
            let offsets = transaction.offsets.get(group);
            offsets.is_some_and(|offsets| partitions.iter().any(|partition| offsets.contains_key(partition)))
        };
        let open = self.producers.values().flat_map(|state| &state.open);
        let ending = self.producers.values().flat_map(|state| &state.ending).map(|(transaction, ..)| transaction);
        if open.chain(ending).any(in_transaction) {
            return Err(Refusal::Unstable);
        }
        let mut offsets = self.group(group).offsets();
        offsets.retain(|partition, _| partitions.contains(partition));
        Ok(offsets)
    }

    /// The producer's state, when nobody else took its id.
    fn current(&mut self, producer: &Producer) -> Result<&mut Transactional, Refusal> {
        let state = self.producers.get_mut(&producer.id);
        state.filter(|state| state.epoch == producer.epoch).ok_or(Refusal::Fenced)
    }

    /// The producer's open transaction; begins one.
    fn open(&mut self, producer: &Producer) -> Result<&mut Transaction, Refusal> {
        let began_ms = self.now_ms;
        let state = self.current(producer)?;
        if !state.is_begun {
            return Err(Refusal::NotOpen);
        }
        if state.ending.is_some() {
            return Err(Refusal::Concurrent);
        }
        Ok(state.open.get_or_insert_with(|| Transaction { began_ms, ..Transaction::default() }))
    }

    fn decide(&mut self, id: &str, is_commit: bool) {
        let due_ms = self.now_ms + self.marking_ms;
        if let Some(state) = self.producers.get_mut(id)
            && let Some(transaction) = state.open.take()
        {
            state.ending = Some((transaction, is_commit, due_ms));
        }
    }

    /// Marks a decided transaction whose time has come: from now on readers see it, or never will.
    fn mark_due(&mut self, id: &str) {
        let Some(state) = self.producers.get_mut(id) else { return };
        let now_ms = self.now_ms;
        let Some((transaction, is_commit, _)) = state.ending.take_if(|(.., due_ms)| *due_ms <= now_ms) else { return };
        for partition in &transaction.partitions {
            let Some(log) = self.logs.get_mut(partition) else { continue };
            let end = log.entries.len() as i64;
            if let (Some(first), false) = (log.undecided.remove(id), is_commit) {
                log.aborted.push((id.to_owned(), first, end));
            }
            log.entries.push(Entry::Marker);
        }
        if is_commit {
            for (group, offsets) in transaction.offsets {
                self.groups.entry(group).or_default().commit(offsets);
            }
        }
    }
}

impl Log {
    fn end(&self, isolation: Isolation) -> i64 {
        let end = self.entries.len() as i64;
        match isolation {
            Isolation::Uncommitted => end,
            Isolation::Committed => self.undecided.values().copied().fold(end, i64::min),
        }
    }

    fn compact(&mut self) {
        let end = self.end(Isolation::Committed);
        let mut last = BTreeMap::new();
        for offset in 0..end {
            if let Entry::Row { key, producer, .. } = &self.entries[offset as usize]
                && !self.is_aborted(producer.as_deref(), offset)
            {
                last.insert(key.clone(), offset);
            }
        }
        for (offset, entry) in (0..end).zip(&mut self.entries) {
            if matches!(entry, Entry::Row { key, .. } if last.get(key) != Some(&offset)) {
                *entry = Entry::Gone;
            }
        }
    }

    fn is_aborted(&self, producer: Option<&str>, offset: i64) -> bool {
        let Some(producer) = producer else { return false };
        self.aborted.iter().any(|(id, first, end)| id == producer && (*first..*end).contains(&offset))
    }
}
