//! A Kafka topic as an output: each row becomes one JSON object (`json`).
//!
//! What is promised is the output's `delivery`:
//! - *exactly once*: the rows are in the transaction that the epoch's commit ends (`commit::Transactions`), and a reader of
//!   committed records sees all of them or none. `prepare` waits for nothing: the transaction is not ended before every row
//!   of the epoch was acknowledged by all in-sync replicas, and meanwhile other outputs close their files;
//! - *at least once*: `prepare` returns when every row of the epoch was acknowledged, so that an epoch that committed has its
//!   rows in the topic. Rows of an epoch that failed afterwards are there too, and come again when the epoch is run again.
//!   Within one producer an idempotent one keeps rows from being doubled or swapped by its own retries.

mod json;
pub(crate) mod producer;
mod queue;
mod read;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, RecordBatch, StructArray};
use arrow::datatypes::{Field, FieldRef};
use arrow::error::ArrowError;
use arrow::json::writer::make_encoder;
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;
use rdkafka::types::RDKafkaErrorCode;

use super::TopicWriter;
use crate::commit::Transactions;
use crate::config::{self, Delivery};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Column;
use crate::source::kafka::client::{away, reach};
use json::{Keys, json_options};
use producer::{RowProducer, producer};
pub(crate) use queue::{Rows, TopicQueue, flush};
pub use read::{TopicReject, first_offsets, read_rejects};

/// How long the brokers may take to answer at the start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Writes rows to a topic. One a worker; those that deliver exactly once share the host's producer.
pub struct KafkaWriter {
    owner: String,
    topic: String,
    key: Option<usize>,
    producer: Arc<RowProducer>,
    queue: TopicQueue,
    rows: Rows,
    /// For rows that are delivered exactly once.
    transactions: Option<Arc<Transactions>>,
    /// Of this epoch.
    written_rows: u64,
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
        let brokers = &settings.brokers.value;
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
        let producer = match &transactions {
            Some(transactions) => Arc::clone(transactions.producer()),
            None => producer(&owner, brokers, &settings.properties, None)?,
        };
        let topic = settings.topic.value.clone();
        let queue = TopicQueue::new(&producer, &owner, &topic, None)?;
        let writer = Self { owner, topic, key, producer, queue, rows: Rows::default(), transactions, written_rows: 0 };
        writer.check_topic()?;
        Ok(writer)
    }

    fn check_topic(&self) -> Result<()> {
        reach(self.producer.client(), &self.producer.brokers, START_TIMEOUT, || self.producer.poll(Duration::ZERO))?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Ok(metadata) = self.producer.client().fetch_metadata(Some(&self.topic), Duration::from_secs(5)) {
                let error = metadata.topics().first().and_then(|topic| topic.error()).map(RDKafkaErrorCode::from);
                match error {
                    None => return Ok(()),
                    // The broker is about to make it (auto.create.topics.enable).
                    Some(RDKafkaErrorCode::LeaderNotAvailable) => {}
                    Some(code) => {
                        let what =
                            format!("{}: topic {:?} at {}: {code}", self.owner, self.topic, self.producer.brokers);
                        return Err(Error::new(ErrorKind::Config, what).help(
                            "create the topic, or grant WRITE and DESCRIBE on it to the user of `properties_file`",
                        ));
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(away(&self.owner, &self.producer.brokers, START_TIMEOUT, &self.producer.context().log));
            }
            self.producer.poll(Duration::from_millis(100));
        }
    }

    /// Before the first row of an epoch.
    fn begin(&self) -> Result<()> {
        self.transactions.as_ref().map_or(Ok(()), |transactions| transactions.begin())
    }

    /// One more row, which goes with others.
    fn push(&mut self, key: Option<&[u8]>, value: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        self.rows.push(key, value);
        if self.rows.is_full() { self.send() } else { Ok(()) }
    }

    /// Hands over the rows that are ready.
    fn send(&mut self) -> Result<()> {
        self.queue.put(&self.rows, |bytes, error| self.not_sent(bytes, error))?;
        self.written_rows += self.rows.len() as u64;
        self.rows.clear();
        Ok(())
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
    fn flush(&self, timeout: Duration) -> Result<()> {
        let log = &self.producer.context().log;
        if flush(&self.producer, timeout, || self.producer.is_delivered())? {
            if self.written_rows > 0 {
                log.answered();
            }
            return Ok(());
        }
        let last = log.last_error().map(|error| format!(" ({error})")).unwrap_or_default();
        let what = format!(
            "{}: {} rows for topic {:?} were not acknowledged by {} within {} s{last}",
            self.owner,
            self.producer.in_flight_count(),
            self.topic,
            self.producer.brokers,
            timeout.as_secs()
        );
        Err(Error::new(ErrorKind::Unavailable, what)
            .help("are the brokers up, and are enough replicas in sync (min.insync.replicas)?"))
    }

    /// Takes what the brokers refused, and fails when there is something.
    fn look(&self) -> Result<()> {
        self.producer.poll(Duration::ZERO);
        self.producer.check()
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
        let mut key = Vec::new();
        self.rows.clear();
        for row in 0..batch.num_rows() {
            let key = keys.as_ref().and_then(|keys| keys.text(row, &mut key));
            self.push(key, |bytes| encoder.encode(row, bytes))?;
        }
        self.send()?;
        self.look()
    }

    fn write_values(&mut self, values: &[String]) -> Result<()> {
        self.begin()?;
        self.rows.clear();
        for value in values {
            self.push(None, |bytes| bytes.extend_from_slice(value.as_bytes()))?;
        }
        self.send()?;
        self.look()
    }

    fn most_value_bytes(&self) -> usize {
        self.producer.most_value_bytes
    }

    fn prepare(&mut self, timeout: Duration) -> Result<u64> {
        match &self.transactions {
            Some(_) => self.look()?,
            None => self.flush(timeout)?,
        }
        Ok(std::mem::take(&mut self.written_rows))
    }
}
