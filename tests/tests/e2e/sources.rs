//! Kafka as a source, against a real broker: what is read; who reads it is in `groups`.

mod groups;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millstream::config::{self, BatchSettings, Located, Lost, Start};
use millstream::error::{Error, ErrorKind, Result};
use millstream::output::TopicWriter;
use millstream::record::{Partition, Records};
use millstream::source::kafka::{From, JoinOptions, KafkaReader, KafkaSource, Members, Reads, Wanted};
use millstream::source::{Position, Positions, Ranges, Read, Reader};
use millstream_tests::kafka::{Kafka, send};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};

use crate::topic_writer::{rows, writer};

const BOUNDS: BatchSettings = BatchSettings { rows: 100, bytes: 1 << 20 };

pub(crate) fn located(value: &str) -> Located<String> {
    Located { value: value.to_owned(), span: 0..0 }
}

/// A source of a topic whose group has the topic's name.
fn settings(kafka: &Kafka, topic: &str) -> config::KafkaSource {
    config::KafkaSource {
        brokers: located(&kafka.brokers()),
        topic: located(topic),
        group: located(topic),
        start: Start::Earliest,
        lost: Lost::Fail,
        properties: BTreeMap::new(),
    }
}

/// How a process takes part in a topic.
#[derive(Clone, Copy)]
struct Options {
    host: &'static str,
    reads: Reads,
    until_caught_up: bool,
    wanted: Wanted,
    timeout: Duration,
}

fn caught_up() -> Options {
    Options {
        host: "host1",
        reads: Reads::Alone,
        until_caught_up: true,
        wanted: Wanted::default(),
        timeout: Duration::from_secs(60),
    }
}

fn following() -> Options {
    Options { until_caught_up: false, ..caught_up() }
}

/// One of several hosts.
fn sharing(host: &'static str, from: Option<From>) -> Options {
    Options { host, reads: Reads::Sharing(from), ..caught_up() }
}

/// A process that reads a topic; dropped, it is as if it was killed: a static member sends no farewell.
struct Process {
    source: KafkaSource,
    members: Members,
}

impl std::ops::Deref for Process {
    type Target = KafkaSource;

    fn deref(&self) -> &KafkaSource {
        &self.source
    }
}

impl Process {
    /// Another run of the same process.
    fn again(self, settings: &config::KafkaSource, committed: &Positions, options: &Options) -> Result<Self> {
        drop(self.source);
        Self::run(self.members, settings, committed, options)
    }

    fn run(members: Members, settings: &config::KafkaSource, committed: &Positions, options: &Options) -> Result<Self> {
        let Options { host, reads, until_caught_up, wanted, timeout } = *options;
        let options = JoinOptions { host, members: &members, reads, until_caught_up, wanted, timeout };
        let source = KafkaSource::join("clicks", settings, &options)?;
        source.start_at(committed)?;
        Ok(Self { source, members })
    }

    /// Waits until partitions come or are wanted back.
    fn await_move(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.is_moved() {
            let left = deadline.saturating_duration_since(Instant::now());
            self.members.is_moved.recv_timeout(left).expect("partitions move within 60 s");
        }
    }

    /// The numbers of its partitions.
    fn partitions(&self) -> Vec<String> {
        self.starts().into_iter().map(|(partition, _)| partition.key.to_string()).collect()
    }
}

fn join(settings: &config::KafkaSource, committed: &Positions, options: &Options) -> Result<Process> {
    Process::run(Members::default(), settings, committed, options)
}

fn refused(result: Result<Process>) -> Error {
    result.err().expect("it is refused")
}

/// Reads to the end of the run.
fn read_to_end(reader: &mut KafkaReader) -> Vec<Records> {
    let mut blocks: Vec<Records> = Vec::new();
    loop {
        match reader.read(&BOUNDS, Duration::from_secs(60)).expect("records") {
            Read::Records(records) => blocks.push(records),
            Read::Idle => panic!("no end after 60 s; {} records", count(&blocks)),
            Read::End => return blocks,
        }
    }
}

