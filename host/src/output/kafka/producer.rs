//! Producers: of one output of one worker, or of all outputs of a host together in its transactions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use crate::error::{Error, ErrorKind, Result};
use crate::source::kafka::client::{ClientLog, Context, Fixed, configure, not_created};

/// librdkafka's `message.max.bytes`, and brokers' too but for some bytes.
const MESSAGE_BYTES: usize = 1_000_000;

/// What a message has beside its value, generously.
const MESSAGE_OVERHEAD_BYTES: usize = 1024;

/// How long deliveries are taken while the producer's queue is full, until the next try, at first and at most: librdkafka is
/// asked without a pause in the last millisecond of each, so who waits for long tries less often.
const QUEUE_FULL: Duration = Duration::from_millis(5);
const QUEUE_FULL_LONGEST: Duration = Duration::from_millis(80);

const DEFAULTS: &[(&str, &str)] = &[
    ("compression.codec", "lz4"),
    ("linger.ms", "20"),
    ("batch.size", "1000000"),
    // What is written and not acknowledged: beyond it `write` waits. A longer queue makes nothing faster: its messages fall out
    // of the processor's caches, and a commit waits longer until it is empty.
    ("queue.buffering.max.kbytes", "65536"),
    ("queue.buffering.max.messages", "50000"),
    ("reconnect.backoff.max.ms", "2000"),
];

const FIXED: &[Fixed] = &[
    Fixed {
        name: "enable.idempotence",
        value: Some("true"),
        reason: "retries must not double rows or change their order",
    },
    Fixed { name: "acks", value: Some("all"), reason: "a row counts as written when all in-sync replicas have it" },
    Fixed { name: "request.required.acks", value: None, reason: "a row counts as written when all replicas have it" },
    Fixed { name: "transactional.id", value: None, reason: "transactions belong to the host" },
];

/// The way out for a row that is too large.
pub(crate) const TOO_LARGE: &str = "raise `message.max.bytes` in `properties` and the topic's max.message.bytes, or let a stage reject such \
                         rows; nothing of this epoch was committed, the next start reads it again";

/// What became of one writer's rows.
#[derive(Default)]
pub(crate) struct Delivered {
    /// Rows that all in-sync replicas have.
    pub acknowledged_rows: AtomicU64,
    /// Rows that the commit waits for: those of the epochs that ended.
    pub prepared_rows: AtomicU64,
    failed: Mutex<Option<KafkaError>>,
    owner: String,
    topic: String,
}

impl Delivered {
    /// Whether the brokers have all rows that the commit waits for.
    pub fn is_complete(&self) -> bool {
        self.acknowledged_rows.load(Ordering::Relaxed) >= self.prepared_rows.load(Ordering::Relaxed)
    }

    /// For the rows of an output, which `owner` names, to a topic.
    pub fn new(owner: &str, topic: &str) -> Arc<Self> {
        Arc::new(Self { owner: owner.to_owned(), topic: topic.to_owned(), ..Self::default() })
    }

    /// Fails when a row was not taken.
    pub fn check(&self, brokers: &str) -> Result<()> {
        self.failed().map_or(Ok(()), |reason| Err(self.not_taken(brokers, reason)))
    }

    /// A row that was not taken for a reason of its own.
    pub fn refused(&self, brokers: &str) -> Option<Error> {
        self.failed().filter(|reason| !is_purged(reason)).map(|reason| self.not_taken(brokers, reason))
    }

    fn failed(&self) -> Option<KafkaError> {
        self.failed.lock().clone()
    }

    fn not_taken(&self, brokers: &str, reason: KafkaError) -> Error {
        let (owner, topic) = (&self.owner, &self.topic);
        // The brokers' limit; the producer's own is found when the row is sent.
        if reason.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            let what = format!("{owner}: a row is too large for topic {topic:?} at {brokers}");
            return Error::new(ErrorKind::Config, what).caused_by(reason).help(TOO_LARGE);
        }
        let what = format!("{owner}: topic {topic:?} at {brokers} did not take a row: {reason}");
        Error::new(ErrorKind::Unavailable, what)
    }
}

/// Whether a row was thrown away with its transaction: why that was is said elsewhere.
fn is_purged(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{PurgeInflight, PurgeQueue};
    matches!(error.rdkafka_error_code(), Some(PurgeInflight | PurgeQueue))
}

/// Rows that were sent together: told to their writer when the last one was delivered. While some rows are sent and others
/// delivered, by other threads, each touches memory of its own: one counter of a writer would wander between processors with
/// every row.
#[derive(Default)]
pub(crate) struct Sent {
    acknowledged_rows: AtomicU64,
    writer: Arc<Delivered>,
}

impl Sent {
    /// For a writer's next rows.
    pub fn new(writer: &Arc<Delivered>) -> Arc<Self> {
        Arc::new(Self { acknowledged_rows: AtomicU64::new(0), writer: Arc::clone(writer) })
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.writer.acknowledged_rows.fetch_add(*self.acknowledged_rows.get_mut(), Ordering::Relaxed);
    }
}

/// Counts, for the writer of each row, what became of it.
impl ProducerContext for Context {
    type DeliveryOpaque = Arc<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Arc<Sent>) {
        match result {
            Ok(_) => {
                sent.acknowledged_rows.fetch_add(1, Ordering::Relaxed);
                self.log.answered();
            }
            Err((error, _)) => {
                let mut failed = sent.writer.failed.lock();
                if failed.as_ref().is_none_or(is_purged) {
                    *failed = Some(error.clone());
                }
            }
        }
    }
}

/// A record for the producer's queue, whose delivery is counted.
pub(crate) type Outgoing<'a> = BaseRecord<'a, [u8], [u8], Arc<Sent>>;

/// Hands a record to the producer. While its queue is full it waits, for as long as `goes_on` does not fail.
pub(crate) fn send(
    producer: &BaseProducer<Context>,
    mut record: Outgoing<'_>,
    goes_on: impl Fn() -> Result<()>,
    refused: impl FnOnce(KafkaError) -> Error,
) -> Result<()> {
    let mut pause = QUEUE_FULL;
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((error, again)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                record = again;
                producer.poll(pause);
                pause = (pause * 2).min(QUEUE_FULL_LONGEST);
                goes_on()?;
            }
            Err((error, _)) => return Err(refused(error)),
        }
    }
}

/// Whose transactions a producer makes.
pub(crate) struct Transactional {
    /// `transactional.id`: whoever comes later with the same one ends what the one before left open.
    pub id: String,
    /// `transaction.timeout.ms`, unless `properties` say another one.
    pub timeout: Duration,
}

/// A producer, and the longest value that it takes. `owner` names it in errors.
pub(crate) fn producer(
    owner: &str,
    brokers: &str,
    properties: &BTreeMap<String, String>,
    transactional: Option<&Transactional>,
) -> Result<(Arc<BaseProducer<Context>>, usize)> {
    let mut config = configure(owner, brokers, properties, DEFAULTS, FIXED)?;
    if let Some(Transactional { id, timeout }) = transactional {
        config.set("transactional.id", id);
        if config.get("transaction.timeout.ms").is_none() {
            config.set("transaction.timeout.ms", timeout.as_millis().to_string());
        }
    }
    let most_bytes = config.get("message.max.bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or(MESSAGE_BYTES);
    let context = Context { log: ClientLog::new(owner) };
    let producer = config.create_with_context(context).map_err(|error| not_created(owner, error))?;
    Ok((Arc::new(producer), usize::saturating_sub(most_bytes, MESSAGE_OVERHEAD_BYTES)))
}
