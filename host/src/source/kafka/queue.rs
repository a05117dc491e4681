//! The messages of one partition, taken from librdkafka in batches.
//!
//! This is one of the host's files with unsafe code (`allow(unsafe_code)` finds them). The safe way, a poll a message,
//! allocates an event and takes two clock readings for each message; `rd_kafka_consume_batch_queue` hands over an array of
//! pointers (docs/performance.md has the figures side by side), and rdkafka has no safe form of it. The partition is read by
//! `rd_kafka_consume_start_queue` into a queue of its own from the first message on; with `assign` messages could reach the
//! client's common queue before they are split off.
//!
//! Why it is sound:
//! - every pointer comes from librdkafka and is released exactly once: messages by `pop` or `drop`, the rest by `drop`;
//! - the client outlives them: each queue holds an `Arc` of it, which falls after `drop` has released everything;
//! - a `Message` borrows its queue, and messages are released only through `&mut` of it;
//! - librdkafka may be called from any thread, and a queue's messages are touched by its owner alone.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::{RDKafka, RDKafkaErrorCode, RDKafkaMessage, RDKafkaQueue, RDKafkaRespErr, RDKafkaTopic};

use crate::record::Headers;

use super::client::Context;

/// Woken when a queue that was empty holds messages again; shared by the queues of a worker.
#[derive(Default)]
pub(super) struct Waker {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Waker {
    fn wake(&self) {
        *self.woken.lock() = true;
        self.changed.notify_one();
    }

    /// Waits until something came since the last wait, at most so long.
    pub fn wait(&self, time: Duration) {
        let mut woken = self.woken.lock();
        self.changed.wait_while_for(&mut woken, |woken| !*woken, time);
        *woken = false;
    }
}

/// Called by librdkafka's threads, under the queue's lock.
unsafe extern "C" fn wake(_client: *mut RDKafka, waker: *mut c_void) {
    // SAFETY: `waker` points into the `Arc` that the queue holds; `PartitionQueue::drop` takes the callback away, under the
    // same lock, before it lets go of the `Arc`.
    let waker = unsafe { &*waker.cast::<Waker>() };
    waker.wake();
}

/// A message that librdkafka holds until it is popped; or an event of the partition, see `error`.
#[derive(Clone, Copy)]
pub(super) struct Message<'queue> {
    raw: NonNull<RDKafkaMessage>,
    queue: PhantomData<&'queue PartitionQueue>,
}

impl<'queue> Message<'queue> {
    /// The event that stands in place of a message.
    pub fn error(&self) -> Option<RDKafkaErrorCode> {
        // SAFETY: the pointer is a live message for 'queue (see the file's head); so in all methods below.
        let error = unsafe { (*self.raw.as_ptr()).err };
        (error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
    }

    /// Where it stands in the partition.
    pub fn offset(&self) -> i64 {
        // SAFETY: see `error`.
        unsafe { (*self.raw.as_ptr()).offset }
    }

    /// The value; `None` for a tombstone. Of an event: a text that explains it.
    pub fn value(&self) -> Option<&'queue [u8]> {
        // SAFETY: see `error`; librdkafka says that `payload` holds `len` bytes.
        unsafe {
            let message = self.raw.as_ptr();
            bytes((*message).payload, (*message).len)
        }
    }

    /// The key, if there is one.
    pub fn key(&self) -> Option<&'queue [u8]> {
        // SAFETY: see `error`; librdkafka says that `key` holds `key_len` bytes.
        unsafe {
            let message = self.raw.as_ptr();
            bytes((*message).key, (*message).key_len)
        }
    }

    /// Milliseconds since 1970 in UTC; -1 when the record has none.
    pub fn timestamp_ms(&self) -> i64 {
        // SAFETY: see `error`; the kind of timestamp is not asked for.
        unsafe { native::rd_kafka_message_timestamp(self.raw.as_ptr(), ptr::null_mut()) }
    }

    /// The headers, in order. A name that is not UTF-8 has its wrong bytes replaced.
    pub fn headers(&self) -> Headers {
        let mut list = ptr::null_mut();
        // SAFETY: see `error`; the list belongs to the message.
        let status = unsafe { native::rd_kafka_message_headers(self.raw.as_ptr(), &mut list) };
        let mut headers = Headers::new();
        if status != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return headers;
        }
        let (mut name, mut value, mut length) = (ptr::null::<c_char>(), ptr::null::<c_void>(), 0_usize);
        // SAFETY: `list` is the message's; the call ends the loop with an error when the index is past the last header;
        // otherwise `name` is a C string and `value` holds `length` bytes or is null.
        unsafe {
            while native::rd_kafka_header_get_all(list, headers.len(), &mut name, &mut value, &mut length)
                == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                let name = CStr::from_ptr(name).to_string_lossy().into_owned();
                headers.push((name, bytes(value, length).map(<[u8]>::to_vec)));
            }
        }
        headers
    }
}

