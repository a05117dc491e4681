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
//! Workers do not wait for their rows to be delivered when they prepare: the commit sends no end of the transaction before the
//! producer's queue is empty and nothing was refused: the brokers have acknowledged every row, and the record. So the record
//! says of rows what is true once it is: with one row undelivered the transaction is not committed, and the record never
//! was. What it buys is that rows are under way while files are closed.
//!
//! What the transaction ends with, in which order, and where reading the topic ends: see `super::topic`.

mod claims;
mod cluster;
mod fenced;
mod read;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;

use super::record::CommitRecord;
use super::topic::{self, Steps};
use crate::error::{Error, ErrorKind, Result};
use crate::output::kafka::producer::{self, RowProducer, Transactional};
use crate::output::kafka::{Rows, TopicQueue, flush};
use crate::source::Positions;
use crate::source::kafka::client::{away, configure, not_created, reach};

pub use cluster::Cluster;
pub use fenced::Fenced;

/// How long the brokers may take for one step.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long one call of librdkafka waits; what is not done by then is asked for again.
const CALL: Duration = Duration::from_secs(10);

/// What a transaction may take beside the epoch.
const ALLOWANCE: Duration = Duration::from_secs(60);

/// Brokers' own `transaction.max.timeout.ms`.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// `segment.bytes` of the commit topic: no less is allowed by some hosted brokers.
const SEGMENT_BYTES: &str = "52428800";

/// By then it is known why a row was not taken.
const REASON: Duration = Duration::from_secs(1);

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

/// The host's transactions on one Kafka cluster.
pub struct Transactions {
    pipeline: String,
    cluster: Cluster,
    client: ClientConfig,
    topic: String,
    host: String,
    producer: Arc<RowProducer>,
    /// Whether a transaction is open; the lock is held while it is begun.
    is_open: AtomicBool,
    beginning: Mutex<()>,
    records: Vec<CommitRecord>,
    /// The epoch that was committed last under the host's id, as far as is known here; 0: none.
    epoch: AtomicU64,
    groups: OnceLock<Groups>,
    fenced: Fenced,
}

impl Transactions {
    /// Connects, ends what the host left open, and reads the hosts' last commits. `longest`: of an epoch.
    pub fn open(
        pipeline: &str,
        host: &str,
        cluster: &Cluster,
        longest: Duration,
        fenced: &Fenced,
    ) -> Result<Arc<Self>> {
        let Cluster { brokers, properties } = cluster;
        check_timeout(properties, longest)?;
        let timeout = (longest * 2 + ALLOWANCE).min(LONGEST);
        let transactional = Transactional { id: id_of(pipeline, host), timeout };
        let producer = producer::producer(OWNER, brokers, properties, Some(&transactional))?;
        let mut transactions = Self {
            pipeline: pipeline.to_owned(),
            client: configure(OWNER, brokers, &Cluster::of_reader(brokers, properties).properties, &[], &[])?,
            cluster: cluster.clone(),
            topic: format!("millstream-commits-{pipeline}"),
            host: host.to_owned(),
            producer,
            is_open: AtomicBool::new(false),
            beginning: Mutex::default(),
            records: Vec::new(),
            epoch: AtomicU64::new(0),
            groups: OnceLock::new(),
            fenced: fenced.clone(),
        };
        let producer = &transactions.producer;
        reach(producer.client(), brokers, TIMEOUT, || producer.poll(Duration::ZERO))?;
        transactions.make_topic()?;
        transactions.init()?;
        tracing::debug!(host, "what the host had open is ended");
        transactions.records = transactions.read_records()?;
        tracing::debug!(host, records = transactions.records.len(), "the commit topic is read");
        *transactions.epoch.get_mut() = epoch_in(&transactions.records, host);
        Ok(Arc::new(transactions))
    }

    /// Says how the offsets of groups are found that belong into the transactions.
    pub fn set_groups(&self, groups: impl Fn(&Positions) -> Result<Vec<GroupOffsets>> + Send + Sync + 'static) {
        // A run does so once.
        let _ = self.groups.set(Box::new(groups));
    }

    /// The producer of all outputs.
    pub(crate) fn producer(&self) -> &Arc<RowProducer> {
        &self.producer
    }

    /// A row that was not taken ends the transaction, and is the reason why nothing else is taken: the commit says so, when
    /// it can be known soon.
    fn refused_row(&self) -> Option<Error> {
        let is_known = || Ok(self.producer.refused().is_some() || self.producer.waiting() == 0);
        flush(&self.producer, REASON, is_known).ok()?;
        self.producer.refused()
    }

