//! A Kafka topic as an output: each row becomes one JSON object (`json`).
//!
//! What is promised is the output's `delivery`:
//! - *exactly once*: the rows are in the transaction that the epoch's commit ends (`commit::Transactions`), and a reader of
//!   committed records sees all of them or none. `prepare` waits for nothing: the transaction is not ended before every row
//!   of the epoch was acknowledged by all in-sync replicas, and meanwhile other outputs close their files, and the record and
//!   the offsets of groups go their way;
//! - *at least once*: `prepare` returns when every row of the epoch was acknowledged, so that an epoch that committed has its
//!   rows in the topic. Rows of an epoch that failed afterwards are there
//!   too, and come again when the epoch is run again. Within one producer an idempotent one keeps rows from being doubled or
//!   swapped by its own retries.

mod flush;
mod json;
pub(crate) mod producer;
mod read;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow::array::{Array, RecordBatch, StructArray};
use arrow::datatypes::{Field, FieldRef};
use arrow::error::ArrowError;
use arrow::json::writer::make_encoder;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::types::RDKafkaErrorCode;

use super::TopicWriter;
use crate::commit::Transactions;
use crate::config::{self, Delivery};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Column;
use crate::source::kafka::client::{Context, away, reach};
pub(crate) use flush::flush;
use json::{Keys, json_options};
use producer::{Delivered, Outgoing, Sent, producer};
pub use read::{TopicReject, first_offsets, read_rejects};

/// Rows between two looks at what was acknowledged.
const POLL_ROWS: usize = 1024;

/// How long the brokers may take to answer at the start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Writes rows to a topic. One a worker; nothing is shared between them.
pub struct KafkaWriter {
    owner: String,
    brokers: String,
    topic: String,
    key: Option<usize>,
    producer: Arc<BaseProducer<Context>>,
    /// For rows that are delivered exactly once.
    transactions: Option<Arc<Transactions>>,
    delivered: Arc<Delivered>,
    written_rows: u64,
    prepared_rows: u64,
    most_value_bytes: usize,
}

impl KafkaWriter {
    /// Connects and checks that the topic is there. `columns`: those of every batch, in order; `name`: the output's;
    /// `transactions`: the host's, for outputs that are delivered exactly once.
    pub fn new(
        name: &str,
        settings: &config::KafkaOutput,
        columns: &[Column],
        transactions: Option<&Arc<Transactions>>,
    ) -> Result<Self> {
        let owner = format!("output {name:?}");
        let brokers = settings.brokers.value.clone();
        let key = match &settings.key {
            None => None,
            Some(key) => Some(columns.iter().position(|column| column.name == key.value).ok_or_else(|| {
                Error::new(ErrorKind::Config, format!("{owner}: its key {:?} is none of its columns", key.value)).help(
                    format!("columns: {}", columns.iter().map(|column| &*column.name).collect::<Vec<_>>().join(", ")),
                )
            })?),
        };
        let transactions = match settings.delivery {
            Delivery::ExactlyOnce => Some(Arc::clone(transactions.ok_or_else(|| {
                Error::new(ErrorKind::Internal, format!("{owner} is delivered exactly once, but has no transactions"))
            })?)),
            Delivery::AtLeastOnce => None,
        };
        let (producer, most_value_bytes) = match &transactions {
            Some(transactions) => transactions.producer(),
            None => producer(&owner, &brokers, &settings.properties, None)?,
        };
        let delivered = match &transactions {
            Some(transactions) => transactions.delivered(&owner, &settings.topic.value),
            None => Delivered::new(&owner, &settings.topic.value),
        };
        let topic = settings.topic.value.clone();
        let (written_rows, prepared_rows) = (0, 0);
        let writer = Self {
            owner,
            brokers,
            topic,
            key,
            producer,
            transactions,
            delivered,
            written_rows,
            prepared_rows,
            most_value_bytes,
        };
        writer.check_topic()?;
        Ok(writer)
    }

