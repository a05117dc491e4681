//! The producer's queue: rows are put in many at a time, and what waits in it is sent at once when an epoch ends.
//!
//! This is one of the host's files with unsafe code (see `source/kafka/queue.rs`), for two calls of librdkafka that
//! rust-rdkafka lacks:
//! - `rd_kafka_produce_batch`: its own `send` copies the topic's name, has librdkafka look for the topic and reads two clocks,
//!   for each row (docs/performance.md has the figures side by side);
//! - `rd_kafka_flush` with some time, which takes the lingering away for as long as it runs. Its own `flush` gives no time at
//!   all: it is over before librdkafka's thread looks, so that what waits goes on waiting for its `linger.ms`, and all
//!   workers with it.
//!
//! Why it is sound:
//! - a topic is released exactly once, by `drop`, while its producer lives: the `Arc` falls behind it;
//! - librdkafka copies keys and values before the call returns (`RD_KAFKA_MSG_F_COPY`), so they need not outlive it;
//! - messages carry nothing that rust-rdkafka would make an object of: `DeliveryOpaque` is `()`;
//! - librdkafka may be called from any thread, beside any other.
#![allow(unsafe_code)]

use std::ffi::{CString, c_void};
use std::fmt::Display;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::bindings as native;
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaMessage, RDKafkaRespErr, RDKafkaTopic};

use super::producer::RowProducer;
use crate::error::{Error, ErrorKind, Result};

/// `RD_KAFKA_PARTITION_UA`: the producer's `partitioner` chooses.
const ANY_PARTITION: i32 = -1;

/// Rows that go into the queue together, at most, and bytes, but for one row.
const ROWS_TOGETHER: usize = 512;
const BYTES_TOGETHER: usize = 256 << 10;

/// How long lingering is off until the next look whether all is done, at first and at most: each look costs a little, so who
/// waits for long looks less often.
const STEP: Duration = Duration::from_millis(1);
const LONGEST_STEP: Duration = Duration::from_millis(20);

/// Of the time that was waited already the part that one more look may be late.
const LATE: u32 = 16;

/// How many rows a producer's queue may hold: what its brokers take in some seconds, as far as is known. What waits longer runs
/// out of its `message.timeout.ms`, which is no more than a transaction may take, and the epoch with it; the next one would too.
#[derive(Debug)]
pub(crate) struct Window {
    rows: usize,
}

impl Window {
    /// At first, and with brokers that take nothing; twice as many with each full queue that they take in time.
    const LEAST: usize = 16;
    const MOST: usize = 1 << 20;

    /// The time in which the brokers take what is in the queue.
    const TIME: Duration = Duration::from_secs(5);

    /// A full queue lost so many rows in a time.
    fn drained(&mut self, rows: usize, time: Duration) {
        let in_time = rows as f64 * Self::TIME.as_secs_f64() / time.as_secs_f64().max(1e-6);
        self.rows = (in_time.ceil() as usize).min(self.rows * 2).clamp(Self::LEAST, Self::MOST);
    }
}

impl Default for Window {
    fn default() -> Self {
        Self { rows: Self::LEAST }
    }
}

/// Rows on their way into the queue.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Of each row its value, and its key behind it.
    bytes: Vec<u8>,
    /// Of each row where its value ends, and its key, if it has one.
    ends: Vec<(usize, Option<usize>)>,
}

impl Rows {
    /// One more row: `value` appends what it consists of.
    pub fn push(&mut self, key: Option<&[u8]>, value: impl FnOnce(&mut Vec<u8>)) {
        value(&mut self.bytes);
        let end_of_value = self.bytes.len();
        let end_of_key = key.map(|key| {
            self.bytes.extend_from_slice(key);
            self.bytes.len()
        });
        self.ends.push((end_of_value, end_of_key));
    }

