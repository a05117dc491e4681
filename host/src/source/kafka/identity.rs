//! A topic's id (KIP-516): brokers draw one when a topic is made, so one that was deleted and made again under the same name
//! has another one. Offsets mean something only within the topic that they are of.
//!
//! The second of the source's files with unsafe code: rdkafka has no safe form of `rd_kafka_DescribeTopics`. Why it is sound:
//! - everything that librdkafka hands out here is held by a guard that releases it once, in the reverse order of its making;
//! - the client outlives the call: it is borrowed;
//! - what an answer points to is read, and copied, before the answer is released;
//! - the queue of the answer is used by this call alone, so what comes in is the answer to this request.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::client::Context;

/// What brokers that know of no ids answer: all zeros.
const NONE: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// Releases what librdkafka handed out.
struct Owned<T> {
    raw: NonNull<T>,
    release: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    fn new(raw: *mut T, release: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self { raw, release })
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the function that belongs to `release`, and is released here alone.
        unsafe { (self.release)(self.raw.as_ptr()) }
    }
}

/// What brokers say of a topic's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The id as brokers write it (22 characters).
    Id(String),
    /// These brokers know of no ids.
    NoIds,
    /// Another question may be answered: there was none in time, or the topic is not there just now.
    Silence,
}

/// Asks for the id of a topic.
pub(super) fn topic_id(client: &BaseConsumer<Context>, topic: &str, timeout: Duration) -> Answer {
    match ask(client, topic, timeout) {
        Ok(id) if id == NONE => Answer::NoIds,
        Ok(id) => Answer::Id(id),
        Err(RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion) => Answer::NoIds,
        Err(_) => Answer::Silence,
    }
}

fn ask(client: &BaseConsumer<Context>, topic: &str, timeout: Duration) -> Result<String, RDKafkaErrorCode> {
    let nothing = || RDKafkaErrorCode::OperationTimedOut;
    let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let client = client.client().native_ptr();
    let operation = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: the client is alive; the name and the array of one pointer to it live until the collection has copied them;
    // queue, options and collection are alive until behind the poll. A text for errors is not asked for.
    let answer = unsafe {
        let queue =
            Owned::new(native::rd_kafka_queue_new(client), native::rd_kafka_queue_destroy).ok_or_else(nothing)?;
        let options = native::rd_kafka_AdminOptions_new(client, operation);
        let options = Owned::new(options, native::rd_kafka_AdminOptions_destroy).ok_or_else(nothing)?;
        native::rd_kafka_AdminOptions_set_request_timeout(options.raw.as_ptr(), timeout_ms, ptr::null_mut(), 0);
        let topics = native::rd_kafka_TopicCollection_of_topic_names(&mut name.as_ptr(), 1);
        let topics = Owned::new(topics, native::rd_kafka_TopicCollection_destroy).ok_or_else(nothing)?;
        native::rd_kafka_DescribeTopics(client, topics.raw.as_ptr(), options.raw.as_ptr(), queue.raw.as_ptr());
        // The request ends by its own timeout; the wait is a little longer, so that nothing of it is under way behind it.
        let event = native::rd_kafka_queue_poll(queue.raw.as_ptr(), timeout_ms.saturating_add(1000));
        Owned::new(event, native::rd_kafka_event_destroy).ok_or_else(nothing)?
    };
    // SAFETY: the event is alive, and with it all that it points to; an event of another kind has no result.
    unsafe {
        let event = answer.raw.as_ptr();
        taken(native::rd_kafka_event_error(event))?;
        let result = NonNull::new(native::rd_kafka_event_DescribeTopics_result(event).cast_mut());
        let result = result.ok_or_else(nothing)?;
        let mut count = 0;
        let found = native::rd_kafka_DescribeTopics_result_topics(result.as_ptr(), &mut count);
        if found.is_null() || count != 1 {
            return Err(nothing());
        }
        let described = *found;
        taken(native::rd_kafka_error_code(native::rd_kafka_TopicDescription_error(described)))?;
        let id = native::rd_kafka_TopicDescription_topic_id(described);
        if id.is_null() {
            return Err(nothing());
        }
        let text = native::rd_kafka_Uuid_base64str(id);
        if text.is_null() {
            return Err(nothing());
        }
        Ok(CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}

fn taken(code: RDKafkaRespErr) -> Result<(), RDKafkaErrorCode> {
    if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR { Ok(()) } else { Err(code.into()) }
}
