//! From produce to visible: `tests/example latency [--only EVENTS_A_SECOND EPOCH]`.
//!
//! Events are produced on a schedule that the clock fixes, whether the host keeps up or not (an open loop), and each carries
//! the time at which it was due. A process of its own reads the output topic (`read_committed`), another one sees Parquet files
//! get their names and reads the rows of each. Every event has to arrive, once. Prints a Markdown table of the time from due to
//! seen, in milliseconds.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Error, Result, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use millstream_tests::host::Host;
use millstream_tests::kafka::{Kafka, send};
use millstream_tests::lake::{files, reader};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

/// Partitions of each topic.
const PARTITIONS: i32 = 4;

/// How long a reader waits for events that do not come any more.
const LOST: Duration = Duration::from_secs(60);

/// How often the lake is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// How often the producer looks what is due.
const TICK: Duration = Duration::from_millis(1);

/// Events a second.
const RATES: [u64; 3] = [1_400, 10_000, 100_000];

/// Time between two commits, and how long events are produced.
const EPOCHS: [(&str, u64); 4] = [("100ms", 12), ("250ms", 12), ("1s", 20), ("10s", 40)];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse().map_err(Error::other);
    match words[..] {
        ["read-topic", brokers, topic, events] => read_topic(brokers, topic, number(events)?),
        ["read-lake", lake, events] => read_lake(Path::new(lake), number(events)?),
        [] => {
            let cells = RATES.iter().flat_map(|rate| EPOCHS.map(|(epoch, seconds)| (*rate, epoch, seconds)));
            table(&cells.collect::<Vec<_>>())
        }
        ["--only", rate, epoch] if EPOCHS.iter().any(|(known, _)| *known == epoch) => {
            let rate = rate.parse().map_err(Error::other)?;
            let cells = EPOCHS.iter().filter(|(known, _)| *known == epoch);
            table(&cells.map(|(epoch, seconds)| (rate, *epoch, *seconds)).collect::<Vec<_>>())
        }
        _ => Err(Error::other("latency [--only EVENTS_A_SECOND 100ms|250ms|1s|10s]")),
    }
}

fn table(cells: &[(u64, &str, u64)]) -> Result<()> {
    let kafka = Kafka::start();
    // A broker's first requests run in code that its JVM has not compiled yet.
    measure(&kafka, "warm", 10_000, "250ms", 10)?;
    let mut out = std::io::stdout();
    writeln!(out, "| events a second | epochs | to | events | p50 | p99 | longest |\n|---|---|---|---|---|---|---|")?;
    for (number, (rate, epoch, seconds)) in cells.iter().enumerate() {
        for (to, latencies_us) in measure(&kafka, &format!("cell-{number}"), *rate, epoch, *seconds)? {
            let at = |share: f64| latencies_us[((latencies_us.len() - 1) as f64 * share) as usize] as f64 / 1e3;
            let events = latencies_us.len();
            writeln!(
                out,
                "| {rate} | {epoch} | {to} | {events} | {:.0} | {:.0} | {:.0} |",
                at(0.5),
                at(0.99),
                at(1.0)
            )?;
        }
    }
    Ok(())
}

/// One pipeline, from its start to its last event: the sorted latencies to the topic and to the lake.
fn measure(kafka: &Kafka, name: &str, rate: u64, epoch: &str, seconds: u64) -> Result<[(&'static str, Vec<u64>); 2]> {
    let folder = tempfile::tempdir()?;
    let (input, output) = (format!("{name}-in"), format!("{name}-out"));
    kafka.create_topic(&input, PARTITIONS);
    kafka.create_topic(&output, PARTITIONS);
    let pipeline = pipeline(folder.path(), &kafka.brokers(), name, epoch)?;
    let events = rate * seconds;
    let (host, count) = (Host::follow(&pipeline, &[]), events.to_string());
    let topic = Seen::start(&["read-topic", &kafka.brokers(), &output, &count])?;
    let lake = folder.path().join("lake");
    let lake = Seen::start(&["read-lake", &lake.to_string_lossy(), &count])?;
    produce(kafka, &input, rate, events);
    let seen = [("topic", topic.finish()?), ("Parquet", lake.finish()?)];
    host.finish();
    for (to, latencies_us) in &seen {
        if latencies_us.len() as u64 != events {
            return Err(Error::other(format!("{name}: {} of {events} events came to {to}", latencies_us.len())));
        }
    }
    Ok(seen)
}

fn pipeline(folder: &Path, brokers: &str, name: &str, epoch: &str) -> Result<PathBuf> {
    let path = folder.join("latency.toml");
    let text = format!(
        r#"
name = "{name}"
workers = 2
epoch = {{ interval = "{epoch}" }}

[source.events]
kafka = {{ brokers = "{brokers}", topic = "{name}-in", group = "{name}", start = "earliest" }}
format = "json"
columns = {{ id = "int64", due_us = "int64" }}

[output.topic]
from = "source.events"
kafka = {{ brokers = "{brokers}", topic = "{name}-out" }}

[output.lake]
from = "source.events"
parquet = {{ path = "lake", max_age = "{epoch}" }}
"#
    );
    std::fs::write(&path, text)?;
    Ok(path)
}

/// What Apache Kafka's own producer has unless told otherwise. Without a bound on what is in flight librdkafka sends batches
/// of a few events each, which wait for a busy broker instead of growing.
const PRODUCER: [(&str, &str); 2] = [("linger.ms", "5"), ("max.in.flight", "5")];

/// Event i is due at i / rate seconds. What is due is sent, at once.
fn produce(kafka: &Kafka, topic: &str, rate: u64, events: u64) {
    let producer = kafka.producer(&PRODUCER);
    let (began, began_us) = (Instant::now(), now_us());
    let mut next = 0;
    while next < events {
        let due = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_mul(rate) / 1_000_000;
        while next < due.min(events) {
            let value = format!("{{\"id\":{next},\"due_us\":{}}}", began_us + next * 1_000_000 / rate);
            send(
                &producer,
                BaseRecord::to(topic).partition((next % PARTITIONS as u64) as i32).payload(value.as_bytes()),
            );
            next += 1;
        }
        // `poll` itself would spin through a millisecond.
        producer.poll(Duration::ZERO);
        #[expect(clippy::disallowed_methods, reason = "the pace of the producer")]
        std::thread::sleep(TICK);
    }
    producer.flush(LOST).expect("acknowledgements");
}

#[expect(clippy::disallowed_methods, reason = "what is measured")]
fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64)
}

