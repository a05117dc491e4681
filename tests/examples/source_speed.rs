//! What reading costs: CPU time (user and system, all threads) and wall time a record, from a file and from a real Kafka,
//! with rdkafka's poll a message beside our batches.
//!
//! `tests/example source_speed [RECORDS]`, by default 4,000,000 records of 253 bytes.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use millstream::config::{self, BatchSettings, Format, Located, Lost, Start};
use millstream::source::file::FileSource;
use millstream::source::kafka::{JoinOptions, KafkaSource, Members, Reads, Wanted};
use millstream::source::{Positions, Read, Reader};
use millstream_tests::kafka::Kafka;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: i32 = 4;
const BOUNDS: BatchSettings = BatchSettings { rows: 4096, bytes: 4 << 20 };

fn main() {
    let records = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(4_000_000);
    files(records);
    kafka(records);
}

/// A click of 253 bytes.
fn click(number: usize) -> String {
    let random = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut text = format!(
        "{{\"event_id\":\"{random:016x}{number:08x}\",\"ts\":{},\"user_id\":{},\"url\":\"https://www.example.com/shop/category-{}/product-{}?utm_source=mail&ref={random:x}\",\"user_agent\":\"Mozilla/5.0 (X11; Linux x86_64)\",\"amount\":{}.{:02}",
        1_700_000_000_000 + number as u64,
        random % 1_000_000,
        random % 97,
        random % 100_003,
        random % 1000,
        random % 100,
    );
    while text.len() < 252 {
        text.push(' ');
    }
    text.truncate(252);
    text.push('}');
    text
}

fn files(records: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("clicks.jsonl");
    let mut out = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(&path).expect("a file"));
    for number in 0..records {
        writeln!(out, "{}", click(number)).expect("writing the file");
    }
    out.into_inner().expect("flushing the file");
    let located = Located { value: path.to_str().expect("a UTF-8 path").to_owned(), span: 0..0 };
    let settings = config::FileSource { paths: vec![located] };
    for workers in [1, 2] {
        let source = FileSource::open("clicks", &settings, Format::Json, &Positions::new(), false).expect("the file");
        measure(&format!("JSON lines, {workers} workers"), records, || {
            drain(source.readers(workers));
        });
    }
}

fn kafka(records: usize) {
    let kafka = Kafka::start();
    kafka.create_topic("clicks", PARTITIONS);
    kafka.produce("clicks", PARTITIONS, (0..records).map(click));
    let located = |value: &str| Located { value: value.to_owned(), span: 0..0 };
    let settings = config::KafkaSource {
        brokers: located(&kafka.brokers()),
        topic: located("clicks"),
        group: located("clicks"),
        start: Start::Earliest,
        lost: Lost::Fail,
        properties: BTreeMap::new(),
    };
    let timeout = JoinOptions::TIMEOUT;
    let options = JoinOptions {
        host: "",
        members: &Members::default(),
        reads: Reads::Looking,
        until_caught_up: true,
        wanted: Wanted::default(),
        timeout,
    };
    for round in 0..2 {
        for workers in [1, 2] {
            let source = KafkaSource::join("clicks", &settings, &options).expect("the topic");
            source.start_at(&Positions::new()).expect("the topic's bounds");
            measure(&format!("Kafka in batches, {workers} workers, round {round}"), records, || {
                drain(source.readers(workers).expect("readers"));
            });
        }
        measure(&format!("Kafka a poll a message, 1 worker, round {round}"), records, || poll(&kafka, records));
    }
}

/// The same with the safe interface: values copied into one buffer, no columns made of them.
fn poll(kafka: &Kafka, records: usize) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.brokers()).set("group.id", "poll").set("enable.auto.commit", "false");
    config
        .set("fetch.queue.backoff.ms", "2")
        .set("fetch.message.max.bytes", "1048576")
        .set("enable.partition.eof", "true");
    config.set("queued.max.messages.kbytes", "16384").set("queued.min.messages", "100000");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset("clicks", partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&list).expect("an assignment");
    let mut buffer = Vec::new();
    let mut count = 0;
    while count < records {
        match consumer.poll(Duration::from_secs(10)) {
            Some(Ok(message)) => {
                buffer.extend_from_slice(message.payload().unwrap_or_default());
                count += 1;
                if buffer.len() > 1 << 20 {
                    buffer.clear();
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error)) => panic!("{error}"),
        }
    }
}

fn drain<R: Reader + 'static>(readers: Vec<R>) -> (usize, usize) {
    let threads: Vec<_> = readers
        .into_iter()
        .map(|mut reader| {
            std::thread::spawn(move || {
                let (mut records, mut blocks) = (0, 0);
                loop {
                    match reader.read(&BOUNDS, Duration::from_secs(1)).expect("records") {
                        Read::Records(block) => {
                            records += block.len();
                            blocks += 1;
                        }
                        Read::Idle => {}
                        Read::End => return (records, blocks),
                    }
                }
            })
        })
        .collect();
    let totals = threads.into_iter().map(|thread| thread.join().expect("a reader"));
    let (records, blocks) = totals.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("  {records} records in {blocks} blocks");
    (records, blocks)
}

fn measure(what: &str, records: usize, work: impl FnOnce()) {
    let (begin, cpu) = (Instant::now(), cpu_time());
    work();
    let nanos = |time: Duration| time.as_nanos() as f64 / records as f64;
    println!("{what}: CPU {:.0} ns, wall {:.0} ns a record", nanos(cpu_time() - cpu), nanos(begin.elapsed()));
}

/// User and system time of the process, in steps of 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux's /proc");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}
