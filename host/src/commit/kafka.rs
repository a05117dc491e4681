//! Transactions: an epoch's rows in topics, its commit record and the offsets of its Kafka sources become true together, or
//! never were.
//!
//! A host has one transactional producer, under an id that is its own for good. All workers send through it. The commit
//! ends the transaction with the record itself, which goes to the *commit topic* (`millstream-commits-PIPELINE`, compacted,
//! one partition, keyed `HOST/PART`). The commit log in the data folder is written behind it, so it never says more than the
//! topic, and at most one epoch less.
//!
//! | a crash, or silence | the next start finds | and does |
//! |---|---|---|
//! | before the commit was sent | an open transaction | `init_transactions` aborts it; reads from the last commit on |
//! | the commit was sent, and its answer never came | a transaction that is ending, one way or the other | `init_transactions` waits for the end; the record is in the topic, or it is not: that is the answer |
//! | behind the commit, before the log was written | a record in the topic that is an epoch ahead of the log | writes it into the log, publishes its files |
//! | behind the log | the same epoch in both | as without transactions: see `super` |
//!
//! Another host of the group that takes the partitions over does the same as the next start, under the id of the host that
//! is gone: see `adopt`. So there is one way of coming back, whoever comes.
//!
//! | the host that is gone | the taker finds | and does |
//! |---|---|---|
//! | has an open transaction | offsets that are not stable, if they were sent | `init_transactions` with its id aborts it, or waits for its end; only then are the group's offsets asked for |
//! | committed, and did not publish | its record, with files in staging | publishes them |
//! | has rows in the spool | its record, with what waits | makes files of them, in a commit under its id |
//! | stood still, and goes on | - | its producer is fenced, and the group knows it no more: its epoch is thrown away, it comes back in this process as a next start does, and finds the taker's commit under its own id |
//!
//! An unclear answer inside a run takes the same way: the run goes back, and a new producer with the same id settles what was
//! open. A producer that was fenced is replaced; fenced again and again within a minute while the host never lost its
//! place in the group, the host gives up, because somebody else runs under its id.
//!
//! The topic is read to the end that all readers see (`read_uncommitted`) at the moment the own transaction is settled: the
//! end that a reader of committed records sees may be older while somebody else's transaction is open.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::record::CommitRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::output::kafka::producer::{self, Outgoing, Transactional};
use crate::source::Positions;
use crate::source::kafka::client::{Context, away, configure, not_created, reach, reader};

/// How long the brokers may take for one step.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long one call of librdkafka waits; what is not done by then is asked for again.
const CALL: Duration = Duration::from_secs(10);

/// What a transaction may take beside the epoch.
const ALLOWANCE: Duration = Duration::from_secs(60);

/// Brokers' own `transaction.max.timeout.ms`.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// A host that is fenced so often, so soon, is not alone.
const FENCED_OFTEN: usize = 3;
const FENCED_SOON: Duration = Duration::from_secs(60);

/// What commits speak of themselves as in errors.
const OWNER: &str = "the commit";

/// The offsets of a group, for a transaction.
pub struct GroupOffsets {
    /// The next offset of each partition.
    pub offsets: TopicPartitionList,
    /// Who commits them: the broker refuses somebody who is no member any more.
    pub group: ConsumerGroupMetadata,
}

/// Finds the groups' offsets that stand for positions.
type Groups = Box<dyn Fn(&Positions) -> Result<Vec<GroupOffsets>> + Send + Sync>;

/// When the host's producer was fenced, the last times: outlives a run that goes back.
#[derive(Clone, Debug, Default)]
pub struct Fenced(Arc<Mutex<Vec<Instant>>>);

impl Fenced {
    /// It was for a reason: the host had lost its place in the group.
    pub fn forget(&self) {
        self.times().clear();
    }

    /// Notes one more time; whether it was too often.
    fn add(&self) -> bool {
        let mut times = self.times();
        times.retain(|time| time.elapsed() < FENCED_SOON);
        times.push(Instant::now());
        times.len() >= FENCED_OFTEN
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Vec<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The brokers that hold a pipeline's transactions, and how they are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// As the pipeline file has them.
    pub brokers: String,
    /// librdkafka's settings.
    pub properties: BTreeMap<String, String>,
}

impl Cluster {
    /// The one that a source reads from: of its settings those that say how brokers are reached.
    pub fn of_reader(brokers: &str, properties: &BTreeMap<String, String>) -> Self {
        let reaches = |name: &str| REACHING.iter().any(|prefix| name.starts_with(prefix));
        let properties = properties.iter().filter(|(name, _)| reaches(name));
        let properties = properties.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { brokers: brokers.to_owned(), properties }
    }
}

/// How librdkafka's settings begin that producers and consumers have alike, and that say how brokers are reached.
const REACHING: [&str; 10] = [
    "security.", "sasl.", "ssl.", "enable.ssl.", "enable.sasl.", "https.", "socket.", "broker.", "client.", "reconnect.",
];

/// The host's transactions on one Kafka cluster.
pub struct Transactions {
    client: ClientConfig,
    brokers: String,
    topic: String,
    host: String,
    producer: Arc<BaseProducer<Context>>,
    most_value_bytes: usize,
    /// Whether a transaction is open; the lock is held while it is begun.
    is_open: AtomicBool,
    beginning: Mutex<()>,
    records: Vec<CommitRecord>,
    groups: OnceLock<Groups>,
    fenced: Fenced,
}

/// The first line of a message in the commit topic; behind it a part of the record's JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    epoch: u64,
    part: usize,
    parts: usize,
    /// CRC-32 of the whole record's JSON.
    crc32: u32,
}

