//! A host's side of the cluster in memory: its transactions, its topics and its partitions, each in the place of the one that
//! speaks to Kafka. The steps are those of `commit::kafka`, one for one.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::Int64Type;
use parking_lot::Mutex;

use super::group::Dealt;
use super::kafka::{Cluster, Isolation, Message, Producer, Refusal, TopicPartition};
use super::machine::Client;
use crate::commit::topic::{self, CommitTopic, Each, Steps};
use crate::commit::{CommitRecord, Transaction};
use crate::config::BatchSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::output::TopicWriter;
use crate::record::{Partition, Payload, Records};
use crate::source::{Positions, Read, Reader};

/// The topic that is read, and the name of the source.
pub const INPUT: &str = "rows";
/// The topic that is written.
pub const OUTPUT: &str = "out";
/// The topic of commits.
pub const COMMITS: &str = "commits";
/// The group of all hosts.
pub const GROUP: &str = "group";

/// The longest transaction, in ms.
pub const TRANSACTION_MS: i64 = 20_000;
/// How long a host waits for what is under way.
const PATIENCE_MS: i64 = 60_000;
/// A record of some length is several messages.
pub const MOST_VALUE_BYTES: usize = 3_000;
/// A commit of another host that is under way is over by then.
const STUCK_MS: i64 = 3_000;
/// Between two questions about what is under way.
const AGAIN_MS: i64 = 50;

/// What a host is in the group.
#[derive(Clone, Debug, Default)]
pub struct Membership {
    /// Its name there.
    pub member: String,
    /// The generation that it knows.
    pub generation: u32,
    /// The partitions that it reads.
    pub owned: BTreeSet<usize>,
}

impl Membership {
    /// Takes what the group deals out: what it wants back is given back, then what is free is taken, then all of it is known.
    pub fn hold(&mut self, beat: impl Fn(&Self) -> Result<Dealt>) -> Result<()> {
        for _ in 0..3 {
            let dealt = beat(self)?;
            self.owned.retain(|partition| dealt.partitions.contains(partition));
            self.owned.extend(&dealt.free);
            self.generation = dealt.generation;
        }
        Ok(())
    }
}

/// Shared by whoever needs it in a life.
pub type SharedMembership = Arc<Mutex<Membership>>;

/// Asks until what is under way has ended.
fn settled<T>(client: &Client, what: &str, mut ask: impl FnMut(&mut Cluster) -> Result<T, Refusal>) -> Result<T> {
    for _ in 0..PATIENCE_MS / AGAIN_MS {
        match client.ask(what, &mut ask)? {
            Err(Refusal::Concurrent | Refusal::Unstable) => client.kafka.cluster().advance_ms(AGAIN_MS),
            answer => return answer.map_err(|refusal| refused(what, refusal)),
        }
    }
    Err(refused(what, Refusal::Concurrent))
}

fn refused(what: &str, refusal: Refusal) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{what}: {refusal:?}"))
}

fn id_of(host: &str) -> String {
    format!("millstream-{host}")
}

/// The host's transactions.
pub struct MemoryTransactions {
    client: Client,
    producer: Producer,
    host: String,
    records: Vec<CommitRecord>,
    membership: SharedMembership,
    is_open: AtomicBool,
    /// A row was not delivered: nothing of the transaction can be committed any more.
    has_failed: AtomicBool,
}

impl MemoryTransactions {
    /// Ends what the host left open, and reads the hosts' last commits.
    pub fn open(client: &Client, host: &str, membership: &SharedMembership) -> Result<Arc<Self>> {
        let id = id_of(host);
        let producer = settled(client, "init", |cluster| cluster.init_transactions(&id, TRANSACTION_MS))?;
        let mut transactions = Self {
            client: client.clone(),
            producer,
            host: host.to_owned(),
            records: Vec::new(),
            membership: Arc::clone(membership),
            is_open: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        };
        transactions.records = transactions.read_records()?;
        Ok(Arc::new(transactions))
    }

    /// The last record of each host, as they are now.
    pub fn read_records(&self) -> Result<Vec<CommitRecord>> {
        let asked_ms = self.client.kafka.cluster().now_ms();
        topic::read_records(&MemoryCommits {
            client: &self.client,
            host: &self.host,
            asked_ms,
            stuck_ms: Cell::new(asked_ms + STUCK_MS),
        })
    }