/// # Safety
/// `start` is null or holds `length` bytes that stay as they are for `'a`.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast(), length) })
}

/// A partition that is being fetched, and the messages taken from its queue but not popped.
pub(super) struct PartitionQueue {
    queue: NonNull<RDKafkaQueue>,
    topic: NonNull<RDKafkaTopic>,
    partition: i32,
    taken: Vec<*mut RDKafkaMessage>,
    next: usize,
    waker: Arc<Waker>,
    /// Last: it must fall after all else is released.
    _client: Arc<BaseConsumer<Context>>,
}

// SAFETY: librdkafka's queues, topics and messages may be used from any thread, and this owns its messages alone.
unsafe impl Send for PartitionQueue {}

impl PartitionQueue {
    /// Starts to fetch a partition of a client from an offset on. Once for each partition of a client.
    pub fn start(
        client: Arc<BaseConsumer<Context>>,
        topic: &str,
        partition: i32,
        offset: i64,
        waker: Arc<Waker>,
    ) -> Result<Self, RDKafkaErrorCode> {
        let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        let raw_client = client.client().native_ptr();
        // SAFETY: the client is alive; a null configuration stands for the client's own.
        let topic = unsafe { native::rd_kafka_topic_new(raw_client, name.as_ptr(), ptr::null_mut()) };
        let topic = NonNull::new(topic).ok_or_else(last_error)?;
        // SAFETY: the client is alive; `rd_kafka_queue_new` never fails but by running out of memory.
        let queue = unsafe { native::rd_kafka_queue_new(raw_client) };
        let Some(queue) = NonNull::new(queue) else {
            // SAFETY: the topic is ours and used by nothing.
            unsafe { native::rd_kafka_topic_destroy(topic.as_ptr()) };
            return Err(RDKafkaErrorCode::Fail);
        };
        // From here on `drop` releases both, also when the start fails: stopping what was not started does nothing.
        let started = Self { queue, topic, partition, taken: Vec::new(), next: 0, waker, _client: client };
        let opaque = Arc::as_ptr(&started.waker).cast_mut().cast();
        // SAFETY: queue and topic are alive; `opaque` lives until `drop` takes the callback away.
        let status = unsafe {
            native::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(wake), opaque);
            native::rd_kafka_consume_start_queue(topic.as_ptr(), partition, offset, queue.as_ptr())
        };
        if status == -1 { Err(last_error()) } else { Ok(started) }
    }

    /// Takes up to `limit` messages that have arrived, without waiting; false when there are none. All that was taken
    /// before must be popped.
    pub fn refill(&mut self, limit: usize) -> bool {
        debug_assert!(self.next == self.taken.len(), "messages would leak");
        self.taken.clear();
        self.next = 0;
        self.taken.reserve(limit);
        // SAFETY: the vector has room for `limit` pointers, of which librdkafka fills as many as it returns.
        unsafe {
            let count = native::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, self.taken.as_mut_ptr(), limit);
            self.taken.set_len(usize::try_from(count).unwrap_or(0));
        }
        !self.taken.is_empty()
    }

    /// The next message that was taken.
    #[inline]
    pub fn peek(&self) -> Option<Message<'_>> {
        let raw = NonNull::new(*self.taken.get(self.next)?)?;
        Some(Message { raw, queue: PhantomData })
    }

    /// Lets go of the next message.
    #[inline]
    pub fn pop(&mut self) {
        if let Some(message) = self.taken.get(self.next) {
            self.next += 1;
            // SAFETY: the message was not released: `next` only goes up.
            unsafe { native::rd_kafka_message_destroy(*message) };
        }
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: everything here is alive and released once, in the order that librdkafka wants: first the callback, whose
        // target falls with `self`, then messages, then the fetcher that writes to the queue, then queue and topic.
        unsafe {
            native::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            for message in &self.taken[self.next..] {
                native::rd_kafka_message_destroy(*message);
            }
            native::rd_kafka_consume_stop(self.topic.as_ptr(), self.partition);
            native::rd_kafka_queue_destroy(self.queue.as_ptr());
            native::rd_kafka_topic_destroy(self.topic.as_ptr());
        }
    }
}

fn last_error() -> RDKafkaErrorCode {
    // SAFETY: reads the calling thread's last error.
    unsafe { native::rd_kafka_last_error() }.into()
}