    /// Begins a transaction if none is open: before the first row of an epoch. Any worker may be the first.
    pub fn begin(&self) -> Result<()> {
        if self.is_open.load(Ordering::Acquire) {
            return Ok(());
        }
        let _beginning = self.beginning.lock();
        if !self.is_open.load(Ordering::Acquire) {
            self.producer.begin_transaction().map_err(|error| self.failed("a transaction cannot be begun", error))?;
            self.is_open.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn make_topic(&self) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> =
            self.client.create().map_err(|error| not_created(OWNER, error))?;
        // The last segment is not compacted, and every start reads it.
        let topic = NewTopic::new(&self.topic, 1, TopicReplication::Fixed(-1))
            .set("cleanup.policy", "compact")
            .set("segment.bytes", SEGMENT_BYTES);
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
                Ok(Some(Err((_, code @ (RDKafkaErrorCode::PolicyViolation | RDKafkaErrorCode::InvalidConfig))))) => {
                    return Err(self.not_made(ErrorKind::Config, code));
                }
                Ok(Some(Err((_, code)))) if Instant::now() >= deadline => {
                    return Err(self.not_made(ErrorKind::Unavailable, code));
                }
                Err(_) if Instant::now() >= deadline => return Err(self.away()),
                // The answer comes after some time of its own: nothing spins here.
                Ok(Some(Err(_))) | Err(_) => {}
            }
        }
    }

    fn not_made(&self, kind: ErrorKind, code: RDKafkaErrorCode) -> Error {
        let what = format!("{OWNER}: the topic {:?} cannot be made at {}: {code}", self.topic, self.cluster.brokers);
        Error::new(kind, what).help("make it yourself: one partition, `cleanup.policy=compact`")
    }

    /// Ends what the producer before left open, and keeps it from ending it in another way.
    fn init(&self) -> Result<()> {
        answered(|| self.producer.init_transactions(CALL)).map_err(|error| match is_retriable(&error) {
            true => self.away().caused_by(error),
            false => self.failed("transactions cannot be begun", error),
        })
    }

    /// What an error of a run means when somebody else makes the host's transactions. One who has committed under its id since
    /// this was opened, because the host stood still, or came back: the error says nothing of disk and records, for what was
    /// read of them is not true any more. One who does so again and again: the host is not alone.
    pub fn unless_outrun(&self, error: Error) -> Error {
        if self.producer.is_fenced() && self.fenced.add() {
            let what = format!("{OWNER}: another process makes the transactions of host {}", self.host);
            return Error::new(ErrorKind::Config, what)
                .caused_by(error)
                .help("was the data folder copied? Stop the other process, or give this one a data folder of its own. A host that stands still for longer than its `transaction.timeout.ms` looks the same to the brokers");
        }
        let known = self.epoch.load(Ordering::Relaxed);
        let is_outrun = || self.read_records().is_ok_and(|records| epoch_in(&records, &self.host) > known);
        if error.kind() == ErrorKind::Unavailable || !is_outrun() {
            return error;
        }
        Error::new(ErrorKind::Unavailable, format!("somebody else has committed what host {} left", self.host))
            .caused_by(error)
    }

    fn failed(&self, what: &str, error: KafkaError) -> Error {
        use RDKafkaErrorCode::{
            ClusterAuthorizationFailed, InvalidTransactionTimeout, TopicAuthorizationFailed,
            TransactionalIdAuthorizationFailed,
        };
        let failed =
            |kind, error| Error::new(kind, format!("{OWNER}: {what} at {}", self.cluster.brokers)).caused_by(error);
        let help = match error.rdkafka_error_code() {
            Some(InvalidTransactionTimeout) => {
                "the brokers' `transaction.max.timeout.ms` is shorter: set `transaction.timeout.ms` in the `properties` of a \
                 Kafka output to no more, and `epoch.interval` to no more than half of it"
                    .to_owned()
            }
            Some(TransactionalIdAuthorizationFailed | ClusterAuthorizationFailed | TopicAuthorizationFailed) => format!(
                "the user of `properties_file` needs WRITE on transactional id \"millstream-..\" and on topic {:?}; or write \
                 `commit = \"log\"` at the top of the pipeline file (and `delivery = \"at_least_once\"` in each Kafka output)",
                self.topic
            ),
            _ => return failed(ErrorKind::Unavailable, error),
        };
        failed(ErrorKind::Config, error).help(help)
    }

    fn away(&self) -> Error {
        away(OWNER, &self.cluster.brokers, TIMEOUT, &self.producer.context().log)
    }
}