/// The parts of one host's last record.
type Parts = BTreeMap<usize, (Head, Vec<u8>)>;

/// By host its parts, and where the last of them stands in the topic.
type PartsOfHosts = BTreeMap<String, (i64, Parts)>;

impl Transactions {
    /// Connects, ends what the host left open, and reads the hosts' last commits. `longest`: of an epoch.
    pub fn open(
        pipeline: &str,
        host: &str,
        cluster: &Cluster,
        longest: Duration,
        fenced: &Fenced,
    ) -> Result<Arc<Self>> {
        let transactional = Transactional {
            id: format!("millstream-{pipeline}-{host}"),
            timeout: (longest * 2 + ALLOWANCE).min(LONGEST),
        };
        let Cluster { brokers, properties } = cluster;
        let (producer, most_value_bytes) = producer::producer(OWNER, brokers, properties, Some(&transactional))?;
        let mut transactions = Self {
            client: configure(OWNER, brokers, properties, &[], &[])?,
            brokers: brokers.clone(),
            topic: format!("millstream-commits-{pipeline}"),
            host: host.to_owned(),
            producer,
            most_value_bytes,
            is_open: AtomicBool::new(false),
            beginning: Mutex::default(),
            records: Vec::new(),
            groups: OnceLock::new(),
            fenced: fenced.clone(),
        };
        let producer = &transactions.producer;
        reach(producer.client(), brokers, TIMEOUT, || producer.poll(Duration::ZERO))?;
        transactions.make_topic()?;
        transactions.init()?;
        transactions.records = transactions.read_records()?;
        Ok(Arc::new(transactions))
    }


    /// Says how the offsets of groups are found that belong into the transactions.
    pub fn set_groups(&self, groups: impl Fn(&Positions) -> Result<Vec<GroupOffsets>> + Send + Sync + 'static) {
        // A run does so once.
        let _ = self.groups.set(Box::new(groups));
    }

    /// The producer of all outputs, and the longest value that it takes.
    pub(crate) fn producer(&self) -> (Arc<BaseProducer<Context>>, usize) {
        (Arc::clone(&self.producer), self.most_value_bytes)
    }