/// Reads until so many records came.
fn read_some(readers: &mut [KafkaReader], wanted: usize) -> Vec<Records> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut blocks: Vec<Records> = Vec::new();
    while count(&blocks) < wanted {
        assert!(Instant::now() < deadline, "{} of {wanted} records in 60 s", count(&blocks));
        for reader in &mut *readers {
            if let Read::Records(records) = reader.read(&BOUNDS, Duration::from_millis(50)).expect("records") {
                blocks.push(records);
            }
        }
    }
    blocks
}

fn count(blocks: &[Records]) -> usize {
    blocks.iter().map(Records::len).sum()
}

fn values(blocks: &[Records]) -> Vec<String> {
    let text = |records: &Records, record| String::from_utf8(records.value(record).expect("a value").to_vec()).unwrap();
    let mut values: Vec<String> =
        blocks.iter().flat_map(|records| (0..records.len()).map(move |record| text(records, record))).collect();
    values.sort();
    values
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("{{\"n\":{number:06}}}")).collect()
}

fn advance(positions: &mut Positions, blocks: &[Records]) {
    for records in blocks {
        positions
            .entry(records.partition.clone())
            .or_default()
            .merge(&records.partition, &Position { ranges: Ranges::of(records), ..Position::default() });
    }
}

#[test]
fn partitions_are_divided_among_workers_and_blocks_are_of_one_partition() {
    let kafka = Kafka::shared();
    kafka.create_topic("divided", 4);
    kafka.produce("divided", 4, numbers(0..2000));
    let source = join(&settings(kafka, "divided"), &Positions::new(), &caught_up()).unwrap();
    let mut readers = source.readers(2).unwrap();
    let shares: Vec<Vec<Records>> = readers.iter_mut().map(read_to_end).collect();
    assert_eq!(shares.iter().map(|share| count(share)).collect::<Vec<_>>(), [1000, 1000]);
    let all = shares.concat();
    assert_eq!(values(&all), numbers(0..2000));
    for records in &all {
        assert_eq!(&*records.partition.key, records.partition_number.to_string());
        assert!(records.len() <= 100 && records.offsets.is_sorted());
        assert_eq!(records.timestamps_ms.len(), records.len());
    }
    assert!(all.iter().filter(|records| records.len() == 100).count() >= 16, "blocks are full when there is enough");
    let idle = source.readers(6).unwrap();
    assert!(matches!(idle.into_iter().last().unwrap().read(&BOUNDS, Duration::ZERO).unwrap(), Read::End));
}

#[test]
fn a_run_goes_on_from_the_commit_and_without_one_from_the_groups_offsets() {
    let kafka = Kafka::shared();
    kafka.create_topic("resumed", 2);
    kafka.produce("resumed", 2, numbers(0..1000));
    let settings = settings(kafka, "resumed");
    let mut committed = Positions::new();
    let mut found = Vec::new();
    let source = join(&settings, &committed, &following()).unwrap();
    let blocks = read_some(&mut source.readers(1).unwrap(), 300);
    advance(&mut committed, &blocks);
    found.extend(blocks);
    source.commit_offsets(&committed).unwrap();
    let end = |partition: &str| {
        let partition = Partition { source: "clicks".into(), key: partition.into() };
        committed.get(&partition).and_then(|position| position.ranges.end())
    };
    assert_eq!(kafka.committed_offsets("resumed", "resumed", 2), [end("0"), end("1")]);
    // What is read and not committed comes again after a step back, here and in another process.
    read_some(&mut source.readers(1).unwrap(), 100);
    source.start_at(&committed).unwrap();
    let again = read_some(&mut source.readers(2).unwrap(), 1000 - count(&found));
    let mut expected = values(&found);
    expected.extend(values(&again));
    expected.sort();
    assert_eq!(expected, numbers(0..1000));
    drop(source);
    for known in [&committed, &Positions::new()] {
        let source = join(&settings, known, &caught_up()).unwrap();
        let rest = read_to_end(&mut source.readers(1).unwrap()[0]);
        assert_eq!(values(&rest), values(&again));
    }
}