/// A process that sees events.
struct Seen(Child);

impl Seen {
    /// Starts it, and waits until it looks.
    fn start(words: &[&str]) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut child = Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut first = [0; 1];
        std::io::Read::read_exact(child.stdout.as_mut().ok_or_else(|| Error::other("no output"))?, &mut first)?;
        Ok(Self(child))
    }

    /// The latencies that it saw, sorted; an error when an event came twice.
    fn finish(mut self) -> Result<Vec<u64>> {
        let stdout = self.0.stdout.take().ok_or_else(|| Error::other("no output"))?;
        let mut latencies_us = Vec::new();
        for line in BufReader::new(stdout).lines().filter(|line| line.as_ref().is_ok_and(|line| !line.is_empty())) {
            latencies_us.push(line?.parse().map_err(Error::other)?);
        }
        if !self.0.wait()?.success() {
            return Err(Error::other("a reader failed"));
        }
        latencies_us.sort_unstable();
        Ok(latencies_us)
    }
}

/// Events as they come in, each once.
struct Arrived {
    once: Vec<bool>,
    latencies_us: Vec<u64>,
    last: Instant,
}

impl Arrived {
    fn new(events: usize) -> Result<Self> {
        let mut out = std::io::stdout();
        out.write_all(b"\n")?;
        out.flush()?;
        Ok(Self { once: vec![false; events], latencies_us: Vec::with_capacity(events), last: Instant::now() })
    }

    fn goes_on(&self) -> bool {
        self.latencies_us.len() < self.once.len() && self.last.elapsed() < LOST
    }

    fn add(&mut self, id: i64, due_us: i64, seen_us: u64) -> Result<()> {
        let once = usize::try_from(id).ok().and_then(|id| self.once.get_mut(id));
        if once.is_none_or(|once| std::mem::replace(once, true)) {
            return Err(Error::other(format!("event {id} came twice, or was never produced")));
        }
        self.latencies_us.push(seen_us.saturating_sub(due_us.unsigned_abs()));
        self.last = Instant::now();
        Ok(())
    }

    fn finish(self) -> Result<()> {
        let mut out = std::io::BufWriter::new(std::io::stdout());
        self.latencies_us.iter().try_for_each(|latency| writeln!(out, "{latency}"))?;
        out.flush()
    }
}

fn read_topic(brokers: &str, topic: &str, events: usize) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "latency").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("fetch.wait.max.ms", "10");
    let consumer: BaseConsumer = config.create().map_err(Error::other)?;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning).map_err(Error::other)?;
    }
    consumer.assign(&list).map_err(Error::other)?;
    let mut arrived = Arrived::new(events)?;
    while arrived.goes_on() {
        let Some(message) = consumer.poll(Duration::from_secs(1)) else { continue };
        let message = message.map_err(Error::other)?;
        let seen_us = now_us();
        let event: serde_json::Value = serde_json::from_slice(message.payload().unwrap_or_default())?;
        let number = |name: &str| event[name].as_i64().ok_or_else(|| Error::other(format!("no {name} in {event}")));
        arrived.add(number("id")?, number("due_us")?, seen_us)?;
    }
    arrived.finish()
}

fn read_lake(lake: &Path, events: usize) -> Result<()> {
    let (mut arrived, mut known) = (Arrived::new(events)?, HashSet::new());
    while arrived.goes_on() {
        let fresh: Vec<PathBuf> = files(lake).into_iter().filter(|file| !known.contains(file)).collect();
        let seen_us = now_us();
        if fresh.is_empty() {
            #[expect(clippy::disallowed_methods, reason = "the pace at which the lake is looked at")]
            std::thread::sleep(LOOK);
        }
        for file in fresh {
            for rows in reader(&file).build().map_err(Error::other)? {
                let rows = rows.map_err(Error::other)?;
                let (ids, due) = (rows["id"].as_primitive::<Int64Type>(), rows["due_us"].as_primitive::<Int64Type>());
                ids.values()
                    .iter()
                    .zip(due.values())
                    .try_for_each(|(id, due_us)| arrived.add(*id, *due_us, seen_us))?;
            }
            known.insert(file);
        }
    }
    arrived.finish()
}