    /// Whether it is time to put them into the queue.
    pub fn is_full(&self) -> bool {
        self.ends.len() >= ROWS_TOGETHER || self.bytes.len() >= BYTES_TOGETHER
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// One row.
    pub fn one(key: &[u8], value: &[u8]) -> Self {
        let mut rows = Self::default();
        rows.push(Some(key), |bytes| bytes.extend_from_slice(value));
        rows
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.bytes.clear();
        // One large row is no reason to hold as much for good.
        self.bytes.shrink_to(2 * BYTES_TOGETHER);
        self.ends.clear();
    }

    /// As librdkafka wants them: they point into `self`.
    fn messages(&self) -> Vec<RDKafkaMessage> {
        let mut start = 0;
        let message = |(end_of_value, end_of_key): &(usize, Option<usize>)| {
            let value = &self.bytes[start..*end_of_value];
            let key = end_of_key.map(|end| &self.bytes[*end_of_value..end]);
            start = end_of_key.unwrap_or(*end_of_value);
            RDKafkaMessage {
                err: RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
                rkt: ptr::null_mut(),
                partition: ANY_PARTITION, // the call says which
                payload: pointer(value),
                len: value.len(),
                key: key.map_or(ptr::null_mut(), pointer),
                key_len: key.map_or(0, <[u8]>::len),
                offset: 0,
                _private: ptr::null_mut(),
            }
        };
        self.ends.iter().map(message).collect()
    }
}

/// librdkafka copies what it points to, and does not write.
fn pointer(bytes: &[u8]) -> *mut c_void {
    bytes.as_ptr().cast_mut().cast()
}

/// The way into a producer's queue for rows of one topic.
pub(crate) struct TopicQueue {
    topic: NonNull<RDKafkaTopic>,
    partition: i32,
    producer: Arc<RowProducer>,
}

// SAFETY: librdkafka's topics may be used from any thread.
unsafe impl Send for TopicQueue {}

impl TopicQueue {
    /// For a topic of the producer's cluster, and one partition of it; none: the producer's `partitioner` chooses for each row.
    /// `owner` names in errors whose rows they are.
    pub fn new(producer: &Arc<RowProducer>, owner: &str, topic: &str, partition: Option<i32>) -> Result<Self> {
        producer.note_owner(topic, owner);
        let unusable = |reason: &dyn Display| {
            Error::new(ErrorKind::Config, format!("{owner}: rows cannot be sent to topic {topic:?}: {reason}"))
        };
        let name = CString::new(topic).map_err(|error| unusable(&error))?;
        // SAFETY: the producer is alive; a null configuration stands for the producer's own.
        let raw = unsafe { native::rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), ptr::null_mut()) };
        // SAFETY: reads the calling thread's last error.
        let last_error = || RDKafkaErrorCode::from(unsafe { native::rd_kafka_last_error() });
        let raw = NonNull::new(raw).ok_or_else(|| unusable(&last_error()))?;
        Ok(Self { topic: raw, partition: partition.unwrap_or(ANY_PARTITION), producer: Arc::clone(producer) })
    }

    /// Puts rows into the queue, in order; `refused` says of one with so many bytes why it is not taken. While the queue is full,
    /// or as long as the brokers let it be, this waits, for as long as they refuse nothing. Several writers of one producer take
    /// turns: side by side they meet at librdkafka's locks with every row.
    pub fn put(&self, rows: &Rows, refused: impl FnOnce(usize, KafkaError) -> Error) -> Result<()> {
        let mut messages = rows.messages();
        let mut left = &mut messages[..];
        let mut window = self.producer.window.lock();
        while !left.is_empty() {
            let count = left.len().min(window.rows.saturating_sub(self.producer.waiting()));
            if count > 0 {
                let Some((first, error)) = self.put_once(&mut left[..count]) else {
                    left = &mut left[count..];
                    continue;
                };
                left = &mut left[first..];
                let bytes = left[0].len;
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    // What was refused before may be the reason why nothing else is taken.
                    serve(&self.producer);
                    return Err(self.producer.refused().unwrap_or_else(|| refused(bytes, error)));
                }
                if bytes > self.producer.most_value_bytes {
                    // It would not go into an empty queue.
                    return Err(refused(bytes, KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)));
                }
            }
            let (full, began) = (self.producer.waiting(), Instant::now());
            let has_room = || Ok(self.producer.is_delivered()? || self.producer.waiting() <= full / 4 * 3);
            flush(&self.producer, Window::TIME, has_room)?;
            window.drained(full.saturating_sub(self.producer.waiting()), began.elapsed());
        }
        Ok(())
    }

    /// The first message that was not taken, and why: with a full queue none behind it was taken either.
    fn put_once(&self, messages: &mut [RDKafkaMessage]) -> Option<(usize, KafkaError)> {
        let count = i32::try_from(messages.len()).unwrap_or(i32::MAX);
        // SAFETY: the topic is alive, and `messages` holds `count` of them, which point to what lives for the call.
        let taken = unsafe {
            native::rd_kafka_produce_batch(
                self.topic.as_ptr(),
                self.partition,
                native::RD_KAFKA_MSG_F_COPY,
                messages.as_mut_ptr(),
                count,
            )
        };
        if taken == count {
            return None;
        }
        let is_refused = |message: &RDKafkaMessage| message.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        let (first, code) = match messages.iter().position(is_refused) {
            Some(first) => (first, messages[first].err.into()),
            // Some were not taken, and it is not known which ones.
            None => (0, RDKafkaErrorCode::Fail),
        };
        Some((first, KafkaError::MessageProduction(code)))
    }
}