#[test]
fn aborted_rows_never_come_and_gaps_do_not_hold_up_the_end() {
    let kafka = Kafka::shared();
    kafka.create_topic("transactions", 1);
    let producer = kafka.producer(&[("transactional.id", "transactions-test")]);
    let wait = Duration::from_secs(30);
    producer.init_transactions(wait).unwrap();
    for (batch, commit) in [(0..10, true), (10..20, false), (20..30, true), (30..40, false)] {
        producer.begin_transaction().unwrap();
        for value in numbers(batch) {
            send(&producer, BaseRecord::to("transactions").payload(value.as_bytes()));
        }
        if commit {
            producer.commit_transaction(wait).unwrap();
        } else {
            producer.flush(wait).unwrap();
            producer.abort_transaction(wait).unwrap();
        }
    }
    let settings = settings(kafka, "transactions");
    let source = join(&settings, &Positions::new(), &caught_up()).unwrap();
    let blocks = read_to_end(&mut source.readers(1).unwrap()[0]);
    assert_eq!(values(&blocks), [numbers(0..10), numbers(20..30)].concat());
    let mut committed = Positions::new();
    advance(&mut committed, &blocks);
    let position: Vec<_> = committed.values().map(|position| position.ranges.as_slice().to_vec()).collect();
    assert_eq!(position, [[(0, 32)]], "one range, gaps included");
    drop(source);
    let source = join(&settings, &committed, &caught_up()).unwrap();
    assert!(read_to_end(&mut source.readers(1).unwrap()[0]).is_empty(), "only markers and aborted rows are left");
    drop(source);

    // A transaction that is open is beyond the end of a run until caught up.
    producer.begin_transaction().unwrap();
    for value in numbers(40..50) {
        send(&producer, BaseRecord::to("transactions").payload(value.as_bytes()));
    }
    producer.flush(wait).unwrap();
    let source = join(&settings, &committed, &caught_up()).unwrap();
    assert!(read_to_end(&mut source.readers(1).unwrap()[0]).is_empty());
    drop(source);
    producer.commit_transaction(wait).unwrap();
    let source = join(&settings, &committed, &caught_up()).unwrap();
    assert_eq!(values(&read_to_end(&mut source.readers(1).unwrap()[0])), numbers(40..50));
}

#[test]
fn records_after_the_start_are_beyond_the_end() {
    let kafka = Kafka::shared();
    kafka.create_topic("moving", 1);
    kafka.produce("moving", 1, numbers(0..10));
    let source = join(&settings(kafka, "moving"), &Positions::new(), &caught_up()).unwrap();
    kafka.produce("moving", 1, numbers(10..20));
    assert_eq!(values(&read_to_end(&mut source.readers(1).unwrap()[0])), numbers(0..10));
}

#[test]
fn an_empty_topic_ends_at_once_or_waits() {
    let kafka = Kafka::shared();
    kafka.create_topic("empty", 3);
    let source = join(&settings(kafka, "empty"), &Positions::new(), &caught_up()).unwrap();
    assert!(read_to_end(&mut source.readers(1).unwrap()[0]).is_empty());
    drop(source);
    let source = join(&settings(kafka, "empty"), &Positions::new(), &following()).unwrap();
    let mut readers = source.readers(1).unwrap();
    assert!(matches!(readers[0].read(&BOUNDS, Duration::ZERO).unwrap(), Read::Idle));
    kafka.produce("empty", 3, numbers(0..5));
    assert_eq!(values(&read_some(&mut readers, 5)), numbers(0..5));
}

#[test]
fn an_unknown_topic_is_named_with_those_that_are_there() {
    let kafka = Kafka::shared();
    kafka.create_topic("known", 1);
    let error = refused(join(&settings(kafka, "knwon"), &Positions::new(), &caught_up()));
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("there is no topic \"knwon\""), "{error}");
    let help = error.way_out().unwrap();
    assert!(help.starts_with("did you mean \"known\"? there are"), "{help}");
}

