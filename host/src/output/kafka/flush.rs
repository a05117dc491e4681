//! Sends what waits in a producer's queue at once, whatever `linger.ms` says.
//!
//! This is one of the host's three files with unsafe code (see `source/kafka/queue.rs`). `rd_kafka_flush` takes the lingering
//! away for as long as it runs. rust-rdkafka's own `flush` calls it with no time at all: it is over before librdkafka's thread
//! looks, so that what waits goes on waiting for its `linger.ms`, and all workers with it.
#![allow(unsafe_code)]

use std::time::{Duration, Instant};

use rdkafka::bindings as native;
use rdkafka::producer::{BaseProducer, Producer};

use crate::error::Result;
use crate::source::kafka::client::Context;

/// How long lingering is off until the next look whether all is done, at first and at most: each look costs a little, so who
/// waits for long looks less often.
const STEP: Duration = Duration::from_millis(1);
const LONGEST_STEP: Duration = Duration::from_millis(20);

/// Of the time that was waited already the part that one more look may be late.
const LATE: u32 = 16;

/// Sends what is queued at once, and waits until `is_done` or the time is over. It looks often: another writer of the
/// producer may take the answer.
pub(crate) fn flush(
    producer: &BaseProducer<Context>,
    timeout: Duration,
    is_done: impl Fn() -> Result<bool>,
) -> Result<()> {
    let began = Instant::now();
    while !is_done()? && began.elapsed() < timeout {
        let step = (began.elapsed() / LATE).clamp(STEP, LONGEST_STEP);
        let step_ms = i32::try_from(step.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the client lives as long as `producer`; the call may be made from any thread, beside any other.
        unsafe { native::rd_kafka_flush(producer.client().native_ptr(), step_ms) };
        serve(producer);
    }
    Ok(())
}

/// Takes the answers that are there, without waiting: rust-rdkafka's `poll` takes one batch's, and spins through the last
/// millisecond of its time.
fn serve(producer: &BaseProducer<Context>) {
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