impl super::Transaction for Transactions {
    fn last(&self) -> Option<&CommitRecord> {
        self.records.iter().find(|record| record.host == self.host)
    }

    fn commit(&self, record: &CommitRecord) -> Result<()> {
        topic::commit(self, record, self.producer.most_value_bytes)
            .map_err(|error| self.refused_row().unwrap_or(error))?;
        self.epoch.store(record.epoch, Ordering::Relaxed);
        Ok(())
    }
}

impl Steps for Transactions {
    fn begin(&self) -> Result<()> {
        Self::begin(self)
    }

    fn send(&self, key: &str, value: &[u8]) -> Result<()> {
        let queue = TopicQueue::new(&self.producer, OWNER, &self.topic, Some(0))?;
        let refused = |_, error| self.failed("the record cannot be sent", error);
        queue.put(&Rows::one(key.as_bytes(), value), refused)
    }

    fn send_offsets(&self, positions: &Positions) -> Result<()> {
        let Some(groups) = self.groups.get() else { return Ok(()) };
        for GroupOffsets { offsets, group } in groups(positions)? {
            answered(|| self.producer.send_offsets_to_transaction(&offsets, &group, CALL)).map_err(|error| {
                let what = match error.rdkafka_error_code() {
                    // The group's generation went on between the look at it and the brokers' own: `Member::group_offsets`.
                    Some(RDKafkaErrorCode::IllegalGeneration) => "partitions move while an epoch is committed",
                    _ => "the offsets of a group are not taken",
                };
                self.failed(what, error)
            })?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let mut waiting = usize::MAX;
        while !self.producer.is_delivered()? {
            let now = self.producer.waiting();
            if now >= waiting {
                return Err(self.away());
            }
            // Brokers that are slow and go on are waited for.
            waiting = now;
            flush(&self.producer, TIMEOUT, || self.producer.is_delivered())?;
        }
        self.producer.context().log.answered();
        Ok(())
    }

    fn end(&self) -> Result<()> {
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
        if !self.is_open.load(Ordering::Acquire) {
            return;
        }
        let is_over = AtomicBool::new(false);
        let aborted = std::thread::scope(|scope| {
            // librdkafka waits until somebody has taken what became of each row.
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    self.producer.poll(Duration::from_millis(10));
                }
            });
            let aborted = self.producer.abort_transaction(CALL);
            is_over.store(true, Ordering::Relaxed);
            aborted
        });
        if let Err(error) = aborted {
            tracing::debug!(%error, "the open transaction is not aborted: the next start does it");
        }
    }
}

/// Refuses a `transaction.timeout.ms` that ends the transactions of epochs that are as long as they may be.
fn check_timeout(properties: &BTreeMap<String, String>, longest: Duration) -> Result<()> {
    let given = properties.get("transaction.timeout.ms").and_then(|text| text.parse::<u64>().ok());
    let least = (longest * 2).min(LONGEST);
    let Some(given_ms) = given.filter(|ms| Duration::from_millis(*ms) < least) else { return Ok(()) };
    let least_ms = least.as_millis();
    let what = format!("{OWNER}: `transaction.timeout.ms` is {given_ms}, but an epoch may take {longest:?}");
    Err(Error::new(ErrorKind::Config, what).help(format!(
        "raise it to {least_ms} at least, leave it out, or shorten `epoch.interval` and stages' `swap.probation`"
    )))
}

/// The epoch of a host's last commit, by the records of all; 0 for a host with none.
fn epoch_in(records: &[CommitRecord], host: &str) -> u64 {
    records.iter().find(|record| record.host == host).map_or(0, |record| record.epoch)
}

/// `transactional.id` of a host.
fn id_of(pipeline: &str, host: &str) -> String {
    format!("millstream-{pipeline}-{host}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_may_not_end_before_its_epoch() {
        let check = |timeout_ms: &str| {
            let properties = BTreeMap::from([("transaction.timeout.ms".to_owned(), timeout_ms.to_owned())]);
            check_timeout(&properties, Duration::from_secs(10))
        };
        assert!(check_timeout(&BTreeMap::new(), Duration::from_secs(10)).is_ok());
        assert!(check("20000").is_ok());
        let hour = BTreeMap::from([("transaction.timeout.ms".to_owned(), LONGEST.as_millis().to_string())]);
        assert!(check_timeout(&hour, Duration::from_secs(3_600)).is_ok(), "brokers allow no more");
        let error = check("19999").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("is 19999, but an epoch may take 10s"), "{error}");
        assert!(error.way_out().is_some_and(|help| help.contains("raise it to 20000")), "{error}");
    }
}