impl Drop for TopicQueue {
    fn drop(&mut self) {
        // SAFETY: ours, and used by nothing any more; messages that wait hold it by themselves.
        unsafe { native::rd_kafka_topic_destroy(self.topic.as_ptr()) };
    }
}

/// Sends what is queued at once, and waits until `is_done` or the time is over; whether it is done. It looks often: another
/// writer of the producer may take the answer.
pub(crate) fn flush(producer: &RowProducer, timeout: Duration, is_done: impl Fn() -> Result<bool>) -> Result<bool> {
    let began = Instant::now();
    while !is_done()? {
        if began.elapsed() >= timeout {
            return Ok(false);
        }
        let step = (began.elapsed() / LATE).clamp(STEP, LONGEST_STEP);
        let step_ms = i32::try_from(step.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the client lives as long as `producer`; the call may be made from any thread, beside any other.
        unsafe { native::rd_kafka_flush(producer.client().native_ptr(), step_ms) };
        serve(producer);
    }
    Ok(true)
}

/// Takes the answers that are there, without waiting: rust-rdkafka's `poll` takes one batch's, and spins through the last
/// millisecond of its time.
fn serve(producer: &RowProducer) {
    let mut waiting = i32::MAX;
    while waiting > 0 {
        producer.poll(Duration::ZERO);
        let now = producer.in_flight_count();
        if now >= waiting {
            return;
        }
        waiting = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_holds_what_its_brokers_take_in_some_seconds() {
        let mut window = Window::default();
        // Fast ones: twice as much each time.
        for times in 1..=14 {
            window.drained(window.rows.div_ceil(4), Duration::from_millis(2));
            assert_eq!(window.rows, Window::LEAST << times);
        }
        // A thousand rows a second, then none at all.
        window.drained(250, Duration::from_millis(250));
        assert_eq!(window.rows, 5_000);
        window.drained(0, Window::TIME);
        assert_eq!(window.rows, Window::LEAST);
        // Answers that are long in coming, but bring all of a queue at once.
        for times in 1..=14 {
            window.drained(window.rows, Duration::from_millis(1_500));
            assert_eq!(window.rows, Window::LEAST << times);
        }
        // Never without end.
        for _ in 0..100 {
            window.drained(window.rows, Duration::ZERO);
        }
        assert_eq!(window.rows, Window::MOST);
    }
}