    /// Begins a transaction if none is open: before the first row of an epoch. Any worker may be the first.
    pub fn begin(&self) -> Result<()> {
        if self.is_open.load(Ordering::Acquire) {
            return Ok(());
        }
        let _beginning = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_open.load(Ordering::Acquire) {
            self.producer.begin_transaction().map_err(|error| self.failed("a transaction cannot be begun", error))?;
            self.is_open.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn make_topic(&self) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client.create().map_err(|error| not_created(OWNER, error))?;
        let topic = NewTopic::new(&self.topic, 1, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact");
        let options = AdminOptions::new().request_timeout(Some(CALL)).operation_timeout(Some(CALL));
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let answers = pollster::block_on(admin.create_topics([&topic], &options));
            match answers.map(|answers| answers.into_iter().next()) {
                Ok(None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)))) => return Ok(()),
                // It may have been made by somebody who has the right to: reading it tells.
                Ok(Some(Err((
                    _,
                    RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed,
                )))) => return Ok(()),
                Ok(Some(Err((_, code)))) if Instant::now() >= deadline => {
                    let what =
                        format!("{OWNER}: the topic {:?} cannot be made at {}: {code}", self.topic, self.brokers);
                    return Err(Error::new(ErrorKind::Unavailable, what));
                }
                Err(_) if Instant::now() >= deadline => return Err(self.away()),
                // The answer comes after some time of its own: nothing spins here.
                Ok(Some(Err(_))) | Err(_) => {}
            }
        }
    }

    /// Ends what the producer before left open, and keeps it from ending it in another way.
    fn init(&self) -> Result<()> {
        answered(|| self.producer.init_transactions(CALL)).map_err(|error| match is_retriable(&error) {
            true => self.away().caused_by(error),
            false => self.failed("transactions cannot be begun", error),
        })
    }

    /// The last record of each host of the pipeline, as they are now; the one that was committed last at the end.
    pub fn read_records(&self) -> Result<Vec<CommitRecord>> {
        let deadline = Instant::now() + TIMEOUT;
        let end = self.end(&self.reader("read_uncommitted")?, deadline)?;
        let reader = self.reader("read_committed")?;
        while self.end(&reader, deadline)? < end {
            if Instant::now() >= deadline {
                let what = format!("{OWNER}: somebody's transaction in topic {:?} stays open", self.topic);
                return Err(Error::new(ErrorKind::Unavailable, what).help(
                    "it ends by itself after its `transaction.timeout.ms`; does another host of this pipeline hang?",
                ));
            }
            drop(reader.poll(Duration::from_millis(100)));
        }
        let unreadable = |error: KafkaError| {
            Error::new(ErrorKind::Unavailable, format!("{OWNER}: topic {:?} cannot be read", self.topic))
                .caused_by(error)
        };
        let mut partition = TopicPartitionList::new();
        partition.add_partition_offset(&self.topic, 0, Offset::Beginning).map_err(unreadable)?;
        reader.assign(&partition).map_err(unreadable)?;
        let mut hosts = PartsOfHosts::new();
        loop {
            match reader.poll(CALL) {
                Some(Ok(message)) => {
                    self.take_part(&mut hosts, message.offset(), message.key(), message.payload())?;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) if Instant::now() >= deadline => return Err(unreadable(error)),
                None if Instant::now() >= deadline => return Err(self.away()),
                Some(Err(_)) | None => {}
            }
        }
        let mut hosts: Vec<_> = hosts.into_iter().collect();
        hosts.sort_by_key(|(_, (offset, _))| *offset);
        let records = hosts.into_iter().map(|(host, (_, parts))| self.join(&host, parts));
        records.filter_map(Result::transpose).collect()
    }

    fn reader(&self, isolation: &str) -> Result<BaseConsumer<Context>> {
        let mut config = self.client.clone();
        config.set("isolation.level", isolation).set("enable.partition.eof", "true").set("enable.auto.commit", "false");
        // Demanded of whoever reads without transactions of a group; nothing joins it.
        config.set("group.id", &self.topic);
        reader(&config, OWNER)
    }

    /// The end of the commit topic, as this reader sees it.
    fn end(&self, reader: &BaseConsumer<Context>, deadline: Instant) -> Result<i64> {
        loop {
            match reader.fetch_watermarks(&self.topic, 0, CALL) {
                Ok((_, end)) => return Ok(end),
                Err(error) if Instant::now() >= deadline => return Err(self.away().caused_by(error)),
                // A topic that was just made is not known everywhere at once.
                Err(_) => drop(reader.poll(Duration::from_millis(100))),
            }
        }
    }

    fn take_part(
        &self,
        hosts: &mut PartsOfHosts,
        offset: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<()> {
        let host_and_part = key.and_then(|key| std::str::from_utf8(key).ok()?.rsplit_once('/'));
        let (Some((host, _)), Some(value)) = (host_and_part, value) else { return Ok(()) };
        let end =
            memchr::memchr(b'\n', value).ok_or_else(|| self.damaged(host, "a message has no first line"))?;
        let head: Head =
            serde_json::from_slice(&value[..end]).map_err(|error| self.damaged(host, &error.to_string()))?;
        let (last, parts) = hosts.entry(host.to_owned()).or_default();
        *last = offset;
        parts.insert(head.part, (head, value[end + 1..].to_vec()));
        Ok(())
    }

    /// The record that part 0 begins: all parts of a record are written together, so the others are of the same epoch.
    fn join(&self, host: &str, mut parts: Parts) -> Result<Option<CommitRecord>> {
        let damaged = |what: &str| self.damaged(host, what);
        let Some((head, mut json)) = parts.remove(&0) else { return Ok(None) };
        for part in 1..head.parts {
            let (of, bytes) = parts.remove(&part).ok_or_else(|| damaged(&format!("part {part} is missing")))?;
            if of.epoch != head.epoch {
                return Err(damaged(&format!("part {part} of epoch {} is of epoch {}", head.epoch, of.epoch)));
            }
            json.extend(bytes);
        }
        if crc32fast::hash(&json) != head.crc32 {
            return Err(damaged(&format!("the record of epoch {} fails its checksum", head.epoch)));
        }
        serde_json::from_slice(&json).map(Some).map_err(|error| damaged(&error.to_string()))
    }

    fn send_record(&self, record: &CommitRecord) -> Result<()> {
        let json = serde_json::to_vec(record)
            .map_err(|error| Error::new(ErrorKind::Internal, "a commit record has no JSON form").caused_by(error))?;
        let parts = json.chunks(self.most_value_bytes.max(1));
        let (count, crc32) = (parts.len(), crc32fast::hash(&json));
        for (part, bytes) in parts.enumerate() {
            let head = Head { epoch: record.epoch, part, parts: count, crc32 };
            let mut value = serde_json::to_vec(&head)
                .map_err(|error| Error::new(ErrorKind::Internal, "a commit has no JSON form").caused_by(error))?;
            value.push(b'\n');
            value.extend_from_slice(bytes);
            let key = format!("{}/{part}", self.host);
            // A message that is not delivered makes the commit fail: nobody counts.
            let message = Outgoing::with_opaque_to(&self.topic, Arc::default()).partition(0);
            let message = message.key(key.as_bytes()).payload(&value);
            let refused = |error| self.failed("the record cannot be sent", error);
            producer::send(&self.producer, message, || Ok(()), refused)?;
        }
        Ok(())
    }

    fn send_offsets(&self, positions: &Positions) -> Result<()> {
        let Some(groups) = self.groups.get() else { return Ok(()) };
        for GroupOffsets { offsets, group } in groups(positions)? {
            answered(|| self.producer.send_offsets_to_transaction(&offsets, &group, CALL))
                .map_err(|error| self.failed("the offsets of a group are not taken", error))?;
        }
        Ok(())
    }

    fn failed(&self, what: &str, error: KafkaError) -> Error {
        let code = error.rdkafka_error_code();
        let fenced = matches!(
            code,
            Some(RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch)
        );
        if fenced && self.fenced.add() {
            let what = format!("{OWNER}: another process makes the transactions of host {}", self.host);
            return Error::new(ErrorKind::Config, what)
                .caused_by(error)
                .help("was the data folder copied? Stop the other process, or give this one a data folder of its own. A host that stands still for longer than its `transaction.timeout.ms` looks the same to the brokers");
        }
        let refused = matches!(
            code,
            Some(
                RDKafkaErrorCode::TransactionalIdAuthorizationFailed
                    | RDKafkaErrorCode::ClusterAuthorizationFailed
                    | RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::InvalidTransactionTimeout
            )
        );
        let kind = if refused { ErrorKind::Config } else { ErrorKind::Unavailable };
        let error = Error::new(kind, format!("{OWNER}: {what} at {}", self.brokers)).caused_by(error);
        if !refused {
            return error;
        }
        error.help(format!(
            "the user of `properties_file` needs WRITE on transactional id \"millstream-..\" and on topic {:?}, and \
             `transaction.timeout.ms` has to be within the brokers' `transaction.max.timeout.ms`; or write \
             `commit = \"log\"` at the top of the pipeline file (and `delivery = \"at_least_once\"` in each Kafka output)",
            self.topic
        ))
    }

    fn damaged(&self, host: &str, what: &str) -> Error {
        let what = format!("{OWNER}: the last record of host {host} in topic {:?} is damaged: {what}", self.topic);
        Error::new(ErrorKind::Storage, what)
            .help("nothing is written. The commit log in the data folder has all but perhaps the last epoch; please report this")
    }

    fn away(&self) -> Error {
        away(OWNER, &self.brokers, TIMEOUT, &self.producer.context().log)
    }
}

