//! Events into a Kafka topic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use super::{EventSink, Events};
use crate::error::{Error, ErrorKind, Result};

/// How long the broker may be silent.
const BROKER_TIMEOUT: Duration = Duration::from_secs(30);

/// A producer that sends each handful of events to the next partition in turn, so that the same settings fill the
/// partitions in the same way.
pub struct KafkaSink {
    producer: BaseProducer<Deliveries>,
    topic: String,
    partitions: i32,
    next_partition: i32,
}

/// Remembers what the broker did not take.
#[derive(Clone, Default)]
struct Deliveries {
    failed: Arc<AtomicU64>,
    first_failure: Arc<Mutex<Option<KafkaError>>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, _: Self::DeliveryOpaque) {
        if let Err((error, _)) = delivered {
            self.failed.fetch_add(1, Ordering::Relaxed);
            let mut first = self.first_failure.lock();
            first.get_or_insert_with(|| error.clone());
        }
    }
}

impl KafkaSink {
    /// Connects, and creates the topic when it is not there; an existing topic keeps its partitions.
    pub fn connect(brokers: &str, topic: &str, partitions: i32) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        create_topic(&config, brokers, topic, partitions)?;
        config
            .set("compression.type", "lz4")
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.messages", "200000")
            .set("queue.buffering.max.kbytes", "131072");
        let producer: BaseProducer<Deliveries> = config
            .create_with_context(Deliveries::default())
            .map_err(|cause| unreachable(brokers, topic).caused_by(cause))?;
        let partitions = count_partitions(&producer, brokers, topic)?;
        Ok(Self { producer, topic: topic.to_owned(), partitions, next_partition: 0 })
    }

    fn send(&self, partition: i32, event: &[u8], timestamp_ms: i64) -> Result<()> {
        let mut record =
            BaseRecord::<(), [u8]>::to(&self.topic).partition(partition).payload(event).timestamp(timestamp_ms);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), unsent)) => {
                    record = unsent;
                    self.producer.poll(Duration::from_millis(100));
                }
                Err((cause, _)) => return Err(refused(&self.topic).caused_by(cause)),
            }
        }
    }

    fn check_deliveries(&self) -> Result<()> {
        let deliveries = self.producer.context();
        match deliveries.failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            failed => {
                let mut first = deliveries.first_failure.lock();
                let error = Error::new(
                    ErrorKind::Unavailable,
                    format!("the broker did not take {failed} events for topic {:?}", self.topic),
                );
                Err(match first.take() {
                    Some(cause) => error.caused_by(cause),
                    None => error,
                })
            }
        }
    }
}

impl EventSink for KafkaSink {
    fn take(&mut self, events: &Events) -> Result<()> {
        for (event, timestamp_ms) in events.iter() {
            self.send(self.next_partition, event, timestamp_ms)?;
        }
        self.next_partition = (self.next_partition + 1) % self.partitions;
        self.producer.poll(Duration::ZERO);
        self.check_deliveries()
    }

    fn finish(&mut self) -> Result<()> {
        self.producer.flush(BROKER_TIMEOUT * 4).map_err(|cause| refused(&self.topic).caused_by(cause))?;
        self.check_deliveries()
    }
}

/// Asks until the topic is known: a broker may answer "unknown" for a moment after a topic was made.
fn count_partitions(producer: &BaseProducer<Deliveries>, brokers: &str, topic: &str) -> Result<i32> {
    let until = Instant::now() + BROKER_TIMEOUT;
    loop {
        let metadata = producer
            .client()
            .fetch_metadata(Some(topic), BROKER_TIMEOUT)
            .map_err(|cause| unreachable(brokers, topic).caused_by(cause))?;
        let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        if partitions > 0 {
            return Ok(partitions as i32);
        }
        if Instant::now() > until {
            return Err(unreachable(brokers, topic));
        }
        producer.poll(Duration::from_millis(100));
    }
}

fn create_topic(config: &ClientConfig, brokers: &str, topic: &str, partitions: i32) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        config.create().map_err(|cause| unreachable(brokers, topic).caused_by(cause))?;
    let options = AdminOptions::new().request_timeout(Some(BROKER_TIMEOUT)).operation_timeout(Some(BROKER_TIMEOUT));
    // Events carry the time that they say, which lies in the past: by the broker's usual retention they would be gone soon.
    let new_topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1)).set("retention.ms", "-1");
    let answers = pollster::block_on(admin.create_topics([&new_topic], &options))
        .map_err(|cause| unreachable(brokers, topic).caused_by(cause))?;
    match answers.into_iter().next() {
        None | Some(Ok(_)) | Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) => Err(Error::new(
            ErrorKind::Unavailable,
            format!("the broker at {brokers} did not create topic {topic:?}: {code}"),
        )),
    }
}

fn unreachable(brokers: &str, topic: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("no answer from the broker at {brokers} about topic {topic:?}"))
        .help("is it running, and is --kafka HOST:PORT what its advertised.listeners says?")
}

fn refused(topic: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("cannot send events to topic {topic:?}"))
}