#[test]
fn latest_means_the_end_at_the_first_start() {
    let kafka = Kafka::shared();
    kafka.create_topic("latest", 1);
    kafka.produce("latest", 1, numbers(0..10));
    let settings = config::KafkaSource { start: Start::Latest, ..settings(kafka, "latest") };
    drop(join(&settings, &Positions::new(), &following()).unwrap());
    kafka.produce("latest", 1, numbers(10..20));
    let source = join(&settings, &Positions::new(), &caught_up()).unwrap();
    assert_eq!(values(&read_to_end(&mut source.readers(1).unwrap()[0])), numbers(10..20));
}

#[test]
fn an_offset_that_retention_took_is_an_error() {
    let kafka = Kafka::shared();
    kafka.create_topic("expired", 1);
    kafka.produce("expired", 1, numbers(0..10));
    let settings = settings(kafka, "expired");
    let partition = Partition { source: "clicks".into(), key: "0".into() };
    let at = |end| {
        let mut position = Position::default();
        position.ranges.add(0, end);
        Positions::from([(partition.clone(), position)])
    };
    kafka.delete_before("expired", 0, 5);
    for (end, text) in [(3, "starts at 5"), (50, "ends at 10")] {
        let error = refused(join(&settings, &at(end), &caught_up()));
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.message().contains(text) && error.message().contains("partition 0"), "{error}");
    }
    let source = join(&settings, &at(5), &caught_up()).unwrap();
    kafka.delete_before("expired", 0, 8);
    let error = source.readers(1).unwrap()[0].read(&BOUNDS, Duration::from_secs(30)).expect_err("it is gone meanwhile");
    assert!(error.message().contains("has no offset 5 any more"), "{error}");
}

#[test]
fn keys_headers_timestamps_and_tombstones() {
    let kafka = Kafka::shared();
    kafka.create_topic("meta", 1);
    let producer = kafka.producer(&[]);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "trace", value: Some("1") })
        .insert(Header { key: "trace", value: Some(&[0_u8, 255][..]) })
        .insert(Header { key: "none", value: None::<&str> });
    let record = BaseRecord::<[u8], [u8]>::to("meta");
    send(&producer, record.key(&b"k"[..]).payload(b"v").timestamp(1_357_016_400_123).headers(headers));
    send(&producer, BaseRecord::to("meta").key(&b"gone"[..]).timestamp(5));
    send(&producer, BaseRecord::to("meta").payload(&b""[..]).timestamp(6));
    producer.flush(Duration::from_secs(30)).unwrap();
    for wanted in [Wanted { keys: true, headers: true }, Wanted::default()] {
        let options = Options { wanted, ..caught_up() };
        let source = join(&settings(kafka, "meta"), &Positions::new(), &options).unwrap();
        let blocks = read_to_end(&mut source.readers(1).unwrap()[0]);
        let [records] = &blocks[..] else { panic!("{} blocks", blocks.len()) };
        assert_eq!((0..3).map(|record| records.value(record)).collect::<Vec<_>>(), [Some(&b"v"[..]), None, Some(b"")]);
        assert_eq!((&records.offsets[..], records.next_offset), (&[0, 1, 2][..], 3));
        assert_eq!(records.timestamps_ms, [1_357_016_400_123, 5, 6]);
        if !wanted.keys {
            assert!(records.keys.is_none() && records.headers.is_empty());
            continue;
        }
        let keys: Vec<_> = records.keys.as_ref().unwrap().iter().collect();
        assert_eq!(keys, [Some(&b"k"[..]), Some(b"gone"), None]);
        let expected = [("trace", Some(b"1".to_vec())), ("trace", Some(vec![0, 255])), ("none", None)];
        assert_eq!(records.headers[0], expected.map(|(name, value)| (name.to_owned(), value)));
        assert!(records.headers[1].is_empty());
    }
}

