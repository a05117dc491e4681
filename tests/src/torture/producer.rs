//! Producing goes on, whatever happens to hosts and broker: ids that count up, some of them poison.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::pipeline::{PARTITIONS, TOPIC, USERS};
use crate::kafka::{Kafka, send};
use crate::random::Random;

/// How often records are sent.
const TICK: Duration = Duration::from_millis(20);

/// Ticks of one pace.
const PHASE_TICKS: u64 = 100;

/// Most records of a tick.
const MOST_RECORDS: u64 = 60;

/// A thread that produces.
pub struct Producer<'scope> {
    stop: Arc<AtomicBool>,
    thread: Option<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope> Producer<'scope> {
    /// Starts to produce.
    pub fn start<'env>(scope: &'scope Scope<'scope, 'env>, kafka: &'env Kafka, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = Some(scope.spawn(move || produce(kafka, seed, &stopped)));
        Self { stop, thread }
    }

    /// Ends it; everything was acknowledged then.
    pub fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().into_iter().for_each(|thread| thread.join().expect("the producer's thread"));
    }
}

/// Ends when it is told to, or when the torture failed and nobody asks any more.
impl Drop for Producer<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn produce(kafka: &Kafka, seed: u64, stop: &AtomicBool) {
    let producer: BaseProducer = kafka.producer(&[("enable.idempotence", "true"), ("reconnect.backoff.max.ms", "500")]);
    let mut random = Random::new(seed ^ 0xEE);
    let (mut id, mut due, mut records) = (1, Instant::now(), 1);
    for tick in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if tick % PHASE_TICKS == 0 {
            records = 1 + random.below(MOST_RECORDS);
        }
        for _ in 0..records {
            let partition = i32::try_from(random.below(PARTITIONS as u64)).expect("a partition");
            send(&producer, BaseRecord::to(TOPIC).partition(partition).payload(value(&mut random, id).as_bytes()));
            id += 1;
        }
        due += TICK;
        producer.poll(due.saturating_duration_since(Instant::now()));
    }
    producer.flush(Duration::from_secs(120)).expect("acknowledgements");
}

/// One record of a hundred is broken, one has an id that the plugin refuses.
fn value(random: &mut Random, id: i64) -> String {
    let user = random.below(USERS as u64);
    match random.below(100) {
        0 => format!("{{\"id\":{id},"),
        1 => format!("{{\"id\":-{id},\"user\":{user}}}"),
        _ => format!("{{\"id\":{id},\"user\":{user}}}"),
    }
}