    /// Sends rows in the transaction; the first of them begins it.
    pub fn send_rows(&self, what: &str, to: &TopicPartition, rows: &[(String, Vec<u8>)]) -> Result<()> {
        self.begin()?;
        settled(&self.client, what, |cluster| cluster.send(Some(&self.producer), to, rows.iter().cloned()))
    }
}

/// The commit topic, as it is read once.
struct MemoryCommits<'a> {
    client: &'a Client,
    host: &'a str,
    asked_ms: i64,
    /// Until when a transaction that is open is taken for one that is about to end.
    stuck_ms: Cell<i64>,
}

impl MemoryCommits<'_> {
    fn end_of(&self, isolation: Isolation) -> Result<i64> {
        settled(self.client, "end", |cluster| Ok(cluster.end_offset(&(COMMITS.to_owned(), 0), isolation)))
    }

    fn messages(&self, from: i64, isolation: Isolation) -> Result<Vec<Message>> {
        settled(self.client, "read", |cluster| {
            Ok(cluster.read(&(COMMITS.to_owned(), 0), from, usize::MAX, isolation).0)
        })
    }

    /// Ends the transaction that holds up readers of committed records before `end`, if it is another host's.
    fn end_stuck(&self, end: i64) -> Result<()> {
        let open = self.messages(self.stable_end()?, Isolation::Uncommitted)?;
        let holder = open
            .iter()
            .filter(|message| message.offset < end)
            .find_map(|message| topic::host_and_part(Some(message.key.as_bytes())))
            .map(|(host, _)| host);
        let Some(host) = holder.filter(|host| *host != self.host) else { return Ok(()) };
        let id = id_of(host);
        settled(self.client, "end stuck", |cluster| cluster.init_transactions(&id, TRANSACTION_MS)).map(drop)
    }
}

impl CommitTopic for MemoryCommits<'_> {
    fn end(&self) -> Result<i64> {
        self.end_of(Isolation::Uncommitted)
    }

    fn stable_end(&self) -> Result<i64> {
        self.end_of(Isolation::Committed)
    }

    fn wait(&self, end: i64) -> Result<()> {
        let now_ms = self.client.kafka.cluster().now_ms();
        if now_ms - self.asked_ms >= PATIENCE_MS {
            return Err(Error::new(ErrorKind::Unavailable, "somebody's transaction stays open"));
        }
        if now_ms >= self.stuck_ms.get() {
            self.end_stuck(end)?;
            self.stuck_ms.set(now_ms + STUCK_MS);
        }
        self.client.kafka.cluster().advance_ms(AGAIN_MS);
        Ok(())
    }

    fn read(&self, each: &mut Each<'_>) -> Result<()> {
        let messages = self.messages(0, Isolation::Committed)?;
        messages.iter().try_for_each(|message| each(message.offset, Some(message.key.as_bytes()), Some(&message.value)))
    }
}

impl Transaction for MemoryTransactions {
    fn last(&self) -> Option<&CommitRecord> {
        self.records.iter().find(|record| record.host == self.host)
    }

    fn commit(&self, record: &CommitRecord) -> Result<()> {
        topic::commit(self, record, MOST_VALUE_BYTES)
    }
}

impl Steps for MemoryTransactions {
    fn begin(&self) -> Result<()> {
        if !self.is_open.swap(true, Ordering::AcqRel) {
            self.client.kafka.cluster().begin(&self.producer);
        }
        Ok(())
    }

    fn send(&self, key: &str, value: &[u8]) -> Result<()> {
        self.send_rows("record", &(COMMITS.to_owned(), 0), &[(key.to_owned(), value.to_vec())])
    }

    fn send_offsets(&self, positions: &Positions) -> Result<()> {
        let Membership { member, generation, owned } = self.membership.lock().clone();
        let offsets = offsets(positions, &owned);
        if offsets.is_empty() {
            return Ok(());
        }
        settled(&self.client, "offsets", |cluster| {
            cluster.send_offsets(&self.producer, GROUP, &member, generation, offsets.clone())
        })
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn end(&self) -> Result<()> {
        if self.has_failed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Unavailable, "commit: a row was not delivered"));
        }
        settled(&self.client, "commit", |cluster| cluster.end(&self.producer, true))?;
        self.is_open.store(false, Ordering::Release);
        Ok(())
    }
}