    fn check_topic(&self) -> Result<()> {
        reach(self.producer.client(), &self.brokers, START_TIMEOUT, || self.producer.poll(Duration::ZERO))?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Ok(metadata) = self.producer.client().fetch_metadata(Some(&self.topic), Duration::from_secs(5)) {
                let error = metadata.topics().first().and_then(|topic| topic.error()).map(RDKafkaErrorCode::from);
                match error {
                    None => return Ok(()),
                    // The broker is about to make it (auto.create.topics.enable).
                    Some(RDKafkaErrorCode::LeaderNotAvailable) => {}
                    Some(code) => {
                        let what = format!("{}: topic {:?} at {}: {code}", self.owner, self.topic, self.brokers);
                        return Err(Error::new(ErrorKind::Config, what).help(
                            "create the topic, or grant WRITE and DESCRIBE on it to the user of `properties_file`",
                        ));
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(away(&self.owner, &self.brokers, START_TIMEOUT, &self.producer.context().log));
            }
            self.producer.poll(Duration::from_millis(100));
        }
    }

    /// Before the first row of an epoch.
    fn begin(&self) -> Result<()> {
        self.transactions.as_ref().map_or(Ok(()), |transactions| transactions.begin())
    }

    fn send(&self, sent: &Arc<Sent>, key: Option<&[u8]>, value: &[u8]) -> Result<()> {
        let mut record = Outgoing::with_opaque_to(&self.topic, Arc::clone(sent)).payload(value);
        if let Some(key) = key {
            record = record.key(key);
        }
        let refused = |error| self.not_sent(value.len(), error);
        producer::send(&self.producer, record, || self.check_failed(), refused)
    }

    fn not_sent(&self, bytes: usize, error: KafkaError) -> Error {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            let what = format!("{}: a row of {bytes} bytes is too large for topic {:?}", self.owner, self.topic);
            return Error::new(ErrorKind::Config, what).help(producer::TOO_LARGE);
        }
        Error::new(ErrorKind::Unavailable, format!("{}: a row was not taken for topic {:?}", self.owner, self.topic))
            .caused_by(error)
    }

    /// Returns when every row written so far was acknowledged, or fails.
    pub fn flush(&mut self, timeout: Duration) -> Result<()> {
        flush(&self.producer, timeout, || {
            self.check_failed()?;
            Ok(self.acknowledged_rows() >= self.written_rows)
        })?;
        self.check_failed()?;
        let missing = self.written_rows.saturating_sub(self.acknowledged_rows());
        if missing > 0 {
            let last = self.producer.context().log.last_error().map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "{}: {missing} rows for topic {:?} were not acknowledged by {} within {} s{last}",
                    self.owner,
                    self.topic,
                    self.brokers,
                    timeout.as_secs()
                ),
            )
            .help("are the brokers up, and are enough replicas in sync (min.insync.replicas)?"));
        }
        Ok(())
    }

    /// How many rows the brokers acknowledged.
    pub fn acknowledged_rows(&self) -> u64 {
        self.delivered.acknowledged_rows.load(Ordering::Relaxed)
    }

    fn check_failed(&self) -> Result<()> {
        self.delivered.check(&self.brokers)
    }
}

impl TopicWriter for KafkaWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.begin()?;
        let wrong = |error: ArrowError| {
            Error::new(ErrorKind::Internal, format!("{}: rows cannot be written as JSON", self.owner)).caused_by(error)
        };
        let keys = match self.key {
            Some(column) => Some(Keys::new(batch.column(column)).map_err(wrong)?),
            None => None,
        };
        let options = json_options();
        let rows = StructArray::from(batch.clone());
        let field: FieldRef = Arc::new(Field::new("row", rows.data_type().clone(), false));
        let mut encoder = make_encoder(&field, &rows, &options).map_err(wrong)?;
        let (mut value, mut key) = (Vec::with_capacity(512), Vec::new());
        let sent = Sent::new(&self.delivered);
        for row in 0..batch.num_rows() {
            value.clear();
            encoder.encode(row, &mut value);
            let key = keys.as_ref().and_then(|keys| keys.text(row, &mut key));
            self.send(&sent, key, &value)?;
            if row % POLL_ROWS == POLL_ROWS - 1 {
                self.producer.poll(Duration::ZERO);
            }
        }
        self.producer.poll(Duration::ZERO);
        self.written_rows += batch.num_rows() as u64;
        self.check_failed()
    }

    fn write_values(&mut self, values: &[String]) -> Result<()> {
        self.begin()?;
        let sent = Sent::new(&self.delivered);
        values.iter().try_for_each(|value| self.send(&sent, None, value.as_bytes()))?;
        self.producer.poll(Duration::ZERO);
        self.written_rows += values.len() as u64;
        self.check_failed()
    }

    fn most_value_bytes(&self) -> usize {
        self.most_value_bytes
    }

    fn prepare(&mut self, timeout: Duration) -> Result<u64> {
        match &self.transactions {
            Some(_) => self.delivered.prepared_rows.store(self.written_rows, Ordering::Relaxed),
            None => self.flush(timeout)?,
        }
        self.check_failed()?;
        Ok(self.written_rows - std::mem::replace(&mut self.prepared_rows, self.written_rows))
    }
}