#[test]
fn all_codecs_and_a_record_of_twenty_megabytes() {
    let kafka = Kafka::shared();
    kafka.create_topic_with("codecs", 1, &[("max.message.bytes", "30000000")]);
    let mut expected = Vec::new();
    for (index, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let producer = kafka.producer(&[("compression.codec", codec), ("message.max.bytes", "30000000")]);
        for value in numbers(index * 100..index * 100 + 100) {
            send(&producer, BaseRecord::to("codecs").payload(value.as_bytes()));
            expected.push(value);
        }
        producer.flush(Duration::from_secs(30)).unwrap();
    }
    let large = "x".repeat(20_000_000);
    let producer = kafka.producer(&[("message.max.bytes", "30000000"), ("compression.codec", "none")]);
    send(&producer, BaseRecord::to("codecs").payload(large.as_bytes()));
    producer.flush(Duration::from_secs(60)).unwrap();
    expected.push(large);
    expected.sort();
    let source = join(&settings(kafka, "codecs"), &Positions::new(), &caught_up()).unwrap();
    let found = values(&read_to_end(&mut source.readers(1).unwrap()[0]));
    assert!(found == expected, "{} of {} records", found.len(), expected.len());
}

#[test]
fn brokers_away_at_the_start_are_named() {
    let kafka = Kafka::shared();
    let settings = config::KafkaSource { brokers: located("127.0.0.1:1"), ..settings(kafka, "none") };
    let options = Options { timeout: Duration::from_secs(2), ..caught_up() };
    let error = refused(join(&settings, &Positions::new(), &options));
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("no answer from the Kafka brokers 127.0.0.1:1"), "{error}");
}

#[test]
fn properties_that_would_break_a_promise_are_refused() {
    let kafka = Kafka::shared();
    for name in ["enable.auto.commit", "group.id", "isolation.level", "no.such.property"] {
        let properties = BTreeMap::from([(name.to_owned(), "true".to_owned())]);
        let settings = config::KafkaSource { properties, ..settings(kafka, "refused") };
        let error = refused(join(&settings, &Positions::new(), &caught_up()));
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains(name), "{error}");
    }
}

#[test]
fn a_broker_that_is_restarted_in_the_middle_costs_nothing() {
    let kafka = Kafka::start();
    kafka.create_topic("restarted", 2);
    kafka.create_topic("restarted-out", 1);
    kafka.produce("restarted", 2, numbers(0..1000));
    let settings = config::KafkaSource {
        properties: BTreeMap::from([("session.timeout.ms".to_owned(), "45000".to_owned())]),
        ..settings(&kafka, "restarted")
    };
    let source = join(&settings, &Positions::new(), &following()).unwrap();
    let mut readers = source.readers(2).unwrap();
    let mut blocks = read_some(&mut readers, 300);
    let mut writer = writer(&kafka, "restarted-out", None);
    writer.write(&rows(0..10)).unwrap();
    kafka.stop();
    while let Read::Records(records) = readers[0].read(&BOUNDS, Duration::from_secs(1)).unwrap() {
        blocks.push(records);
    }
    writer.write(&rows(10..20)).unwrap();
    let error = writer.prepare(Duration::from_millis(500)).expect_err("nobody acknowledges");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let mut committed = Positions::new();
    advance(&mut committed, &blocks);
    let error = source.commit_offsets(&committed).expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    kafka.start_again();
    kafka.produce("restarted", 2, numbers(1000..2000));
    let missing = 2000 - count(&blocks);
    blocks.extend(read_some(&mut readers, missing));
    assert_eq!(values(&blocks), numbers(0..2000), "each record once");
    let acknowledged = writer.prepare(Duration::from_secs(60)).unwrap();
    assert_eq!((acknowledged, kafka.read_all("restarted-out").len()), (20, 20));
    source.check_membership().expect("still a member");
    let mut committed = Positions::new();
    advance(&mut committed, &blocks);
    source.commit_offsets(&committed).unwrap();
    assert_eq!(kafka.committed_offsets("restarted", "restarted", 2), [Some(1000), Some(1000)]);
    kafka.stop();
    let begin = Instant::now();
    drop((readers, source));
    assert!(begin.elapsed() < Duration::from_secs(30), "leaving without brokers took {:?}", begin.elapsed());
}