impl Drop for MemoryTransactions {
    fn drop(&mut self) {
        if self.is_open.load(Ordering::Acquire) {
            // The next one with the id does it, when this one cannot.
            drop(self.client.ask("abort", |cluster| cluster.end(&self.producer, false)));
        }
    }
}

/// What the group committed for a partition, when no transaction holds it any more.
pub fn committed(client: &Client, partition: &TopicPartition) -> Result<Option<i64>> {
    let committed = settled(client, "committed", |cluster| cluster.committed(GROUP, std::slice::from_ref(partition)))?;
    Ok(committed.get(partition).copied())
}

/// Where each of these partitions goes on.
pub fn offsets(positions: &Positions, owned: &BTreeSet<usize>) -> BTreeMap<TopicPartition, i64> {
    let each = positions.iter().filter_map(|(partition, position)| {
        let number: usize = partition.key.parse().ok()?;
        let offset = position.ranges.end().filter(|_| owned.contains(&number))?;
        Some(((INPUT.to_owned(), number), offset))
    });
    each.collect()
}

/// One worker's side of the topic: rows as `id,version`.
pub struct MemoryTopic {
    transactions: Arc<MemoryTransactions>,
    partition: usize,
    rows: u64,
}

impl MemoryTopic {
    /// It writes to one partition.
    pub fn new(transactions: &Arc<MemoryTransactions>, partition: usize) -> Self {
        Self { transactions: Arc::clone(transactions), partition, rows: 0 }
    }
}

impl TopicWriter for MemoryTopic {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let values = |name: &str| rows[name].as_primitive::<Int64Type>().values().clone();
        let (ids, versions) = (values("id"), values("version"));
        let texts: Vec<String> =
            ids.iter().zip(versions.iter()).map(|(id, version)| format!("{id},{version}")).collect();
        self.write_values(&texts)
    }

    fn write_values(&mut self, values: &[String]) -> Result<()> {
        self.rows += values.len() as u64;
        let rows: Vec<_> = values.iter().map(|value| (String::new(), value.clone().into_bytes())).collect();
        match self.transactions.send_rows("rows", &(OUTPUT.to_owned(), self.partition), &rows) {
            // The commit says so.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                self.transactions.has_failed.store(true, Ordering::Release);
                Ok(())
            }
            sent => sent,
        }
    }

    fn most_value_bytes(&self) -> usize {
        1 << 20
    }

    fn prepare(&mut self, _timeout: Duration) -> Result<u64> {
        Ok(std::mem::take(&mut self.rows))
    }
}

/// One worker's share of the topic that is read.
pub struct MemoryReader {
    client: Client,
    /// The partitions, and where each goes on.
    pub parts: Vec<(usize, i64)>,
    turn: usize,
}

impl MemoryReader {
    /// It reads these partitions from these offsets on.
    pub fn new(client: &Client, parts: Vec<(usize, i64)>) -> Self {
        Self { client: client.clone(), parts, turn: 0 }
    }
}

/// A partition of the source.
pub fn partition(number: usize) -> Partition {
    Partition { source: INPUT.into(), key: number.to_string().into() }
}

impl Reader for MemoryReader {
    fn read(&mut self, bounds: &BatchSettings, _wait: Duration) -> Result<Read> {
        for _ in 0..self.parts.len() {
            let turn = self.turn % self.parts.len();
            self.turn = turn + 1;
            let (number, offset) = self.parts[turn];
            let from = (INPUT.to_owned(), number);
            let fetched =
                self.client.ask("fetch", |cluster| Ok(cluster.read(&from, offset, bounds.rows, Isolation::Committed)));
            let (messages, next) = match fetched {
                Ok(Ok(fetched)) => fetched,
                // A reader is idle while the brokers are away.
                Ok(Err(_)) => continue,
                Err(error) if error.kind() == ErrorKind::Unavailable => continue,
                Err(error) => return Err(error),
            };
            self.parts[turn].1 = next;
            let Some(last) = messages.last() else { continue };
            return Ok(Read::Records(Records {
                partition: partition(number),
                partition_number: i32::try_from(number).unwrap_or(0),
                next_offset: last.offset + 1,
                offsets: messages.iter().map(|message| message.offset).collect(),
                payload: Payload::Bytes(BinaryArray::from_iter_values(messages.iter().map(|message| &message.value))),
                csv_header: None,
                timestamps_ms: Vec::new(),
                keys: None,
                headers: Vec::new(),
            }));
        }
        Ok(Read::Idle)
    }
}