impl super::Transaction for Transactions {
    fn last(&self) -> Option<&CommitRecord> {
        self.records.iter().find(|record| record.host == self.host)
    }

    fn commit(&self, record: &CommitRecord) -> Result<()> {
        self.begin()?;
        self.send_record(record)?;
        self.send_offsets(&record.positions)?;
        // The commit would wait for the deliveries too, and longer.
        producer::flush(&self.producer, TIMEOUT, || Ok(self.producer.in_flight_count() == 0))?;
        answered(|| self.producer.commit_transaction(CALL))
            .map_err(|error| self.failed("the transaction is not known to be committed", error))?;
        self.is_open.store(false, Ordering::Release);
        Ok(())
    }
}

impl std::fmt::Debug for Transactions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transactions").field("topic", &self.topic).field("host", &self.host).finish_non_exhaustive()
    }
}

impl Drop for Transactions {
    fn drop(&mut self) {
        if self.is_open.load(Ordering::Acquire)
            && let Err(error) = self.producer.abort_transaction(CALL)
        {
            tracing::debug!(%error, "the open transaction is not aborted: the next start does it");
        }
    }
}

/// Asks again for as long as the answer is that it may yet come.
fn answered(ask: impl Fn() -> Result<(), KafkaError>) -> Result<(), KafkaError> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match ask() {
            Err(error) if is_retriable(&error) && Instant::now() < deadline => {}
            answer => return answer,
        }
    }
}

fn is_retriable(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.is_retriable())
}
