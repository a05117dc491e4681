//! Producers: of one output of one worker, or of all outputs of a host together in its transactions.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use crate::error::{Error, ErrorKind, Result};
use crate::source::kafka::client::{Context, Fixed, configure, not_created};

use super::queue::Window;

/// librdkafka's `message.max.bytes`, and brokers' too but for some bytes.
const MESSAGE_BYTES: usize = 1_000_000;

/// What a message has beside its value, generously.
const MESSAGE_OVERHEAD_BYTES: usize = 1024;

const DEFAULTS: &[(&str, &str)] = &[
    ("compression.codec", "lz4"),
    // Apache Kafka's own producer waits as long.
    ("linger.ms", "5"),
    ("batch.size", "1000000"),
    // What is written and not acknowledged: beyond it, or the `Window`, `write` waits. A longer queue makes nothing faster: its
    // messages fall out of the processor's caches, and a commit waits longer until it is empty.
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
    Fixed {
        name: "delivery.report.only.error",
        value: Some("true"),
        reason: "a row was taken when it left the queue and no error came",
    },
    Fixed { name: "transactional.id", value: None, reason: "transactions belong to the host" },
];

/// The way out for a row that is too large.
pub(crate) const TOO_LARGE: &str = "raise `message.max.bytes` in `properties` (and `queue.buffering.max.kbytes` above it) and the topic's \
    max.message.bytes, or let a stage reject such rows; nothing of this epoch was committed, the next start reads it again";

/// Of the first message that was not taken its topic, and why.
type Refused = Mutex<Option<(String, KafkaError)>>;

/// Only failures are told (`delivery.report.only.error`): what was taken leaves the queue, and nobody hears of each message.
impl ProducerContext for Context<Refused> {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let mut refused = self.noted.lock();
            if refused.as_ref().is_none_or(|(_, reason)| is_of_all(reason)) {
                *refused = Some((message.topic().to_owned(), error.clone()));
            }
        }
    }
}

/// Whether a message was thrown away with others: the reason is not its own.
fn is_of_all(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{PurgeInflight, PurgeQueue};
    is_fenced(error) || matches!(error.rdkafka_error_code(), Some(PurgeInflight | PurgeQueue))
}

/// Whether somebody else makes the producer's transactions now.
pub(crate) fn is_fenced(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{Fenced, InvalidProducerEpoch, ProducerFenced};
    matches!(error.rdkafka_error_code(), Some(Fenced | ProducerFenced | InvalidProducerEpoch))
}

/// A producer of rows. Writers may share it: those of all outputs of a host in its transactions.
pub(crate) struct RowProducer {
    client: BaseProducer<Context<Refused>>,
    pub brokers: String,
    /// By topic whose rows go there.
    owners: Mutex<BTreeMap<String, String>>,
    /// The longest value that it takes.
    pub most_value_bytes: usize,
    /// How many rows its queue may hold; whoever has the lock puts rows into it.
    pub window: Mutex<Window>,
}

impl RowProducer {
    /// Notes whose rows go to a topic.
    pub fn note_owner(&self, topic: &str, owner: &str) {
        self.owners.lock().insert(topic.to_owned(), owner.to_owned());
    }

    /// The rows in its queue. What the client has to say, and nobody took yet, counts as a row.
    pub fn waiting(&self) -> usize {
        usize::try_from(self.client.in_flight_count()).unwrap_or(0)
    }

    /// Whether all in-sync replicas have every row; fails when one was not taken.
    pub fn is_delivered(&self) -> Result<bool> {
        // In this order: a row that is refused is noted before it leaves the queue.
        let is_empty = self.waiting() == 0;
        self.check()?;
        match self.client.client().fatal_error() {
            // Nothing is sent any more, and nothing refused.
            Some((_, reason)) if !is_empty => {
                let (owner, brokers) = (self.client.context().log.owner(), &self.brokers);
                let what = format!("{owner}: nothing more can be sent to {brokers}: {reason}");
                Err(Error::new(ErrorKind::Unavailable, what))
            }
            _ => Ok(is_empty),
        }
    }

    /// Fails when a row was not taken.
    pub fn check(&self) -> Result<()> {
        self.first_refused(|_| true).map_or(Ok(()), Err)
    }

    /// Whether somebody else makes its transactions now.
    pub fn is_fenced(&self) -> bool {
        let of_row = self.client.context().noted.lock().as_ref().is_some_and(|(_, reason)| is_fenced(reason));
        let fatal = self.client.client().fatal_error().map(|(code, _)| KafkaError::Global(code));
        of_row || fatal.is_some_and(|error| is_fenced(&error))
    }

    /// A row that was not taken for a reason of its own.
    pub fn refused(&self) -> Option<Error> {
        self.first_refused(|reason| !is_of_all(reason))
    }

    fn first_refused(&self, counts: impl FnOnce(&KafkaError) -> bool) -> Option<Error> {
        let context = self.client.context();
        let (topic, reason) = context.noted.lock().clone().filter(|(_, reason)| counts(reason))?;
        let owners = self.owners.lock();
        let owner = owners.get(&topic).map_or(context.log.owner(), String::as_str);
        let brokers = &self.brokers;
        // The brokers' limit; the producer's own is found when the row is sent.
        if reason.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            let what = format!("{owner}: a row is too large for topic {topic:?} at {brokers}");
            return Some(Error::new(ErrorKind::Config, what).caused_by(reason).help(TOO_LARGE));
        }
        let what = format!("{owner}: topic {topic:?} at {brokers} did not take a row: {reason}");
        Some(Error::new(ErrorKind::Unavailable, what))
    }
}

impl Deref for RowProducer {
    type Target = BaseProducer<Context<Refused>>;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

/// Whose transactions a producer makes.
pub(crate) struct Transactional {
    /// `transactional.id`: whoever comes later with the same one ends what the one before left open.
    pub id: String,
    /// `transaction.timeout.ms`, unless `properties` say another one.
    pub timeout: Duration,
}

/// A producer. `owner` names it in errors.
pub(crate) fn producer(
    owner: &str,
    brokers: &str,
    properties: &BTreeMap<String, String>,
    transactional: Option<&Transactional>,
) -> Result<Arc<RowProducer>> {
    let mut config = configure(owner, brokers, properties, DEFAULTS, FIXED)?;
    if let Some(Transactional { id, timeout }) = transactional {
        config.set("transactional.id", id);
        if config.get("transaction.timeout.ms").is_none() {
            config.set("transaction.timeout.ms", timeout.as_millis().to_string());
        }
    }
    let number = |name| config.get(name).and_then(|number| number.parse::<usize>().ok());
    let queue_bytes = number("queue.buffering.max.kbytes").map_or(usize::MAX, |kbytes| kbytes.saturating_mul(1024));
    let most_bytes = number("message.max.bytes").unwrap_or(MESSAGE_BYTES).min(queue_bytes);
    let client = config.create_with_context(Context::new(owner)).map_err(|error| not_created(owner, error))?;
    let most_value_bytes = usize::saturating_sub(most_bytes, MESSAGE_OVERHEAD_BYTES);
    Ok(Arc::new(RowProducer {
        client,
        brokers: brokers.to_owned(),
        owners: Mutex::default(),
        most_value_bytes,
        window: Mutex::default(),
    }))
}
